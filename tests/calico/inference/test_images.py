"""Answers about two and three images: which mask belongs to which image."""

from __future__ import annotations

import pytest
import torch

from calico.inference.predictor import Predictor
from calico.inference.queries import Query
from calico.model.calico import Calico
from calico.model.generation import Generated
from calico.model.inputs import PromptBatch
from calico.processing.parse_answer import Binding, parse_generated
from calico.processing.tokenizer import build_tokenizer, token_ids
from mixedparts.text import questions as wordings
from tests.factories.micro_model import (
    micro_config,
    random_cams,
)
from tests.factories.noise import noise_images

QUESTIONS = (
    "Which object do both pictures contain?",
    "What parts are shared by the objects in these pictures?",
    "Name the object that the pictures share and mark it in both.",
)


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


class TestImages:
    def test_three_images_keep_their_masks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        predictor = predictor_of(3)
        shown = noise_images(3)
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
        shown = noise_images(4)
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
        shown = noise_images(2)
        text = "<p> a mug </p> [SEG] (IMAGE2) [SEG] (IMAGE1) [SEG] (IMAGE2)"
        say(predictor, text, monkeypatch)
        (whole,) = predictor.predict([Query("x", "Which object?", shown)])
        say(predictor, text, monkeypatch)
        monkeypatch.setattr(
            "calico.inference.predictor.parse_generated",
            lambda *args: _without_first(parse_generated(*args)),
        )
        (rest,) = predictor.predict([Query("x", "Which object?", shown)])
        assert rest.segments == whole.segments[1:]
        assert (rest.unknown_image, whole.unknown_image) == (1, 0)

    def test_many_masks_are_drawn_up_to_the_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        predictor = predictor_of(2, max_masks=70)
        say(predictor, "<p> a mug </p> " + "[SEG] (IMAGE1) " * 90, monkeypatch)
        (found,) = predictor.predict([Query("x", "Which object?", noise_images(2))])
        assert len(found.segments) == 70
        assert found.over_limit == predictor.outcomes.over_limit == 20


def _without_first(reading):
    from dataclasses import replace

    first, *others = reading.grounded
    unknown = replace(first, image=None, binding=Binding.UNKNOWN_IMAGE)
    return replace(reading, grounded=(unknown, *others))
