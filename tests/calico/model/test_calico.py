"""The assembled model: correspondence, [SEG] states, masks, generation, frozen parts."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from calico.config.presets import seven_b
from calico.model.assembly import build_model
from calico.model.calico import Calico
from calico.model.generation import generate
from calico.model.inputs import PromptBatch, TokenIds
from calico.model.segments import UNKNOWN, UNTAGGED, SegVocabulary, read_segments
from mixedparts.errors import InputError
from tests.factories.micro_batches import ANSWER, QUESTIONS, encoder, training_batch
from tests.factories.micro_model import (
    micro_model,
    random_cams,
    random_features,
)


def prompt_states(model: Calico, prompts: PromptBatch, config, seed: int = 0) -> Tensor:
    """Return the hidden states of a batch of prompts, padded on the left."""
    features = random_features(2 * len(prompts.tokens), config, seed)
    last = torch.full((len(prompts.tokens),), prompts.tokens.shape[1] - 1)
    with torch.no_grad():
        return model.hidden_states(prompts.tokens, features, 2, last, prompts.attention)


class TestCorrespondence:
    def test_zero_initialised_modules_change_nothing(self) -> None:
        with_modules, config = micro_model()
        plain, _ = micro_model(correspondence={"layers": []})
        missing, unexpected = plain.load_state_dict(with_modules.state_dict(), strict=False)
        assert not missing
        unused = ("correspondence.", "encoders.semantic.")
        assert all(name.startswith(unused) for name in unexpected)
        prompts = encoder().batch(QUESTIONS, 2)
        assert torch.equal(
            prompt_states(with_modules, prompts, config), prompt_states(plain, prompts, config)
        )

    def test_only_states_from_the_first_image_token_on_change(self) -> None:
        model, config = micro_model()
        prompts = encoder().batch(QUESTIONS[:1], 2)
        before = prompt_states(model, prompts, config)
        random_cams(model)
        after = prompt_states(model, prompts, config)
        first = int((prompts.tokens[0] == model.ids.image).nonzero()[0])
        assert torch.equal(before[:, :first], after[:, :first])
        assert not torch.equal(before[:, first:], after[:, first:])

    def test_extraction_runs_once_and_every_layer_has_its_own_linears(self) -> None:
        model, config = micro_model()
        random_cams(model)
        assert model.correspondence is not None
        calls = []
        assert model.correspondence.extraction is not None
        model.correspondence.extraction.register_forward_hook(lambda *_: calls.append(1))
        prompt_states(model, encoder().batch(QUESTIONS, 2), config)
        assert len(calls) == 1
        first, second = model.correspondence.adaptive
        assert not torch.equal(first.adaptation.weight, second.adaptation.weight)

    def test_hooks_are_gone_after_a_forward(self) -> None:
        model, config = micro_model()
        prompt_states(model, encoder().batch(QUESTIONS, 2), config)
        assert not any(layer._forward_pre_hooks for layer in model.language.model.layers)

    def test_an_answer_token_never_changes_an_earlier_state(self) -> None:
        model, config = micro_model()
        random_cams(model)
        batch = training_batch(config)
        last_prompt = batch.answer.int().argmax(1) - 1
        changed = batch.tokens.clone()
        changed[0, -2] = (changed[0, -2] + 1) % config.language.vocabulary
        with torch.no_grad():
            first, second = (
                model.hidden_states(tokens, batch.features, 2, last_prompt)
                for tokens in (batch.tokens, changed)
            )
        assert torch.equal(first[:, :-2], second[:, :-2])
        assert not torch.equal(first[:, -2], second[:, -2])

    def test_the_last_prompt_token_conditions_the_modules(self) -> None:
        model, config = micro_model()
        random_cams(model)
        batch = training_batch(config)
        last = batch.answer.int().argmax(1) - 1
        with torch.no_grad():
            here, elsewhere = (
                model.hidden_states(batch.tokens, batch.features, 2, place)
                for place in (last, last - 1)
            )
        assert not torch.equal(here, elsewhere)


class TestGeneration:
    @pytest.fixture
    def model_and_config(self):
        model, config = micro_model(seed=3)
        random_cams(model)
        return model, config

    def test_cached_generation_equals_full_recomputation(self, model_and_config) -> None:
        model, config = model_and_config
        prompts = encoder().batch(QUESTIONS[:1], 2)
        features = random_features(2, config)
        generated = generate(model, prompts, features, 10)
        length = prompts.tokens.shape[1]
        tokens = torch.cat([prompts.tokens, generated.tokens], 1)
        with torch.no_grad():
            hidden = model.hidden_states(tokens, features, 2, torch.tensor([length - 1]))
        states = hidden[:, length - 1 : -1]
        assert torch.equal(model.language.lm_head(states).argmax(-1), generated.tokens)
        torch.testing.assert_close(states, generated.predicting, atol=2e-5, rtol=1e-4)

    def test_a_padded_batch_equals_single_runs(self, model_and_config) -> None:
        model, config = model_and_config
        features = random_features(2 * len(QUESTIONS), config)
        together = generate(model, encoder().batch(QUESTIONS, 2), features, 8)
        lengths = set()
        for row, question in enumerate(QUESTIONS):
            prompts = encoder().batch([question], 2)
            lengths.add(prompts.tokens.shape[1])
            own = features.select(torch.tensor([2 * row, 2 * row + 1]))
            alone = generate(model, prompts, own, 8)
            steps = alone.tokens.shape[1]
            assert torch.equal(alone.tokens[0], together.tokens[row, :steps])
            torch.testing.assert_close(
                alone.predicting[0], together.predicting[row, :steps], atol=2e-5, rtol=1e-4
            )
        assert len(lengths) > 1, "the prompts must differ in length"

    def test_nothing_but_padding_follows_the_end(self, model_and_config) -> None:
        model, config = model_and_config
        with torch.no_grad():  # the end token wins at the first step of the first row only
            model.language.lm_head.weight[model.ids.end] = 0
        prompts = encoder().batch(QUESTIONS, 2)
        features = random_features(6, config)
        state = generate(model, prompts, features, 1).predicting[0, 0]
        with torch.no_grad():
            model.language.lm_head.weight[model.ids.end] = 50 * state
        generated = generate(model, prompts, features, 6)
        assert generated.tokens[0, 0] == model.ids.end
        assert (generated.tokens[0, 1:] == model.ids.pad).all()
        assert bool(generated.finished[0])


class TestSegments:
    VOCABULARY = SegVocabulary(9, ((5, 6), (5, 7)))

    def test_reads_the_predicting_state_and_the_tag(self) -> None:
        tokens = torch.tensor([[1, 9, 5, 7, 9, 5, 6, 9], [9, 3, 9, 5, 6, 0, 0, 0]])
        states = torch.arange(16.0).view(2, 8, 1)
        found = read_segments(states, tokens, self.VOCABULARY, 2)
        assert found.sample.tolist() == [0, 0, 0, 1, 1]
        assert found.position.tolist() == [1, 4, 7, 0, 2]
        assert found.image.tolist() == [1, 0, UNTAGGED, UNTAGGED, 0]
        assert found.bound().tolist() == [1, 0, 0, 0, 0]
        assert found.states.flatten().tolist() == [1, 4, 7, 8, 10]

    def test_a_tag_beyond_the_images_is_unknown(self) -> None:
        tokens = torch.tensor([[9, 5, 7]])
        found = read_segments(torch.zeros(1, 3, 1), tokens, self.VOCABULARY, 1)
        assert found.image.tolist() == [UNKNOWN]

    def test_training_and_generation_read_the_same_states(self) -> None:
        """Feed an answer by hand, as generation would have, and compare with the training pass."""
        model, config = micro_model(seed=5)
        random_cams(model)
        batch = training_batch(config)
        start = int(batch.answer.int().argmax(1))
        prompts = PromptBatch(
            batch.tokens[:, :start], torch.ones(1, start, dtype=torch.int64), batch.images
        )
        answer = batch.tokens[0, start:].tolist()
        forced = iter(answer)
        head = model.language.lm_head.forward

        def force(hidden: Tensor) -> Tensor:
            logits = head(hidden)
            logits[:, next(forced)] = 1e9
            return logits

        model.language.lm_head.forward = force  # type: ignore[method-assign]
        generated = generate(model, prompts, batch.features, len(answer))
        del model.language.lm_head.forward
        assert generated.tokens[0].tolist() == answer
        with torch.no_grad():
            hidden = model.hidden_states(batch.tokens, batch.features, 2, torch.tensor([start - 1]))
        trained = read_segments(hidden[:, :-1], batch.tokens[:, 1:], model.ids.segments, 2)
        decoded = generated.segments(model, 2)
        assert trained.image.tolist() == decoded.image.tolist() == [0, 1]
        torch.testing.assert_close(trained.states, decoded.states, atol=2e-5, rtol=1e-4)

    def test_swapping_the_tags_swaps_the_images_of_the_masks(self) -> None:
        model, config = micro_model()
        features = random_features(2, config)
        states = torch.randn(1, 2, config.language.hidden_size)
        seg, (one, two) = model.ids.segments.seg, model.ids.segments.tags
        straight = torch.tensor([[seg, *one, seg, *two]])
        crossed = torch.tensor([[seg, *two, seg, *one]])
        predicting = states[:, [0, 0, 1, 1]]
        with torch.no_grad():
            first, second = (
                model.decode_masks(
                    read_segments(predicting, tokens, model.ids.segments, 2), features.sam, 2
                )
                for tokens in (straight, crossed)
            )
            alone = model.grounding(states[0, :1], features.sam[:1], torch.tensor([0]))
            other = model.grounding(states[0, :1], features.sam[1:], torch.tensor([0]))
        torch.testing.assert_close(first[:1], alone)
        torch.testing.assert_close(second[:1], other)
        assert not torch.allclose(first, second)


class TestTraining:
    def test_losses_are_weighted_as_configured(self) -> None:
        model, config = micro_model(loss={"text": 1.5, "mask": 0.5, "dice": 3.0})
        losses = model(training_batch(config))
        expected = 1.5 * losses.text + 0.5 * losses.mask + 3.0 * losses.dice
        torch.testing.assert_close(losses.total, expected)
        assert all(value.item() > 0 for value in (losses.text, losses.mask, losses.dice))

    def test_one_batch_can_be_learnt_by_heart(self) -> None:
        model, config = micro_model()
        batch = training_batch(config, (ANSWER, ANSWER.replace("mug", "kettle")))
        optimizer = torch.optim.AdamW(
            [weight for weight in model.parameters() if weight.requires_grad], lr=5e-3
        )
        model.train()
        first = model(batch)
        for _ in range(30):
            optimizer.zero_grad()
            losses = model(batch)
            losses.total.backward()
            optimizer.step()
        assert losses.text.item() < 0.3 * first.text.item()
        assert losses.dice.item() < first.dice.item()

    def test_an_answer_without_masks_still_reaches_the_decoder(self) -> None:
        model, config = micro_model()
        losses = model(training_batch(config, ("Both pictures contain a mug.",)))
        losses.total.backward()
        assert losses.mask.item() == 0
        weight = model.grounding.mask_decoder.iou_token.weight
        assert weight.grad is not None
        assert not weight.grad.any()

    def test_masks_that_do_not_match_are_refused(self) -> None:
        model, config = micro_model()
        batch = training_batch(config)
        with pytest.raises(InputError, match=r"2 \[SEG\] for 1 masks"):
            model(replace(batch, masks=batch.masks[:1]))

    def test_a_wrong_number_of_placeholders_is_refused(self) -> None:
        model, config = micro_model()
        batch = training_batch(config)
        with pytest.raises(InputError, match="placeholders"):
            model(replace(batch, tokens=batch.tokens.masked_fill(batch.tokens == 7, 4)))

    def test_frozen_parts_stay_in_evaluation_mode(self) -> None:
        model, _ = micro_model(
            trained={"qformer": False}, qformer={"dropout": 0.1}, language={"vocabulary": 300}
        )
        model.train()
        assert model.language.training
        assert model.grounding.mask_decoder.training
        assert not any(module.training for module in model.encoders.vision.modules())
        assert not any(module.training for module in model.bridge.qformer.modules())


class TestTrainedParts:
    def test_lora_trains_nothing_else_of_the_language_model(self) -> None:
        model, _ = micro_model(language={"tuning": "lora", "vocabulary": 300})
        trained = [name for name, w in model.language.named_parameters() if w.requires_grad]
        assert len(trained) == 4 * 2 * 2
        assert all("lora_" in name for name in trained)
        assert all(".q_proj." in name or ".v_proj." in name for name in trained)
        assert not any("lora_" in name for name, _ in model.grounding.named_parameters())

    def test_new_token_rows_can_be_the_only_embeddings_that_train(self) -> None:
        model, _ = micro_model(
            language={"tuning": "lora", "new_token_rows": "trained", "vocabulary": 300}
        )
        rows = [
            weight
            for name, weight in model.language.named_parameters()
            if weight.requires_grad and "lora_" not in name
        ]
        assert [tuple(weight.shape) for weight in rows] == [(5, 32), (5, 32)]

    @pytest.mark.parametrize(
        ("semantic", "trained", "frozen"),
        [
            ({}, 27_003_108, 8_574_101_580),
            ({"hidden_size": 1024, "layers": 24, "heads": 16}, 27_724_004, 8_791_890_764),
            (
                {"hidden_size": 1536, "layers": 40, "heads": 24, "swiglu": True},
                29_165_796,
                9_624_004_940,
            ),
        ],
        ids=["base", "large", "giant"],
    )
    def test_the_7b_model_has_the_papers_share(
        self, semantic: dict[str, object], trained: int, frozen: int
    ) -> None:
        base = seven_b()
        config = replace(base, semantic=replace(base.semantic, **semantic))  # type: ignore[arg-type]
        ids = TokenIds(0, 2, 3, SegVocabulary(4, ((5,), (6,))))
        with torch.device("meta"):
            model = build_model(config, ids)
        counts = {True: 0, False: 0}
        for weight in model.parameters():
            counts[weight.requires_grad] += weight.numel()
        assert counts == {True: trained, False: frozen}
