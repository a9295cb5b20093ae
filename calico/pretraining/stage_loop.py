"""The training loop of one stage of pretraining."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from calico.config.calico import PretrainingConfig
from calico.dataset.sampler import Purpose, Sampler, generator
from calico.optim.optimizer import build_updater, hidden_matrices
from calico.optim.schedule import rate_factor
from calico.runtime.distributed import mean_gradients
from calico.runtime.run_log import RunLog
from mixedparts.progress import Progress

Losses = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class StageSpec:
    """The settings of one stage of pretraining.

    Attributes:
        name: for progress and log.
        weights: that are trained.
        networks: are in training mode during the stage. Muon may update the matrices in them;
            heads are not among them.
        size: number of images to sample from.
        batch_size: images of a step, over all processes.
        steps: length of the stage.
        learning_rate: at its peak.
        purpose: separates its random numbers from those of other stages.
        losses: returns the losses of a step from the indices of its batch and the step's random
            numbers; their sum is minimised.
        part: rank of this process, which takes every `parts`-th image of a batch from `part` on.
        parts: number of processes that train the stage; all of them must call `train_stage`.
    """

    name: str
    weights: Iterable[nn.Parameter]
    networks: tuple[nn.Module, ...]
    size: int
    batch_size: int
    steps: int
    learning_rate: float
    purpose: Purpose
    losses: Callable[[Sequence[int], np.random.Generator], Losses]
    part: int = 0
    parts: int = 1


def train_stage(
    stage: StageSpec, settings: PretrainingConfig, progress: Progress, log: RunLog
) -> None:
    """Run one stage to its end.

    Args:
        stage: what is trained, and how.
        settings: of all stages: optimiser, seed, warm-up and clipping.
        progress: is advanced by one for each step.
        log: for the losses.
    """
    weights = list(stage.weights)
    # Names serve only to look up rate factors, which pretraining does not have.
    named = {str(number): weight for number, weight in enumerate(weights)}
    matrices = hidden_matrices(*stage.networks)
    share = (stage.part, stage.parts)
    updater = build_updater(named, stage.learning_rate, settings, matrices, share=share)
    for network in stage.networks:
        network.train()
    sampler = Sampler(stage.size, stage.batch_size, settings.seed, stage.purpose)
    progress.start(f"pretraining {stage.name}", stage.steps, "steps")
    for step in range(stage.steps):
        # Every process augments its images with random numbers of its own, and samples its batch
        # from the order that all share.
        rng = generator(settings.seed, stage.purpose, step, per_step=True, part=stage.part)
        factor = rate_factor(step, stage.steps, settings.warmup_steps, "cosine")
        updater.set_rate(stage.learning_rate * factor)
        batch = sampler.batch(step).tolist()
        losses = stage.losses(batch[stage.part :: stage.parts], rng)
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        # Without DistributedDataParallel, which would have to wrap encoder and head as one module.
        if stage.parts > 1:
            mean_gradients(weights)
        norm = updater.step(settings.clip)
        # Together, so that the program waits for the device once.
        read = torch.stack([value.detach() for value in losses.values()]).tolist()
        values = dict(zip(losses, read, strict=True))
        log.add(stage.name, step + 1, {**values, "norm": norm}, step + 1 == stage.steps)
        progress.advance()
    for network in stage.networks:
        network.eval()
    progress.finish()
