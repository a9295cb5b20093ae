"""How numbers are kept and multiplied: fp32, or bf16 where that costs no accuracy that matters."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from calico.config.calico import ExecutionConfig
from calico.model.calico import Calico


@contextmanager
def arithmetic(execution: ExecutionConfig, device: torch.device) -> Iterator[None]:
    """Compute inside the `with` block as configured.

    With "bf16" products are taken in bf16; norms, softmax and losses stay in fp32. Casting the
    whole model instead would break on constants that are made in fp32, and round the code of
    positions in SAM's prompt encoder.
    """
    with torch.autocast(device.type, torch.bfloat16, enabled=execution.precision == "bf16"):
        yield


def store(model: Calico, execution: ExecutionConfig) -> Calico:
    """Keep frozen weights in bf16 where configured, in place; trained ones stay in fp32.

    Buffers and SAM's position frequencies stay as they are: what is computed from them loses its
    meaning in bf16. So do the norms of a convolutional stem, whose statistics are buffers.
    """
    normed = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    exact = {id(weight) for module in normed for weight in module.parameters()}
    for name, weight in model.named_parameters():
        if id(weight) in exact:
            continue
        weight.data = weight.data.to(kept_dtype(name, weight.requires_grad, execution))
    return model


def kept_dtype(name: str, trained: bool, execution: ExecutionConfig) -> torch.dtype:
    """Return the type in which a weight of the model is kept."""
    exact = trained or name.endswith("positional_embedding")
    return torch.float32 if exact or execution.precision == "fp32" else torch.bfloat16
