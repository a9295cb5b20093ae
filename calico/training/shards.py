"""Gradients of a batch that is taken in shards, by one process or by two.

The losses of the shards are averaged. Each shard draws its random numbers from its own seed, and
the sum of two gradients does not depend on who computed them, so the weights after a step are the
same bit for bit, however many processes there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from calico.config import CalicoConfig
from calico.data import BuiltDataset
from calico.model.assembly import build_model
from calico.model.calico import Calico
from calico.model.checkpoints import trained_weights
from calico.processing import ImageProcessor
from calico.prompts import PromptEncoder
from calico.tokenizer import token_ids
from calico.training.batches import BatchMaker
from calico.training.features import FeatureStore
from calico.training.workers import beside, receive

Values = dict[str, float]


@dataclass(frozen=True, slots=True)
class Material:
    """Everything that batches are made of; small enough to be pickled.

    Attributes:
        build: folder of the dataset.
        features: folder of the feature store.
    """

    config: CalicoConfig
    tokenizer: PreTrainedTokenizerBase
    build: Path
    features: Path

    def batches(self) -> BatchMaker:
        """Return the maker of batches."""
        config = self.config
        return BatchMaker(
            BuiltDataset(self.build).pairs("train"),
            FeatureStore.open(self.features),
            PromptEncoder(self.tokenizer, config.prompt, config.qformer.queries),
            ImageProcessor(config),
            config,
        )


class ShardRunner:
    """Computes the gradients of single shards into the weights' `grad`."""

    def __init__(self, model: Calico, batches: BatchMaker, config: CalicoConfig) -> None:
        self.model = model
        self.batches = batches
        self.seed = config.training.seed
        self.shards = config.training.shards

    def run(self, step: int, shard: int) -> Values:
        """Add the gradient of a shard's share of the loss; return its losses by name."""
        torch.manual_seed((self.seed << 40) + step * self.shards + shard)
        losses = self.model(self.batches.batch(step, shard, self.shards))
        (losses.total / self.shards).backward()
        names = ("total", "text", "mask", "dice")
        return {name: getattr(losses, name).item() / self.shards for name in names}


class Alone:
    """Takes all shards one after another."""

    def __init__(self, runner: ShardRunner) -> None:
        self.runner = runner

    def gradients(self, step: int) -> Values:
        """Fill the weights' `grad` for a step; return the mean losses."""
        return _added([self.runner.run(step, shard) for shard in range(self.runner.shards)])


class Pair:
    """Takes the even shards and leaves the odd ones to a second process.

    Args:
        runner: of this process.
        weights: trained weights, in shared memory.
        theirs: the other process writes its gradients here, flat, in the order of the weights.
        connection: to the other process.
    """

    def __init__(
        self,
        runner: ShardRunner,
        weights: Sequence[nn.Parameter],
        theirs: Tensor,
        connection: Connection[Any, Any],
    ) -> None:
        self.runner = runner
        self.weights = weights
        self.theirs = theirs
        self.connection = connection

    def gradients(self, step: int) -> Values:
        """Fill the weights' `grad` for a step; return the mean losses."""
        self.connection.send(step)
        own = [self.runner.run(step, shard) for shard in range(0, self.runner.shards, 2)]
        other = receive(self.connection)
        with torch.no_grad():
            for weight, gradient in zip(
                self.weights, _views(self.theirs, self.weights), strict=True
            ):
                if weight.grad is not None:
                    weight.grad += gradient
        return _added([*own, other])


@contextmanager
def shard_team(model: Calico, material: Material, processes: int) -> Iterator[Alone | Pair]:
    """Yield who computes gradients: this process alone, or with a second one beside it.

    Args:
        model: is trained in place.
        material: of the batches.
        processes: 2 uses a second process where a batch has several shards.
    """
    runner = ShardRunner(model, material.batches(), material.config)
    if processes < 2 or material.config.training.shards < 2:
        yield Alone(runner)
        return
    everything = list(model.parameters())
    weights = list(trained_weights(model).values())
    shared, theirs = _shared(everything), _shared(weights)
    _move(everything, shared)
    threads = torch.get_num_threads()
    share = max(1, threads // 2)
    torch.set_num_threads(share)
    try:
        with beside(_other, material, shared, theirs, threads=share) as connection:
            yield Pair(runner, weights, theirs, connection)
    finally:
        torch.set_num_threads(threads)


def _other(
    connection: Connection[Any, Any], material: Material, shared: Tensor, theirs: Tensor
) -> None:
    """Compute the odd shards of every step that is asked for."""
    config = material.config
    model = build_model(config, token_ids(material.tokenizer, config.prompt.max_images))
    for weight, value in zip(
        model.parameters(), _views(shared, list(model.parameters())), strict=True
    ):
        weight.data = value
    model.train()
    weights = list(trained_weights(model).values())
    runner = ShardRunner(model, material.batches(), config)
    while True:
        step = connection.recv()
        losses = _added([runner.run(step, shard) for shard in range(1, runner.shards, 2)])
        for weight, place in zip(weights, _views(theirs, weights), strict=True):
            if weight.grad is not None:
                place.copy_(weight.grad)
                weight.grad = None
        connection.send(losses)


def _shared(weights: Sequence[Tensor]) -> Tensor:
    """Return a flat tensor in shared memory, as long as all weights together."""
    flat = torch.zeros(sum(weight.numel() for weight in weights))
    return flat.share_memory_()  # type: ignore[no-any-return, no-untyped-call]


def _move(weights: Sequence[nn.Parameter], shared: Tensor) -> None:
    """Let weights live in a flat tensor, values unchanged."""
    for weight, place in zip(weights, _views(shared, weights), strict=True):
        place.copy_(weight.data)
        weight.data = place


def _views(flat: Tensor, weights: Sequence[Tensor]) -> Iterator[Tensor]:
    start = 0
    for weight in weights:
        yield flat[start : start + weight.numel()].view(weight.shape)
        start += weight.numel()


def _added(shards: Sequence[Values]) -> Values:
    return {name: sum(values[name] for values in shards) for name in shards[0]}
