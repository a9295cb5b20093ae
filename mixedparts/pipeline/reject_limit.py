"""The limit of rejected records that a build tolerates, as a share or as a number."""

from __future__ import annotations

import re
from dataclasses import dataclass

_LIMIT = re.compile(r"(\d+(?:\.\d+)?)\s*(%?)")


@dataclass(frozen=True, slots=True)
class RejectLimit:
    """The most rejected records that a build tolerates.

    Attributes:
        text: the limit as it is written in options and messages.
        share: of all records, in [0, 1]; None if the limit is a number.
        number: of rejected records; None if the limit is a share.
    """

    text: str
    share: float | None = None
    number: int | None = None

    def exceeded(self, rejected: int, records: int) -> bool:
        """Return whether `rejected` of `records` are more than the limit."""
        if self.number is not None:
            return rejected > self.number
        return rejected > (self.share or 0.0) * records


def parse_limit(text: str) -> RejectLimit:
    """Return the limit that a text states: `5%` or `0.05` of the records, or `100` records.

    Raises:
        ValueError: the text is none of these, or a share over 1.
    """
    match = _LIMIT.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"'{text}' is neither a share such as 5% or 0.05 nor a number of rejects")
    # A whole number without a percent sign is a number of records: `1` is one record, and `1.0` is
    # all of them.
    number, percent = match.groups()
    if percent or "." in number:
        share = float(number) / (100 if percent else 1)
        if share > 1:
            raise ValueError(f"a share is at most 100%, not '{text}'")
        return RejectLimit(text, share=share)
    return RejectLimit(text, number=int(number))
