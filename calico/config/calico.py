"""Every choice of CALICO as frozen dataclasses: the defaults are the 7B model of the paper.

The parts of the model stand in `calico.config.model`, how they are trained in `calico.config.training`, the
rest and the whole here. Where the paper (arXiv 2412.19331) leaves a choice open, the comment says
what is known and the default is the most probable reading. `calico.config.presets` holds the two named
sets of values, `calico.config.yaml_io` reads and writes YAML.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Literal

from calico.config.model import (
    CorrespondenceConfig,
    GlobalEncoderConfig,
    LanguageConfig,
    QFormerConfig,
    SamConfig,
    SemanticEncoderConfig,
)
from calico.config.training import (
    AugmentConfig,
    LossConfig,
    PretrainingConfig,
    TrainedParts,
    TrainingConfig,
)
from calico.config.validation import multiple, positive
from mixedparts.errors import UsageError

__all__ = [
    "FORMAT_VERSION",
    "AugmentConfig",
    "CalicoConfig",
    "CorrespondenceConfig",
    "ExecutionConfig",
    "GenerationConfig",
    "GlobalEncoderConfig",
    "LanguageConfig",
    "LossConfig",
    "PretrainingConfig",
    "PromptConfig",
    "QFormerConfig",
    "SamConfig",
    "SemanticEncoderConfig",
    "TrainedParts",
    "TrainingConfig",
]

FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class PromptConfig:
    """The words around images, question and answer."""

    system: str = (
        "A chat between a curious human and an artificial intelligence assistant. "
        "The assistant gives helpful, detailed, and polite answers to the human's questions. "
    )
    lead: str = "Given are these pictures: {images}."  # {images}: placeholders, each with its tag
    user: str = "USER: "
    assistant: str = " ASSISTANT:"
    image_markers: bool = True  # <im_start> and <im_end> around every image
    max_images: int = 2  # tags (IMAGE1) … that the vocabulary knows
    # State that a mask is decoded from: t-1, the one that predicts [SEG] (CALICO's family).
    seg_state: Literal["predicting"] = "predicting"
    # A generated [SEG] without a tag; counted. One with a tag that names no image is never drawn.
    untagged: Literal["first_image", "drop"] = "first_image"

    def faults(self) -> Iterator[str]:
        if "{images}" not in self.lead:
            yield "lead: must hold {images}, where the pictures stand"
        if not 1 <= self.max_images <= 9:
            yield f"max_images: {self.max_images} is not in 1..9"


@dataclass(frozen=True, slots=True)
class ExecutionConfig:
    """How the same model is computed; nothing here changes what it is."""

    # "bf16": frozen weights are kept in it and products are taken in it; trained weights, norms,
    # losses and the resizing of masks stay in fp32.
    precision: Literal["fp32", "bf16"] = "bf16"
    attention: Literal["sdpa", "eager"] = "sdpa"
    # Of the language model's layers: activations are computed again in the backward pass.
    activation_checkpointing: bool = True
    # How processes share a model: each has all of it, or (FSDP2) a part of every weight.
    parallel: Literal["ddp", "fsdp"] = "ddp"


@dataclass(frozen=True, slots=True)
class GenerationConfig:
    """Greedy decoding, or beam search."""

    max_new_tokens: int = 512
    batch_size: int = 8
    num_beams: int = 1  # hypotheses kept for each prompt; 1 is greedy
    length_penalty: float = 1.0  # of beams: log probability / length ** length_penalty
    max_masks: int = 100  # of an answer, as many as COCO scores in an image; the rest is counted

    def faults(self) -> Iterator[str]:
        yield from positive(self, "max_new_tokens", "batch_size", "num_beams", "max_masks")


@dataclass(frozen=True, slots=True)
class CalicoConfig:
    """All of it. Raises UsageError with every fault at once when a value cannot work."""

    name: str = "custom"
    format_version: int = FORMAT_VERSION
    vision: GlobalEncoderConfig = field(default_factory=GlobalEncoderConfig)
    semantic: SemanticEncoderConfig = field(default_factory=SemanticEncoderConfig)
    qformer: QFormerConfig = field(default_factory=QFormerConfig)
    sam: SamConfig = field(default_factory=SamConfig)
    language: LanguageConfig = field(default_factory=LanguageConfig)
    correspondence: CorrespondenceConfig = field(default_factory=CorrespondenceConfig)
    trained: TrainedParts = field(default_factory=TrainedParts)
    loss: LossConfig = field(default_factory=LossConfig)
    prompt: PromptConfig = field(default_factory=PromptConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    pretraining: PretrainingConfig = field(default_factory=PretrainingConfig)
    generation: GenerationConfig = field(default_factory=GenerationConfig)
    execution: ExecutionConfig = field(default_factory=ExecutionConfig)

    @property
    def image_tokens(self) -> int:
        """Placeholders of one image in the prompt."""
        linear = self.qformer.kind == "linear"
        return self.vision.patches if linear else self.qformer.queries

    @property
    def state_size(self) -> int:
        """Width of what a CAM adapts and reintegrates: queries, or features without a Q-Former."""
        linear = self.qformer.kind == "linear"
        return self.vision.hidden_size if linear else self.qformer.hidden_size

    @property
    def uses_semantic(self) -> bool:
        """Whether anything reads the semantic encoder."""
        return bool(self.correspondence.layers) and self.correspondence.extraction

    def __post_init__(self) -> None:
        found = list(self.faults())
        if found:
            listed = "\n".join(f"  {fault}" for fault in found)
            raise UsageError(f"the configuration '{self.name}' cannot work:\n{listed}")

    def faults(self) -> Iterator[str]:
        """Yield one sentence per fault, each with the dotted name of the value."""
        for part in fields(self):
            value = getattr(self, part.name)
            if is_dataclass(value) and hasattr(value, "faults"):
                yield from (f"{part.name}.{fault}" for fault in value.faults())
        if self.pretraining.carry_over:
            yield from (f"pretraining.carry_over: {fault}" for fault in self._shape_faults())
        if self.execution.parallel == "fsdp" and self.training.optimizer == "muon":
            yield "training.optimizer: muon needs whole matrices, not execution.parallel: fsdp"
        if self.format_version != FORMAT_VERSION:
            yield f"format_version: {self.format_version}, this program reads {FORMAT_VERSION}"
        if self.correspondence.layers and max(self.correspondence.layers) >= self.language.layers:
            yield (
                f"correspondence.layers: {self.correspondence.layers} reach beyond the "
                f"{self.language.layers} layers of the language model (0-based)"
            )
        yield from (
            f"correspondence.{fault}"
            for fault in multiple(
                "vision.hidden_size", self.vision.hidden_size, "heads", self.correspondence.heads
            )
        )

    def _shape_faults(self) -> Iterator[str]:
        """Yield why weights of the global encoder cannot be carried over to the other two."""
        for section, other in (("semantic", self.semantic), ("sam", self.sam)):
            for name in ("patch_size", "hidden_size", "layers", "heads", "stem"):
                mine, its = getattr(self.vision, name), getattr(other, name)
                if mine != its:
                    yield f"{section}.{name} is {its!r}, vision.{name} is {mine!r}"
        if self.sam.mlp_size != self.vision.mlp_size:
            yield f"sam.mlp_size is {self.sam.mlp_size}, vision.mlp_size is {self.vision.mlp_size}"
        for name in ("image_size", "position_size"):  # SAM's positions are resized
            if (size := getattr(self.semantic, name)) != self.vision.image_size:
                yield f"semantic.{name} is {size}, vision.image_size is {self.vision.image_size}"
        if self.semantic.swiglu or 4 * self.semantic.hidden_size < self.vision.mlp_size:
            yield "the MLP of the semantic encoder cannot hold that of the global one"
