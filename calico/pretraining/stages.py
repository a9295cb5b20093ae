"""Which stages of pretraining are done: a killed run goes on with the first that is not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from calico.weights.safetensors_io import copy_weights, read_tensors, save_tensors
from mixedparts.storage.shards import write_json, written_beside

_BEGUN = "begun.json"


class FinishedStages:
    """Weights of finished stages, each in a file.

    Args:
        folder: of those files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def begin(self, identity: Mapping[str, Any]) -> None:
        """Make the folder; what was begun for another configuration or dataset goes.

        Args:
            identity: of all that decides what the stages come to, in JSON values.
        """
        note = self.folder / _BEGUN
        try:
            known = json.loads(note.read_bytes())
        except (OSError, ValueError):
            known = None
        if known == json.loads(json.dumps(identity)):
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        write_json(note, identity)

    def has(self, stage: str) -> bool:
        """Say whether a stage is finished."""
        return self._path(stage).is_file()

    def load(self, stage: str, into: Mapping[str, Tensor]) -> None:
        """Fill weights with those of a finished stage.

        Raises:
            InputError: they cannot be read, or are of another architecture.
        """
        path = self._path(stage)
        copy_weights(into, read_tensors(path), path)

    def keep(self, stage: str, weights: Mapping[str, Tensor]) -> None:
        """Write down the weights of a stage that is finished."""
        with written_beside(self._path(stage)) as temporary:
            save_tensors(weights, temporary)

    def _path(self, stage: str) -> Path:
        return self.folder / f"{stage}.safetensors"
