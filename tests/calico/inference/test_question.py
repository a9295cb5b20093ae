"""A Q-Former that sees the question: in the prompt and in every CAM, in training and answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from calico.checkpoints.save_load import load_checkpoint, save_checkpoint
from calico.config.calico import CalicoConfig
from calico.dataset.pairs import BuiltDataset
from calico.inference.predictor import Predictor
from calico.inference.queries import Query
from calico.model.calico import Calico
from calico.model.generation import generate
from calico.model.inputs import PromptBatch
from calico.model.projector import Question
from calico.pretraining.pretrain import pretrain
from calico.processing.feature_cache import FeatureCache
from calico.processing.prompts import PromptEncoder
from calico.processing.tokenizer import QUESTION_TOKENIZER
from calico.training.train import RunSettings, train
from calico.weights.initial import initial_model
from calico.weights.safetensors_io import read_tensors
from mixedparts.errors import InputError, UsageError
from mixedparts.progress import Silent
from tests.factories import published_weights as published
from tests.factories.micro_batches import QUESTIONS, training_batch
from tests.factories.micro_build import write_build
from tests.factories.micro_model import (
    micro_config,
    micro_model,
    micro_tokenizer,
    random_cams,
    random_features,
)
from tests.factories.noise import noise_images
from tests.factories.published_weight_files import bert_like, small, small_parts

ASKING: dict[str, Any] = {"sees_question": True, "vocabulary": 1000, "layers": 2}


def asking(**changes: Any) -> tuple[Calico, CalicoConfig]:
    model, config = micro_model(3, qformer=ASKING, **changes)
    random_cams(model)
    with torch.no_grad():  # words that matter
        model.bridge.qformer.embeddings.word_embeddings.weight.normal_(std=3)
    return model, config


def prompts_of(config: CalicoConfig, questions: tuple[str, ...]) -> PromptBatch:
    encoder = PromptEncoder(micro_tokenizer(), config.prompt, config.image_tokens)
    return encoder.batch(questions, 2)


def prompt_states(model: Calico, prompts: PromptBatch, questions: tuple[str, ...]) -> Tensor:
    features = random_features(2 * len(prompts.tokens), small_config(model))
    last = torch.full((len(prompts.tokens),), prompts.tokens.shape[1] - 1)
    with torch.no_grad():
        return model.hidden_states(
            prompts.tokens, features, 2, last, prompts.attention, questions=questions
        )


def small_config(model: Calico) -> CalicoConfig:
    """Return the configuration that the features of a micro model follow."""
    return micro_model(qformer=ASKING)[1]


class TestWhatItSees:
    def test_the_question_changes_what_is_seen_of_a_picture(self) -> None:
        model, config = asking()
        prompts = prompts_of(config, QUESTIONS[:1])
        one, same, other = (prompt_states(model, prompts, (QUESTIONS[n],)) for n in (0, 0, 1))
        assert torch.equal(one, same)
        first = int((prompts.tokens[0] == model.ids.image).nonzero()[0])
        assert torch.equal(one[:, :first], other[:, :first])
        assert not torch.allclose(one[:, first], other[:, first], atol=1e-3)

    def test_a_qformer_without_text_sees_none(self) -> None:
        model, config = micro_model(3)
        random_cams(model)
        prompts = prompts_of(config, QUESTIONS[:1])
        assert torch.equal(
            prompt_states(model, prompts, (QUESTIONS[0],)), prompt_states(model, prompts, ())
        )

    def test_every_cam_asks_with_the_question(self) -> None:
        model, config = asking()
        seen: list[tuple[int, ...]] = []
        model.bridge.qformer.register_forward_pre_hook(
            lambda _, __, kwargs: seen.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
        )
        prompts = prompts_of(config, QUESTIONS[:2])
        generate(model, prompts, random_features(4, config), 4, 3)
        length = max(len(micro_tokenizer()(q).input_ids) for q in QUESTIONS[:2])
        assert seen == [(4, length)] * (1 + len(config.correspondence.layers))

    def test_the_cams_alone_pass_it_on(self) -> None:
        """The prompt's own tokens aside, a CAM adds something else for another question."""
        model, config = asking()
        features = random_features(2, config)
        tokens = torch.tensor([[4, 7, 9], [4, 8, 9]])
        hidden = torch.randn(1, 12, config.language.hidden_size)
        places = torch.arange(6)[None]
        module = model.correspondence
        assert module is not None
        found = []
        for row in tokens:
            question = Question(row.expand(2, -1), None)
            prefill = module.prepare(features, places, torch.tensor([11]), 2, question)
            with torch.no_grad():
                found.append(module.update(module.adaptive[0], model.bridge, hidden, prefill))  # type: ignore[arg-type]
        assert torch.equal(found[0][:, 6:], found[1][:, 6:])
        assert not torch.allclose(found[0][:, :6], found[1][:, :6], atol=1e-3)


