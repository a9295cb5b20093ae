"""Bytes that training and generation need, from the configuration alone.

Weights, gradients, moments and caches follow from shapes. Activations are the tensors that autograd
saves in a pass on the meta device. Not counted: temporaries of kernels, reserves of the allocator
and the CUDA context.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from calico.config.calico import CalicoConfig
from calico.cost.flops import Workload, meta_features, meta_question, run_language_model
from calico.cost.skeleton import parts, skeleton
from calico.model.calico import Calico
from calico.model.correspondence import AdaptiveModule
from calico.model.precision import storage_dtype
from calico.optim.optimizer import hidden_matrices, moment_count

_FP32 = 4


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes on one device.

    Attributes:
        frozen: frozen weights.
        trained: trained weights, in fp32.
        gradients: of the trained weights.
        moments: of the optimisers.
        language: activations of the language model.
        others: activations of all other parts that gradients pass through, and logits.
        features: of the batch's images.
        cache: keys and values of one sample in generation.
        stored: features of one image on disk: in the precision of the model in a feature cache, in
            half precision in a feature store.
    """

    frozen: int
    trained: int
    gradients: int
    moments: int
    language: int
    others: int
    features: int
    cache: int
    stored: int

    @property
    def training(self) -> int:
        """Bytes of a training step."""
        constant = self.frozen + self.trained + self.gradients + self.moments
        return constant + self.language + self.others + self.features

    @property
    def generation(self) -> int:
        """Bytes of generating one sample."""
        return self.frozen + self.trained + self.cache


def memory(config: CalicoConfig, workload: Workload, batch: int) -> Memory:
    """Count the bytes of a training step and of generating one sample.

    Args:
        config: of the model and its training.
        workload: one sample.
        batch: samples of a step on one device.

    Returns:
        Bytes by use.
    """
    model = skeleton(config)
    weights = {name: weight for part in parts(model) for name, weight in part.weights.items()}
    frozen = trained = 0
    for name, weight in weights.items():
        size = storage_dtype(name, weight.requires_grad, config.execution).itemsize
        if weight.requires_grad:
            trained += weight.numel() * size
        else:
            frozen += weight.numel() * size
    width = torch.bfloat16 if config.execution.precision == "bf16" else torch.float32
    matrices = hidden_matrices(*model.networks())
    moments = moment_count(
        [weight for weight in weights.values() if weight.requires_grad], config.training, matrices
    )
    # Activations have the width of the arithmetic. Autocast does not work on the meta device, so
    # the whole model is cast for the passes below, after its weights were counted.
    model.to(width)
    length = workload.text + workload.images * config.image_tokens
    language = _language(model, config, workload, batch, length, width)
    shapes = meta_features(config, workload.images)
    features = sum(one.numel() for one in (shapes.vision, shapes.semantic, shapes.sam))
    stored_width = width.itemsize if config.training.features == "encode" else 2
    chosen = config.language
    head = chosen.head_size or chosen.hidden_size // chosen.heads
    # A key and a value for each layer, head and token.
    cached = 2 * chosen.layers * (chosen.kv_heads or chosen.heads) * head * length
    return Memory(
        frozen=frozen,
        trained=trained,
        gradients=trained,
        moments=moments * _FP32,
        language=language,
        others=_others(model, config, workload, batch, length, width),
        features=batch * features * _FP32,
        cache=cached * width.itemsize,
        stored=stored_width * features // workload.images,
    )


def saved_bytes(run: Callable[[], object], model: Calico) -> int:
    """Return the bytes that autograd saves for the backward pass of a call, without weights."""
    # By storage: several saved tensors may be views of one, and weights are counted elsewhere.
    weights = {weight.untyped_storage()._cdata for weight in model.parameters()}
    saved: dict[int, Tensor] = {}

    def pack(value: Tensor) -> Tensor:
        storage = value.untyped_storage()._cdata
        if storage not in weights:
            saved.setdefault(storage, value)  # holds the tensor, so that its address is not reused
        return value

    with saved_tensors_hooks(pack, lambda value: value):
        run()
    return sum(value.untyped_storage().nbytes() for value in saved.values())


def _language(
    model: Calico,
    config: CalicoConfig,
    workload: Workload,
    batch: int,
    length: int,
    width: torch.dtype,
) -> int:
    model.language.train()
    size = config.language.hidden_size
    embedded = torch.empty(batch, length, size, device="meta", dtype=width, requires_grad=True)
    whole = saved_bytes(
        lambda: run_language_model(model.language, workload.answer, length, embedded), model
    )
    if not config.execution.activation_checkpointing:
        return whole
    # With checkpointing each layer stores its input, and one layer at a time has all its
    # activations, while it is computed again.
    inputs = config.language.layers * batch * length * size * width.itemsize
    return inputs + whole // config.language.layers


def _others(
    model: Calico,
    config: CalicoConfig,
    workload: Workload,
    batch: int,
    length: int,
    width: torch.dtype,
) -> int:
    images = batch * workload.images
    features = meta_features(config, images).to(torch.device("meta"), width)
    hidden = torch.empty(
        batch, length, config.language.hidden_size, device="meta", dtype=width, requires_grad=True
    )
    states = hidden[:, :1].expand(-1, workload.masks, -1).flatten(0, 1)
    where = torch.zeros(batch * workload.masks, dtype=torch.int64, device="meta")
    places = torch.zeros(
        batch, workload.images * config.image_tokens, dtype=torch.int64, device="meta"
    )

    question = meta_question(config, workload, images)

    def run() -> list[Tensor]:
        made = [model.bridge(features.vision, question)]
        if model.correspondence is not None:
            modules = model.correspondence
            prefill = modules.prepare(features, places, where[:batch], workload.images, question)
            for module in modules.adaptive:
                assert isinstance(module, AdaptiveModule)
                made.append(modules.update(module, model.bridge, hidden, prefill))
        return [*made, model.grounding(states, features.sam, where)]

    # Twice: the logits in fp32, and what the cross-entropy saves of them.
    logits = batch * workload.answer * max(1, config.language.vocabulary) * _FP32
    return saved_bytes(run, model) + 2 * logits


def with_checkpointing(config: CalicoConfig, switched: bool) -> CalicoConfig:
    """Return the configuration with activation checkpointing on or off."""
    execution = replace(config.execution, activation_checkpointing=switched)
    return replace(config, execution=execution)
