"""FSDP2: each process stores a part of the weights, of their gradients and of their moments.

Functions that say "every process calls it" communicate: if one process did not call them, the
others would wait for it.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping

import torch
from accelerate import Accelerator
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from calico.model.calico import Calico
from calico.model.language import decoder_layers
from mixedparts.errors import UsageError


def shard(model: Calico, accelerator: Accelerator) -> None:
    """Shard the weights of a model over the processes, in place; every process calls it.

    The model may be on the CPU: one group of weights at a time is brought to the device, and this
    process's part of it stays there. All weights of a group have one dtype, so that a frozen weight
    in bf16 and a trained one in float32 are never sent in one message.

    The image encoders stay whole in every process. They run outside of the model's forward pass,
    as many times as this process has new images, and gathering a weight needs all processes.

    Args:
        model: with its weights in the dtypes that they are trained in.
        accelerator: knows the device and the number of processes.

    Raises:
        UsageError: the device or the dtype of a weight cannot be sharded.
    """
    device = accelerator.device
    _check(model, device)
    # It warns of operations in place on the outputs of modules; nothing here has any.
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor")
    _join_group(device)
    mesh = init_device_mesh(device.type, (accelerator.num_processes,))
    # Each layer of the language model is a unit of its own: it is gathered before its forward and
    # backward pass and freed after them, so only a few of 32 layers are complete at a time.
    for layer in decoder_layers(model.language):
        # Adapters first: a unit takes what the units inside of it have left.
        for module in _of_another_dtype(layer):
            fully_shard(module, mesh=mesh)
        fully_shard(layer, mesh=mesh)
    for module in _frozen_units(model):
        fully_shard(module, mesh=mesh)
    # The rest is one unit, that of the root: all trained weights outside of the layers. The model's
    # code reads them outside of the modules' own forward (queries, CEM, CAMs), when FSDP would have
    # freed them. So this unit stays gathered from the forward to the end of the backward pass.
    whole_ones = set(_whole_weights(model))
    fully_shard(model, mesh=mesh, reshard_after_forward=False, ignored_params=whole_ones)
    for weight in whole_ones:
        weight.data = weight.data.to(device)


def end_lone_group(accelerator: Accelerator) -> None:
    """End the group that `shard` made for a single process, so that a later run starts anew."""
    if accelerator.num_processes == 1 and distributed.is_initialized():
        distributed.destroy_process_group()


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor in full that may be sharded over processes; every process calls it."""
    full: Tensor = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return full


@torch.no_grad()
def gathered(tensors: Mapping[str, Tensor], keep: bool) -> dict[str, Tensor]:
    """Return tensors in full in the processes that keep them; every process calls it.

    Args:
        tensors: by name, of the same names in the same order in all processes.
        keep: whether this process gets them.

    Returns:
        The tensors by name, without a graph; empty where they are not kept. Those that were sharded
        are on the CPU, the others are the very tensors.
    """
    # One at a time, and to the CPU at once: the device never holds more than one in full.
    kept: dict[str, Tensor] = {}
    for name, value in tensors.items():
        full = whole(value.detach())
        if keep:
            kept[name] = full.cpu() if isinstance(value, DTensor) else full
    return kept


def like(value: Tensor, weight: Tensor) -> Tensor:
    """Return a copy of a full tensor with the dtype, device and layout of a weight of its shape."""
    # Every process has the full value, from a checkpoint that all of them read, and cuts its own
    # shard out of it: no message is sent.
    if isinstance(weight, DTensor):
        mesh, full = weight.device_mesh, value.to(weight.dtype)
        value = distribute_tensor(full, mesh, weight.placements, src_data_rank=None)
    # Copied: a shard is cut as a view, which would keep the full value in memory. And in the order
    # of the weight, because CUDA's fused optimisers refuse moments in another one.
    return torch.empty_like(weight, requires_grad=False).copy_(value)


def _check(model: Calico, device: torch.device) -> None:
    """Refuse what FSDP2 cannot shard, by one message."""
    if device.type not in ("cpu", "cuda"):
        raise UsageError(
            f"execution.parallel: fsdp shards over CUDA devices or CPUs, not over {device.type}",
            "Set execution.parallel to ddp.",
        )
    for name, weight in model.named_parameters():
        if not weight.is_floating_point():
            raise UsageError(
                f"execution.parallel: fsdp shards fp32 and bf16; {name} is {weight.dtype}",
                "Set execution.parallel to ddp, or load the model without quantisation.",
            )


def _join_group(device: torch.device) -> None:
    """Make a group of one where there is none: a single process is sharded as several are."""
    if not distributed.is_initialized():
        backend = "nccl" if device.type == "cuda" else "gloo"
        store = distributed.HashStore()  # type: ignore[attr-defined]  # it is public
        distributed.init_process_group(backend, store=store, rank=0, world_size=1)


def _of_another_dtype(layer: nn.Module) -> list[nn.Module]:
    """Return the modules inside a layer whose weights have not the dtype of most of its numbers."""
    sizes: Counter[torch.dtype] = Counter()
    for weight in layer.parameters():
        sizes[weight.dtype] += weight.numel()
    ((most, _),) = sizes.most_common(1)
    holders = ((module, list(module.parameters(recurse=False))) for module in layer.modules())
    return [module for module, own in holders if own and all(one.dtype != most for one in own)]


def _outside_layers(model: Calico) -> dict[str, nn.Parameter]:
    """Return the weights outside the layers of the language model and the image encoders."""
    inside = {id(weight) for weight in decoder_layers(model.language).parameters()}
    inside |= {id(weight) for weight in model.encoders.parameters()}
    return {name: one for name, one in model.named_parameters() if id(one) not in inside}


def _frozen_units(model: Calico) -> Iterator[nn.Module]:
    """Yield the modules outside of the layers that are frozen, in another dtype than the root's.

    The model runs them only as modules, so that they may be gathered for their own passes.
    """
    language, root = model.language, _root_dtype(model)
    owners = Counter(
        id(weight) for module in model.modules() for weight in module.parameters(recurse=False)
    )
    candidates: list[nn.Module] = [language.model.embed_tokens, language.lm_head]
    candidates += [*model.bridge.children(), *model.grounding.children()]
    for module in candidates:
        own = list(module.parameters())
        # A tied weight belongs to two modules, and a unit would take it from the other one.
        tied = any(owners[id(weight)] > 1 for weight in own)
        dtypes = {weight.dtype for weight in own}
        frozen = not any(weight.requires_grad for weight in own)
        if own and frozen and not tied and len(dtypes) == 1 and root not in dtypes:
            yield module


def _whole_weights(model: Calico) -> Iterator[nn.Parameter]:
    """Yield the weights that stay whole in every process: the encoders', and frozen left-overs."""
    yield from model.encoders.parameters()
    root = _root_dtype(model)
    for weight in _outside_layers(model).values():
        sharded = isinstance(weight, DTensor)
        if not sharded and not weight.requires_grad and weight.dtype != root:
            yield weight


def _root_dtype(model: Calico) -> torch.dtype:
    """Return the dtype of the trained weights outside of the layers."""
    trained = (one.dtype for one in _outside_layers(model).values() if one.requires_grad)
    return next(trained, torch.float32)