class TestAnswers:
    def test_a_padded_batch_equals_single_questions(self) -> None:
        model, config = asking()
        features = random_features(2 * len(QUESTIONS), config)
        together = generate(model, prompts_of(config, QUESTIONS), features, 8)
        assert len({len(micro_tokenizer()(q).input_ids) for q in QUESTIONS}) > 1
        for row, question in enumerate(QUESTIONS):
            own = features.select(torch.tensor([2 * row, 2 * row + 1]))
            alone = generate(model, prompts_of(config, (question,)), own, 8)
            steps = alone.tokens.shape[1]
            assert torch.equal(alone.tokens[0], together.tokens[row, :steps])
            torch.testing.assert_close(
                alone.predicting[0], together.predicting[row, :steps], atol=5e-5, rtol=1e-3
            )

    def test_cached_generation_equals_full_recomputation(self) -> None:
        model, config = asking()
        prompts = prompts_of(config, QUESTIONS[:1])
        features = random_features(2, config)
        generated = generate(model, prompts, features, 10)
        length = prompts.tokens.shape[1]
        tokens = torch.cat([prompts.tokens, generated.tokens], 1)
        with torch.no_grad():
            hidden = model.hidden_states(
                tokens, features, 2, torch.tensor([length - 1]), questions=prompts.questions
            )
        states = hidden[:, length - 1 : -1]
        torch.testing.assert_close(states, generated.predicting, atol=5e-5, rtol=1e-3)

    def test_cached_features_serve_every_question(self, tmp_path: Path) -> None:
        model, config = asking(generation={"max_new_tokens": 6})
        shown = noise_images(2)
        queries = [Query(str(n), question, shown) for n, question in enumerate(QUESTIONS)]
        tokenizer = micro_tokenizer()
        expected = list(Predictor(model, config, tokenizer).predict(queries, 1))
        cache = FeatureCache(tmp_path, 1 << 24)
        predictor = Predictor(model, config, tokenizer)
        predictor.use_cache(cache)
        assert list(predictor.predict(queries, 1)) == expected
        assert cache.misses == 3 * len(shown), "a question makes no features of its own"

    def test_a_checkpoint_answers_as_before(self, tmp_path: Path) -> None:
        model, config = asking(generation={"max_new_tokens": 6})
        tokenizer = micro_tokenizer()
        save_checkpoint(tmp_path / "checkpoint-1", model, config, tokenizer, 1)
        again = Predictor.from_pretrained(tmp_path / "checkpoint-1", "cpu")
        query = [Query("0", QUESTIONS[0], noise_images(2))]
        assert list(again.predict(query)) == list(
            Predictor(model, config, tokenizer).predict(query)
        )


