"""Texts of a build are shown as they are: nothing of them runs or turns what is around it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import expect

from mixedparts.viewer import Answer, Head, RowLink, Table, write_page
from mixedparts.viewer.build_page import PageRequest, write_build_page
from tests.factories.browser import Watched
from tests.factories.forger import rewrite
from tests.factories.viewer_samples import sample

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</script><script>alert(2)</script>",
    "<!--<script>",
    "' onclick='alert(3)",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(4)",
    "\u202eright to left",
    "\u05d0\u05d1\u05d2 \u0627\u0628",
    "&lt;already&gt; &amp;",
    "line\u2028separator \u0000 zero",
    "__proto__",
    "constructor",
]
TRAP = """window.ran = []; window.alert = (text) => window.ran.push(text);"""


class Tags(HTMLParser):
    """The elements of a page, with the attributes that can run something."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self.handlers: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "script":
            self.scripts.append(given.get("type") or "runs")
        self.handlers += [name for name in given if name.startswith("on")]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("hostile") / "view.html"
    mask = np.eye(20, dtype=np.uint8)
    samples = []
    for number, text in enumerate(HOSTILE):
        given = dict.fromkeys(("source", "split", "task", "question"), text)
        one = sample(f"{number}{text}", [mask, mask], label=text, **given)
        answer = one.answers[0]
        said = f"{text} <p> {text} </p> [SEG] (IMAGE1) {text} [SEG] (IMAGE2)"
        answers = tuple(replace(answer, title=text, text=said) for _ in range(2))
        images = tuple(replace(image, name=text) for image in one.images)
        scored = replace(one, tags=(text,), scores={text: 1.5})
        samples.append(replace(scored, answers=answers, images=images))
    rows = [[text, RowLink(text, text, f"{n}{text}"), 1] for n, text in enumerate(HOSTILE)]
    table = Table(HOSTILE[0], HOSTILE[:3], rows, note=HOSTILE[1])
    write_page(samples, out, Head(HOSTILE[0], HOSTILE[1], notes=HOSTILE, panels=[table]))
    return out


def test_the_file_has_one_script_and_no_handler(page: Path) -> None:
    tags = Tags(page.read_text(encoding="utf-8"))
    assert tags.handlers == []
    assert tags.scripts.count("runs") == 1
    assert set(tags.scripts) == {"runs", "application/json", "text/plain"}


def test_hostile_texts_are_texts(page: Path, watched: Callable[..., Watched]) -> None:
    opened = watched()
    opened.page.add_init_script(TRAP)
    shown = opened.open(page)
    expect(shown.locator("#status")).to_have_text(f"{len(HOSTILE)} samples, page 1 of 1")
    assert shown.title().startswith(HOSTILE[0])
    for number, text in enumerate(HOSTILE):
        card = shown.locator(".card").nth(number)
        assert card.locator(".question").evaluate("e => e.textContent") == text
        assert card.locator(".chip bdi").first.evaluate("e => e.textContent") == text
        assert card.locator("h2 bdi").last.evaluate("e => e.textContent") == text
        card.locator(".chip").first.click()
    # Every filter holds the name as it is, and finds its one sample.
    for text in HOSTILE:
        shown.get_by_label("Group").select_option(text)
        expect(shown.locator("#status")).to_have_text("1 sample, page 1 of 1")
    shown.get_by_role("button", name="Clear").click()
    shown.locator(".card h2 a").nth(1).click()
    expect(shown.locator("#detail")).to_be_visible()
    shown.keyboard.press("Escape")
    shown.locator("a.row-link").nth(2).click()
    expect(shown.locator("#detail-title bdi").last).to_have_text(HOSTILE[2])
    assert shown.evaluate("window.ran") == []
    assert shown.locator("script").count() == 3 + 2 * len(HOSTILE)


def test_a_policy_stops_scripts_that_are_not_the_page_s_own(
    page: Path, watched: Callable[..., Watched]
) -> None:
    opened = watched()
    shown = opened.open(page)
    shown.evaluate(
        """() => {
          window.ran = [];
          const script = document.createElement("script");
          script.textContent = "window.ran.push(1)";
          document.body.append(script);
          const image = document.createElement("img");
          image.setAttribute("onerror", "window.ran.push(2)");
          image.src = "data:,";
          document.body.append(image);
        }"""
    )
    shown.wait_for_timeout(200)
    assert shown.evaluate("window.ran") == []
    assert len(opened.complaints) >= 2
    assert all("Content Security Policy" in text for text in opened.complaints)
    opened.complaints.clear()


def test_a_doctored_build_runs_nothing(
    built: Path, tmp_path: Path, watched: Callable[..., Watched]
) -> None:
    copy = Path(shutil.copytree(built, tmp_path / "build"))
    text = HOSTILE[0] + HOSTILE[2]

    def doctor(rows: list[dict[str, object]]) -> None:
        del rows[2:]
        for row in rows:
            row.update(dict.fromkeys(("id", "source", "task", "question"), text))
            row["answer"] = f"{text} {row['answer']}"
            for image in row["images"]:  # type: ignore[attr-defined]
                image.update(image_id=text, file_name=text)
            for item in row["objects"]:  # type: ignore[attr-defined]
                item["category"] = text

    rewrite(copy, doctor)
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps({**manifest, "build_id": text}))
    from mixedparts.viewer.selection import Query

    out = tmp_path / "view.html"
    written, _ = write_build_page(copy, out, PageRequest(Query(splits=("train",))))
    assert written.samples == 2
    assert Tags(out.read_text(encoding="utf-8")).scripts.count("runs") == 1
    opened = watched()
    opened.page.add_init_script(TRAP)
    shown = opened.open(out)
    assert shown.locator(".card .meta bdi").nth(2).inner_text() == text
    assert shown.locator(".card h2 bdi").nth(1).inner_text() == text  # the task
    assert shown.evaluate("window.ran") == []


def test_an_answer_that_is_no_answer_is_shown(
    tmp_path: Path, watched: Callable[..., Watched]
) -> None:
    one = sample("one", [np.ones((4, 4), np.uint8)])
    region = one.answers[0].regions
    texts = ["", "[SEG] [SEG] (IMAGE9)", "<p> open", "</p> [SEG] <p></p>", "no tags at all"]
    answers = tuple(Answer(f"answer {n}", text, region, (0,)) for n, text in enumerate(texts))
    write_page([replace(one, answers=answers)], tmp_path / "view.html", Head("Odd"))
    page = watched().open(tmp_path / "view.html")
    shown = [text.strip() for text in page.locator(".answer").all_text_contents()]
    assert shown == [
        *("(no answer)", "(no phrase)", "<p> open"),
        *("</p>(no phrase) (no phrase)(no mask)", "no tags at all"),
    ]
