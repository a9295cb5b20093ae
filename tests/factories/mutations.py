"""Seeded damage to a folder of source files: JSON values, masks, files and images.

`damage(root, seed)` changes files below `root` in place and returns what it did. The same folder
and seed give the same change, so that a failure can be repeated from its seed alone. Nothing here
knows a format: a change of JSON picks any node of any JSON file, a mask is what `segmentation`
holds. `attempt` copies a folder, damages the copy, makes a build of it and checks the build.
"""

from __future__ import annotations

import io
import os
import random
import shutil
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mixedparts.errors import MixedPartsError
from mixedparts.verification.verify import verify
from tests.factories.json_mutations import Damage, change_json, change_mask, files_below

IMAGES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class Outcome:
    """What became of a damaged folder.

    Attributes:
        seed: the seed of the damage.
        damages: what was damaged.
        result: `clean` (a build that verifies), `refused` (one message, no build), or `fault`.
        text: the message, the traceback, or the problems that the verification lists.
    """

    seed: int
    damages: tuple[Damage, ...]
    result: str
    text: str = ""


ALL_KINDS = ("json", "mask", "file", "image")


def damage(
    root: Path, seed: int, kinds: Sequence[str] = ALL_KINDS, changes: int = 1
) -> tuple[Damage, ...]:
    """Change files below a folder in place.

    Args:
        root: the folder; every file below it may be changed.
        seed: decides the change.
        kinds: groups of changes to choose from, keys of `GROUPS`; "json" counts four times.
        changes: how many changes to make, one after the other.

    Returns:
        What was changed.
    """
    # A text as seed: Python hashes it the same way in every process and version.
    draw = random.Random(f"{seed}:{','.join(kinds)}")
    weighted = [kind for kind in kinds for _ in range(4 if kind == "json" else 1)]
    done: list[Damage] = []
    # Some changes do not fit the node that was drawn; another one is drawn then.
    for _ in range(1_000):
        if len(done) == changes:
            break
        made = GROUPS[draw.choice(weighted)](root, draw)
        if made is not None:
            done.append(made)
    return tuple(done)


def attempt(
    base: Path,
    work: Path,
    seed: int,
    make: Callable[[Path, Path], object],
    kinds: Sequence[str] = ALL_KINDS,
    changes: int = 1,
) -> Outcome:
    """Damage a copy of a folder, make a build of it, and check what comes of it.

    Args:
        base: the sound folder; it stays as it is.
        work: an empty or new folder, removed at the end.
        seed: decides the damage.
        make: makes a build of its first argument, a folder like `base`, in its second.
        kinds: as for `damage`.
        changes: as for `damage`.

    Returns:
        The outcome; nothing is raised.
    """
    root, out = work / "in", work / "out"
    shutil.copytree(base, root)
    damages = damage(root, seed, kinds, changes)
    try:
        make(root, out)
        problems = [str(problem) for problem in verify(out, "deep").listed]
        result = "fault" if problems else "clean"
        return Outcome(seed, damages, result, "\n".join(problems[:5]))
    except MixedPartsError as error:
        finished = (out / "manifest.json").exists()
        result = "fault" if finished or not str(error) else "refused"
        return Outcome(seed, damages, result, str(error))
    except Exception:
        return Outcome(seed, damages, "fault", traceback.format_exc())
    finally:
        shutil.rmtree(work, ignore_errors=True)


TIMEOUT_S = 300  # a build that takes longer hangs


