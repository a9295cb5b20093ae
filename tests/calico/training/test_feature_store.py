"""The store of frozen features that a run reads."""

from __future__ import annotations

from pathlib import Path

import torch

from calico.dataset.pairs import BuiltDataset
from calico.dataset.views import View
from calico.processing.images import ImageProcessor
from calico.training.feature_store import feature_store
from mixedparts.progress import Silent
from tests.factories.micro_model import micro_model


class TestFeatures:
    def test_the_store_holds_what_the_encoders_say(
        self, dataset: BuiltDataset, tmp_path: Path
    ) -> None:
        model, config = micro_model()
        processor = ImageProcessor(config)
        table = dataset.images("train")
        store = feature_store(
            model.encoders, table, [0, 2, 3], processor, tmp_path, True, Silent(), 2
        )
        read = store.read([(3, View(mirrored=True)), (0, View())])
        from calico.processing.images import open_image

        pixels = [processor.pixels(open_image(table.read(row), "")) for row in (3, 0)]
        with torch.no_grad():
            direct = model.encoders(processor.inputs([pixels[0].flipped(), pixels[1]]))
        for name in ("vision", "semantic", "sam"):
            one, other = getattr(read, name), getattr(direct, name)
            torch.testing.assert_close(one, other, atol=5e-3, rtol=5e-3)

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
