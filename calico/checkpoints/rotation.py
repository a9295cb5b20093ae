"""Rotation of a run's checkpoints: the newest ones stay, and the best one by an evaluation."""

from __future__ import annotations

import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from mixedparts.errors import InputError
from mixedparts.files.folders import list_folder
from mixedparts.files.opening import is_there
from mixedparts.files.text import read_json
from mixedparts.storage.shards import write_json

BEST = "best.json"
_PLAIN_NAME = re.compile(r"checkpoint-\d+")


@dataclass(frozen=True, slots=True)
class Best:
    """The best evaluation of a run so far.

    Attributes:
        checkpoint: name of the checkpoint's folder.
        metric: name of the metric that decides.
        value: of this metric.
    """

    checkpoint: str
    metric: str
    value: float


def checkpoint_path(output: Path, step: int) -> Path:
    """Return the folder of the checkpoint after `step` steps."""
    # Zeros in front: the alphabetical order of names is the order of steps.
    return output / f"checkpoint-{step:06d}"


def newest_checkpoint(output: Path) -> Path | None:
    """Return the newest checkpoint of a run, None if there is none.

    Raises:
        InputError: the folder cannot be listed.
    """
    return max(_checkpoints(output), default=None)


def read_best(output: Path) -> Best | None:
    """Return the record of the best checkpoint of a run, None if nothing was evaluated.

    Raises:
        InputError: the file is broken.
    """
    if not is_there(output / BEST):
        return None
    content = read_json(output / BEST)
    try:
        best = msgspec.convert(content, Best)
    except msgspec.ValidationError as error:
        raise InputError(f"{output / BEST} cannot be read: {error}") from error
    # The name is joined to the folder: it must not lead out of it.
    if not _PLAIN_NAME.fullmatch(best.checkpoint):
        raise InputError(f"{output / BEST} names no checkpoint: {best.checkpoint!r}")
    return best


def record_best(output: Path, best: Best) -> None:
    """Record the best checkpoint of a run; its folder must exist."""
    # `write_json` writes beside the file and renames, so a kill leaves the old record or the new.
    write_json(output / BEST, asdict(best))


def remove_old_checkpoints(output: Path, keep: int) -> None:
    """Remove all checkpoints of a run but the newest `keep` and the best one."""
    best = read_best(output)
    for old in _checkpoints(output)[:-keep]:
        if best is None or old.name != best.checkpoint:
            shutil.rmtree(old)


def _checkpoints(output: Path) -> list[Path]:
    """Return the checkpoints of a run, the oldest first; none if its folder is not there."""
    # Not `glob`, which returns nothing for a closed folder: the run would start again at step 0.
    if not is_there(output):
        return []
    return [
        Path(entry.path) for entry in list_folder(output) if entry.name.startswith("checkpoint-")
    ]
