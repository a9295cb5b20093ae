"""Conversations: several samples of the same images, one after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calico.config.presets import tiny
from calico.config.yaml_io import override
from calico.dataset.pairs import BuiltDataset, SampleTable
from calico.dataset.views import View
from calico.model.segments import read_segments
from calico.model.vision import ImageFeatures
from calico.processing.images import ImageProcessor
from calico.processing.prompts import PromptEncoder
from calico.training.augmented_samples import AugmentedSample
from calico.training.batches import BatchMaker
from calico.training.conversations import ConversationPartners
from mixedparts.errors import UsageError
from mixedparts.masks import Rle
from tests.factories.micro_build import write_build
from tests.factories.micro_model import (
    micro_config,
    micro_model,
    micro_tokenizer,
    random_cams,
    random_features,
)


def table(rows: Sequence[Sequence[int]]) -> SampleTable:
    return SampleTable(pa.table({"images": [[{"row": row} for row in one] for one in rows]}))


class TestCompanions:
    @settings(deadline=None)
    @given(
        st.integers(2, 4).flatmap(
            lambda images: st.lists(
                st.permutations(range(4)).map(lambda order: order[:images]), min_size=1
            )
        ),
        st.data(),
    )
    def test_they_are_the_samples_of_the_same_images(
        self, rows: list[list[int]], data: st.DataObject
    ) -> None:
        left_out = data.draw(st.sets(st.sampled_from(range(len(rows)))))
        partners = ConversationPartners(table(rows), np.array(sorted(left_out), np.int64))
        for index, row in enumerate(rows):
            expected = [
                other
                for other, images in enumerate(rows)
                if images in (row, row[::-1]) and other != index and other not in left_out
            ]
            assert partners.of(index).tolist() == expected
            for other in expected:
                assert partners.opposed(index, other) == (rows[other] != row)

    def test_all_companions_and_orders_are_drawn_and_none_twice(self) -> None:
        partners = ConversationPartners(
            table([[0, 1], [1, 0], [0, 1], [0, 1], [2, 3]]), np.array([], int)
        )
        rng = np.random.default_rng(0)
        drawn = [tuple(partners.conversation(2, 3, rng).tolist()) for _ in range(300)]
        assert len(set(drawn)) == 3 * 6
        assert all(len(set(one)) == 3 and 2 in one for one in drawn)
        assert partners.conversation(4, 3, rng).tolist() == [4]


@pytest.fixture(scope="module")
def both_orders(tmp_path_factory: pytest.TempPathFactory) -> BuiltDataset:
    """Six samples of two images: every task with either image first."""
    folder = tmp_path_factory.mktemp("data") / "build"
    return BuiltDataset(write_build(folder, images=2, samples=6))


class NoFeatures:
    """Stands for features where nothing looks at them."""

    def read(self, images: Sequence[tuple[int, View]]) -> ImageFeatures:
        return ImageFeatures(*torch.zeros(3, len(images), 1))


def maker(dataset: BuiltDataset, **training: Any) -> BatchMaker:
    config = micro_config(training={"flips": True, "batch_size": 6, **training})
    prompts = PromptEncoder(micro_tokenizer(), config.prompt, config.image_tokens)
    return BatchMaker(dataset.pairs("train"), NoFeatures(), prompts, ImageProcessor(config), config)


def steps(batches: BatchMaker, count: int) -> list[AugmentedSample]:
    return [one for step in range(count) for one in batches.samples(step)]


class TestConversations:
    def test_turns_show_the_same_images_in_the_same_order(self, both_orders: BuiltDataset) -> None:
        batches = maker(both_orders, multi_turn=1.0)
        masks: dict[tuple[str, str, int], Rle] = {}
        for sample in batches.pairs:
            for region in sample.regions:
                masks[sample.id, region.label, sample.images[region.image].row] = region.mask
        for one in steps(batches, 20):
            assert len({turn.id for turn in one.turns}) == len(one.turns) == 3
            assert {turn.images for turn in one.turns} == {one.images}
            for turn in one.turns:
                for region in turn.regions:
                    row = turn.images[region.image].row
                    assert region.mask == masks[turn.id, region.label, row]
        orders = {one.images[0].row for one in steps(batches, 20)}
        assert orders == {0, 1}

    def test_the_text_holds_every_turn_and_the_loss_every_answer(
        self, both_orders: BuiltDataset
    ) -> None:
        batches = maker(both_orders, multi_turn=1.0)
        tokenizer = batches.prompts.tokenizer
        samples = batches.samples(0)
        batch = batches.batch(samples)
        seg = tokenizer.convert_tokens_to_ids("[SEG]")
        assert int((batch.tokens[batch.answer] == seg).sum()) == len(batch.masks)
        for row, one in enumerate(samples):
            learnt = tokenizer.decode(batch.tokens[row][batch.answer[row]].tolist())
            answers = [tokenizer.decode(ids_of(tokenizer, t.answer)) for t in one.turns]
            assert learnt.replace(" ", "") == "".join(f"{text}</s>" for text in answers).replace(
                " ", ""
            )
            told = tokenizer.decode(batch.tokens[row][~batch.answer[row]].tolist())
            places = [
                told.index(tokenizer.decode(ids_of(tokenizer, t.question))) for t in one.turns
            ]
            assert places == sorted(places)
        expected = [batches.processor.patch_mask(t.mask, one.views[t.image]) for one in samples
                    for t in one.targets]  # fmt: skip
        assert torch.equal(batch.masks, torch.from_numpy(np.stack(expected)).float() / 255)

    def test_the_share_is_the_probability(self, both_orders: BuiltDataset) -> None:
        drawn = steps(maker(both_orders, multi_turn=0.3), 100)
        assert np.mean([len(one.turns) > 1 for one in drawn]) == pytest.approx(0.3, abs=0.06)
        assert all(
            len(one.turns) == 2 for one in steps(maker(both_orders, multi_turn=1.0, max_turns=2), 3)
        )

    def test_what_becomes_no_conversation_is_as_without(self, both_orders: BuiltDataset) -> None:
        some, none = (steps(maker(both_orders, multi_turn=share), 9) for share in (0.5, 0.0))
        alike = [one == other for one, other in zip(some, none, strict=True)]
        assert alike == [len(one.turns) == 1 for one in some]

    def test_a_task_that_is_left_out_comes_in_no_turn(self, both_orders: BuiltDataset) -> None:
        weights = {"common_object": 1, "common_parts": 1, "unique_parts": 0}
        drawn = steps(maker(both_orders, multi_turn=1.0, task_weights=weights), 9)
        assert {turn.task for one in drawn for turn in one.turns} == {
            "common_object",
            "common_parts",
        }

    def test_samples_without_companions_stay_alone(self, dataset: BuiltDataset) -> None:
        assert {len(one.turns) for one in steps(maker(dataset, multi_turn=1.0), 3)} == {1}

    @pytest.mark.parametrize(
        ("training", "message"),
        [
            ({"multi_turn": 1.1}, "multi_turn: expected float <= 1.0, got 1.1"),
            ({"max_turns": 1}, "max_turns: expected int >= 2, got 1"),
        ],
    )
    def test_values_that_cannot_work(self, training: Any, message: str) -> None:
        with pytest.raises(UsageError, match=message):
            override(tiny(), {"training": training}, "test")


def ids_of(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False).input_ids
    return ids


class TestModel:
    def test_later_turns_do_not_change_the_first(self, both_orders: BuiltDataset) -> None:
        model, config = micro_model()
        random_cams(model)
        model.eval()
        batches = maker(both_orders, multi_turn=1.0)
        samples = batches.samples(0)
        first = [AugmentedSample(one.turns[:1], one.views) for one in samples]
        features = random_features(2 * len(samples), config)
        found = []
        for shown in (samples, first):
            batch = batches.batch(shown)
            last = batch.answer.int().argmax(1) - 1
            with torch.no_grad():
                hidden = model.hidden_states(batch.tokens, features, 2, last)
            states = read_segments(hidden[:, :-1], batch.tokens[:, 1:], model.ids.segments, 2)
            found.append((batch, hidden, states))
        (whole, hidden, segments), (single, alone, expected) = found
        length = single.tokens.shape[1]
        inside = (
            torch.arange(length) < (single.answer.int().argmax(1) + single.answer.sum(1))[:, None]
        )
        assert torch.equal(whole.tokens[:, :length][inside], single.tokens[inside])
        torch.testing.assert_close(hidden[:, :length][inside], alone[inside])
        counts = [len(one.turns[0].targets) for one in samples]
        places = [int((segments.sample < row).sum()) + n for row, k in enumerate(counts)
                  for n in range(k)]  # fmt: skip
        assert len(places) < len(segments.sample)
        torch.testing.assert_close(segments.states[places], expected.states)

    def test_every_turn_is_learnt(self, both_orders: BuiltDataset) -> None:
        """The losses of a conversation are those of all its tokens and masks."""
        model, config = micro_model()
        batches = maker(both_orders, multi_turn=1.0)
        one = batches.samples(0)[0]
        batch = replace(batches.batch([one]), features=random_features(2, config))
        with torch.no_grad():
            losses = model(batch)
            hidden = model.hidden_states(
                batch.tokens, batch.features, 2, batch.answer.int().argmax(1) - 1
            )
            logits = model.language.lm_head(hidden[0, :-1]).log_softmax(-1)
            wrong = model(replace(batch, masks=torch.cat([batch.masks[:-1], 1 - batch.masks[-1:]])))
        told = batch.tokens[0, 1:]
        spoken = batch.answer[0, 1:]
        surprise = -logits[torch.arange(len(told)), told]
        assert int(spoken.sum()) > sum(len(turn.targets) for turn in one.turns) + 3
        torch.testing.assert_close(losses.text, surprise[spoken].mean())
        assert wrong.mask != losses.mask
