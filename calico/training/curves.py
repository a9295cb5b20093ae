"""Draws the course of a run: losses of pretraining and training, metrics of evaluations."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from calico.pretraining.encoder_files import ENCODERS, log_file
from mixedparts.progress import Progress

Line = dict[str, Any]
CURVES = "curves.png"
_LOSSES = ("total", "text", "mask", "dice")
_STAGE_LOSSES = ("cells", "labels", "mask", "dice")
_METRICS = ("miou_strict", "label_f1")


def draw_curves(output: Path, progress: Progress) -> None:
    """Draw `output`/curves.png from its logs, or say what is needed for it."""
    if find_spec("matplotlib") is None:
        progress.log("matplotlib is not installed: no curves are drawn (pip install matplotlib)")
        return
    from matplotlib.figure import Figure

    lines = read_log(output / "train.log.jsonl")
    pretraining = log_file(output / ENCODERS)
    stages = _by_stage(read_log(pretraining) if pretraining.is_file() else [])
    trained = [line for line in lines if line["stage"] == "train" and "total" in line]
    found = [line for line in lines if line["stage"] == "evaluation"]
    panels = 1 + bool(stages) + bool(found)
    figure = Figure(figsize=(6 * panels, 4), layout="constrained")
    axes = iter(figure.subplots(1, panels, squeeze=False)[0])
    if stages:
        panel = next(axes)
        for stage, steps in stages.items():
            for name in [name for name in _STAGE_LOSSES if name in steps[0]]:
                _plot(panel, steps, name, f"{stage}: {name}")
        _finish(panel, "pretraining")
    panel = next(axes)
    for name in _LOSSES:
        _plot(panel, trained, name, name)
    _finish(panel, "training")
    if found:
        _draw_evaluations(next(axes), found)
    figure.savefig(output / CURVES, dpi=120)
    progress.log(f"curves: {output / CURVES}")


def _draw_evaluations(panel: Any, found: list[Line]) -> None:
    steps = [one["step"] for one in found]
    for number, task in enumerate(name for name in found[0] if name not in ("stage", "step")):
        for name, style in zip(_METRICS, ("-", ":"), strict=True):
            values = [one[task][name] for one in found]
            panel.plot(steps, values, style, marker="o", color=f"C{number}", label=f"{task} {name}")
    panel.set(xlabel="step", ylim=(0, 1), title="free generation")
    panel.legend(fontsize="x-small")


def _plot(panel: Any, lines: list[Line], name: str, label: str) -> None:
    panel.plot([one["step"] for one in lines], [one[name] for one in lines], label=label)


def _finish(panel: Any, title: str) -> None:
    panel.set(xlabel="step", ylabel="loss", yscale="log", title=title)
    panel.legend(fontsize="small")


def _by_stage(lines: list[Line]) -> dict[str, list[Line]]:
    """Return the lines of each stage."""
    stages: dict[str, list[Line]] = {}
    for line in lines:
        stages.setdefault(line["stage"], []).append(line)
    return stages


def read_log(path: Path) -> list[Line]:
    """Return the lines of a log; of steps that a resumed run took again, the later line."""
    kept: dict[tuple[str, int], Line] = {}
    for text in path.read_text(encoding="utf-8").splitlines():
        line = json.loads(text)
        if "event" not in line:
            kept[line["stage"], line["step"]] = line
    return sorted(kept.values(), key=lambda line: (line["stage"], line["step"]))
