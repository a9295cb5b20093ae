"""Texts of a build in the card: shown as they are, never read as markup."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from mixedparts.cards.card import card
from mixedparts.cards.templates import render
from tests.oracles.build_tables import read_manifest

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "a | b | c",
    "line\n\n# Heading\n- item",
    "[link](javascript:alert(1))",
    "`code` ``more``",
    "{{ 7 * 7 }} {% raw %}",
    "</figure></body>",
    "\u202eright to left",
    "&lt;already&gt;",
]


class Tags(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def doctored(manifest: Mapping[str, Any], text: str) -> dict[str, Any]:
    """The manifest with one text in every place that a source fills."""
    source = dict.fromkeys(("title", "homepage", "licence", "image_licence", "citation"), text)
    return {
        **manifest,
        "build_id": text,
        "sources": {text: {**source, "synthetic": False}},
        "counts": {text: {"train": {"images": 3, "entities": 4}}},
        "rejects": {text: 5},
        "profile": {**manifest["profile"], "about": text, "unknown": [text]},
    }


@pytest.mark.parametrize("text", HOSTILE)
def test_the_card_shows_a_text_and_no_markup_of_it(built: Path, text: str) -> None:
    written = card(doctored(read_manifest(built), text))
    front, body = written.split("---\n", 2)[1:]
    assert yaml.safe_load(front)["configs"][0]["description"].endswith(text)
    plain = card(doctored(read_manifest(built), "plain"))
    # One line each, as many columns and headings as with a harmless text.
    assert [shape(line) for line in body.splitlines()] == [
        shape(line) for line in plain.split("---\n", 2)[2].splitlines()
    ]
    outside = re.sub("`[^`\n]*`", "", body)
    assert Tags(outside).tags == []
    assert "](javascript" not in outside.replace("\\]", "")


def shape(line: str) -> tuple[str, int, int]:
    """What Markdown makes of a line: its block, its columns, and its pieces of code."""
    block = re.match(r"(#+ |- |\||```)?", line)
    assert block
    unescaped = re.sub(r"\\.", "", line)
    return block[0], unescaped.count("|"), unescaped.count("`")


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://example.org/a b(c)|d", "[T](https://example.org/a%20b%28c%29%7Cd)"),
        ("javascript:alert(1)", "T"),
        ("file:///etc/hosts", "T"),
        ("", "T"),
        (None, "T"),
    ],
)
def test_only_an_address_of_the_web_is_a_link(built: Path, address: str | None, shown: str) -> None:
    manifest = read_manifest(built)
    sources = {"s": {"title": "T", "homepage": address, "synthetic": False}}
    assert f"| {shown} | unknown | unknown | no |" in card({**manifest, "sources": sources})


def test_a_variable_that_nobody_gives_is_an_error() -> None:
    with pytest.raises(Exception, match="undefined"):
        render("mixedparts.viewer.page", "assets/page.html.jinja", head="x")
