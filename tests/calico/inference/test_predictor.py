"""Prediction: batches, outcomes that are counted, files of the command."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch

from calico.dataset.pairs import BuiltDataset
from calico.inference.predictor import Predictor
from calico.inference.queries import Query
from calico.model.generation import Generated
from calico.predictions.types import Prediction
from calico.processing.images import open_image
from mixedparts.errors import InputError
from tests.factories.micro_build import write_build
from tests.factories.micro_model import micro_model, micro_tokenizer
from tests.factories.noise import noise_images


@pytest.fixture
def predictor() -> Predictor:
    model, config = micro_model(seed=2)
    return Predictor(model, config, micro_tokenizer())


def answering(
    predictor: Predictor, answers: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> Predictor:
    """Make the predictor say given answers, one a row; masks are decoded for real."""
    tokenizer = predictor.tokenizer
    rows = [
        [*tokenizer(text, add_special_tokens=False).input_ids, tokenizer.eos_token_id]
        for text in answers
    ]
    length = max(map(len, rows))
    tokens = torch.tensor([row + [tokenizer.pad_token_id] * (length - len(row)) for row in rows])
    width = predictor.config.language.hidden_size
    states = torch.randn(*tokens.shape, width, generator=torch.Generator().manual_seed(0))
    finished = torch.ones(len(rows), dtype=torch.bool)
    spoken = Generated(tokens, states, finished)
    monkeypatch.setattr("calico.inference.predictor.generate", lambda *_: spoken)
    return predictor


def ask(predictor: Predictor, count: int) -> list[Prediction]:
    shown = noise_images(2)
    return list(
        predictor.predict([Query(str(n), "Which object?", shown) for n in range(count)], count)
    )


class TestOutcomes:
    def test_a_well_formed_answer(
        self, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        text = "Both pictures contain <p> a mug </p> [SEG] (IMAGE1) [SEG] (IMAGE2)."
        (found,) = ask(answering(predictor, [text], monkeypatch), 1)
        assert found.answer == text
        assert [(s.label, s.image) for s in found.segments] == [("mug", 0), ("mug", 1)]
        sizes = [(s.mask.height, s.mask.width) for s in found.segments]
        assert sizes == [(30, 41), (33, 41)]
        assert all(0 <= s.score <= 1 for s in found.segments)
        assert found.untagged == 0

    @pytest.mark.parametrize(
        ("text", "segments", "counted"),
        [
            ("Both pictures contain a mug.", [], {"without_masks": 1}),
            ("", [], {"without_masks": 1}),
            ("<p> a mug </p> [SEG]", [("mug", 0)], {"untagged": 1}),
            ("[SEG] (IMAGE2) a", [("", 1)], {"unnamed": 1}),
            (
                "</p> <p> <p> [SEG] [SEG] (IMAGE1)",
                [("", 0), ("", 0)],
                {"untagged": 1, "unnamed": 2},
            ),
            ("(IMAGE2) (IMAGE1) </p>", [], {"without_masks": 1}),
        ],
    )
    def test_malformed_answers_are_counted(
        self,
        predictor: Predictor,
        monkeypatch: pytest.MonkeyPatch,
        text: str,
        segments: list[tuple[str, int]],
        counted: dict[str, int],
    ) -> None:
        (found,) = ask(answering(predictor, [text], monkeypatch), 1)
        assert [(s.label, s.image) for s in found.segments] == segments
        assert predictor.outcomes.answers == 1
        for name, number in counted.items():
            assert getattr(predictor.outcomes, name) == number, name

    def test_a_tag_of_an_image_that_there_is_not(
        self, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        spoken = answering(predictor, ["<p> a mug </p> [SEG] (IMAGE2) [SEG] (IMAGE1)"], monkeypatch)
        (found,) = spoken.predict([Query("one", "Which object?", noise_images(1))])
        assert [(s.label, s.image) for s in found.segments] == [("mug", 0)]
        assert spoken.outcomes.unknown_image == 1

    def test_masks_go_with_their_answers(
        self, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        texts = [
            "<p> a mug </p> [SEG] (IMAGE1)",
            "Which object?",
            "<p> a mug </p> [SEG] (IMAGE2) and <p> the lid </p> [SEG] (IMAGE1)",
        ]
        found = ask(answering(predictor, texts, monkeypatch), 3)
        labels = [[(s.label, s.image) for s in one.segments] for one in found]
        assert labels == [[("mug", 0)], [], [("mug", 1), ("lid", 0)]]


class TestBatches:
    def test_batches_equal_single_questions(self, predictor: Predictor) -> None:
        shown = noise_images(5)
        queries = [
            Query(str(n), question, (shown[n], shown[(n + 2) % 5]))
            for n, question in enumerate(
                ["Which object?", "Find the common parts of the two objects.", "Which parts?"]
            )
        ]
        together = list(predictor.predict(queries, 3))
        alone = [next(iter(predictor.predict([query]))) for query in queries]
        assert [p.id for p in together] == ["0", "1", "2"]
        assert [p.answer for p in together] == [p.answer for p in alone]
        first, second = ([s.mask for p in run for s in p.segments] for run in (together, alone))
        assert first == second

    def test_each_picture_is_encoded_once(self, predictor: Predictor) -> None:
        shown = noise_images(3)
        encoded = []
        predictor.model.encoders.vision.register_forward_hook(
            lambda _, inputs, __: encoded.append(len(inputs[0]))
        )
        queries = [
            Query(str(n), "Which object?", (shown[n], shown[n + 1]), (f"k{n}", f"k{n + 1}"))
            for n in (0, 1, 0)
        ]
        list(predictor.predict(queries, 1))
        assert encoded == [1, 1, 1]

    def test_queries_with_other_numbers_of_pictures_can_be_mixed(
        self, predictor: Predictor
    ) -> None:
        shown = noise_images(2)
        queries = [Query(str(n), "Which object?", tuple(shown[: 1 + n % 2])) for n in range(4)]
        assert [p.id for p in predictor.predict(queries, 4)] == ["0", "1", "2", "3"]

    def test_too_many_pictures_are_refused(self, predictor: Predictor) -> None:
        with pytest.raises(InputError, match="3 images"):
            list(predictor.predict([Query("x", "Which object?", noise_images(3))]))

    def test_rows_without_pictures_are_refused(self, predictor: Predictor) -> None:
        row = {"id": "x", "question": "?", "images": [{"row": 0}], "source": "", "split": ""}
        with pytest.raises(InputError, match="pixels"):
            list(predictor.predict_rows([row]))


def test_rows_of_a_dataset_are_answered_in_order(predictor: Predictor, tmp_path: Path) -> None:
    dataset = BuiltDataset(write_build(tmp_path / "build", 4))
    table = dataset.images("train")

    def rows() -> Iterator[dict[str, object]]:
        for row in dataset.pairs("train").table.to_pylist():
            refs = [
                {**ref, "pixels": open_image(table.read(ref["row"]), "")} for ref in row["images"]
            ]
            yield {**row, "images": refs}

    found = list(predictor.predict_rows(rows(), batch_size=3))
    assert [p.id for p in found] == [f"train-{n}" for n in range(4)]
