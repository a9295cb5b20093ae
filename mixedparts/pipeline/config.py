"""Every choice of a build in one validated value; from flags, from YAML, and back to YAML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from mixedparts.errors import InputError, UsageError
from mixedparts.pipeline.engines import ENGINES
from mixedparts.pipeline.rejects import parse_limit
from mixedparts.records import Task
from mixedparts.sources.contract import available, get_source
from mixedparts.sources.manifests import FULL, profile_for, profiles

MOST_IMAGES = 4  # of a sample
SAMPLES_AN_IMAGE = 27  # 2.4M samples of the paper over the ~89K annotated images of its sources


@dataclass(frozen=True, slots=True)
class BuildConfig:
    """What a build is asked for.

    Attributes:
        sources: names of registered readers.
        root: folder that holds the upstream archives as they unpack.
        source_roots: other folders for single sources.
        out: the build folder.
        samples: rows over all splits and tasks; None: 27 for every image with a kept entity,
            the paper's 2.4M samples on the full sources.
        seed: of every draw.
        images: `embed` stores the pictures' bytes, `reference` only where they are.
        tasks: the tasks to make rows for.
        min_object_area, min_part_area: least share of the image, in [0, 1].
        profile: which classes and names of `manifests/profiles.yaml` are used; `full` is all of
            them, `published` what is known of the published bundle.
        classes: canonical names of the object classes to use; none: all of them.
        per_image_limit: most samples of one source and task that an image may be in; None: twice
            the even use, raised where rows are short of it (`mixedparts.pairing.balanced_sampler`).
        images_per_sample: 2 to 4.
        cross_source: also make samples of images of two sources.
        ade20k_test: `hash` divides ADE's validation images between validation and test;
            `official` puts all of them in both, as the published bundle does.
        read_shard_images, pair_shard_rows, image_shard_rows: sizes of the shards.
        max_rejects: rejected records over which a build fails: a share (`5%`, `0.05`) or a number;
            by default more than half, which speaks of a wrong folder rather than of bad records.
        workers, engine, shard_range: where and how much runs; they never change the result.
    """

    sources: tuple[str, ...]
    root: Path = Path("sources")
    source_roots: Mapping[str, Path] = field(default_factory=dict)
    out: Path = Path("data/mixedparts")
    samples: int | None = None
    seed: int = 0
    images: str = "embed"
    tasks: tuple[str, ...] = tuple(Task)
    min_object_area: float = 0.02
    min_part_area: float = 0.001
    profile: str = FULL
    classes: tuple[str, ...] = ()
    per_image_limit: int | None = None
    images_per_sample: int = 2
    cross_source: bool = False
    ade20k_test: str = "hash"
    read_shard_images: int = 256
    pair_shard_rows: int = 10_000
    image_shard_rows: int = 1_000
    max_rejects: str = "50%"
    workers: int = 1
    engine: str = "local"
    shard_range: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        faults = list(self._faults())
        if faults:
            raise UsageError("\n".join(faults))
        for name in self.sources:
            get_source(name)
            profile_for(name, self.profile)

    def _faults(self) -> list[str]:
        """Return a sentence for each choice that cannot be, all of them together."""
        faults = []
        if not self.sources:
            faults.append(f"name at least one source: {', '.join(available())}")
        if len(set(self.sources)) != len(self.sources):
            faults.append(f"a source is named twice: {' '.join(self.sources)}")
        faults += [
            f"a folder is given for '{name}', which is not among the sources"
            for name in self.source_roots
            if name not in self.sources
        ]
        if self.samples is not None and self.samples < 1:
            faults.append(f"samples must be at least 1, not {self.samples}")
        if self.workers < 1:
            faults.append(f"workers must be at least 1, not {self.workers}")
        if not 0 <= self.seed < 1 << 63:
            faults.append(f"seed must be a whole number from 0 to 2^63 - 1, not {self.seed}")
        for name, allowed in (
            ("images", ("embed", "reference")),
            ("ade20k_test", ("hash", "official")),
            ("engine", ENGINES),
            ("profile", tuple(profiles())),
        ):
            if getattr(self, name) not in allowed:
                faults.append(f"{name} must be one of {', '.join(allowed)}")
        for name in ("min_object_area", "min_part_area"):
            if not 0 <= getattr(self, name) <= 1:
                faults.append(f"{name} must lie in [0, 1], not {getattr(self, name)}")
        if not self.tasks:
            faults.append(f"tasks must be some of {', '.join(Task)}")
        faults += [
            unknown_name("task", name, tuple(Task)) for name in self.tasks if name not in set(Task)
        ]
        if self.per_image_limit is not None and self.per_image_limit < 1:
            faults.append(f"per_image_limit must be at least 1, not {self.per_image_limit}")
        if not 2 <= self.images_per_sample <= MOST_IMAGES:
            faults.append(
                f"images_per_sample must be 2 to {MOST_IMAGES}, not {self.images_per_sample}"
            )
        if self.cross_source and len(set(self.sources)) < 2:
            faults.append("cross_source wants at least two sources")
        for name in ("read_shard_images", "pair_shard_rows", "image_shard_rows"):
            if getattr(self, name) < 1:
                faults.append(f"{name} must be at least 1, not {getattr(self, name)}")
        try:
            parse_limit(self.max_rejects)
        except ValueError as error:
            faults.append(f"max_rejects: {error}")
        if self.shard_range and not 0 <= self.shard_range[0] < self.shard_range[1]:
            faults.append("shard range must be i/N with 0 <= i < N")
        return faults

    def source_root(self, name: str) -> Path:
        """Return the folder that a source's layout starts from."""
        return self.source_roots.get(name, self.root)

    def variant(self, name: str) -> str:
        """Return the source's own choice, as `ReadShard.variant` carries it."""
        ade = name in ("ade20k", "ade20k_full")
        return "official" if ade and self.ade20k_test == "official" else ""

    def identity(self) -> dict[str, Any]:
        """Return the choices that decide the result, as JSON values; folders are not among them."""
        known = asdict(self)
        for name in (
            "root",
            "source_roots",
            "out",
            "max_rejects",
            "workers",
            "engine",
            "shard_range",
        ):
            del known[name]
        known["sources"] = sorted(self.sources)
        known["tasks"] = [task for task in Task if task in self.tasks]
        known["classes"] = sorted(set(self.classes))
        if self.images == "reference":
            known["source_roots"] = {n: str(self.source_root(n).resolve()) for n in self.sources}
        return known


