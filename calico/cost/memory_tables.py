"""Tables of memory: a training step by part, and which cards hold which setting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from calico.config.calico import CalicoConfig
from calico.cost.fitting import CARDS, MARGIN, ONE_IMAGE, Fit, fit_step, usable
from calico.cost.markdown import table
from calico.cost.memory import (
    PARTS,
    AnswerMemory,
    StepMemory,
    answer_memory,
    step_memory,
    with_checkpointing,
)
from calico.cost.workload import Workload

IMAGES_OF_MIXEDPARTS = 44_000
_GIB = 1 << 30
_QUANTIZATION = ("none", "int8", "nf4")


def step_table(steps: Sequence[tuple[str, StepMemory]]) -> str:
    """Return the table of the parts of a training step at its peak, a column for each setting.

    Args:
        steps: head of each column, and the memory of a step.

    Returns:
        A Markdown table in GiB.
    """
    used = [name for name in PARTS if any(name in step.peak.parts for _, step in steps)]
    rows = [[name, *(_gib(step.peak.parts.get(name, 0)) for _, step in steps)] for name in used]
    rows.append(["all", *(_gib(step.total) for _, step in steps)])
    rows.append(["most in use during", *(step.peak.name for _, step in steps)])
    return table(["GiB", *(head for head, _ in steps)], rows)


def planned_steps(
    config: CalicoConfig, workload: Workload, processes: int
) -> tuple[list[tuple[str, StepMemory]], list[str]]:
    """Return the step as a configuration runs it, and lines about the cards that hold it.

    Args:
        config: of the model and its training.
        workload: one sample.
        processes: that share a step.

    Returns:
        Columns for `step_table`: the configured `micro_batch`, or with "auto" what each card takes;
        and a line for every card.
    """
    chosen = config.training.micro_batch
    if chosen != "auto":
        step = step_memory(config, workload, chosen, processes)
        holding = [card for card, size in CARDS.items() if step.total <= usable(size)]
        cards = f"Fits cards of {', '.join(holding)}." if holding else "Fits none of the cards."
        return [(f"{step.samples} at once", step)], [cards]
    fits = fit_step(config, workload, [usable(size) for size in CARDS.values()], processes)
    steps: dict[str, StepMemory] = {}
    lines = []
    for card, fit in zip(CARDS, fits, strict=True):
        lines.append(f"{card}: {described(fit)}")
        head = f"{fit.micro_batch} at once"
        if fit.micro_batch and head not in steps:
            steps[head] = step_memory(fit.applied(config), workload, fit.micro_batch, processes)
    if not steps:
        steps["1 at once"] = step_memory(config, workload, 1, processes)
    return list(steps.items()), lines


def described(fit: Fit) -> str:
    """Return how a step fits, in words."""
    if not fit.micro_batch:
        return f"does not fit, one sample at once needs {_gib(fit.needed)} GiB"
    times = f", {fit.parts} times" if fit.parts > 1 else ""
    alone = ", encoders one image at once (execution.encode_batch)" if fit.one_image else ""
    return f"training.micro_batch {fit.micro_batch}{times}{alone}, {_gib(fit.needed)} GiB"


def cards_table(config: CalicoConfig, workload: Workload) -> str:
    """Return the table of the samples at once that each card takes in training, by setting.

    Args:
        config: of the model and its training.
        workload: one sample.

    Returns:
        A Markdown table with rows for quantisation and checkpointing.
    """
    rooms = [usable(size) for size in CARDS.values()]
    rows = []
    for kind in _quantizations(config):
        for switched in (True, False):
            changed = with_checkpointing(_quantized(config, kind), switched)
            fits = fit_step(changed, workload, rooms)
            head = f"{_width(config, kind)}, {'checkpointing' if switched else 'none'}"
            execution = replace(changed.execution, encode_batch=ONE_IMAGE)
            least = step_memory(replace(changed, execution=execution), workload, 1).total
            rows.append([head, _gib(least), *(_cell(fit) for fit in fits)])
    return table(["training", "GiB with 1", *CARDS], rows)


def answers_table(config: CalicoConfig, workload: Workload) -> str:
    """Return the table of the memory of answering, and which cards hold it.

    Args:
        config: of the model.
        workload: one sample.

    Returns:
        A Markdown table with a row for each quantisation and number of samples at once.
    """
    rows = []
    for kind in _quantizations(config):
        for samples in sorted({1, config.generation.batch_size}):
            found = answer_memory(_quantized(config, kind), workload, samples)
            fits = ["yes" if found.total <= usable(size) else "-" for size in CARDS.values()]
            head = f"{_width(config, kind)}, {samples} at once"
            rows.append([head, _gib(found.total), *fits])
    return table(["answering", "GiB", *CARDS], rows)


def feature_note(answers: AnswerMemory) -> str:
    """Return the sentence about the size of a feature cache."""
    every = answers.stored * IMAGES_OF_MIXEDPARTS / _GIB
    return (
        f"A feature cache takes {answers.stored / (1 << 20):.2f} MiB an image, "
        f"{every:,.0f} GiB for {IMAGES_OF_MIXEDPARTS:,} images."
    )


def margin_note() -> str:
    """Return the sentences about what is not counted."""
    sizes = ", ".join(f"{usable(size) / _GIB:.1f}" for size in CARDS.values())
    return (
        f"A card of N GB has N · 10⁹ bytes, of which {MARGIN:.0%} stay free for memory that is not"
        " counted: the CUDA context, work space inside kernels, fragmentation of the allocator."
        f" That leaves {sizes} GiB."
    )


def _cell(fit: Fit) -> str:
    return f"{fit.micro_batch}{' *' * fit.one_image}" if fit.micro_batch else "-"


def _quantizations(config: CalicoConfig) -> tuple[str, ...]:
    return ("none",) if config.language.tuning == "full" else _QUANTIZATION


def _quantized(config: CalicoConfig, kind: str) -> CalicoConfig:
    execution = replace(config.execution, quantization=kind, parallel="ddp")  # type: ignore[arg-type]
    return replace(config, execution=execution)


def _width(config: CalicoConfig, kind: str) -> str:
    return config.execution.precision if kind == "none" else kind


def _gib(count: int) -> str:
    return f"{count / _GIB:,.2f}"
