"""Search over a cache against full recomputation and an independent library; reading of answers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from calico.config.calico import CalicoConfig
from calico.inference.predictor import Predictor
from calico.inference.queries import Query
from calico.model.calico import Calico
from calico.model.generation import CachedSteps, Generated, beam_search, generate, greedy
from calico.model.inputs import PromptBatch, TokenIds
from calico.model.segments import SegVocabulary
from calico.model.vision import ImageFeatures
from calico.processing.parse_answer import Binding, read_answer
from calico.processing.prompts import PromptEncoder
from calico.processing.tokenizer import build_tokenizer, token_ids
from mixedparts.records import Task
from mixedparts.text import answers as wording
from mixedparts.text import questions as wordings
from mixedparts.text.answers import parse_answer
from tests.calico.factory import (
    micro_config,
    micro_model,
    micro_tokenizer,
    random_cams,
    random_features,
)

QUESTIONS = (
    "Which object do both pictures contain?",
    "What parts are shared by the objects in these pictures?",
    "Name the object that the pictures share and mark it in both.",
)
LIMIT = 9


class RecomputedSteps:
    """The model without a cache: all tokens so far, with the CAMs, at every step."""

    def __init__(self, model: Calico, prompts: PromptBatch, features: ImageFeatures) -> None:
        self.model, self.images = model, prompts.images
        self.length = prompts.tokens.shape[1]
        self.tokens, self.attention = prompts.tokens, prompts.attention
        self.sample = torch.arange(len(prompts.tokens))
        self.features = features

    def prefill(self) -> Tensor:
        rows = self.sample[:, None] * self.images + torch.arange(self.images)
        last = torch.full((len(self.tokens),), self.length - 1)
        return self.model.hidden_states(
            self.tokens, self.features.select(rows.flatten()), self.images, last, self.attention
        )[:, -1]

    def advance(self, tokens: Tensor, parents: Tensor | None) -> Tensor:
        rows = torch.arange(len(tokens)) if parents is None else parents
        self.sample = self.sample[rows]
        ones = torch.ones(len(tokens), 1, dtype=torch.int64)
        self.tokens = torch.cat([self.tokens[rows], tokens[:, None]], 1)
        self.attention = torch.cat([self.attention[rows], ones], 1)
        return self.prefill()


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


def read(text: str, images: int = 2, ended: bool = True, untagged: str = "first_image"):
    tokenizer = micro_tokenizer()
    ids = tokenizer(text, add_special_tokens=False).input_ids
    ids += [tokenizer.eos_token_id] if ended else []
    seg = tokenizer.convert_tokens_to_ids("[SEG]")
    return read_answer(tokenizer, ids, seg, images, untagged)  # type: ignore[arg-type]


class TestReading:
    @pytest.mark.parametrize("number", range(6))
    def test_well_formed_answers_are_read_as_the_dataset_reads_them(self, number: int) -> None:
        parts = [("lid", (0, 1)), ("handle", (0,)), ("lid", (1,))][: number % 3 + 1]
        text = wording.part_answer(list(Task)[1 + number // 3], ("mug", "kettle"), parts)
        texts = [*wordings.QUESTIONS[Task.COMMON_OBJECT], text]
        tokenizer = build_tokenizer(texts, 2)
        ids = tokenizer(text, add_special_tokens=False).input_ids
        seg = tokenizer.convert_tokens_to_ids("[SEG]")
        reading = read_answer(tokenizer, [*ids, tokenizer.eos_token_id], seg, 2)
        expected = [(p.label, image) for p in parse_answer(text).phrases for image in p.images]
        assert [(one.label, one.image) for one in reading.grounded] == expected
        assert reading.text == text
        assert all(one.binding is Binding.TAGGED for one in reading.grounded)

    def test_a_seg_inside_a_phrase_moves_no_other_mask(self) -> None:
        reading = read("<p> a [SEG] (IMAGE2) mug </p> [SEG] (IMAGE1)")
        assert [(one.label, one.image) for one in reading.grounded] == [("", 1), ("mug", 0)]

    def test_an_open_phrase_names_nothing(self) -> None:
        reading = read("<p> a mug </p> [SEG] (IMAGE1) <p> the lid [SEG] (IMAGE2)")
        assert [(one.label, one.image) for one in reading.grounded] == [("mug", 0), ("", 1)]

    def test_an_answer_cut_off_before_its_tag_is_not_drawn(self) -> None:
        (mark,) = read("<p> a mug </p> [SEG]", ended=False).grounded
        assert (mark.image, mark.binding) == (None, Binding.MALFORMED_TAG)
        (mark,) = read("<p> a mug </p> [SEG]").grounded
        assert (mark.image, mark.binding) == (0, Binding.UNTAGGED)
        (mark,) = read("<p> a mug </p> [SEG]", untagged="drop").grounded
        assert (mark.image, mark.binding) == (None, Binding.UNTAGGED)

    @pytest.mark.parametrize(
        ("after", "image", "binding"),
        [
            ("(IMAGE1).", 0, Binding.TAGGED),
            ("(IMAGE3)", None, Binding.UNKNOWN_IMAGE),
            ("(IMAGE0)", None, Binding.UNKNOWN_IMAGE),
            (f"(IMAGE{'9' * 5000})", None, Binding.UNKNOWN_IMAGE),
            ("(IMAGE)", None, Binding.MALFORMED_TAG),
            ("(IMAGE 2)", None, Binding.MALFORMED_TAG),
            ("(IMAGEx)", None, Binding.MALFORMED_TAG),
            ("(image2)", None, Binding.MALFORMED_TAG),
            ("(IMAGE2", None, Binding.MALFORMED_TAG),
            ("IMAGE2)", None, Binding.MALFORMED_TAG),
            ("(2)", None, Binding.MALFORMED_TAG),
            ("and", 0, Binding.UNTAGGED),
        ],
    )
    def test_tags_that_only_text_can_spell(
        self, after: str, image: int | None, binding: Binding
    ) -> None:
        """A pretrained tokenizer spells tags as text, so anything can follow a [SEG]."""
        tokenizer = build_tokenizer([after, "[SEG"], 1)
        ids = tokenizer(f"[SEG] {after}", add_special_tokens=False).input_ids
        seg = tokenizer.convert_tokens_to_ids("[SEG]")
        (mark,) = read_answer(tokenizer, [*ids, tokenizer.eos_token_id], seg, 2).grounded
        assert (mark.image, mark.binding) == (image, binding)

    def test_a_spelled_seg_is_no_seg(self) -> None:
        tokenizer = build_tokenizer(["a mug"], 2)
        plain = tokenizer.convert_tokens_to_ids("mug")
        tokenizer.backend_tokenizer.model = type(tokenizer.backend_tokenizer.model)(
            {
                ("[SEG]x" if index == plain else word): index
                for word, index in tokenizer.get_vocab().items()
            },
            unk_token="<unk>",
        )
        text = "<p> a </p> [SEG] (IMAGE2)"
        ids = tokenizer(text, add_special_tokens=False).input_ids
        seg = tokenizer.convert_tokens_to_ids("[SEG]")
        reading = read_answer(tokenizer, [plain, *ids, tokenizer.eos_token_id], seg, 2)
        assert reading.spelled == 1
        assert [(one.label, one.image) for one in reading.grounded] == [("a", 1)]


def predictor_of(images: int, **generation: int) -> Predictor:
    answers = ["<p> a mug </p>", "Two pictures are given: these are the Pictures: ANSWER:"]
    texts = [*answers, *(text for some in wordings.QUESTIONS.values() for text in some)]
    tokenizer = build_tokenizer(texts, images)
    config = micro_config(
        language={"vocabulary": len(tokenizer)},
        prompt={"max_images": images},
        generation={"max_new_tokens": 40, **generation},
    )
    from calico.model.assembly import build_model

    torch.manual_seed(4)
    model = build_model(config, token_ids(tokenizer, images))
    random_cams(model)
    return Predictor(model, config, tokenizer)


def say(predictor: Predictor, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every answer of the model this text; states and masks are its own."""
    tokenizer = predictor.tokenizer
    ids = [*tokenizer(text, add_special_tokens=False).input_ids, tokenizer.eos_token_id]

    def spoken(model: Calico, prompts: PromptBatch, *_: object) -> Generated:
        rows = len(prompts.tokens)
        width = predictor.config.language.hidden_size
        states = torch.randn(1, len(ids), width, generator=torch.Generator().manual_seed(0))
        tokens = torch.tensor([ids] * rows)
        return Generated(tokens, states.expand(rows, -1, -1), torch.ones(rows, dtype=torch.bool))

    monkeypatch.setattr("calico.inference.predictor.generate", spoken)


