"""The limit of rejected records: a number or a share."""

from __future__ import annotations

from mixedparts.pipeline.reject_limit import parse_limit


def test_limits_are_shares_or_numbers() -> None:
    for text, rejected, records, exceeded in (
        ("0", 1, 1000, True),
        ("0", 0, 1000, False),
        ("3", 4, 1000, True),
        ("3", 3, 3, False),
        ("5%", 50, 1000, False),
        ("0.05", 51, 1000, True),
        ("100%", 7, 7, False),
    ):
        assert parse_limit(text).exceeded(rejected, records) is exceeded, text