class TestTraining:
    def test_every_trained_weight_takes_part(self) -> None:
        model, config = asking()
        model.train()
        batch = replace(training_batch(config), questions=(QUESTIONS[1],))
        model(batch).total.backward()
        lost = [
            name
            for name, weight in model.named_parameters()
            if weight.requires_grad and weight.grad is None and "iou_prediction_head" not in name
        ]
        assert not lost
        words = model.bridge.qformer.embeddings.word_embeddings.weight.grad
        assert words is not None
        assert words.any()

    def test_a_batch_without_its_questions_is_refused(self) -> None:
        model, config = asking()
        with pytest.raises(InputError, match="1 samples came with 0"):
            model(training_batch(config))

    def test_a_run_from_single_images_to_answers(self, tmp_path: Path) -> None:
        """Pretraining has no question; the words of the tiny model are the dataset's own."""
        dataset = BuiltDataset(write_build(tmp_path / "build", 4))
        config = micro_config(qformer=ASKING, training={"steps": 2})
        encoders = pretrain(config, dataset, tmp_path / "encoders", Silent())
        place = train(config, dataset, RunSettings(tmp_path / "run", encoders), Silent())
        before = read_tensors(encoders / "encoders.safetensors")
        after = read_tensors(place / "model.safetensors")
        name = "bridge.qformer.embeddings.word_embeddings.weight"
        assert not torch.equal(before[name], after[name]), "questions reached it"
        found = Predictor.from_pretrained(place, "cpu").predict(
            [Query("0", QUESTIONS[0], noise_images(2))]
        )
        assert len(list(found)) == 1

    def test_a_question_beyond_its_positions_is_refused(self) -> None:
        model, config = micro_model(3, qformer={**ASKING, "question_tokens": 5})
        with pytest.raises(InputError, match=r"a question has \d+ tokens, the Q-Former reads 5"):
            generate(model, prompts_of(config, QUESTIONS[:1]), random_features(2, config), 4)

    def test_more_words_than_rows_are_refused(self) -> None:
        with pytest.raises(UsageError, match=r"qformer\.vocabulary is 5"):
            micro_model(qformer={**ASKING, "vocabulary": 5})


class TestPublished:
    @pytest.fixture
    def parts(self, tmp_path: Path) -> tuple[CalicoConfig, dict[str, Any], list[Path]]:
        _, made, paths = small_parts(tmp_path)
        config = small(qformer={"sees_question": True})
        bert_like().save_pretrained(str(tmp_path / "blip" / QUESTION_TOKENIZER))
        return config, made, paths

    def test_tokens_are_those_of_instructblip(self, parts: Any) -> None:
        config, made, paths = parts
        model = initial_model(config, paths).model
        blip = made["blip"]
        asked = ("which parts ?", "which object")
        read = bert_like()(list(asked), padding=True, return_tensors="pt")
        assert read.input_ids.shape == (2, 5)
        seen = torch.randn(2, 17, config.vision.hidden_size)
        queries = blip.query_tokens.expand(2, -1, -1)
        mask = torch.cat([torch.ones(2, config.qformer.queries).long(), read.attention_mask], 1)
        with torch.no_grad():
            expected = blip.qformer(
                input_ids=read.input_ids,
                attention_mask=mask,
                query_embeds=queries,
                encoder_hidden_states=seen,
            ).last_hidden_state[:, : config.qformer.queries]
            question = model._question(asked, torch.zeros(2, 1), 1)
            found = model.bridge(seen, question)
            blind = model.bridge(seen, None)
        torch.testing.assert_close(found, blip.language_projection(expected), atol=1e-5, rtol=1e-4)
        assert not torch.allclose(found, blind, atol=1e-4)

    def test_lavis_text_path_gives_the_same(self, parts: Any, tmp_path: Path) -> None:
        config, made, paths = parts
        theirs = dict(made["blip"].qformer.state_dict())
        state = published.lavis(config, text=True)
        for name in list(state):
            if not name.startswith("Qformer.bert."):
                continue
            own = name.removeprefix("Qformer.bert.").replace(
                "attention.self.", "attention.attention."
            )
            own = own.replace("embeddings.LayerNorm.", "embeddings.layernorm.")
            if own in theirs:
                state[name] = theirs.pop(own)
        assert not theirs, "every weight has a name there"
        path = tmp_path / "instruct_blip_vicuna7b.pth"
        torch.save({"model": state}, path)
        first, second = (
            initial_model(config, given).model.bridge.qformer.state_dict()
            for given in (paths, [*paths, path])
        )
        assert all(torch.equal(value, second[name]) for name, value in first.items())

    def test_the_words_go_with_the_checkpoint(self, parts: Any, tmp_path: Path) -> None:
        config, _, paths = parts
        start = initial_model(config, paths)
        place = tmp_path / "checkpoint-1"
        extra = {"init": start.record}
        save_checkpoint(place, start.model, start.config, start.tokenizer, 1, extra)
        for file in (tmp_path / "blip" / QUESTION_TOKENIZER).iterdir():
            file.unlink()
        (tmp_path / "blip" / QUESTION_TOKENIZER).rmdir()
        model, _, _ = load_checkpoint(place)
        assert model.ids.reader is not None
        assert model.ids.reader.get_vocab() == bert_like().get_vocab()
        with pytest.raises(InputError, match=QUESTION_TOKENIZER):
            initial_model(config, paths)
