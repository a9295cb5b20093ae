"""Frozen weights of the language model in 8 or 4 bits, by bitsandbytes.

Quantised are the Linears inside the layers of the language model (attention and MLP), which hold
nearly all of its weights. Embeddings, the output layer, norms, everything that is trained, and all
other parts of the model stay as they are.

- "nf4": 4-bit NormalFloat in blocks of 64 weights with scales that are quantised too (QLoRA,
  arXiv 2305.14314), 4.13 bits a weight.
- "int8": a scale for each row, the weights of LLM.int8() (arXiv 2208.07339). Products are those of
  the dequantised weights. bitsandbytes' own function for training (`MatMul8bitLt`) holds the input
  of every Linear until the backward pass, which activation checkpointing cannot free.
"""

from __future__ import annotations

import logging
import math
from functools import lru_cache
from types import ModuleType
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from mixedparts.errors import missing_package

Kind = Literal["none", "int8", "nf4"]
BLOCK = 64  # weights that share a scale in nf4
SCALES_BLOCK = 256  # of these scales share one in turn


def bitsandbytes() -> ModuleType:
    """Return the library.

    Raises:
        EnvironmentFault: it is not installed.
    """
    quiet_bitsandbytes()
    try:
        import bitsandbytes as library
    except ImportError as error:
        fault = missing_package(error, "execution.quantization", "quantized")
        raise fault or error from error
    return library


def quiet_bitsandbytes() -> None:
    """Keep the library from warning at its import, about a kernel for CPUs that is optional."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


def quantizable(model: nn.Module) -> dict[str, nn.Linear]:
    """Return the Linears of a language model that quantisation is for, by name."""
    return {
        name: module
        for name, module in model.named_modules()
        if name.startswith("model.layers.")
        and isinstance(module, nn.Linear)
        and "lora_" not in name
    }


class Dequantized(Protocol):
    """A layer whose weight is made when it is needed."""

    def dequantized(self, dtype: torch.dtype) -> Tensor:
        """Return the weight (out, in) in a floating-point type."""
        ...


class QuantizedLinear(nn.Linear):
    """A frozen Linear whose weight is stored in 8 or 4 bits: (..., in) -> (..., out).

    bitsandbytes' own modules keep scales outside of parameters and buffers. Here all of it are
    parameters, so that moving, saving and loading a model need no special code.

    Args:
        linear: gives sizes and bias.
        weight: (out, in) float.
        kind: "int8" or "nf4".
    """

    def __init__(self, linear: nn.Linear, weight: Tensor, kind: Kind) -> None:
        super().__init__(linear.in_features, linear.out_features, bias=False, device="meta")
        self.kind = kind
        self.bias = linear.bias
        quantize = _nf4 if kind == "nf4" else _int8
        # A GPU takes seconds for the weights of 7B, two CPU cores take ten minutes.
        where = torch.device("cuda") if torch.cuda.is_available() else weight.device
        packed, scales = quantize(weight.detach().to(where))
        self.weight = _frozen(packed.to(weight.device))
        for name, value in scales.items():
            self.register_parameter(f"quantized_{name}", _frozen(value.to(weight.device)))

    def dequantized(self, dtype: torch.dtype) -> Tensor:
        """Return the weight (out, in) in a floating-point type."""
        if self.kind == "nf4":
            state = self._state(dtype)
            whole: Tensor = bitsandbytes().functional.dequantize_4bit(self.weight, state)
            return whole
        # Integers up to 127 are exact in bf16, so the product is the only rounding.
        scale = self.get_parameter("quantized_scale")
        return self.weight.to(dtype).mul_(scale[:, None])

    def forward(self, input: Tensor) -> Tensor:
        """Return the product with the dequantised weight, in the dtype of the arithmetic."""
        kind = input.device.type
        if torch.is_autocast_enabled(kind):
            input = input.to(torch.get_autocast_dtype(kind))
        bias = None if self.bias is None else self.bias.to(input.dtype)
        if self.kind == "nf4":
            state = self._state(input.dtype)
            product: Tensor = bitsandbytes().matmul_4bit(
                input, self.weight.t(), bias=bias, quant_state=state
            )
            return product
        return FrozenProduct.apply(input, bias, self)  # type: ignore[no-any-return]

    def extra_repr(self) -> str:
        """Return the text between the brackets of the module's description."""
        return f"{self.in_features}, {self.out_features}, {self.kind}"

    def _state(self, dtype: torch.dtype) -> Any:
        """Return the state of nf4 as bitsandbytes passes it around."""
        library = bitsandbytes().functional
        code, scales_code = _codes(self.weight.device)
        return library.QuantState(
            absmax=self.quantized_scale,
            shape=torch.Size((self.out_features, self.in_features)),
            code=code,
            blocksize=BLOCK,
            quant_type="nf4",
            dtype=dtype,
            offset=self.quantized_offset,
            state2=library.QuantState(
                absmax=self.quantized_scale_of_scale,
                code=scales_code,
                blocksize=SCALES_BLOCK,
                dtype=torch.float32,
            ),
        )


