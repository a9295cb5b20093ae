"""Turn measurements into a Markdown table with date and machine, and put it into a document."""

from __future__ import annotations

import datetime
import os
import platform
import statistics
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

from benchmarks.comparison import Result
from benchmarks.process_tree import Measurement

_ROWS: tuple[tuple[str, str, Callable[[Measurement], float]], ...] = (
    ("wall time", "s", lambda m: m.wall),
    ("CPU time, all processes", "s", lambda m: m.cpu),
    ("peak memory, all processes (PSS)", "MB", lambda m: m.tree),
    ("peak memory, largest process (RSS)", "MB", lambda m: m.largest),
)


def table(result: Result) -> str:
    """Return the comparison as Markdown."""
    setting = result.setting
    naive, ours = result.runs["naive"], result.runs["ours"]
    lines = [
        "## Building a dataset",
        "",
        f"`python -m benchmarks.build_speed`: a synthetic PACO-shaped file of {setting.images:,} "
        f"images of 640 x 480, {setting.samples:,} rows, `--images {setting.pictures}`. The naive "
        "builder is `benchmarks/naive_builder.py`: COCO(), annToMask, dense unions, Python loops, "
        f"one process. `mixedparts build` uses {setting.workers} workers. Medians of {len(naive)} "
        "runs each, taking turns; ranges in brackets.",
        "",
        f"{datetime.date.today().isoformat()}, {machine()}.",
        "",
        "| | naive builder | mixedparts build | ratio |",
        "|---|---|---|---|",
    ]
    for label, unit, value in _ROWS:
        left, right = [value(m) for m in naive], [value(m) for m in ours]
        ratio = statistics.median(left) / statistics.median(right)
        lines.append(f"| {label} | {_cell(left, unit)} | {_cell(right, unit)} | {ratio:.1f} x |")
    lines += [
        "",
        "What ten times the rows cost (few rows: one run each):",
        "",
        f"| | {result.fewer_rows:,} rows | {setting.samples:,} rows | ratio |",
        "|---|---|---|---|",
    ]
    for builder, name in (("naive", "naive builder"), ("ours", "mixedparts build")):
        for label, unit, value in (_ROWS[0], _ROWS[2]):
            few = value(result.fewer[builder])
            many = statistics.median(value(m) for m in result.runs[builder])
            cells = f"{_number(few)} {unit} | {_number(many)} {unit} | {many / few:.2f} x"
            lines.append(f"| {name}, {label} | {cells} |")
    return "\n".join(lines)


def _cell(values: list[float], unit: str) -> str:
    middle = _number(statistics.median(values))
    return f"{middle} {unit} ({_number(min(values))} to {_number(max(values))})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def machine(names: Sequence[str] = ("pycocotools", "pyarrow", "pillow")) -> str:
    """Describe processor, memory and the versions of the packages that matter."""
    facts = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(":", 1)[1].strip() for line in facts if line.startswith("model name")]
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    packages = ", ".join(f"{name} {version(name)}" for name in names)
    return (
        f"{os.cpu_count()} cores of {models[0] if models else platform.machine()}, "
        f"{memory:.0f} GB, Python {platform.python_version()}, {packages}"
    )


def instruction_sets() -> str:
    """Name the instruction sets of this CPU that decide how fast products of matrices are."""
    flags = next(
        (
            set(line.split(":", 1)[1].split())
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith(("flags", "Features"))
        ),
        set(),
    )
    names = {
        "avx2": "AVX2",
        "avx512f": "AVX-512",
        "avx512_bf16": "AVX-512 bf16",
        "amx_bf16": "AMX bf16",
        "asimd": "NEON",
        "bf16": "NEON bf16",
    }
    there = [text for flag, text in names.items() if flag in flags]
    return f"instruction sets: {', '.join(there) or 'unknown'}"


def write_section(path: Path, name: str, text: str) -> None:
    """Put the text between the section's marks in a document, or at its end."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    before = path.read_text() if path.exists() else "# Benchmarks\n"
    head, found, rest = before.partition(begin)
    tail = rest.partition(end)[2] if found else ""
    body = f"{head.rstrip()}\n\n{begin}\n{text}\n{end}\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{body}\n{tail.strip()}\n" if tail.strip() else body)
