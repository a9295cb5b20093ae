"""Which checkpoints of a run are kept: the newest ones, and the best by an evaluation."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from mixedparts.errors import InputError
from mixedparts.storage.shards import write_json

BEST = "best.json"


@dataclass(frozen=True, slots=True)
class Best:
    """The best evaluation of a run so far.

    Attributes:
        checkpoint: name of its folder.
        metric: by which it is the best.
        value: of that metric.
    """

    checkpoint: str
    metric: str
    value: float


def checkpoint_place(output: Path, step: int) -> Path:
    """Return where the checkpoint after `step` steps belongs."""
    return output / f"checkpoint-{step:06d}"


def newest_checkpoint(output: Path) -> Path | None:
    """Return the newest checkpoint of a run, None where there is none."""
    return max(output.glob("checkpoint-*"), key=lambda path: path.name, default=None)


def read_best(output: Path) -> Best | None:
    """Return what is known of the best checkpoint, None where nothing is.

    Raises:
        InputError: the note is broken.
    """
    try:
        return Best(**json.loads((output / BEST).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{output / BEST} cannot be read: {error}") from error


def note_best(output: Path, best: Best) -> None:
    """Write down which checkpoint is the best; it must be there already."""
    write_json(output / BEST, asdict(best))


def drop_old(output: Path, keep: int) -> None:
    """Remove all but the newest checkpoints and the best one."""
    best = read_best(output)
    for old in sorted(output.glob("checkpoint-*"))[:-keep]:
        if best is None or old.name != best.checkpoint:
            shutil.rmtree(old)
