"""Drawn views: boxes that cut no mask, masks and pixels that agree to the pixel."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import ks_2samp
from torchvision.transforms import RandomResizedCrop

from calico.config.presets import tiny
from calico.config.yaml_io import override
from calico.dataset.pairs import BuiltDataset
from calico.dataset.views import Box, Tint, View
from calico.pretraining.pretrain import pretrain
from calico.processing.feature_cache import FeatureCache
from calico.processing.feature_encoder import FeatureEncoder, TableFeatures
from calico.processing.images import ImageProcessor
from calico.processing.prompts import PromptEncoder
from calico.training.augment import global_box, random_box
from calico.training.augmented_samples import SampleAugmenter
from calico.training.batches import BatchMaker
from calico.training.feature_store import FeatureStore
from calico.training.train import RunSettings, train
from mixedparts.errors import UsageError
from mixedparts.masks import decode, from_dense
from mixedparts.progress import Silent
from tests.factories.micro_model import micro_config, micro_model, micro_tokenizer

AUGMENT = {"crop": 0.7, "crop_share": 0.4, "colour": 0.3}


@st.composite
def dense_masks(draw: Any, count: int = 1) -> NDArray[np.uint8]:
    """Return (count, H, W) masks, empty ones among them."""
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 20)))
    masks = np.zeros((count, height, width), np.uint8)
    for mask in masks:
        rows, columns = (np.sort(rng.integers(0, n + 1, 2)) for n in (height, width))
        inside = mask[rows[0] : rows[1], columns[0] : columns[1]]
        inside[:] = rng.random(inside.shape) < 0.8
    return masks


def numbers(count: int) -> st.SearchStrategy[NDArray[np.float64]]:
    one = st.floats(0, 1, exclude_max=True)
    return st.lists(one, min_size=count, max_size=count).map(np.array)


class TestBoxes:
    @settings(deadline=None)
    @given(dense_masks(3), st.floats(0.01, 1), numbers(4))
    def test_they_hold_every_region_and_their_share(
        self, masks: NDArray[np.uint8], share: float, draws: NDArray[np.float64]
    ) -> None:
        height, width = masks.shape[1:]
        box = random_box((height, width), [from_dense(mask) for mask in masks], share, draws)
        assert 0 <= box.left < box.right <= width
        assert 0 <= box.top < box.bottom <= height
        kept = masks[:, box.top : box.bottom, box.left : box.right]
        assert kept.sum() == masks.sum()
        assert kept[0].size >= share * height * width * (1 - 1e-9)

    def test_they_move_and_differ_in_shape(self) -> None:
        mask = np.zeros((100, 200), np.uint8)
        mask[40:50, 90:110] = 1
        rng = np.random.default_rng(0)
        boxes = [random_box((100, 200), [from_dense(mask)], 0.3, rng.random(4)) for _ in range(300)]
        areas = [(b.right - b.left) * (b.bottom - b.top) / 20000 for b in boxes]
        assert min(areas) < 0.35
        assert max(areas) > 0.95
        shapes = [(b.right - b.left) / (b.bottom - b.top) / 2 for b in boxes]
        assert min(shapes) < 0.85
        assert max(shapes) > 1.15
        assert len({b.left for b in boxes}) > 50
        assert len({b.top for b in boxes}) > 20


class TestGlobalBoxes:
    @pytest.mark.parametrize("size", [(480, 640), (333, 500), (200, 900), (7, 7)])
    def test_they_are_drawn_as_torchvisions_random_resized_crop_draws(
        self, size: tuple[int, int]
    ) -> None:
        """Share of the area, aspect ratio and place have the same distributions."""
        rng, count = np.random.default_rng(4), 1500
        boxes = [global_box(size, 0.5, rng) for _ in range(count)]
        for box in boxes:
            assert 0 <= box.left < box.right <= size[1]
            assert 0 <= box.top < box.bottom <= size[0]
        own = [(b.top, b.left, b.bottom - b.top, b.right - b.left) for b in boxes]
        image = torch.zeros(1, *size)
        torch.manual_seed(4)
        theirs = [
            RandomResizedCrop.get_params(image, [0.5, 1.0], [3 / 4, 4 / 3]) for _ in range(count)
        ]
        for mine, other in zip(zip(*own, strict=True), zip(*theirs, strict=True), strict=True):
            assert ks_2samp(mine, other).statistic < 0.06

    def test_every_sample_has_its_own_and_other_draws_stay(self, dataset: BuiltDataset) -> None:
        drawn = {}
        for share in (1.0, 0.5):
            training = {"features": "encode", "augment": {"global_crop": share}}
            augmenter = SampleAugmenter(
                dataset.pairs("train"), micro_config(training=training).training
            )
            drawn[share] = [one for step in range(4) for one in augmenter.samples(step)]
        boxes = [view.global_box for one in drawn[0.5] for view in one.views]
        assert None not in boxes
        assert len(set(boxes)) > 0.9 * len(boxes)
        bare = [
            replace(one, views=tuple(replace(view, global_box=None) for view in one.views))
            for one in drawn[0.5]
        ]
        assert bare == drawn[1.0]


class TestMasks:
    @settings(deadline=None)
    @given(dense_masks(), st.booleans(), numbers(4))
    def test_they_are_cut_and_mirrored_to_the_pixel(
        self, masks: NDArray[np.uint8], mirrored: bool, draws: NDArray[np.float64]
    ) -> None:
        height, width = masks.shape[1:]
        box = random_box((height, width), [], 0.2, draws)
        view = View(mirrored, box)
        rows, columns = view.size(height, width)
        expected = np.empty((rows, columns), np.uint8)
        for row in range(rows):
            for column in range(columns):
                away = columns - 1 - column if mirrored else column
                expected[row, column] = masks[0, box.top + row, box.left + away]
        assert np.array_equal(view.mask(masks[0]), expected)
        processor = ImageProcessor(tiny())
        direct = processor.patch_mask(from_dense(expected))
        assert np.array_equal(processor.patch_mask(from_dense(masks[0]), view), direct)

    def test_the_grid_holds_the_covered_share_of_every_cell(self) -> None:
        rng = np.random.default_rng(1)
        dense = (rng.random((150, 170)) < 0.4).astype(np.uint8)
        view = View(True, Box(20, 7, 148, 103))  # 96 rows, 128 columns: as large as the square
        grid = ImageProcessor(tiny()).patch_mask(from_dense(dense), view)
        shown = dense[7:103, 20:148][:, ::-1].reshape(24, 4, 32, 4).mean((1, 3))
        assert np.abs(grid[:24] / 255 - shown).max() <= 0.5 / 255 + 1e-9
        assert not grid[24:].any()

    @settings(deadline=None)
    @given(dense_masks(), st.booleans(), numbers(4))
    def test_pixels_go_the_same_way(
        self, masks: NDArray[np.uint8], mirrored: bool, draws: NDArray[np.float64]
    ) -> None:
        mask = masks[0]
        view = View(mirrored, random_box(mask.shape, [], 0.2, draws))
        white = Image.fromarray(np.repeat(mask[..., None] * 255, 3, 2))
        shown = np.asarray(view.crop_and_tint(white))[..., 0] // 255
        assert np.array_equal(shown[:, ::-1] if mirrored else shown, view.mask(mask))


class TestBatches:
    def test_boxes_keep_every_mask_and_masks_follow_them(
        self, dataset: BuiltDataset, tmp_path: Path
    ) -> None:
        model, config = micro_model(
            training={"flips": True, "features": "encode", "augment": AUGMENT}
        )
        processor = ImageProcessor(config)
        cache = FeatureCache(tmp_path, 1 << 30)
        encoder = FeatureEncoder(model.encoders, processor, config.execution, cache)
        features = TableFeatures(encoder, dataset.images("train"))
        prompts = PromptEncoder(micro_tokenizer(), config.prompt, config.image_tokens)
        batches = BatchMaker(dataset.pairs("train"), features, prompts, processor, config)
        samples = [one for step in range(4) for one in batches.samples(step)]
        masks = iter(batches.batch(samples).masks)
        cut = 0
        for one in samples:
            for target in one.turns[0].targets:
                view, dense = one.views[target.image], decode(target.mask)
                cut += view.box is not None
                expected = view.mask(dense)
                assert expected.sum() == dense.sum()
                grid = processor.patch_mask(from_dense(expected))
                assert torch.equal(next(masks), torch.from_numpy(grid) / 255)
        assert 0.4 < cut / sum(len(one.turns[0].targets) for one in samples) < 0.95
        assert not list(tmp_path.rglob("*.safetensors")), "a tinted picture was kept"
        features.read([(0, View(mirrored=True))])
        assert len(list(tmp_path.rglob("*.safetensors"))) == 3

    def test_features_are_those_of_the_view(self, dataset: BuiltDataset) -> None:
        model, config = micro_model()
        encoder = FeatureEncoder(model.encoders, ImageProcessor(config), config.execution)
        features = TableFeatures(encoder, dataset.images("train"))
        views = [View(), View(box=Box(3, 5, 40, 38)), View(tint=Tint(1.2, 0.9, 1.1))]
        read = features.read([(2, view) for view in views])
        for values in (read.vision, read.sam):
            assert not torch.equal(values[0], values[1])
            assert not torch.equal(values[0], values[2])

    def test_a_box_of_the_global_encoder_is_seen_by_it_alone(
        self, dataset: BuiltDataset, tmp_path: Path
    ) -> None:
        model, config = micro_model()
        cache = FeatureCache(tmp_path, 1 << 30)
        encoder = FeatureEncoder(model.encoders, ImageProcessor(config), config.execution, cache)
        features = TableFeatures(encoder, dataset.images("train"))
        box = Box(3, 5, 40, 38)
        both = [View(global_box=box), View(), View(box=box)]
        read = features.read([(2, view) for view in both])
        assert torch.equal(read.vision[0], read.vision[2])
        assert not torch.equal(read.vision[0], read.vision[1])
        for part in (read.semantic, read.sam):
            assert torch.equal(part[0], part[1])
            assert not torch.equal(part[0], part[2])
        # Of the whole image all three encoders' features are kept; those of other views are not.
        assert len(list(tmp_path.rglob("*.safetensors"))) == 3
        cache.hits = 0
        again = features.read([(2, View(global_box=Box(0, 0, 20, 20)))])
        assert cache.hits == 2
        assert torch.equal(again.sam[0], read.sam[0])
        assert not torch.equal(again.vision[0], read.vision[1])

    def test_a_run_with_views_trains(self, dataset: BuiltDataset, tmp_path: Path) -> None:
        training = {"features": "encode", "augment": AUGMENT, "steps": 2}
        config = micro_config(training=training)
        encoders = pretrain(config, dataset, tmp_path / "encoders", Silent())
        last = train(config, dataset, RunSettings(tmp_path / "run", encoders), Silent())
        assert last.name == "checkpoint-000002"


class TestFaults:
    @pytest.mark.parametrize(
        ("augment", "message"),
        [
            ({"crop": 0.5}, r"augment\.crop: needs training\.features: encode"),
            ({"colour": 0.5}, r"augment\.colour: needs training\.features: encode"),
            ({"global_crop": 0.5}, r"augment\.global_crop: needs training\.features: encode"),
            ({"global_crop": 0.0}, r"augment\.global_crop: expected float > 0\.0, got 0\.0"),
            ({"crop_share": 0.0}, r"augment\.crop_share: expected float > 0\.0, got 0\.0"),
            ({"crop_share": 1.5}, r"augment\.crop_share: expected float <= 1\.0, got 1\.5"),
        ],
    )
    def test_configurations_that_cannot_work(self, augment: Any, message: str) -> None:
        with pytest.raises(UsageError, match=message):
            override(tiny(), {"training": {"augment": augment}}, "test")

    def test_the_store_says_that_it_has_no_such_view(self) -> None:
        arrays = {name: np.zeros((2, 3), np.float16) for name in ("vision", "semantic", "sam")}
        store = FeatureStore({0: 0, 1: 1}, 1, arrays)
        assert store.read([(1, View())]).sam.shape == (1, 3)
        with pytest.raises(UsageError, match="not mirrored"):
            store.read([(1, View(mirrored=True))])
        with pytest.raises(UsageError, match="whole images"):
            store.read([(1, View(global_box=Box(0, 0, 1, 1)))])
        with pytest.raises(UsageError, match="whole images"):
            replace(store, variants=2).read([(0, View(True, Box(0, 0, 1, 1)))])