def unknown_name(kind: str, name: str, known: Sequence[str]) -> str:
    """Return the sentence about a name that is not known, with the names near to it."""
    near = get_close_matches(name.lower(), known, n=3)
    if near:
        guess = " or ".join(f"'{one}'" for one in near)
        return f"there is no {kind} '{name}'; did you mean {guess}?"
    some = ", ".join(known[:10]) + (", …" if len(known) > 10 else "")
    return f"there is no {kind} '{name}'; known: {some}"


def read_config(path: Path) -> dict[str, Any]:
    """Read choices from a YAML file; keys are the fields of `BuildConfig`.

    Raises:
        InputError: the file is not there or is not YAML.
        UsageError: it holds an unknown key or a value of another type.
    """
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"configuration {path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise UsageError(f"configuration {path} must be a list of 'name: value' lines")
    known = {item.name for item in fields(BuildConfig)}
    unknown = sorted(str(key) for key in set(value) - known)
    if unknown:
        raise UsageError(f"{path}: unknown keys {', '.join(unknown)}", f"Known: {sorted(known)}")
    return {key: _typed(path, key, item) for key, item in value.items()}


def _typed(path: Path, key: str, value: Any) -> Any:
    """Return a YAML value in the type of its field."""
    try:
        if key in ("root", "out"):
            return Path(value)
        if key == "source_roots":
            return {str(name): Path(folder) for name, folder in value.items()}
        if key in ("sources", "tasks", "classes"):
            if not isinstance(value, list):
                raise TypeError("a list is wanted")
            return tuple(str(item) for item in value)
        if key in ("images", "profile", "ade20k_test", "engine", "max_rejects"):
            return str(value)
        if key == "shard_range":
            return parse_shard_range(value)
        if key in ("min_object_area", "min_part_area"):
            return float(value)
        if key == "cross_source":
            if not isinstance(value, bool):
                raise TypeError("true or false is wanted")
            return value
        if isinstance(value, bool) or not (value is None or isinstance(value, int)):
            raise TypeError("a whole number is wanted")
        return value
    except (TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{path}: {key}: {error}") from error


def parse_shard_range(text: str) -> tuple[int, int]:
    """Return (i, N) of `i/N`.

    Raises:
        ValueError: it is not of this form.
    """
    part, _, whole = str(text).partition("/")
    return int(part), int(whole)
