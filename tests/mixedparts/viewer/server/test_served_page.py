"""The page of a running server in a browser, and the command that starts it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Route, expect

from mixedparts import masks
from mixedparts.cli import program
from mixedparts.errors import EnvironmentFault, InputError, UsageError
from tests.conftest import command
from tests.factories.browser import Watched, drawn, serious_faults
from tests.mixedparts.viewer.test_page_in_browser import shown
from tests.oracles.build_tables import iter_rows

Open = Callable[..., Watched]


@contextmanager
def running(build: Path, *options: str) -> Iterator[str]:
    """The address of a server, which Ctrl+C ends."""
    words = [command("mixedparts"), "view", str(build), "--serve", "--port", "0", *options]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.match(r"http://127\.0\.0\.1:\d+/", line)
        assert found, line
        yield found[0]
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stderr is not None
        assert process.stderr.read() == ""
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture(scope="module")
def address(built: Path) -> Iterator[str]:
    with running(built) as found:
        yield found


@pytest.fixture(scope="module")
def rows(built: Path) -> list[dict[str, Any]]:
    return [row for s in ("train", "validation", "test") for row in iter_rows(built, "pairs", s)]


def test_all_rows_are_paged_filtered_and_searched(
    address: str, rows: list[dict[str, Any]], watched: Open
) -> None:
    page = watched().open(address)
    expect(page.locator("#status")).to_contain_text(f"{len(rows):,} samples, page 1 of")
    assert page.locator(".card").count() == 50
    page.get_by_role("button", name="Next page").click()
    expect(page.locator("#status")).to_contain_text("page 2 of")
    assert shown(page)[0] == f"{rows[50]['split']}/{rows[50]['id']}"
    page.keyboard.press("3")
    number = sum(row["task"] == "unique_parts" for row in rows)
    expect(page.locator("#status")).to_contain_text(f"{number:,} sample")
    expect(page.get_by_role("button", name=f"unique parts ({number:,})")).to_be_visible()
    page.get_by_label("Search").fill(rows[7]["id"])
    expect(page.locator("#status")).to_have_text(re.compile("^(1 sample,|No sample)"))
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#status")).to_contain_text(f"{len(rows):,} samples")


def test_masks_and_links(address: str, rows: list[dict[str, Any]], watched: Open) -> None:
    row = rows[-1]
    page = watched().open(f"{address}#row={row['split']}/{row['id']}")
    expect(page.locator("#detail")).to_be_visible()
    page.locator("#detail .answer .chip").first.click()
    expect(page.locator("#detail .answer .chip").first).to_have_attribute("aria-pressed", "true")
    page.mouse.move(0, 0)
    canvas = page.locator("#detail canvas").first
    first = row["objects"][0]
    height, width = first["mask"]["size"]
    rle = masks.from_string(first["mask"]["counts"], height, width)
    np.testing.assert_array_equal(drawn(canvas) > 0, masks.decode(rle) > 0)
    loaded = "image => image.complete && image.naturalWidth"
    assert page.locator("#detail img").first.evaluate(loaded) == row["images"][0]["width"]


def test_the_page_starts_with_the_filters_of_the_command(
    built: Path, rows: list[dict[str, Any]], watched: Open
) -> None:
    chosen = Counter(
        item["category"]
        for row in rows
        if (row["split"], row["task"]) == ("train", "common_parts")
        for item in row["objects"]
    )
    classes = [name for name, _ in chosen.most_common(2)]
    words = [
        "--split",
        "train",
        "--class",
        *classes,
        "--task",
        "common_parts",
        "--search",
        "The is",
    ]
    wanted = [
        row
        for row in rows
        if (row["split"], row["task"]) == ("train", "common_parts")
        and {item["category"] for item in row["objects"]} & set(classes)
        and all(word in (row["question"] + row["answer"]).lower() for word in ("the", "is"))
    ]
    assert wanted
    with running(built, *words) as address:
        page = watched().open(address)
        expect(page.locator("#status")).to_contain_text(f"{len(wanted)} sample")
        assert shown(page) == [f"train/{row['id']}" for row in wanted][:50]
        expect(page.get_by_label("Split")).to_have_value("train")
        entry = page.get_by_label("Class").evaluate("e => e.selectedOptions[0].textContent")
        assert entry == f"2 of them: {', '.join(classes)}"
        expect(page.get_by_label("Search")).to_have_value("the is")
        expect(page.locator('[data-task="common_parts"]')).to_have_attribute("aria-pressed", "true")
        page.get_by_label("Class").select_option(classes[0])
        of_one = [r for r in wanted if classes[0] in {item["category"] for item in r["objects"]}]
        expect(page.locator("#status")).to_contain_text(f"{len(of_one)} sample")
        # They can be cleared, and stay so.
        page.get_by_role("button", name="Clear").click()
        expect(page.locator("#status")).to_contain_text(f"{len(rows):,} samples")
        page.reload()
        expect(page.locator("#status")).to_contain_text(f"{len(rows):,} samples")
        # An address with filters of its own is followed.
        page.goto(f"{address}#split=test")
        page.reload()
        expect(page.get_by_label("Split")).to_have_value("test")
        page.wait_for_load_state("networkidle")  # before the server ends
        page.goto("about:blank")


def test_an_address_that_names_nothing(address: str, watched: Open) -> None:
    page = watched().open(f"{address}#class=dgo")
    status = page.locator("#status")
    expect(status).to_contain_text("No sample fits these filters: ")
    expect(status).to_contain_text("has no class 'dgo'. Did you mean 'dog'?")
    assert page.locator(".card").count() == 0
    page = watched().open(f"{address}#row=train/nothing")
    expect(page.locator("#status")).to_have_text("There is no sample train/nothing here.")
    page = watched().open(f"{address}#start=999999999999999999999999")
    expect(page.locator("#status")).to_have_text(re.compile(r"samples, page (\d+) of \1$"))
    assert page.locator(".card").count() > 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_serious_fault_of_accessibility(address: str, watched: Open, scheme: str) -> None:
    page = watched(color_scheme=scheme).open(address)
    drawn(page.locator("canvas").first)
    expect(page.get_by_role("button", name=re.compile("unique parts"))).to_be_visible()
    assert serious_faults(page) == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--serve", "--class", "dgo"], "has no class 'dgo'. Did you mean 'dog'?"),
        (["--serve", "--split", "tset"], "has no split 'tset'. Did you mean 'test'?"),
        (["--serve", "--ids", "nothing"], "has no row with the id nothing"),
        (["--serve", "--search", "nothing has this"], "no row"),
        (["--serve", "--limit", "9"], "--limit is for a file"),
        (["--serve", "--port", "70000"], "--port must be from 0 to 65535"),
        (["--port", "80"], "--port belongs to --serve"),
        (["--limit", "0"], "--limit must be at least 1"),
        (["--max-side", "2"], "--max-side must be at least 16"),
        (["--class", "dgo"], "has no class 'dgo'. Did you mean 'dog'?"),
    ],
)
def test_wrong_options_are_named(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=re.escape(says)):
        program.main(["view", str(built), *words])
    assert not list(tmp_path.iterdir())


def test_a_taken_port_and_a_folder_without_a_build(built: Path, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        says = f"port {port} of 127.0.0.1 cannot be used"
        with pytest.raises(EnvironmentFault, match=says):
            program.main(["view", str(built), "--serve", "--port", port])
    with pytest.raises(InputError, match="contains no finished build"):
        program.main(["view", str(tmp_path), "--serve"])


def test_a_slow_page_does_not_replace_a_later_one(
    address: str, rows: list[dict[str, Any]], watched: Open
) -> None:
    page = watched().open(address)
    slow: list[Route] = []
    page.route("**/api/rows?*start=50&*", lambda route: slow.append(route))
    page.get_by_role("button", name="Next page").click()
    page.get_by_role("button", name="Next page").click()
    expect(page.locator("#status")).to_contain_text("page 3 of")
    slow[0].continue_()
    page.wait_for_load_state("networkidle")
    expect(page.locator("#status")).to_contain_text("page 3 of")
    assert shown(page)[0] == f"{rows[100]['split']}/{rows[100]['id']}"


def test_keys_wait_for_the_next_page(
    address: str, rows: list[dict[str, Any]], watched: Open
) -> None:
    page = watched().open(address)
    slow: list[Route] = []
    page.route("**/api/rows?*start=50&*", lambda route: slow.append(route))
    page.locator(".card h2 a").last.focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    page.wait_for_timeout(100)
    (only,) = slow
    only.continue_()
    expect(page.locator("#status")).to_contain_text("page 2 of")
    expect(page.locator(".card").first).to_have_class("card current")
    assert shown(page)[0] == f"{rows[50]['split']}/{rows[50]['id']}"


def test_images_that_a_server_does_not_have(
    address: str, rows: list[dict[str, Any]], watched: Open
) -> None:
    opened = watched()
    opened.page.route("**/images/**", lambda route: route.fulfill(status=404))
    page = opened.open(address)
    expect(page.locator(".card").first.locator("figcaption").first).to_contain_text("no pixels")
    item = rows[0]["objects"][0]
    rle = masks.from_string(item["mask"]["counts"], *item["mask"]["size"])
    alpha = drawn(page.locator("canvas").first) > 0
    assert alpha[masks.decode(rle) > 0].all()
    assert {text.partition(":")[0] for text in opened.complaints} <= {"Failed to load resource"}
    opened.complaints.clear()
