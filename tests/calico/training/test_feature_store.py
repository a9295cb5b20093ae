"""The store of frozen features that a run reads."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest
import torch

from calico.dataset.pairs import BuiltDataset
from calico.dataset.views import View
from calico.model.precision import arithmetic, store
from calico.processing.images import ImageProcessor, open_image
from calico.training.feature_store import _reserved, feature_store
from mixedparts.progress import Silent
from tests.factories.micro_model import micro_model


class TestFeatures:
    def test_the_store_holds_what_the_encoders_say(
        self, dataset: BuiltDataset, tmp_path: Path
    ) -> None:
        model, config = micro_model()
        processor = ImageProcessor(config)
        table = dataset.images("train")
        kept = feature_store(
            model.encoders, table, [0, 2, 3], processor, tmp_path, True, Silent(), 2
        )
        read = kept.read([(3, View(mirrored=True)), (0, View())])
        pixels = [processor.pixels(open_image(table.read(row), "")) for row in (3, 0)]
        with torch.no_grad():
            direct = model.encoders(processor.inputs([pixels[0].flipped(), pixels[1]]))
        for name in ("vision", "semantic", "sam"):
            one, other = getattr(read, name), getattr(direct, name)
            torch.testing.assert_close(one, other, atol=5e-3, rtol=5e-3)

    def test_features_are_stored_while_products_are_in_bf16(
        self, dataset: BuiltDataset, tmp_path: Path
    ) -> None:
        model, config = micro_model(execution={"precision": "bf16"})
        store(model, config.execution)
        processor, table = ImageProcessor(config), dataset.images("train")
        with arithmetic(config.execution, torch.device("cpu")):
            kept = feature_store(
                model.encoders, table, [0, 1, 2], processor, tmp_path, False, Silent(), 2
            )
            direct = model.encoders(
                processor.inputs([processor.pixels(open_image(table.read(2), ""))])
            )
        read = kept.read([(2, View())])
        for name in ("vision", "semantic", "sam"):
            one, other = getattr(read, name), getattr(direct, name)
            torch.testing.assert_close(one, other.float(), atol=0.03, rtol=0.03)

    def test_other_weights_get_another_store(self, dataset: BuiltDataset, tmp_path: Path) -> None:
        for seed in (0, 1, 0):
            model, config = micro_model(seed)
            feature_store(
                model.encoders,
                dataset.images("train"),
                [0, 1],
                ImageProcessor(config),
                tmp_path,
                False,
                Silent(),
            )
        assert len(list(tmp_path.iterdir())) == 2


def test_space_on_the_disk_is_reserved_before_it_is_written(tmp_path: Path) -> None:
    # A write into a hole of a mapped file, where the disk is full, ends the process with SIGBUS.
    array = _reserved(tmp_path / "vision.npy", (300, 17, 64))
    file = (tmp_path / "vision.npy").stat()
    assert file.st_size > array.nbytes
    assert file.st_blocks * 512 >= file.st_size


@pytest.mark.skipif(os.geteuid() != 0, reason="a full disk needs the right to mount one")
def test_a_disk_too_small_for_the_features_is_an_error(tmp_path: Path) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("this machine does not let root mount a tmpfs")
    try:
        assert reserving(tmp_path / "vision.npy") == errno.ENOSPC
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def reserving(path: Path) -> int | None:
    """Return the number of the error; its traceback refers to the mapped file and is dropped."""
    try:
        _reserved(path, (300, 17, 64))
    except OSError as error:
        return error.errno
    return None
