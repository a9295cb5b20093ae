"""Search over a cache against full recomputation and an independent library."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from calico.config.calico import CalicoConfig
from calico.model.calico import Calico
from calico.model.generation import CachedSteps, Generated, beam_search, generate, greedy
from calico.model.inputs import PromptBatch, TokenIds
from calico.model.segments import SegVocabulary
from calico.processing.prompts import PromptEncoder
from tests.factories.micro_model import (
    micro_model,
    micro_tokenizer,
    random_cams,
    random_features,
)
from tests.oracles.recomputed_steps import RecomputedSteps

QUESTIONS = (
    "Which object do both pictures contain?",
    "What parts are shared by the objects in these pictures?",
    "Name the object that the pictures share and mark it in both.",
)
LIMIT = 9


def prompts_of(config: CalicoConfig, questions: tuple[str, ...], images: int = 2) -> PromptBatch:
    return PromptEncoder(micro_tokenizer(), config.prompt, config.qformer.queries).batch(
        questions, images
    )


def same(first: Generated, second: Generated) -> None:
    assert torch.equal(first.tokens, second.tokens)
    assert torch.equal(first.finished, second.finished)
    real = first.tokens != 0
    torch.testing.assert_close(
        first.predicting[real], second.predicting[real], atol=5e-5, rtol=1e-3
    )


@pytest.fixture(scope="module", params=[3, 8])
def talkative(request: pytest.FixtureRequest) -> tuple[Calico, CalicoConfig]:
    """A random model in which answers of some prompts end before the limit."""
    model, config = micro_model(seed=request.param)
    random_cams(model)
    with torch.no_grad():
        model.language.lm_head.weight.mul_(6)
    return model, config


class TestSearch:
    @pytest.mark.parametrize(
        "search", [greedy, lambda *args: beam_search(*args, 3)], ids=["greedy", "beams"]
    )
    def test_cached_equals_full_recomputation_token_for_token(
        self, talkative: tuple[Calico, CalicoConfig], search: Callable[..., Generated]
    ) -> None:
        model, config = talkative
        prompts = prompts_of(config, QUESTIONS)
        features = random_features(2 * len(QUESTIONS), config)
        cached = search(model, CachedSteps(model, prompts, features), LIMIT)
        same(cached, search(model, RecomputedSteps(model, prompts, features), LIMIT))

    @pytest.mark.parametrize("beams", [1, 3])
    def test_a_batch_equals_single_prompts(
        self, talkative: tuple[Calico, CalicoConfig], beams: int
    ) -> None:
        model, config = talkative
        features = random_features(2 * len(QUESTIONS), config)
        together = generate(model, prompts_of(config, QUESTIONS), features, LIMIT, beams)
        for row, question in enumerate(QUESTIONS):
            own = features.select(torch.tensor([2 * row, 2 * row + 1]))
            alone = generate(model, prompts_of(config, (question,)), own, LIMIT, beams)
            length = alone.tokens.shape[1]
            cut = Generated(
                together.tokens[row : row + 1, :length],
                together.predicting[row : row + 1, :length],
                together.finished[row : row + 1],
            )
            same(alone, cut)
            assert (together.tokens[row, length:] == model.ids.pad).all()

    def test_the_cams_run_at_prefill_only_and_once_for_all_beams(
        self, talkative: tuple[Calico, CalicoConfig]
    ) -> None:
        model, config = talkative
        assert model.correspondence is not None
        rows: list[int] = []
        handle = model.correspondence.adaptive[0].reintegration.register_forward_hook(
            lambda _, args, __: rows.append(len(args[0]))
        )
        features = random_features(6, config)
        generate(model, prompts_of(config, QUESTIONS), features, LIMIT, 4)
        handle.remove()
        assert rows == [6]

    @pytest.mark.parametrize(("beams", "penalty"), [(2, 1.0), (4, 0.0), (3, 0.5)])
    def test_beams_are_those_of_transformers(self, beams: int, penalty: float) -> None:
        """Without CAMs the language model alone can be asked for the same."""
        model, config = micro_model(seed=3, correspondence={"layers": []})
        with torch.no_grad():
            model.language.lm_head.weight.mul_(8)
            model.language.lm_head.weight[model.ids.end] *= 2
        prompts = prompts_of(config, QUESTIONS * 3)
        features = random_features(18, config)
        ours = generate(model, prompts, features, LIMIT, beams, penalty)
        with torch.no_grad():
            words = model.language.model.embed_tokens(prompts.tokens)
            shown = model.bridge(features.vision)
        place = (prompts.tokens == model.ids.image)[..., None]
        theirs = model.language.generate(
            inputs_embeds=words.masked_scatter(place, shown),
            attention_mask=prompts.attention,
            num_beams=beams,
            length_penalty=penalty,
            max_new_tokens=LIMIT,
            do_sample=False,
            early_stopping=False,
            eos_token_id=model.ids.end,
            pad_token_id=model.ids.pad,
            suppress_tokens=model.ids.suppressed,
        )
        # What transformers puts after the end token is its own affair where the padding is 0.
        ends = theirs == model.ids.end
        theirs = theirs.masked_fill(ends.cumsum(1) - ends.int() > 0, model.ids.pad)
        assert torch.equal(ours.tokens, theirs[:, : ours.tokens.shape[1]])
        assert ours.finished.any(), "some answers must end"


class TestUnspoken:
    @pytest.mark.parametrize("beams", [1, 3])
    def test_no_answer_holds_what_stands_for_pictures_or_nothing(self, beams: int) -> None:
        """The most probable token is one of them at every step, and is passed over."""
        model, config = micro_model(seed=3)
        random_cams(model)
        tokenizer = micro_tokenizer()
        names = [tokenizer.bos_token, tokenizer.pad_token, "<image>"]
        assert model.ids.suppressed == sorted(map(tokenizer.convert_tokens_to_ids, names))
        prompts = prompts_of(config, QUESTIONS[:1])
        features = random_features(2, config)
        state = generate(model, prompts, features, 1).predicting[0, 0]
        with torch.no_grad():
            model.language.lm_head.weight[model.ids.suppressed] = 9 * state
            first = model.language.lm_head(state)
        assert int(first.argmax()) in model.ids.suppressed
        tokens = generate(model, prompts, features, LIMIT, beams).tokens[0]
        ends = (tokens == model.ids.end).nonzero()
        said = tokens[: int(ends[0])] if len(ends) else tokens
        assert len(said)
        assert not set(said.tolist()) & set(model.ids.suppressed)
        if beams == 1:
            first[model.ids.suppressed] = -torch.inf
            assert tokens[0] == first.argmax()

    def test_the_end_can_always_be_said(self) -> None:
        """A language model may pad with its end token, and mark pictures."""
        ids = TokenIds(2, 2, 3, SegVocabulary(4, ((5,), (6,))), markers=(1, 8, 9))
        assert ids.suppressed == [1, 3, 8, 9]
