"""A training step on tensors without memory: what is in use when most is.

The step is the model's own: its forward function, autocast, checkpointing, backward pass and
optimisers run on fake tensors (`calico.cost.tracing`). So a change of the model changes the count.

Not counted: work space inside of kernels, the reserve and the fragments of CUDA's allocator, and
the CUDA context. `calico.cost.fitting` keeps a margin for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import nn
from transformers import DynamicCache

from calico.config.calico import CalicoConfig, GenerationConfig, TrainingConfig
from calico.cost.fake_model import (
    AVERAGE,
    BACKWARD,
    ENCODERS,
    GRADIENTS,
    INPUTS,
    LOGITS,
    MASKS,
    MOMENTS,
    UPDATE,
    FakeModel,
)
from calico.cost.workload import Workload
from calico.model.precision import arithmetic
from calico.model.segments import SegStates
from calico.model.vision import ImageInputs
from calico.optim.optimizer import build_updater, hidden_matrices
from calico.processing.encoding_batches import batch_sizes
from calico.processing.images import PARTS, ImageProcessor

_CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of a step at its peak.

    Attributes:
        name: of the phase.
        parts: bytes by part, together those that are in use at the peak.
    """

    name: str
    parts: Mapping[str, int]

    @property
    def total(self) -> int:
        """Bytes in use at the peak."""
        return sum(self.parts.values())


def training_phases(
    config: CalicoConfig, workload: Workload, samples: int, accumulated: bool
) -> tuple[Phase, ...]:
    """Return what a step takes on one device: the passes over one part of a batch, and the update.

    Args:
        config: of the model and its training; `execution` as the step runs.
        workload: one sample.
        samples: computed at once.
        accumulated: whether the batch has further parts, so that gradients of earlier ones exist.

    Returns:
        The passes and the update, without what other phases of a step add.
    """
    execution = replace(config.execution, activation_checkpointing=False, parallel="ddp")
    chosen = config.training
    # Only what changes the weights and their moments, so that other settings find the same model.
    training = TrainingConfig(
        optimizer=chosen.optimizer, rate_factors=chosen.rate_factors, ema=chosen.ema
    )
    shape = replace(config, name="", execution=execution, training=training)
    checkpointing = config.execution.activation_checkpointing
    return _step_of(shape).phases(workload, samples, accumulated, checkpointing)


@lru_cache(maxsize=8)
def _step_of(config: CalicoConfig) -> _FakeStep:
    return _FakeStep(config)


class _FakeStep:
    """A model on fake tensors with its optimiser after the first update.

    Args:
        config: of the model and its training.
    """

    def __init__(self, config: CalicoConfig) -> None:
        self.config = config
        self.fake = FakeModel(config)
        model, live = self.fake.model, self.fake.live
        self.weights = {name: one for name, one in model.named_parameters() if one.requires_grad}
        chosen = config.training
        matrices = hidden_matrices(*model.networks())
        with self.fake.running():
            self.updater = build_updater(self.weights, 1e-3, chosen, matrices, chosen.rate_factors)
            # As every step but the first one finds them.
            with live.labelled(MOMENTS):
                self._zero_gradients()
                self._update()
            with live.labelled(AVERAGE):
                kept = self.weights.values() if chosen.ema else ()
                self.average = [weight.detach().clone() for weight in kept]
        for weight in self.weights.values():
            weight.register_post_accumulate_grad_hook(  # type: ignore[no-untyped-call]
                lambda one: live.relabel(one.grad, GRADIENTS)
            )
        self._found: dict[object, tuple[Phase, ...]] = {}

    def phases(
        self, workload: Workload, samples: int, accumulated: bool, checkpointing: bool
    ) -> tuple[Phase, ...]:
        """Return the passes and the update.

        Args:
            workload: one sample.
            samples: computed at once.
            accumulated: whether gradients of earlier parts exist.
            checkpointing: whether activations of layers are computed again.

        Returns:
            Both phases.
        """
        key = (workload, samples, accumulated, checkpointing)
        if key not in self._found:
            execution = replace(self.config.execution, activation_checkpointing=checkpointing)
            self.fake.model.execution = execution
            with self.fake.running():
                self._found[key] = self._run(workload, samples, accumulated)
        return self._found[key]

    def _run(self, workload: Workload, samples: int, accumulated: bool) -> tuple[Phase, ...]:
        model, live = self.fake.model, self.fake.live
        if accumulated:
            with live.labelled(GRADIENTS):
                self._zero_gradients()
        with live.labelled(INPUTS):
            batch = self.fake.batch(workload, samples)
        model.train()
        live.restart()
        with live.labelled(LOGITS), arithmetic(self.config.execution, _CPU):
            losses = model(batch)
        with live.labelled(BACKWARD):
            losses.total.backward()
        passes = Phase("forward and backward pass", dict(live.peak))
        del losses, batch
        live.restart()
        with live.labelled(UPDATE):
            nn.utils.clip_grad_norm_(self.updater.weights, self.config.training.clip)
            self._update()
        return passes, Phase("update of the weights", dict(live.peak))

    def _zero_gradients(self) -> None:
        for weight in self.weights.values():
            weight.grad = torch.zeros_like(weight)

    def _update(self) -> None:
        for optimiser in (self.updater.adamw, self.updater.muon):
            if optimiser is not None:
                optimiser.step()
        for weight in self.weights.values():
            weight.grad = None


