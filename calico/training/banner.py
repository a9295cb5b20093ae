"""Lines that a run prints before its first step: size, devices, samples and memory."""

from __future__ import annotations

from collections.abc import Iterator

from accelerate import Accelerator

from calico.checkpoints.save_load import trained_weights
from calico.optim.optimizer import hidden_matrices, moment_count
from calico.training.setup import Assembled

_FP32 = 4  # bytes: trained weights, gradients and moments


def banner(start: Assembled, accelerator: Accelerator, samples: int) -> Iterator[str]:
    """Yield the lines that describe a run.

    Args:
        start: model and configuration of the run.
        accelerator: its device and processes.
        samples: number of samples of the train split.

    Yields:
        Lines of text.
    """
    config, model = start.config, start.model
    chosen, count = config.training, accelerator.num_processes
    # Rounded up: where processes cannot share a batch evenly, the largest share is printed.
    share = -(-chosen.batch_size // count)
    at_once = min(share, chosen.micro_batch or share)
    parts = f"{count} x {at_once}" + (f", {-(-share // at_once)} times" if share > at_once else "")
    weights = list(model.parameters())
    total = sum(weight.numel() for weight in weights)
    trained = trained_weights(model).values()
    trained_count = sum(weight.numel() for weight in trained)
    moments = moment_count(trained, chosen, hidden_matrices(*model.networks()))
    held = sum(weight.numel() * weight.element_size() for weight in weights)
    epochs = chosen.steps * chosen.batch_size / max(1, samples)
    yield (
        f"{config.name}: {total:,} parameters, {trained_count:,} trained "
        f"({trained_count / max(1, total):.1%})"
    )
    yield (
        f"{accelerator.device.type}, {config.execution.precision}, effective batch "
        f"{chosen.batch_size} ({parts}), {count} process{'es' * (count > 1)}"
        + (f", {config.execution.parallel}" if count > 1 else "")
    )
    yield f"{chosen.steps} steps from step {start.step}, {epochs:.1f} epochs of {samples} samples"
    # `held` counts the weights once; gradients and moments exist for trained ones only.
    needed = held + _FP32 * (trained_count + moments)
    yield (
        f"memory of weights, gradients and optimiser: {needed / 1e9:.2f}"
        " GB a process; with activations: calico-train --dry-run"
    )