def attempt_many(
    base: Path, work: Path, make: Callable[[Path, Path], object], kinds: int, default: int
) -> tuple[Counter[str], list[Outcome], int]:
    """Attempt the share of one of several kinds of input, in worker processes.

    MUTATIONS in the environment is the number of attempts for all kinds together, MUTATION_SEED the
    first seed. Each attempt makes one to three changes.

    Args:
        base: the sound folder.
        work: an empty or new folder.
        make: as for `attempt`; is sent to processes.
        kinds: number of kinds that share the attempts.
        default: number of attempts without MUTATIONS.

    Returns:
        Number of attempts with each result, the outcomes with a fault, and the number of attempts.
    """
    first = int(os.environ.get("MUTATION_SEED", "0"))
    count = int(os.environ.get("MUTATIONS", str(default))) // kinds
    results: Counter[str] = Counter()
    faults = []
    run = partial(_attempt_seed, base, work, make)
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        for future in [pool.submit(run, seed) for seed in range(first, first + count)]:
            outcome = future.result(TIMEOUT_S + TIMEOUT_S * count)
            results[outcome.result] += 1
            if outcome.result == "fault":
                faults.append(outcome)
    return results, faults, count


def _attempt_seed(
    base: Path, work: Path, make: Callable[[Path, Path], object], seed: int
) -> Outcome:
    return attempt(base, work / str(seed), seed, make, changes=1 + seed % 3)


def _file_change(root: Path, draw: random.Random) -> Damage | None:
    """Remove, empty, cut or overwrite a file, or put another one in its place."""
    path = draw.choice(sorted(path for path in root.rglob("*") if path.is_file()))
    data = path.read_bytes()
    kind = draw.choice(("remove", "empty", "cut", "byte", "other file"))
    if kind == "remove":
        path.unlink()
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "cut":
        path.write_bytes(data[: draw.randint(0, len(data))])
    elif kind == "byte" and data:
        place = draw.randrange(len(data))
        path.write_bytes(data[:place] + bytes([draw.randrange(256)]) + data[place + 1 :])
    else:
        others = [other for other in files_below(root, (path.suffix,)) if other != path]
        if not others:
            return None
        path.write_bytes(draw.choice(others).read_bytes())
    return Damage(str(path.relative_to(root)), f"file {kind}")


def _image_change(root: Path, draw: random.Random) -> Damage | None:
    """Store another image in place of one: another size, mode, depth or format."""
    paths = files_below(root, IMAGES)
    if not paths:
        return None
    path = draw.choice(paths)
    try:
        with Image.open(path) as image:
            size = image.size
    except OSError:
        return None
    kind = draw.choice(sorted(_PICTURES))
    stored, form = _PICTURES[kind](size, draw)
    stream = io.BytesIO()
    stored.save(stream, form)
    path.write_bytes(stream.getvalue())
    return Damage(str(path.relative_to(root)), f"image {kind}")


def _noise(size: tuple[int, int], draw: random.Random, high: int, kind: Any) -> Any:
    rng = np.random.default_rng(draw.randrange(2**32))
    return Image.fromarray(rng.integers(0, high, size[::-1]).astype(kind))


_PICTURES: dict[str, Callable[[tuple[int, int], random.Random], tuple[Image.Image, str]]] = {
    "other size": lambda size, draw: (Image.new("RGB", (size[0] + 1, size[1])), "JPEG"),
    "turned": lambda size, draw: (Image.new("RGB", size[::-1]), "JPEG"),
    "one pixel": lambda size, draw: (Image.new("RGB", (1, 1)), "PNG"),
    "16 bit": lambda size, draw: (_noise(size, draw, 65_536, np.uint16), "PNG"),
    "grey": lambda size, draw: (_noise(size, draw, 256, np.uint8), "PNG"),
    "palette": lambda size, draw: (_noise(size, draw, 256, np.uint8).convert("P"), "PNG"),
    "1 bit": lambda size, draw: (Image.new("1", size, 1), "PNG"),
    "alpha": lambda size, draw: (Image.new("LA", size, (9, 0)), "PNG"),
    "CMYK": lambda size, draw: (Image.new("CMYK", size), "JPEG"),
    "GIF": lambda size, draw: (Image.new("P", size), "GIF"),
    "BMP": lambda size, draw: (Image.new("RGB", size), "BMP"),
    "float": lambda size, draw: (Image.new("F", size, 0.5), "TIFF"),
}

GROUPS: dict[str, Callable[[Path, random.Random], Damage | None]] = {
    "json": change_json,
    "mask": change_mask,
    "file": _file_change,
    "image": _image_change,
}
