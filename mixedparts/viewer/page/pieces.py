"""Divide an answer into running text and phrases, each phrase with the masks that it names."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

# As `mixedparts.text.answers` reads them: any white space, any image number.
_PHRASE = re.compile(r"<p>\s*(.*?)\s*</p>", re.DOTALL)
_SEG = re.compile(r"\s*\[SEG\](?:\s*\(IMAGE\d{1,9}\))?")
_TOKEN = re.compile(rf"{_PHRASE.pattern}|{_SEG.pattern}", re.DOTALL)
UNNAMED = "(no phrase)"


class Chip(msgspec.Struct, frozen=True):
    """A phrase of an answer.

    Attributes:
        text: the phrase.
        regions: positions of its masks in the answer's regions; empty if it names none.
    """

    text: str
    regions: list[int]


Piece = str | Chip


def pieces_of(text: str, seg: Sequence[int]) -> list[Piece]:
    """Divide an answer into texts and phrases.

    Args:
        text: an answer of the dataset or of a model, with its tags; any text is accepted.
        seg: the region that the n-th `[SEG]` means; -1, or none for a further one: no region.

    Returns:
        Texts and phrases in their order. An empty phrase, and a `[SEG]` before any phrase, are
        called `UNNAMED`.
    """
    pieces: list[Piece] = []
    last: Chip | None = None
    at = number = 0
    for match in _TOKEN.finditer(text):
        if between := text[at : match.start()]:
            pieces.append(between)
        at = match.end()
        if match[1] is not None:
            pieces.append(last := Chip(match[1] or UNNAMED, []))
            continue
        if last is None:
            pieces.append(last := Chip(UNNAMED, []))
        region = seg[number] if number < len(seg) else -1
        number += 1
        if region >= 0:
            last.regions.append(region)
    if at < len(text):
        pieces.append(text[at:])
    return [piece for piece in pieces if piece != ""]
