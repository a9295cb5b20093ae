"""How numbers are stored and multiplied: fp32, or bf16 where its rounding does not matter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from calico.config.calico import ExecutionConfig
from calico.model.calico import Calico
from calico.model.quantized import quantized_weights


@contextmanager
def arithmetic(execution: ExecutionConfig, device: torch.device) -> Iterator[None]:
    """Compute inside the `with` block in the configured precision.

    With "bf16" products are taken in bf16; norms, softmax and losses stay in fp32. With "fp32"
    convolutions on a GPU are exact as well.
    """
    # Autocast and not a cast of the whole model: that would break on constants that are made in
    # fp32, and would round the position code in SAM's prompt encoder.
    cudnn = torch.backends.cudnn
    rounded = cudnn.allow_tf32
    # torch rounds the inputs of convolutions on a GPU to 10 bits unless set otherwise.
    cudnn.allow_tf32 = rounded and execution.precision != "fp32"
    try:
        with torch.autocast(device.type, torch.bfloat16, enabled=execution.precision == "bf16"):
            yield
    finally:
        cudnn.allow_tf32 = rounded


def store(model: Calico, execution: ExecutionConfig) -> Calico:
    """Store frozen weights in bf16 where configured, in place; trained ones stay in fp32."""
    # An update is often smaller than half a bf16 step of its weight and would be rounded away:
    # trained weights need fp32. Batch norms of a convolutional stem stay as well, because their
    # statistics are fp32 buffers, and buffers are not cast.
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    exact = {id(weight) for module in norms for weight in module.parameters()}
    exact |= quantized_weights(model)
    for name, weight in model.named_parameters():
        if id(weight) in exact:
            continue
        weight.data = weight.data.to(storage_dtype(name, weight.requires_grad, execution))
    return model


def storage_dtype(name: str, trained: bool, execution: ExecutionConfig) -> torch.dtype:
    """Return the dtype that a weight of the model is stored in.

    Args:
        name: of the weight.
        trained: whether training changes it.
        execution: the configured precision.

    Returns:
        torch.float32 or torch.bfloat16.
    """
    # SAM's position code is the sine of coordinates times these frequencies: rounding them would
    # change the code of every position, which the trained decoder relies on.
    exact = trained or name.endswith("positional_embedding")
    return torch.float32 if exact or execution.precision == "fp32" else torch.bfloat16
