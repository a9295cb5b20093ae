"""Answers become texts and phrases, each phrase with the masks that its [SEG] tokens mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from mixedparts.text.answers import parse_answer
from mixedparts.viewer.page.pieces import UNNAMED, Chip, Piece, pieces_of
from tests.oracles.build_tables import iter_rows


@pytest.mark.parametrize(
    ("text", "seg", "wanted"),
    [
        (
            "Both are <p> a bus </p> [SEG] (IMAGE1) [SEG] (IMAGE2).",
            (1, 0),
            ["Both are ", Chip("a bus", [1, 0]), "."],
        ),
        ("<p>a</p>[SEG](IMAGE1)<p>b</p>", (0,), [Chip("a", [0]), Chip("b", [])]),
        ("<p> a </p> and [SEG] x", (3,), [Chip("a", [3]), " and", " x"]),
        ("[SEG] (IMAGE2) x", (4,), [Chip(UNNAMED, [4]), " x"]),
        ("<p> a </p> [SEG] [SEG] [SEG]", (-1, 2), [Chip("a", [2])]),
        ("<p> a\nb </p> [SEG]\n(IMAGE1)!", (0,), [Chip("a\nb", [0]), "!"]),
        ("no tags", (), ["no tags"]),
        ("", (), []),
    ],
)
def test_an_answer_in_pieces(text: str, seg: tuple[int, ...], wanted: list[Piece]) -> None:
    assert pieces_of(text, seg) == wanted


def test_phrases_are_those_that_the_evaluation_reads(built: Path) -> None:
    for row in iter_rows(built, "pairs", "test"):
        chips = [p for p in pieces_of(row["answer"], range(99)) if isinstance(p, Chip)]
        parsed = parse_answer(row["answer"]).phrases
        assert [len(chip.regions) for chip in chips] == [len(phrase.images) for phrase in parsed]
        assert [at for chip in chips for at in chip.regions] == list(range(len(row["seg"])))
