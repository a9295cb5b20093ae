"""Plots the course of a run: losses of pretraining and training, metrics of evaluations."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from calico.pretraining.encoder_files import ENCODERS, log_file
from mixedparts.files.opening import open_file
from mixedparts.files.text import numbered_lines, parse_json
from mixedparts.progress import Progress

Line = dict[str, Any]
CURVES = "curves.png"
_LOSSES = ("total", "text", "mask", "dice", "presence")
_STAGE_LOSSES = ("cells", "labels", "mask", "dice")
_METRICS = ("miou_strict", "label_f1")


def draw_curves(output: Path, progress: Progress) -> None:
    """Write `output`/curves.png from the logs of a run, or log that matplotlib is missing."""
    if find_spec("matplotlib") is None:
        progress.log("matplotlib is not installed: no curves are drawn (pip install matplotlib)")
        return
    from matplotlib.figure import Figure

    lines = read_log(output / "train.log.jsonl")
    pretraining = log_file(output / ENCODERS)
    stages = _by_stage(read_log(pretraining) if pretraining.is_file() else [])
    trained = [line for line in lines if line["stage"] == "train" and "total" in line]
    evaluations = [line for line in lines if line["stage"] == "evaluation"]
    panels = 1 + bool(stages) + bool(evaluations)
    # `Figure` and not pyplot: it needs no display and keeps no global state in a training process.
    figure = Figure(figsize=(6 * panels, 4), layout="constrained")
    axes = iter(figure.subplots(1, panels, squeeze=False)[0])
    if stages:
        panel = next(axes)
        for stage, steps in stages.items():
            for name in [name for name in _STAGE_LOSSES if name in steps[0]]:
                _plot(panel, steps, name, f"{stage}: {name}")
        _finish(panel, "pretraining")
    panel = next(axes)
    for name in [name for name in _LOSSES if trained and name in trained[0]]:
        _plot(panel, trained, name, name)
    _finish(panel, "training")
    if evaluations:
        _plot_evaluations(next(axes), evaluations)
    figure.savefig(output / CURVES, dpi=120)
    progress.log(f"curves: {output / CURVES}")


def _plot_evaluations(panel: Any, evaluations: list[Line]) -> None:
    steps = [line["step"] for line in evaluations]
    # One colour a task, one line style a metric.
    tasks = (name for name in evaluations[0] if name not in ("stage", "step"))
    for number, task in enumerate(tasks):
        for name, style in zip(_METRICS, ("-", ":"), strict=True):
            values = [_metric(line, task, name) for line in evaluations]
            panel.plot(steps, values, style, marker="o", color=f"C{number}", label=f"{task} {name}")
    panel.set(xlabel="step", ylim=(0, 1), title="free generation")
    panel.legend(fontsize="x-small")


def _metric(line: Line, task: str, name: str) -> float:
    """Return a metric of an evaluation; NaN, which is not drawn, where the line lacks it."""
    values = line.get(task)
    value = values.get(name) if isinstance(values, dict) else None
    return value if isinstance(value, int | float) else float("nan")


def _plot(panel: Any, lines: list[Line], name: str, label: str) -> None:
    drawn = [line for line in lines if isinstance(line.get(name), int | float)]
    # Steps that train text alone log 0 for the losses of masks, which a log scale has no place for.
    drawn = [line for line in drawn if line[name] > 0]
    panel.plot([line["step"] for line in drawn], [line[name] for line in drawn], label=label)


def _finish(panel: Any, title: str) -> None:
    panel.set(xlabel="step", ylabel="loss", yscale="log", title=title)
    panel.legend(fontsize="small")


def _by_stage(lines: list[Line]) -> dict[str, list[Line]]:
    """Return the lines of each stage."""
    stages: dict[str, list[Line]] = {}
    for line in lines:
        stages.setdefault(line["stage"], []).append(line)
    return stages


def _log_line(raw: bytes) -> Line | None:
    """Return one line of a log, None for a damaged one."""
    # The training is done when its curves are drawn: a damaged line must not end it with an error.
    try:
        line = parse_json(raw.decode())
    except ValueError:
        return None
    if not isinstance(line, dict) or type(line.get("step")) is not int:
        return None
    return line if isinstance(line.get("stage"), str) else None


def read_log(path: Path) -> list[Line]:
    """Return the lines of a log; of a step that was logged twice, only the later line."""
    # A run that was killed after its last checkpoint logs the steps in between again.
    latest: dict[tuple[str, int], Line] = {}
    with open_file(path, "the log") as file:
        for _, raw in numbered_lines(file):
            line = _log_line(raw)
            if line is not None and "event" not in line:
                latest[line["stage"], line["step"]] = line
    return sorted(latest.values(), key=lambda line: (line["stage"], line["step"]))