def encoding_phase(config: CalicoConfig) -> Phase:
    """Return what the frozen encoders take for a batch of each on a GPU, without their weights."""
    return _encoding_phase(_with_encoders_only(config))


def _with_encoders_only(config: CalicoConfig) -> CalicoConfig:
    """Return a configuration with the encoders of another one, and the smallest language model."""
    language = replace(
        config.language, vocabulary=8, hidden_size=8, layers=1, heads=1, kv_heads=0, head_size=0,
        mlp_size=8, tuning="frozen", lora_targets=("q_proj",),
    )  # fmt: skip
    layers = (0,) if config.correspondence.layers else ()
    plain = CalicoConfig()
    return replace(
        plain,
        name="",
        vision=config.vision,
        semantic=config.semantic,
        sam=config.sam,
        language=language,
        correspondence=replace(config.correspondence, layers=layers),
        execution=replace(config.execution, quantization="none", parallel="ddp"),
    )


@lru_cache(maxsize=32)
def _encoding_phase(config: CalicoConfig) -> Phase:
    fake = FakeModel(config)
    encoders, live = fake.model.encoders, fake.live
    processor = ImageProcessor(config)
    sizes = batch_sizes(encoders, processor, config.execution, torch.device("cuda"))
    with fake.running():
        with live.labelled(INPUTS):
            pixels = {
                part: torch.empty(size, 3, *processor.shown(part, 1, 1))
                for part, size in sizes.items()
            }
            inputs = ImageInputs(**pixels)
        live.restart()
        with live.labelled(ENCODERS), torch.inference_mode(), arithmetic(config.execution, _CPU):
            # One after the other: each frees what it used.
            for part in PARTS:
                encoders.encode_part(part, inputs)
    # The weights are those of the whole model, which other phases count.
    return Phase("encoding of images", {part: live.peak[part] for part in (INPUTS, ENCODERS)})


def answering_phases(config: CalicoConfig, workload: Workload, samples: int) -> tuple[Phase, Phase]:
    """Return what answering takes: the prefill of prompts, and the decoding of masks.

    Args:
        config: of the model; `execution` as it runs.
        workload: one sample.
        samples: answered at once.

    Returns:
        Both without the keys and values of generated tokens.
    """
    shape = replace(config, name="", training=TrainingConfig(), generation=GenerationConfig())
    return _answering_phases(shape, workload, samples)


@lru_cache(maxsize=32)
def _answering_phases(
    config: CalicoConfig, workload: Workload, samples: int
) -> tuple[Phase, Phase]:
    fake = FakeModel(config)
    model, live, images = fake.model.eval(), fake.live, workload.images
    with fake.running(), torch.inference_mode(), arithmetic(config.execution, _CPU):
        with live.labelled(INPUTS):
            batch = fake.batch(workload, samples)
        prompts = batch.tokens[:, : batch.tokens.shape[1] - workload.answer]
        last = torch.full((samples,), prompts.shape[1] - 1)
        live.restart()
        cache = DynamicCache(config=model.language.config)
        attention = torch.ones_like(prompts)
        hidden = model.hidden_states(
            prompts, batch.features, images, last, attention, cache, batch.questions
        )
        with live.labelled(LOGITS):
            model.language.lm_head(hidden[:, -1])
        prefill = Phase("prefill of the prompts", dict(live.peak))
        del hidden, cache
        count = samples * workload.masks
        states = torch.empty(count, config.language.hidden_size)
        where = torch.arange(count)
        marks = SegStates(states, where // workload.masks, where, where % images)
        live.restart()
        with live.labelled(MASKS):
            model.decode_masks_in_parts(marks, batch.features.sam, images)
        return prefill, Phase("decoding of masks", dict(live.peak))
