"""How long `mixedparts view` takes: a server of many rows, and a page of many pairs.

The server runs as a process of its own, as the command starts it. Each question is asked for the
first time, so that nothing of it is kept from before. Memory is the largest that the process ever
had (VmHWM), of a whole build and of one with a tenth of the rows. The page is opened in Debian's
Chromium, if that is installed.

Examples:
    python -m benchmarks.viewer_speed                            builds 500,000 rows first
    python -m benchmarks.viewer_speed --build data/mixedparts    a build that is there
    python -m benchmarks.viewer_speed --write docs/viewing.md    put the table into the docs
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.report import machine, write_section

CHROMIUM = Path("/usr/bin/chromium")
PACKAGES = ("pyarrow", "starlette", "uvicorn")
_SCRIPT = str(Path(sys.executable).with_name("mixedparts"))
_LOAD = """() => {
  const [first] = performance.getEntriesByName("first-contentful-paint");
  const [whole] = performance.getEntriesByType("navigation");
  return [first.startTime, whole.loadEventEnd];
}"""


@dataclass
class Asked:
    """One question to the server.

    Attributes:
        name: for the table.
        seconds: of each time that a server was asked.
        cpu: CPU seconds that the server took for it.
        total: rows that it found; None for other questions.
        bytes: of the answer.
    """

    name: str
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    total: int | None = None
    bytes: int = 0


@contextmanager
def served(build: Path) -> Iterator[tuple[str, int, float]]:
    """Yield address, process id and seconds until it answered of a server of a build."""
    start = time.perf_counter()
    words = [_SCRIPT, "view", str(build), "--serve", "--port", "0"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found = re.match(r"(http://\S+)/", process.stdout.readline())
        if found is None:
            raise SystemExit("the server did not start")
        ask(found[1], "/")
        yield found[1], process.pid, time.perf_counter() - start
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def ask(address: str, path: str, **given: str | int) -> tuple[float, bytes]:
    """Return the seconds that an answer took, and the answer."""
    query = urllib.parse.urlencode(given)
    start = time.perf_counter()
    with urllib.request.urlopen(f"{address}{path}?{query}") as reply:
        data: bytes = reply.read()
    return time.perf_counter() - start, data


def cpu_seconds(process: int) -> float:
    """Return the CPU seconds that a process took so far."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak(process: int) -> float:
    """Return the most memory that a process ever had, in MB."""
    status = Path(f"/proc/{process}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) / 1e3


def questions(address: str) -> dict[str, dict[str, str | int]]:
    """Return the questions about rows: their names and parameters."""
    counts = json.loads(ask(address, "/api/facets")[1])
    rows = sum(counts["task"].values())
    classes = sorted((n, name) for name, n in counts["class"].items() if n)
    parts = sorted((n, name) for name, n in counts["part"].items() if n)
    # About one row in 10,000: the page's rows are spread over the whole table.
    rare = min(classes, key=lambda item: abs(item[0] - rows / 10_000))[1]
    common, part = classes[-1][1], parts[-1][1]
    return {
        "no filter": {"start": 0},
        "no filter, the last page": {"start": max(0, rows - 50)},
        "a task": {"task": "common_parts"},
        "a common class": {"class": common},
        "a common class and a task": {"class": common, "task": "unique_parts"},
        "a part and a task": {"part": part, "task": "common_parts"},
        "a rare class": {"class": rare},
        "a word": {"text": common},
        "two words": {"text": f"{part} {common}"},
        "a word that is nowhere": {"text": "xylophonist"},
    }


def note(
    asked: dict[str, Asked], process: int, name: str, address: str, path: str, **given: str | int
) -> bytes:
    """Ask a server, note what it took, and return the answer."""
    before = cpu_seconds(process)
    took, data = ask(address, path, **given)
    one = asked.setdefault(name, Asked(name))
    one.seconds.append(took)
    one.cpu.append(cpu_seconds(process) - before)
    one.bytes = len(data)
    return data


def measure(build: Path, repeats: int) -> tuple[list[Asked], list[float], list[float]]:
    """Ask fresh servers of a build everything; return the answers' times, starts and memory."""
    asked: dict[str, Asked] = {}
    starts, memory = [], []
    with served(build) as (address, _, _):
        wanted = questions(address)
    for _ in range(repeats):
        with served(build) as (address, process, seconds):
            starts.append(seconds)
            for name, given in wanted.items():
                data = note(asked, process, name, address, "/api/rows", count=50, **given)
                asked[name].total = json.loads(data)["total"]
            sample = json.loads(ask(address, "/api/rows", count=1)[1])
            row = {key: sample["samples"][0][key] for key in ("split", "id")}
            image = sample["images"][0]["address"]
            note(asked, process, "one row with its masks", address, "/api/row", **row)
            note(asked, process, "an image", address, image)
            word = wanted["a word"]
            note(asked, process, "a word, counts of every filter", address, "/api/facets", **word)
            memory.append(peak(process))
    return list(asked.values()), starts, memory


def first_paint(page: Path, repeats: int) -> list[tuple[float, float]]:
    """Return seconds until Chromium paints a page first, and until all of it is there."""
    if not CHROMIUM.exists():
        return []
    from playwright.sync_api import sync_playwright

    options = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    found = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=options)
        for _ in range(repeats):
            tab = browser.new_page(viewport={"width": 1280, "height": 900})
            tab.goto(page.as_uri())
            tab.wait_for_selector('.card canvas:not([width="0"])')
            first, whole = tab.evaluate(_LOAD)
            found.append((first / 1e3, whole / 1e3))
            tab.close()
        browser.close()
    return found


