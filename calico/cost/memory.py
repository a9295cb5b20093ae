"""Bytes that training and answering need on one device, from the configuration alone.

The passes of a step are run on fake tensors (`calico.cost.step`). What a run has beside them is
added here: features of the step's other samples, buffers of processes that work together, keys and
values of generation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from calico.config.calico import CalicoConfig
from calico.cost.fake_model import (
    AVERAGE,
    BACKWARD,
    ENCODERS,
    FROZEN,
    GRADIENTS,
    IMAGE_SIDE,
    INPUTS,
    LANGUAGE,
    LOGITS,
    MASKS,
    MOMENTS,
    TRAINED,
    UPDATE,
)
from calico.cost.flops import meta_features
from calico.cost.skeleton import skeleton
from calico.cost.step import Phase, answering_phases, encoding_phase, training_phases
from calico.cost.workload import Workload
from calico.model.language import decoder_layers
from calico.model.precision import storage_dtype

FEATURES = "features of the step's other samples"
BUCKETS = "buckets of gradients that processes exchange (DDP)"
GATHERED = "weights that are gathered for a pass (FSDP)"
CACHE = "keys and values"
# In the order of the tables.
PARTS = (
    *(FROZEN, TRAINED, AVERAGE, GRADIENTS, BUCKETS, GATHERED, MOMENTS, FEATURES, INPUTS),
    *(ENCODERS, IMAGE_SIDE, LANGUAGE, MASKS, LOGITS, BACKWARD, UPDATE, CACHE),
)
_CONSTANT = (FROZEN, TRAINED, AVERAGE, MOMENTS)
_FP32 = 4


@dataclass(frozen=True, slots=True)
class InPhases:
    """Bytes of work that goes through phases on one device.

    Attributes:
        phases: each with all that is in use at its peak.
    """

    phases: tuple[Phase, ...]

    @property
    def peak(self) -> Phase:
        """The phase that needs most."""
        return max(self.phases, key=lambda phase: phase.total)

    @property
    def total(self) -> int:
        """Bytes that the work needs."""
        return self.peak.total


@dataclass(frozen=True, slots=True)
class StepMemory(InPhases):
    """Bytes of a training step on one device.

    Attributes:
        samples: computed at once.
        share: samples of the step that this process takes, in parts of `samples`.
        processes: that share a step.
    """

    samples: int
    share: int
    processes: int

    def part(self, name: str) -> int:
        """Return the bytes of a part in the passes over the samples."""
        (passes,) = (phase for phase in self.phases if phase.name.startswith("forward"))
        return passes.parts.get(name, 0)


def share_of(config: CalicoConfig, processes: int) -> int:
    """Return how many samples of a step a process takes; the largest share, if they differ."""
    return -(-config.training.batch_size // processes)


def step_memory(
    config: CalicoConfig, workload: Workload, micro_batch: int = 0, processes: int = 1
) -> StepMemory:
    """Count the bytes of a training step as it runs.

    Args:
        config: of the model and its training.
        workload: one sample.
        micro_batch: samples that are computed at once; 0: the whole share of a process.
        processes: that share a step.

    Returns:
        Bytes by phase and part.
    """
    share = share_of(config, processes)
    samples = min(share, micro_batch or share)
    accumulated = samples < share
    passes, update = training_phases(config, workload, samples, accumulated)
    encode = config.training.features == "encode"
    each = _features(config, workload.images)
    # In "encode" mode all images of a step are encoded before its first part; a store hands over
    # the features of one part at a time.
    waiting = {FEATURES: (share - samples) * each * encode}
    if processes > 1 and config.execution.parallel == "ddp":
        waiting[BUCKETS] = passes.parts[TRAINED]
    phases = [_plus(passes, waiting), _plus(update, waiting)]
    if encode:
        constant = {name: passes.parts.get(name, 0) for name in _CONSTANT}
        phases.append(_plus(encoding_phase(config), {**constant, FEATURES: share * each}))
    if config.execution.parallel == "fsdp":
        sharded = _sharded(config, processes)
        phases = [sharded(phase) for phase in phases]
    return StepMemory(tuple(phases), samples, share, processes)


@dataclass(frozen=True, slots=True)
class AnswerMemory(InPhases):
    """Bytes of answering on one device.

    Attributes:
        samples: answered at once.
        cache: keys and values of one sample of the workload's length.
        stored: features of one image on disk: in the precision of the model in a feature cache, in
            half precision in a feature store.
    """

    samples: int
    cache: int
    stored: int


def answer_memory(config: CalicoConfig, workload: Workload, samples: int) -> AnswerMemory:
    """Count the bytes of answering questions.

    Args:
        config: of the model.
        workload: one sample.
        samples: answered at once.

    Returns:
        Bytes by phase and part.
    """
    prefill, masks = answering_phases(config, workload, samples)
    weights = {name: prefill.parts.get(name, 0) for name in (FROZEN, TRAINED)}
    each = _features(config, workload.images)
    length = workload.text + workload.images * config.image_tokens
    # The cache grows until the longest answer is written; the prefill has its own part of it.
    longest = length - workload.answer + config.generation.max_new_tokens
    rows = samples * config.generation.num_beams
    grown = {CACHE: rows * _cache(config, longest)}
    encoding = _plus(encoding_phase(config), {**weights, FEATURES: samples * each})
    width = 4 if config.execution.precision == "fp32" else 2
    stored_width = width if config.training.features == "encode" else 2
    return AnswerMemory(
        phases=(encoding, _plus(prefill, grown), _plus(masks, grown)),
        samples=samples,
        cache=_cache(config, length),
        stored=stored_width * each // _FP32 // workload.images,
    )


def _plus(phase: Phase, more: Mapping[str, int]) -> Phase:
    parts = {name: phase.parts.get(name, 0) + more.get(name, 0) for name in PARTS}
    return Phase(phase.name, {name: size for name, size in parts.items() if size})


def _features(config: CalicoConfig, images: int) -> int:
    """Return the bytes of the features of some images in float32, as batches have them."""
    shapes = meta_features(config, images)
    return _FP32 * sum(one.numel() for one in (shapes.vision, shapes.semantic, shapes.sam))


def _cache(config: CalicoConfig, length: int) -> int:
    """Return the bytes of the keys and values of a number of tokens."""
    chosen = config.language
    head = chosen.head_size or chosen.hidden_size // chosen.heads
    width = 4 if config.execution.precision == "fp32" else 2
    return 2 * chosen.layers * (chosen.kv_heads or chosen.heads) * head * length * width


@dataclass(frozen=True, slots=True)
class _Sharded:
    """What FSDP2 changes: see `calico.runtime.sharding.shard`."""

    processes: int
    whole: int
    gathered: int

    def __call__(self, phase: Phase) -> Phase:
        parts = dict(phase.parts)
        parts[FROZEN] = self.whole + (parts[FROZEN] - self.whole) // self.processes
        for name in (TRAINED, GRADIENTS, MOMENTS, AVERAGE):
            if name in parts:
                parts[name] //= self.processes
        # Encoders run outside of the passes, when nothing is gathered.
        if ENCODERS not in parts:
            parts[GATHERED] = self.gathered
        return Phase(phase.name, parts)


def _sharded(config: CalicoConfig, processes: int) -> _Sharded:
    """Return what stays whole in every process, and what a pass gathers."""
    model = skeleton(config)
    size = {
        name: weight.numel() * storage_dtype(name, weight.requires_grad, config.execution).itemsize
        for name, weight in model.named_parameters()
    }
    whole = sum(count for name, count in size.items() if name.startswith("encoders."))
    prefix = "language.model.layers."
    layers = len(decoder_layers(model.language))
    layer = sum(count for name, count in size.items() if name.startswith(prefix)) // layers
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    root = sum(count for name, count in size.items() if name in trained and prefix not in name)
    # The next layer is gathered while one is computed; of other units the output layer is largest.
    head = size.get("language.lm_head.weight", size["language.model.embed_tokens.weight"])
    return _Sharded(processes, whole, 2 * layer + root + head)


def with_checkpointing(config: CalicoConfig, switched: bool) -> CalicoConfig:
    """Return the configuration with activation checkpointing on or off."""
    execution = replace(config.execution, activation_checkpointing=switched)
    return replace(config, execution=execution)
