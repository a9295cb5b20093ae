"""One update of the weights after another, by one process or several.

A batch is what one update learns from, however many processes share it and in however many parts
each of them takes its share: every part knows the counts of the whole batch, so the parts' losses
add up to the loss of the batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import Dataset

from calico.checkpoints.save_load import trained_weights
from calico.config.calico import CalicoConfig
from calico.dataset.sampler import Purpose, generator
from calico.model.calico import Calico
from calico.model.inputs import TrainingBatch
from calico.model.losses import Counts
from calico.model.precision import arithmetic
from calico.optim.optimizer import build_updater, hidden_matrices
from calico.optim.schedule import rate_factor
from calico.runtime.distributed import like, shard, whole
from calico.training.batches import BatchMaker
from calico.training.state import optimizer_tensors, restore_optimizer
from mixedparts.errors import InputError

_LOSSES = ("total", "text", "mask", "dice")


class StepData(Dataset[list[TrainingBatch]]):
    """What one process learns from in each step.

    Args:
        batches: make batches from a step's number.
        rank, count: this process takes every `count`-th sample from `rank` on.
        most: samples of a part; 0 takes all at once.
    """

    def __init__(self, batches: BatchMaker, rank: int, count: int, most: int) -> None:
        self.batches = batches
        self.rank = rank
        self.count = count
        self.most = most

    def __getitem__(self, step: int) -> list[TrainingBatch]:
        """Return the parts of a step, counted from 0."""
        mine = self.batches.samples(step)[self.rank :: self.count]
        most = self.most or len(mine)
        return [
            self.batches.batch(mine[start : start + most]) for start in range(0, len(mine), most)
        ]


class Trainer:
    """A model with its optimiser.

    Args:
        model: is trained in place.
        config: of the run.
        accelerator: knows the device and the other processes.
    """

    def __init__(self, model: Calico, config: CalicoConfig, accelerator: Accelerator) -> None:
        self.config = config
        self.accelerator = accelerator
        self.model = model.to(accelerator.device)
        self.sharded = config.execution.parallel == "fsdp" and accelerator.num_processes > 1
        self.wrapped: nn.Module = model
        if self.sharded:
            shard(model, accelerator)
        else:
            self.wrapped = accelerator.prepare_model(model)
        self.weights: dict[str, nn.Parameter] = trained_weights(model)
        chosen = config.training
        self.updater = build_updater(
            self.weights,
            chosen.learning_rate,
            chosen,
            hidden_matrices(*model.networks()),
            chosen.rate_factors,
            (accelerator.process_index, accelerator.num_processes),
        )
        self.average: list[Tensor] = []
        if chosen.ema:
            self.average = [weight.detach().clone() for weight in self.weights.values()]

    def step(self, step: int, parts: Sequence[TrainingBatch]) -> dict[str, float]:
        """Take a step, counted from 0; return the losses of its whole batch."""
        chosen, accelerator = self.config.training, self.accelerator
        factor = rate_factor(step, chosen.steps, chosen.warmup_steps, chosen.schedule)
        self.updater.set_rate(chosen.learning_rate * factor)
        counts = self._counts(parts)
        noise = generator(
            chosen.seed, Purpose.NOISE, step, draws=True, part=accelerator.process_index
        )
        sums = torch.zeros(len(_LOSSES), device=accelerator.device)
        for number, part in enumerate(parts):
            torch.manual_seed(int(noise.integers(1 << 62)))
            batch = replace(part.to(accelerator.device), whole=counts)
            with self._synchronised(number == len(parts) - 1):
                with arithmetic(self.config.execution, accelerator.device):
                    losses = self.wrapped(batch)
                # Gradients are averaged over processes, the losses of a batch's parts add up.
                accelerator.backward(losses.total * accelerator.num_processes)
            sums += torch.stack([getattr(losses, name).detach() for name in _LOSSES])
        found = accelerator.reduce(sums, "sum").tolist()
        norm = self.updater.step(chosen.clip)
        if self.average:
            torch._foreach_lerp_(self.average, list(self.weights.values()), 1 - chosen.ema)
        return {**dict(zip(_LOSSES, found, strict=True)), "norm": norm}

    def state(self) -> dict[str, Tensor]:
        """Return what a resumed run needs beside the saved weights; every process calls it."""
        tensors = optimizer_tensors(self.updater, self.weights)
        if self.average:
            raw = {name: whole(value.detach()).clone() for name, value in self.weights.items()}
            tensors |= {f"{name}/raw": value for name, value in raw.items()}
        return tensors

    def restore(self, saved: Mapping[str, Tensor]) -> None:
        """Go on from the state of a checkpoint, whose weights the model has already.

        Raises:
            InputError: something is missing.
        """
        restore_optimizer(self.updater, self.weights, saved)
        if not self.average:
            return
        lacking = [name for name in self.weights if f"{name}/raw" not in saved]
        if lacking:
            raise InputError(f"the saved training state lacks the weights of {lacking[0]}")
        weights = list(self.weights.values())
        self.average = [weight.detach().clone() for weight in weights]  # what was saved
        _fill(weights, [like(saved[f"{name}/raw"], one) for name, one in self.weights.items()])

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Put the average in the place of the weights inside the `with` block, if there is one."""
        weights = list(self.weights.values())
        kept = [weight.detach().clone() for weight in weights] if self.average else []
        _fill(weights, self.average)
        try:
            yield
        finally:
            _fill(weights, kept)

    def _counts(self, parts: Sequence[TrainingBatch]) -> Counts:
        """Return the counts of the whole batch of all processes."""
        mine = Counts(0, 0, 0)
        for part in parts:
            mine += part.counts()
        tensor = torch.tensor(
            [mine.tokens, mine.images, mine.masks], device=self.accelerator.device
        )
        return Counts(*self.accelerator.reduce(tensor, "sum").tolist())

    def _synchronised(self, last: bool) -> AbstractContextManager[None]:
        """Leave gradients to this process until the last part of a batch."""
        if self.sharded:
            self.model.set_requires_gradient_sync(last)  # type: ignore[operator]
            return nullcontext()
        return nullcontext() if last else self.accelerator.no_sync(self.wrapped)


@torch.no_grad()
def _fill(weights: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    """Copy values into weights; none where there are no values."""
    for weight, value in zip(weights, values, strict=bool(values)):
        weight.copy_(value)
