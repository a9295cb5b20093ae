"""Training batches: whole or in parts the same samples, varied the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from calico.dataset.pairs import BuiltDataset
from calico.dataset.views import View
from calico.model.vision import ImageFeatures
from calico.processing.images import ImageProcessor
from calico.processing.prompts import PromptEncoder
from calico.training.batches import BatchMaker, check_samples
from calico.training.train import RunSettings, train
from mixedparts.errors import InputError, UsageError
from mixedparts.masks import decode
from mixedparts.progress import Silent
from tests.factories.micro_model import micro_config, micro_tokenizer


@dataclass(frozen=True)
class RowNumbers:
    """Features that say which picture they are of, and whether it is mirrored."""

    def read(self, images: Sequence[tuple[int, View]]) -> ImageFeatures:
        numbers = torch.tensor([[row + 0.5 * view.mirrored] for row, view in images])
        return ImageFeatures(numbers, numbers, numbers)


def maker(dataset: BuiltDataset, **training: Any) -> BatchMaker:
    config = micro_config(training={"flips": True, **training})
    prompts = PromptEncoder(micro_tokenizer(), config.prompt, config.image_tokens)
    return BatchMaker(dataset.pairs("train"), RowNumbers(), prompts, ImageProcessor(config), config)


class TestParts:
    def test_parts_of_a_batch_are_the_whole_in_order(self, dataset: BuiltDataset) -> None:
        batches = maker(dataset, batch_size=6)
        for step in range(4):
            samples = batches.samples(step)
            whole = batches.batch(samples)
            parts = [batches.batch(part) for part in (samples[:1], samples[1:4], samples[4:])]
            assert torch.equal(whole.masks, torch.cat([part.masks for part in parts]))
            assert torch.equal(whole.extents, torch.cat([part.extents for part in parts]))
            vision = torch.cat([part.features.vision for part in parts])
            assert torch.equal(whole.features.vision, vision)
            told = [part.tokens[part.answer] for part in parts]
            assert torch.equal(whole.tokens[whole.answer], torch.cat(told))

    def test_a_step_is_drawn_alike_by_another_process(self, dataset: BuiltDataset) -> None:
        one, other = maker(dataset), maker(dataset)
        one.samples(0)
        assert one.samples(5) == other.samples(5)
        assert one.samples(5) != one.samples(6)

    def test_a_place_is_varied_alike_in_batches_of_any_size(self, dataset: BuiltDataset) -> None:
        small, large = maker(dataset, batch_size=2), maker(dataset, batch_size=6)
        for step in range(8):
            few, many = small.samples(step), large.samples(step)
            assert [one.views for one in few] == [one.views for one in many[:2]]

    def test_both_orders_and_all_mirrorings_are_drawn(self, dataset: BuiltDataset) -> None:
        batches = maker(dataset, batch_size=6)
        drawn = [one for step in range(12) for one in batches.samples(step)]
        mirrored = {tuple(view.mirrored for view in one.views) for one in drawn}
        assert mirrored == {(a, b) for a in (False, True) for b in (False, True)}
        orders = {(one.turns[0].id, one.images[0].row) for one in drawn}
        assert len(orders) == 12
        still = maker(dataset, swap_images=False, flips=False)
        assert {one.views for one in still.samples(0)} == {(View(), View())}


def test_masks_at_original_size_are_those_of_the_views(dataset: BuiltDataset) -> None:
    training = {"features": "encode", "augment": {"crop": 0.5}, "flips": True, "batch_size": 6}
    config = micro_config(training=training, loss={"resolution": "original"})
    prompts = PromptEncoder(micro_tokenizer(), config.prompt, config.image_tokens)
    processor = ImageProcessor(config)
    batches = BatchMaker(dataset.pairs("train"), RowNumbers(), prompts, processor, config)
    samples = batches.samples(0)
    batch = batches.batch(samples)
    expected = [s.views[t.image].mask(decode(t.mask)) for s in samples for t in s.targets]
    assert batch.originals is not None
    assert batch.originals.square == config.sam.image_size
    assert batch.masks.shape == (len(expected), 0, 0)
    found = []
    for portion in batch.originals.portions(1):
        assert portion.inner == processor.inner_size(*portion.size)
        found += list(portion.targets())
    assert len(found) == len(expected) > 0
    for mask, true in zip(found, expected, strict=True):
        assert np.array_equal(mask.numpy(), true)
    # The losses divide by the same counts, whatever the resolution.
    counts = batch.counts()
    assert (counts.masks, counts.images) == (len(expected), len(set(batch.mask_image.tolist())))


class TestFaults:
    def test_samples_of_unequal_numbers_of_images_are_one_message(
        self, dataset: BuiltDataset
    ) -> None:
        batches = maker(dataset)
        first, second = batches.samples(0)[:2]
        (sample,) = second.turns
        longer = replace(sample, images=(*sample.images, sample.images[0]))
        with pytest.raises(InputError, match=rf"{sample.id} of 3.*as many"):
            batches.batch([first, replace(second, turns=(longer,), views=(View(),) * 3)])

    def test_weights_of_what_is_not_there_stop_a_run_before_anything(
        self, dataset: BuiltDataset, tmp_path: Path
    ) -> None:
        config = micro_config(training={"source_weights": {"coco": 1.0}})
        with pytest.raises(UsageError, match="no source 'coco'"):
            train(config, dataset, RunSettings(tmp_path / "run"), Silent())
        assert not (tmp_path / "run").exists()

    def test_too_many_images_for_the_tags_are_one_message(self, dataset: BuiltDataset) -> None:
        with pytest.raises(UsageError, match=r"prompt\.max_images to 2"):
            check_samples(dataset.pairs("train"), micro_config(prompt={"max_images": 1}))

    def test_no_samples_are_one_message(self, dataset: BuiltDataset) -> None:
        with pytest.raises(InputError, match="at least one sample"):
            maker(dataset).batch([])
