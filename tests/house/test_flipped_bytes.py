"""Any changed byte of any file of a build or of a checkpoint is found.

The slow tier reads FLIPS (how many, 600) and FLIP_SEED (0) from the environment. A failure prints
the file, the position and the change.
"""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from mixedparts.errors import InputError
from mixedparts.verification.verify import verify
from tests.factories.commands import Inputs

LOG = "_build/log.jsonl"  # the one file that two equal builds do not share


@pytest.mark.slow
def test_any_changed_byte_of_a_build_is_found(built: Path, tmp_path: Path) -> None:
    build = Path(shutil.copytree(built, tmp_path / "build"))

    def is_found() -> bool:
        try:
            return verify(build, "full").total > 0
        # A manifest that is no JSON any more: there is no build to verify.
        except InputError:
            return True

    assert not is_found()
    seen = _flipped(build, is_found)
    print(f"\nbuild: {seen.total()} changed bytes, all found: {dict(seen)}")
    kinds = {"README.md", "manifest.json", "croissant.json", "SHA256SUMS", "rejects.parquet"}
    kinds |= {"_build/plan.json", "_build/commits", "pairs", "images", "entities", "preview"}
    assert kinds == seen.keys()
    assert not is_found()


@pytest.mark.slow
def test_any_changed_byte_of_a_checkpoint_is_found(inputs: Inputs, tmp_path: Path) -> None:
    from calico.checkpoints.save_load import load_checkpoint

    place = Path(shutil.copytree(inputs.checkpoint, tmp_path / "checkpoint"))

    def is_found() -> bool:
        try:
            load_checkpoint(place, verify=True)
        except InputError:
            return True
        return False

    assert not is_found()
    seen = _flipped(place, is_found)
    print(f"\ncheckpoint: {seen.total()} changed bytes, all found: {dict(seen)}")
    kinds = {"model.safetensors", "frozen.safetensors", "training.safetensors", "digests.json"}
    assert kinds | {"config.yaml", "config.json", "checkpoint.json"} <= seen.keys()
    assert not is_found()


def _flipped(folder: Path, is_found: Callable[[], bool]) -> Counter[str]:
    """Change single bytes of all kinds of files equally often; return how many of each kind."""
    count = int(os.environ.get("FLIPS", "600")) // 2
    draw = random.Random(f"{folder.name}-{os.environ.get('FLIP_SEED', '0')}")
    kinds: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name != LOG:
            kinds.setdefault(_kind(name), []).append(path)
    seen: Counter[str] = Counter()
    while seen.total() < count:
        for kind, paths in kinds.items():
            path = draw.choice(paths)
            whole = path.read_bytes()
            changed = bytearray(whole)
            position = _position(draw, len(whole))
            # One bit as often as any other value.
            changed[position] ^= draw.choice((1 << draw.randrange(8), draw.randrange(1, 256)))
            path.write_bytes(changed)
            told = f"{path}, byte {position}: {whole[position]} is now {changed[position]}"
            assert is_found(), told
            path.write_bytes(whole)
            seen[kind] += 1
    return seen


def _kind(name: str) -> str:
    """Return the folder that a file lies in, or its own name if that is the top or `_build`."""
    parts = name.split("/")
    return "/".join(parts[:2]) if parts[0] == "_build" else parts[0]


def _position(draw: random.Random, size: int) -> int:
    """Return the first, the last or any position of a file."""
    return draw.choice((0, size - 1, *(draw.randrange(size) for _ in range(6))))
