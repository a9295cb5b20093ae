"""Where the stages of pretraining wait for its end, and what is removed after it.

Without torch: `calico-pretrain` checks its folder before torch is imported.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from mixedparts.errors import UsageError


def stages_folder(folder: Path) -> Path:
    """Return the folder for the stages of encoders that are not finished yet."""
    # Beside the folder, not in it: the folder appears only when everything is finished.
    return folder.with_name(f".{folder.name}.begun")


def discard_finished_stages(folder: Path) -> None:
    """Remove the stages of finished encoders, which a run killed at its very end has left."""
    if folder.is_dir():
        shutil.rmtree(stages_folder(folder), ignore_errors=True)


def check_absent(folder: Path) -> None:
    """Check that there are no encoders yet; files of their stages are removed if there are.

    Raises:
        UsageError: the folder exists.
    """
    if folder.exists():
        discard_finished_stages(folder)
        raise UsageError(f"{folder} exists already", "Choose another --output-dir or remove it.")
