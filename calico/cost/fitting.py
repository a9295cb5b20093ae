"""Which settings fit a device, and the largest part of a step that does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from calico.config.calico import ENCODERS, CalicoConfig
from calico.cost.fake_model import ENCODERS as ENCODING
from calico.cost.memory import StepMemory, share_of, step_memory
from calico.cost.workload import Workload

# Cards by their size on the label, in bytes; what a driver reports is up to 8 % more (16 GB of a
# T4 are 15.6e9 bytes with ECC, 80 GB of an H100 are 85e9).
CARDS = {f"{size} GB": size * 10**9 for size in (16, 24, 40, 80)}
# Share of a device that is left free: CUDA's context, work space of kernels, fragments of the
# allocator, and samples that are longer than those that were counted.
MARGIN = 0.1


ONE_IMAGE = dict.fromkeys(ENCODERS, 1)  # `execution.encode_batch` of a small device


def usable(size: int) -> int:
    """Return the bytes of a device that a run may plan with."""
    return int(size * (1 - MARGIN))


@dataclass(frozen=True, slots=True)
class Fit:
    """How a step fits into a number of bytes.

    Attributes:
        micro_batch: samples that are computed at once; 0: not even one fits.
        parts: of the share of a process.
        needed: bytes, with `micro_batch`; with one sample where that does not fit.
        one_image: whether it fits only with encoders that take one image at once.
    """

    micro_batch: int
    parts: int
    needed: int
    one_image: bool = False

    def applied(self, config: CalicoConfig) -> CalicoConfig:
        """Return a configuration with these settings."""
        training = replace(config.training, micro_batch=self.micro_batch)
        execution = config.execution
        if self.one_image:
            execution = replace(execution, encode_batch=ONE_IMAGE)
        return replace(config, training=training, execution=execution)


def fit_step(
    config: CalicoConfig, workload: Workload, rooms: Sequence[int], processes: int = 1
) -> list[Fit]:
    """Return the largest part of a step for each number of bytes.

    Args:
        config: of the model and its training; its own `micro_batch` is not read.
        workload: one sample.
        rooms: bytes that may be used.
        processes: that share a step.

    Returns:
        One for each of `rooms`.
    """
    # At every moment the bytes in use are in proportion to the samples, apart from a constant.
    # Their maximum over all moments is convex, so it lies below the line between two counts: two
    # counts are enough to be sure of every number between them.
    share = share_of(config, processes)
    first = step_memory(config, workload, 1, processes)
    least, most = _passes(first), _passes(step_memory(config, workload, share, processes))
    slope = (most - least) / max(1, share - 1)
    encoding = first.total if first.total > least else 0
    found = []
    for room in rooms:
        fit = _fit(room, share, max(least, encoding), slope, least)
        if not fit.micro_batch and encoding > least and not config.execution.encode_batch:
            execution = replace(config.execution, encode_batch=ONE_IMAGE)
            smaller = step_memory(replace(config, execution=execution), workload, 1, processes)
            fit = replace(_fit(room, share, smaller.total, slope, least), one_image=True)
        found.append(fit)
    return found


def _passes(step: StepMemory) -> int:
    """Return the bytes of the phases that work on a part of the samples."""
    return max(one.total for one in step.phases if ENCODING not in one.parts)


def _fit(room: int, share: int, one: int, slope: float, least: int) -> Fit:
    if one > room:
        return Fit(0, share, one)
    largest = share if slope <= 0 else min(share, 1 + int((room - least) / slope))
    # As few parts as possible, then as even as possible: 80 samples are 3 x 27 and not 30, 30, 20.
    parts = -(-share // largest)
    samples = -(-share // parts)
    return Fit(samples, parts, max(one, int(least + slope * (samples - 1))))
