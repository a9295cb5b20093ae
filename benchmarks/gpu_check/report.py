"""The outcomes as JSON and as Markdown tables."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.gpu_check.outcome import PASSED, Figure, Outcome, Setting

_COMMAND = "python -m benchmarks.gpu_check"


def as_json(
    outcomes: Sequence[Outcome], setting: Setting, facts: Mapping[str, str], seconds: float
) -> dict[str, Any]:
    """Return everything in plain types.

    Args:
        outcomes: of all checks.
        setting: of the run.
        facts: of the machine.
        seconds: that all took.

    Returns:
        A JSON object.
    """
    return {
        "format": 1,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": f"{_COMMAND} --device {setting.device} --size {_size(setting)}",
        "device": setting.device,
        "size": _size(setting),
        "machine": dict(facts),
        "seconds": round(seconds, 1),
        "failed": [one.name for one in outcomes if one.status == "failed"],
        "checks": [one.plain() for one in outcomes],
    }


def as_markdown(found: Mapping[str, Any], outcomes: Sequence[Outcome]) -> str:
    """Return a section with the tables.

    Args:
        found: as `as_json` returned it.
        outcomes: of all checks.
    """
    facts = found["machine"]
    device = next((str(one.value) for one in _figures(outcomes) if one.name == "device"), "unknown")
    small = found["size"] == "small"
    title = f"On {'the CPU' if device == 'cpu' else device}{', at small size' if small else ''}"
    counts = [sum(one.status == status for one in outcomes) for status in _STATUSES]
    told = ", ".join(f"{count} {name}" for count, name in zip(counts, _STATUSES, strict=True))
    versions = ", ".join(f"{name} {facts[name]}" for name in facts if name not in _NO_VERSIONS)
    lines = [f"## {title}", ""]
    if small:
        lines += [
            "**Models of micro size: this run shows that every check works from end to end. Its "
            "times, rates and bytes say nothing about a GPU or the 7B model.**",
            "",
        ]
    lines += [
        f"`{found['command']}`: {found['date'][:10]}, {facts['machine']}, {facts['system']}, "
        f"{versions}. {told} in {found['seconds']:.0f} s.",
        "",
        "| check | result | figures | s |",
        "|---|---|---|---|",
        *map(_row, outcomes),
        "",
    ]
    compared = [
        f"| {outcome.title} | {one.name} | {_value(one)} | {_number(one.expected)} {one.unit} "
        f"| {_number(one.ratio)} |"
        for outcome in outcomes
        for one in outcome.figures
        if one.expected is not None and one.ratio is not None
    ]
    if compared:
        lines += [
            "Beside what `calico-cost` says of the same samples:",
            "",
            "| check | | measured | counted | ratio |",
            "|---|---|---|---|---|",
            *compared,
            "",
        ]
    return "\n".join(lines)


_STATUSES = ("passed", "failed", "skipped", "not run")
_NO_VERSIONS = ("machine", "system")


def _figures(outcomes: Sequence[Outcome]) -> Iterator[Figure]:
    for outcome in outcomes:
        yield from outcome.figures


def _row(outcome: Outcome) -> str:
    told = [f"{one.name}: {_value(one)}" for one in outcome.figures]
    # A message may hold any text, such as a bar, which would end the cell.
    words = "; ".join([*outcome.messages, *told]).replace("|", "\\|")
    status = outcome.status if outcome.status == PASSED else f"**{outcome.status}**"
    return f"| {outcome.title} | {status} | {words} | {outcome.seconds:.0f} |"


def _value(figure: Figure) -> str:
    if isinstance(figure.value, str):
        return figure.value
    unit = "" if figure.unit in ("", "relative", "share") else f" {figure.unit}"
    return f"{_number(figure.value)}{unit}"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _size(setting: Setting) -> str:
    return "small" if setting.small else "full"
