"""Updates of the weights, by one process or several.

A batch is all samples of one update. Processes share it, and each may take its share in several
parts (gradient accumulation). Every part is given the counts of the whole batch, so the losses of
the parts add up to the loss of the batch, however it is divided.
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
from calico.runtime.sharding import gathered, like, shard
from calico.training.batches import BatchMaker
from calico.training.state import (
    optimizer_tensors,
    random_tensors,
    restore_optimizer,
    restore_random,
)
from mixedparts.errors import InputError

_LOSSES = ("total", "text", "mask", "dice")
_AUXILIARY = "presence"


class StepData(Dataset[list[TrainingBatch]]):
    """The parts of each step's batch that one process takes.

    Args:
        batches: makes batches from a step's number.
        rank: of this process.
        count: number of processes.
        most: greatest number of samples of a part; 0 takes the whole share at once.
    """

    def __init__(self, batches: BatchMaker, rank: int, count: int, most: int) -> None:
        self.batches = batches
        self.rank = rank
        self.count = count
        self.most = most

    def __getitem__(self, step: int) -> list[TrainingBatch]:
        """Return the parts of a step, counted from 0."""
        # Every `count`-th sample: with group_by_length a batch is sorted by length, so all
        # processes get samples of like length and none waits for the one with the longest.
        samples = self.batches.samples(step)
        share = samples[self.rank :: self.count]
        make = self.batches.text_batch if step < self.batches.text_steps else self.batches.batch
        # As many parts in every process, whose shares may differ by one sample: a forward pass of
        # FSDP waits for that of all others.
        largest = -(-len(samples) // self.count)
        most = self.most or largest
        return [
            make(share[start : start + most])
            if start < len(share)
            else without_losses(make(share[:1]))
            for start in range(0, largest, most)
        ]


def without_losses(batch: TrainingBatch) -> TrainingBatch:
    """Return a batch that takes part in a step and changes nothing: no answer, no mask."""
    return replace(
        batch,
        answer=torch.zeros_like(batch.answer),
        masks=batch.masks[:0],
        mask_image=batch.mask_image[:0],
        originals=None,
        presence=None,
    )


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
        self.model = model
        self.sharded = config.execution.parallel == "fsdp"
        self.wrapped: nn.Module = model
        if self.sharded:
            # From wherever the model is: the whole of it may not fit the device.
            shard(model, accelerator)
        else:
            self.wrapped = accelerator.prepare_model(model.to(accelerator.device))
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
        # The moving average of the weights, in the order of `weights`; empty without it.
        self.average: list[Tensor] = []
        if chosen.ema:
            self.average = [weight.detach().clone() for weight in self.weights.values()]

    def step(self, step: int, parts: Sequence[TrainingBatch]) -> dict[str, float]:
        """Take a step, counted from 0, and return the losses of its whole batch and the norm."""
        # Nothing here depends on earlier steps but weights, moments and the average: learning rate
        # and seeds are functions of the step's number, which makes a resumed run exact.
        chosen, accelerator = self.config.training, self.accelerator
        factor = rate_factor(step, chosen.steps, chosen.warmup_steps, chosen.schedule)
        self.updater.set_rate(chosen.learning_rate * factor)
        counts = self._counts(parts)
        noise = generator(
            chosen.seed, Purpose.NOISE, step, per_step=True, part=accelerator.process_index
        )
        names = (*_LOSSES, _AUXILIARY) if self.config.loss.presence else _LOSSES
        sums = torch.zeros(len(names), device=accelerator.device)
        for number, part in enumerate(parts):
            # Of dropout and loss points; a process has its own, or all would drop the same units.
            torch.manual_seed(int(noise.integers(1 << 62)))
            batch = replace(part.to(accelerator.device), whole=counts)
            with self._synchronised(number == len(parts) - 1):
                with arithmetic(self.config.execution, accelerator.device):
                    losses = self.wrapped(batch)
                # DDP and FSDP average gradients over processes, but the losses of parts have to
                # add up: multiplied by the number of processes, the average is the sum.
                accelerator.backward(losses.total * accelerator.num_processes)
            sums += torch.stack([getattr(losses, name).detach() for name in names])
        totals = accelerator.reduce(sums, "sum").tolist()
        norm = self.updater.step(chosen.clip)
        self._follow()
        return {**dict(zip(names, totals, strict=True)), "norm": norm}

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the average of the weights towards them, if there is one."""
        # Without gradients: the average would remember the weights of all steps.
        if self.average:
            decay = self.config.training.ema
            torch._foreach_lerp_(self.average, list(self.weights.values()), 1 - decay)

    def state(self) -> dict[str, Tensor]:
        """Return what a resumed run needs beside the saved weights; every process calls it.

        Returns:
            The tensors in the first process, which writes them; none in the others.
        """
        first = self.accelerator.is_main_process
        tensors = optimizer_tensors(self.updater, self.weights, first)
        # With an average, that is what a checkpoint has as its weights. The weights that training
        # continues with are saved here.
        if self.average:
            raw = gathered({f"{name}/raw": one for name, one in self.weights.items()}, first)
            tensors |= {name: one.clone() for name, one in raw.items()}
        if first:
            tensors |= random_tensors(self.accelerator.device)
        return tensors

    def restore(self, saved: Mapping[str, Tensor]) -> None:
        """Set moments, random state and weights to those of a checkpoint.

        The model has the weights of the checkpoint already.

        Raises:
            InputError: a moment, the random state or a weight is missing.
        """
        restore_optimizer(self.updater, self.weights, saved)
        restore_random(saved, self.accelerator.device)
        if not self.average:
            return
        lacking = [name for name in self.weights if f"{name}/raw" not in saved]
        if lacking:
            raise InputError(f"the saved training state lacks the weights of {lacking[0]}")
        weights = list(self.weights.values())
        # The checkpoint's weights are the average; what was updated is under `name/raw`.
        self.average = [weight.detach().clone() for weight in weights]
        _fill(weights, [like(saved[f"{name}/raw"], one) for name, one in self.weights.items()])

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Replace the weights by their average inside the `with` block, if there is one."""
        weights = list(self.weights.values())
        raw = [weight.detach().clone() for weight in weights] if self.average else []
        _fill(weights, self.average)
        try:
            yield
        finally:
            _fill(weights, raw)

    def _counts(self, parts: Sequence[TrainingBatch]) -> Counts:
        """Return the counts of the whole batch of all processes."""
        # Needed before the first forward pass: each part divides its losses by them.
        own = Counts(0, 0, 0)
        for part in parts:
            own += part.counts()
        if self.accelerator.num_processes == 1:
            return own
        counted = [own.tokens, own.images, own.masks, own.asked]
        tensor = torch.tensor(counted, device=self.accelerator.device)
        return Counts(*self.accelerator.reduce(tensor, "sum").tolist())

    def _synchronised(self, last: bool) -> AbstractContextManager[None]:
        """Exchange gradients between processes only at the last part of a batch."""
        if self.sharded:
            self.model.set_requires_gradient_sync(last)  # type: ignore[operator]
            return nullcontext()
        return nullcontext() if last else self.accelerator.no_sync(self.wrapped)


@torch.no_grad()
def _fill(weights: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    """Copy values into weights, in place; do nothing where there are no values."""
    # In place, because the optimiser and DDP hold these very tensors.
    for weight, value in zip(weights, values, strict=bool(values)):
        weight.copy_(value)
