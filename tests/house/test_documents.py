"""Tests against documents: what they list is what the code has."""

from __future__ import annotations

import re

from mixedparts.records import Reason
from mixedparts.verification.findings import Rule
from tests.checkout import DOCS


def test_every_reason_is_documented() -> None:
    listed = re.findall(r"^\| `(\w+)` \|", (DOCS / "rejects.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(Reason)


def test_every_rule_is_documented() -> None:
    text = (DOCS / "verification.md").read_text()
    assert [rule for rule in Rule if f"| `{rule}` |" not in text] == []
