"""Stages of a model on one device: seconds, operations, utilisation and peak memory of each."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.model_subject import Subject
from calico.model.generation import generate
from calico.model.precision import arithmetic
from calico.model.vision import ImageFeatures

ANSWER_TOKENS = 32
_STEP = ("encoders", "forward", "backward, optimiser")


@dataclass(frozen=True, slots=True)
class Stage:
    """Something to be measured.

    Attributes:
        run: is measured.
        before: must run first, outside the clock.
    """

    name: str
    run: Callable[[], object]
    before: Callable[[], object] = lambda: None

    @property
    def training(self) -> bool:
        """Whether it is part of a training step; otherwise the model answers."""
        return self.name in _STEP


@dataclass(frozen=True, slots=True)
class Row:
    """A stage as it was measured: median seconds, operations, peak bytes."""

    seconds: float
    operations: int
    memory: int


@dataclass(slots=True)
class Measured:
    """All stages, and the rates of matrix products (operations a second) between them."""

    rows: dict[str, Row] = field(default_factory=dict)
    rates: list[float] = field(default_factory=list)


def seconds(run: Callable[[], object], device: torch.device) -> float:
    """Return the wall time of a call, until the device has done it."""
    _wait(device)
    start = time.perf_counter()
    run()
    _wait(device)
    return time.perf_counter() - start


def peak_memory(run: Callable[[], object], device: torch.device) -> int:
    """Return the peak bytes during a call: tensors on a GPU, or of this process (Linux)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        run()
        _wait(device)
        return torch.cuda.max_memory_allocated(device)
    Path("/proc/self/clear_refs").write_text("5")
    run()
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def operations(run: Callable[[], object]) -> int:
    """Return the floating point operations of a call; attention is counted as its products."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops())


def matmul_rate(device: torch.device, repeats: int = 5) -> float:
    """Return the best rate of a matrix product, bf16 on a GPU and fp32 elsewhere."""
    gpu = device.type == "cuda"
    size, dtype = (8192, torch.bfloat16) if gpu else (1024, torch.float32)
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return 2 * size**3 / min(seconds(lambda: left @ right, device) for _ in range(repeats))


def stages(one: Subject) -> list[Stage]:
    """Return the stages of a training step and of answers, each to be run in this order."""
    features: list[ImageFeatures] = []
    losses: list[Tensor] = []

    def encode() -> None:
        features[:] = [one.encode()]

    def forward() -> None:
        losses[:] = [one.loss(features[0])]

    def backward() -> None:
        losses.pop().backward()  # type: ignore[no-untyped-call]
        one.update()

    def answer(beams: int) -> Callable[[], None]:
        asked = one.asked()

        def run() -> None:
            with arithmetic(one.config.execution, one.model.device):
                generate(one.model, asked, features[0], ANSWER_TOKENS, beams)

        return run

    return [
        Stage("encoders", encode),
        Stage("forward", forward),
        Stage("backward, optimiser", backward, forward),
        Stage("greedy answer", answer(1)),
        Stage("answer, 4 beams", answer(4)),
    ]


def measure(one: Subject, rounds: int) -> Measured:
    """Measure all stages of a model, and their sum as a training step."""
    device, found = one.model.device, Measured()
    with torch.no_grad():  # an answer of random weights must not end before the limit
        one.model.language.lm_head.weight[one.model.ids.end] = 0
    for stage in stages(one):
        one.model.train(stage.training)
        if not stage.training:  # the counter cannot follow weights that ask for gradients here
            one.model.requires_grad_(False)
        flops = counted(one, stage)
        memory = peak_memory(lambda stage=stage: (stage.before(), stage.run()), device)  # type: ignore[misc]
        took = []
        for _ in range(rounds):
            found.rates.append(matmul_rate(device))
            stage.before()
            took.append(seconds(stage.run, device))
        found.rows[stage.name] = Row(statistics.median(took), flops, memory)
    step = [found.rows[name] for name in _STEP]
    found.rows["training step"] = Row(
        sum(row.seconds for row in step),
        sum(row.operations for row in step),
        max(row.memory for row in step),
    )
    return found


def counted(one: Subject, stage: Stage) -> int:
    """Count a stage's operations, without those that checkpointing does a second time."""
    execution = one.model.execution
    one.model.execution = replace(execution, activation_checkpointing=False)
    try:
        before = operations(stage.before)
        return operations(lambda: (stage.before(), stage.run())) - before
    finally:
        one.model.execution = execution


def table(one: Subject, measured: Measured, rounds: int) -> str:
    """Return the measurements as Markdown."""
    peak, lowest = max(measured.rates), min(measured.rates)
    gpu = one.model.device.type == "cuda"
    count = sum(weight.numel() for weight in one.model.parameters())
    pairs = "one pair" if one.pairs == 1 else f"{one.pairs} pairs"
    lines = [
        f"{count / 1e6:,.1f}M parameters, {pairs}, {one.config.execution.precision}, "
        f"{ANSWER_TOKENS} new tokens an answer (prefill included); medians of {rounds}. "
        f"{'bf16' if gpu else 'fp32'} matrix product: {peak / 1e9:,.1f} GFLOP/s at best, "
        f"{lowest / 1e9:,.1f} at worst between the measurements. Operations that activation "
        "checkpointing does a second time are not counted.",
        "",
        f"| | seconds | GFLOP | MFU | peak memory, {'GPU' if gpu else 'process'} (MB) |",
        "|---|---|---|---|---|",
    ]
    for name, row in measured.rows.items():
        used = row.operations / row.seconds / peak
        lines.append(
            f"| {name} | {row.seconds:.3g} | {row.operations / 1e9:,.1f} | {used:.0%} "
            f"| {row.memory / 1e6:,.0f} |"
        )
    return "\n".join(lines) + "\n"


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
