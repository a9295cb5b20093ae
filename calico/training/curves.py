"""Draws the course of a run: its losses, and the metrics of its evaluations."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mixedparts.progress import Progress

CURVES = "curves.png"
_LOSSES = ("total", "text", "mask", "dice")
_METRICS = ("miou_strict", "label_f1")


def draw_curves(output: Path, progress: Progress) -> None:
    """Draw `output`/curves.png from its logs, or say what is needed for it."""
    if find_spec("matplotlib") is None:
        progress.say("matplotlib is not installed: no curves are drawn (pip install matplotlib)")
        return
    lines = read_log(output / "train.log.jsonl")
    losses = [line for line in lines if line["stage"] == "train" and "total" in line]
    found = [line for line in lines if line["stage"] == "evaluation"]
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6 * (1 + bool(found)), 4), layout="constrained")
    left = figure.add_subplot(1, 1 + bool(found), 1)
    for name in _LOSSES:
        left.plot([one["step"] for one in losses], [one[name] for one in losses], label=name)
    left.set(xlabel="step", ylabel="loss", yscale="log", title="training")
    left.legend()
    if found:
        right = figure.add_subplot(1, 2, 2)
        for task in found[0].keys() - {"stage", "step"}:
            for name, style in zip(_METRICS, ("-", ":"), strict=True):
                steps, values = [one["step"] for one in found], [one[task][name] for one in found]
                right.plot(steps, values, style, marker="o", label=f"{task} {name}")
        right.set(xlabel="step", ylim=(0, 1), title="free generation")
        right.legend(fontsize="x-small")
    figure.savefig(output / CURVES, dpi=120)
    progress.say(f"curves: {output / CURVES}")


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a log; of steps that a resumed run took again, the later line."""
    kept: dict[tuple[str, int], dict[str, Any]] = {}
    for text in path.read_text(encoding="utf-8").splitlines():
        line = json.loads(text)
        if "event" not in line:
            kept[line["stage"], line["step"]] = line
    return sorted(kept.values(), key=lambda line: (line["stage"], line["step"]))