def pictures(count: int) -> tuple[Image.Image, ...]:
    rng = np.random.default_rng(1)
    return tuple(
        Image.fromarray(rng.integers(0, 255, (30 + 3 * n, 41, 3), dtype=np.uint8))
        for n in range(count)
    )


class TestImages:
    def test_three_images_keep_their_masks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        predictor = predictor_of(3)
        shown = pictures(3)
        say(predictor, "<p> a mug </p> [SEG] (IMAGE3) [SEG] (IMAGE1) [SEG] (IMAGE2)", monkeypatch)
        (found,) = predictor.predict([Query("x", "Which object?", shown)])
        assert [one.image for one in found.segments] == [2, 0, 1]
        sizes = [(one.mask.height, one.mask.width) for one in found.segments]
        assert sizes == [(36, 41), (30, 41), (33, 41)]
        turned = (shown[1], shown[2], shown[0])
        say(predictor, "<p> a mug </p> [SEG] (IMAGE2) [SEG] (IMAGE3) [SEG] (IMAGE1)", monkeypatch)
        (other,) = predictor.predict([Query("x", "Which object?", turned)])
        assert [one.mask for one in other.segments] == [one.mask for one in found.segments]

    def test_three_images_are_answered_in_batches(self) -> None:
        predictor = predictor_of(3, num_beams=2)
        shown = pictures(4)
        queries = [
            Query(str(n), question, (shown[n], shown[n + 1], shown[(n + 3) % 4]))
            for n, question in enumerate(QUESTIONS[:2])
        ]
        together = list(predictor.predict(queries, 2))
        assert together == [next(iter(predictor.predict([query]))) for query in queries]

    def test_a_skipped_seg_takes_no_other_mask_with_it(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each mask is the one that its own state decodes to, whatever stands around it."""
        predictor = predictor_of(2)
        shown = pictures(2)
        text = "<p> a mug </p> [SEG] (IMAGE2) [SEG] (IMAGE1) [SEG] (IMAGE2)"
        say(predictor, text, monkeypatch)
        (whole,) = predictor.predict([Query("x", "Which object?", shown)])
        say(predictor, text, monkeypatch)
        monkeypatch.setattr(
            "calico.inference.predictor.read_answer",
            lambda *args: _without_first(read_answer(*args)),
        )
        (rest,) = predictor.predict([Query("x", "Which object?", shown)])
        assert rest.segments == whole.segments[1:]
        assert (rest.unknown_image, whole.unknown_image) == (1, 0)

    def test_many_masks_are_drawn_up_to_the_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        predictor = predictor_of(2, max_masks=70)
        say(predictor, "<p> a mug </p> " + "[SEG] (IMAGE1) " * 90, monkeypatch)
        (found,) = predictor.predict([Query("x", "Which object?", pictures(2))])
        assert len(found.segments) == 70
        assert found.over_limit == predictor.outcomes.over_limit == 20


def _without_first(reading):
    from dataclasses import replace

    first, *others = reading.grounded
    unknown = replace(first, image=None, binding=Binding.UNKNOWN_IMAGE)
    return replace(reading, grounded=(unknown, *others))
