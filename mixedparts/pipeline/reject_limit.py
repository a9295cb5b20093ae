"""How many rejected records a build tolerates, as a user writes it."""

from __future__ import annotations

import re
from dataclasses import dataclass

_LIMIT = re.compile(r"(\d+(?:\.\d+)?)\s*(%?)")


@dataclass(frozen=True, slots=True)
class RejectLimit:
    """A largest share of the records, in [0, 1], or a largest number.

    Attributes:
        text: as a person wrote it.
    """

    text: str
    share: float | None = None
    number: int | None = None

    def exceeded(self, rejected: int, records: int) -> bool:
        """Say whether so many rejects, of so many records, are too many."""
        if self.number is not None:
            return rejected > self.number
        return rejected > (self.share or 0.0) * records


def parse_limit(text: str) -> RejectLimit:
    """Read `5%`, `0.05` (both a share of the records) or `100` (a number of rejects).

    Raises:
        ValueError: it is none of these, or a share over 1.
    """
    match = _LIMIT.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"'{text}' is no share such as 5% or 0.05, and no number of rejects")
    number, percent = match.groups()
    if percent or "." in number:
        share = float(number) / (100 if percent else 1)
        if share > 1:
            raise ValueError(f"a share is at most 100%, not '{text}'")
        return RejectLimit(text, share=share)
    return RejectLimit(text, number=int(number))