class FrozenProduct(torch.autograd.Function):
    """The product with a frozen weight that both passes dequantise; neither input is kept."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, bias: Tensor | None, layer: Dequantized) -> Tensor:
        """Multiply.

        Args:
            ctx: keeps the layer.
            input: (..., in) float.
            bias: (out,) float, frozen.
            layer: of the weight.

        Returns:
            (..., out) in the dtype of the input.
        """
        ctx.layer = layer
        return F.linear(input, layer.dequantized(input.dtype), bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, None, None]:
        """Return the gradient of the input; weight and bias have none."""
        (gradient,) = gradients
        return gradient @ ctx.layer.dequantized(gradient.dtype), None, None


def quantize_linears(model: PreTrainedModel, kind: Kind) -> None:
    """Quantise the Linears in the layers of a language model, in place; "none" changes nothing."""
    if kind == "none":
        return
    for name, linear in quantizable(model).items():
        replace_linear(model, name, QuantizedLinear(linear, linear.weight, kind))


def replace_linear(model: nn.Module, name: str, linear: nn.Module) -> None:
    """Put another module in the place of one.

    Args:
        model: that contains it.
        name: of the module.
        linear: takes its place.
    """
    owner, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(owner), leaf, linear)


def is_quantized(model: nn.Module) -> bool:
    """Return whether a model has quantised weights."""
    return any(isinstance(module, QuantizedLinear) for module in model.modules())


def quantized_weights(model: nn.Module) -> set[int]:
    """Return the `id` of every weight and scale of quantised Linears, which must not be cast."""
    layers = [module for module in model.modules() if isinstance(module, QuantizedLinear)]
    return {
        id(value)
        for module in layers
        for name, value in module.named_parameters(recurse=False)
        if name != "bias"
    }


def dequantized_copy(layer: QuantizedLinear, dtype: torch.dtype) -> nn.Linear:
    """Return a plain frozen Linear with the dequantised weight."""
    linear = nn.Linear(layer.in_features, layer.out_features, bias=False, device="meta")
    linear.weight = nn.Parameter(layer.dequantized(torch.float32).to(dtype), requires_grad=False)
    linear.bias = layer.bias
    return linear


def quantized_bytes(rows: int, columns: int, kind: Kind) -> int:
    """Count the bytes of a quantised weight.

    Args:
        rows: out.
        columns: in.
        kind: "int8" or "nf4".

    Returns:
        Bytes of the packed weight and its scales.
    """
    count = rows * columns
    if kind == "int8":
        return count + 4 * rows
    blocks = math.ceil(count / BLOCK)
    return math.ceil(count / 2) + blocks + 4 * math.ceil(blocks / SCALES_BLOCK) + 4


def _nf4(weight: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    library = bitsandbytes().functional
    packed, state = library.quantize_4bit(
        weight.contiguous(), blocksize=BLOCK, compress_statistics=True, quant_type="nf4"
    )
    return packed, {
        "scale": state.absmax,
        "offset": state.offset,
        "scale_of_scale": state.state2.absmax,
    }


def _int8(weight: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    # The library takes float16 only. Its `SCB` is the largest magnitude of a row.
    packed, largest, _ = bitsandbytes().functional.int8_vectorwise_quant(weight.to(torch.float16))
    return packed, {"scale": largest / 127}


@lru_cache(maxsize=16)
def _codes(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the tables of nf4's 16 values and of the 256 values of its scales."""
    library = bitsandbytes().functional
    return library.get_4bit_type("nf4", device=device), library.create_dynamic_map().to(device)


def _frozen(value: Tensor) -> nn.Parameter:
    return nn.Parameter(value, requires_grad=False)