def spread(values: Sequence[float], form: str = "{:.2f}") -> str:
    """Return the median of some values and their range."""
    ordered = sorted(values)
    middle = ordered[len(ordered) // 2]
    return f"{form.format(middle)} ({form.format(ordered[0])} to {form.format(ordered[-1])})"


def prepare(work: Path, images: int, rows: int) -> Path:
    """Write sources with the shape of PACO and build them; return the build."""
    root, build = work / "sources", work / "build"
    shaped = [sys.executable, "-m", "benchmarks.paco_shaped", "--images", str(images)]
    made = [_SCRIPT, "build", "--sources", "paco", "--root", str(root), "--samples", str(rows)]
    for words in ([*shaped, "--out", str(root)], [*made, "--out", str(build), "--quiet"]):
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    return build


def fewer(work: Path, rows: int) -> Path | None:
    """Build the same sources with fewer rows; None for a build that was there before."""
    root, out = work / "sources", work / "fewer"
    if not root.exists():
        return None
    words = [_SCRIPT, "build", "--sources", "paco", "--root", str(root), "--samples", str(rows)]
    subprocess.run([*words, "--out", str(out), "--quiet"], check=True, stdout=subprocess.DEVNULL)
    return out


def report(work: Path, build: Path, small: Path | None, repeats: int, pairs: int) -> str:
    """Measure everything and return it as Markdown."""
    asked, starts, memory = measure(build, repeats)
    rows = next(one.total for one in asked if one.name == "no filter")
    page = work / "view.html"
    began = time.perf_counter()
    words = [_SCRIPT, "view", str(build), "--limit", str(pairs), "--out", str(page), "--quiet"]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    written = time.perf_counter() - began
    load = os.getloadavg()[0]
    lines = [
        f"`python -m benchmarks.viewer_speed`: {rows:,} rows; {repeats} servers, each asked once;"
        " medians, ranges in brackets. CPU seconds are those of the server's process, which uses"
        " two threads; seconds also hold what other programs of the machine took.",
        "",
        f"{datetime.date.today().isoformat()}, {machine(PACKAGES)}; load {load:.1f} at the end.",
        "",
        "| asked of the server | rows found | CPU seconds | seconds | kB |",
        "|---|---:|---:|---:|---:|",
    ]
    for one in asked:
        total = "" if one.total is None else f"{one.total:,}"
        cells = f"{spread(one.cpu)} | {spread(one.seconds)} | {one.bytes / 1e3:,.0f}"
        lines.append(f"| {one.name} | {total} | {cells} |")
    lines += ["", f"From the command to the first answer: {spread(starts, '{:.1f}')} s."]
    text = f"Most memory of the server: {spread(memory, '{:,.0f}')} MB"
    if small is not None:
        text += f"; with {rows // 10:,} rows {spread(measure(small, 1)[2], '{:,.0f}')} MB"
    lines += [f"{text}.", ""]
    size = page.stat().st_size / 1e6
    text = f"A page of {pairs} pairs: {size:.1f} MB, written in {written:.1f} s"
    if paints := first_paint(page, repeats):
        text += f"; Chromium paints it after {spread([one for one, _ in paints])} s"
        text += f" and has all of it after {spread([two for _, two in paints])} s"
    return "\n".join([*lines, f"{text}."])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.viewer_speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--build", type=Path, metavar="DIR", help="a build that is there")
    add("--images", type=int, default=3_000, help="images of the sources")
    add("--rows", type=int, default=500_000, help="rows of the build")
    add("--pairs", type=int, default=500, help="pairs of the page")
    add("--repeats", type=int, default=3, help="servers to ask")
    add("--write", type=Path, metavar="FILE", help="Markdown file to put it into")
    given = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="viewer_speed") as folder:
        work = Path(folder)
        build = given.build or prepare(work, given.images, given.rows)
        small = fewer(work, given.rows // 10)
        text = report(work, build, small, given.repeats, given.pairs)
    print(text)
    if given.write:
        write_section(given.write, "benchmarks.viewer_speed", text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
