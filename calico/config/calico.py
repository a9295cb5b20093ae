"""The complete configuration of CALICO as frozen dataclasses; defaults are the 7B model's.

The parts of the model are in `calico.config.model`, training and pretraining in
`calico.config.training`, everything else here. Where the paper (arXiv 2412.19331) leaves a choice
open, a comment gives what is known, and the default is the most probable reading. "The fork" is the
public code of the paper's first author. `calico.config.presets` has the named sets of values,
`calico.config.yaml_io` reads and writes YAML.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Annotated, Literal

from msgspec import Meta

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
from calico.config.validation import multiple
from mixedparts.errors import UsageError
from mixedparts.settings.fields import Count, value_faults

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
ENCODERS = ("vision", "semantic", "sam")  # names of the image encoders
EncodeBatch = Annotated[int, Meta(ge=0, le=1024)]


@dataclass(frozen=True, slots=True)
class PromptConfig:
    """The text around images, question and answer."""

    # Text before everything else.
    system: str = (
        "A chat between a curious human and an artificial intelligence assistant. "
        "The assistant gives helpful, detailed, and polite answers to the human's questions. "
    )
    # Text that introduces the images. {images}: their placeholders, each with its tag.
    lead: str = "Given are these pictures: {images}."
    lead_one: str = ""  # in place of `lead` for a single image; empty: `lead` as well
    # How images are listed. "comma": a, b, c. "and", as the fork writes lists: a and b; a, b, and
    # c.
    listing: Literal["comma", "and"] = "comma"
    user: str = "USER: "  # before the question
    assistant: str = " ASSISTANT:"  # between question and answer
    image_markers: bool = True  # <im_start> and <im_end> around every image
    # Images of a sample at most: tags (IMAGE1) … in the vocabulary.
    max_images: Annotated[int, Meta(ge=1, le=9)] = 2
    # Hidden state that a mask is decoded from: t - 1, the one that predicts [SEG], as in LISA.
    seg_state: Literal["predicting"] = "predicting"
    # Mask of a generated [SEG] without a tag. With the tag of an image that does not exist, a [SEG]
    # never has a mask. Both are counted.
    untagged: Literal["first_image", "drop"] = "first_image"

    def faults(self) -> Iterator[str]:
        """Yield one sentence for every value that cannot work."""
        for name in ("lead", "lead_one"):
            lead = getattr(self, name)
            # Not `format`: a lead may have other braces, and then they are a part of the text.
            if lead.count("{images}") != 1 and (lead or name == "lead"):
                yield f"{name}: must contain {{images}} once, the place of the images"


@dataclass(frozen=True, slots=True)
class ExecutionConfig:
    """How the model is computed; the model itself is the same with any of these values."""

    # Type of numbers. "bf16": frozen weights are stored and products computed in bf16; trained
    # weights, norms, losses and the resizing of masks stay in fp32.
    precision: Literal["fp32", "bf16"] = "bf16"
    attention: Literal["sdpa", "eager"] = "sdpa"  # kernels of the attention
    # Computes activations of the language model's layers again in the backward pass.
    activation_checkpointing: bool = True
    # Storage of the frozen Linears in the language model's layers, by bitsandbytes (an extra): 8
    # bits, or 4-bit NormalFloat as in QLoRA. Everything else stays in `precision`.
    quantization: Literal["none", "int8", "nf4"] = "none"
    # How processes share the model. "ddp": each process has the whole model; "fsdp" (FSDP2): a
    # shard of every weight but those of the image encoders.
    parallel: Literal["ddp", "fsdp"] = "ddp"
    # On a GPU, use kernels that add in a fixed order, which are slower. A resumed run then has the
    # losses of an uninterrupted one bit for bit, as it has on a CPU in any case.
    deterministic: bool = False
    # Images that the encoders "vision", "semantic" and "sam" take at once. 0 or no entry: one on a
    # CPU; elsewhere as many as have 16,384 patches together, at most 32. See docs/feeding.md.
    encode_batch: Mapping[str, EncodeBatch] = field(default_factory=dict, hash=False)

    def faults(self) -> Iterator[str]:
        """Yield one sentence for every value that cannot work."""
        for part in self.encode_batch:
            if part not in ENCODERS:
                yield f"encode_batch.{part}: choose from {', '.join(ENCODERS)}"


@dataclass(frozen=True, slots=True)
class GenerationConfig:
    """Greedy decoding, or beam search."""

    max_new_tokens: Count = 512  # tokens of an answer at most
    batch_size: Count = 8  # samples that are answered at once
    # Hypotheses of each prompt; 1 is greedy.
    num_beams: Annotated[int, Meta(ge=1, le=1_000)] = 1
    length_penalty: float = 1.0  # score of a beam: log probability / length ** length_penalty
    # Masks of an answer at most, as many as COCO scores in an image. Others are counted.
    max_masks: Count = 100


@dataclass(frozen=True, slots=True)
class CalicoConfig:
    """The whole configuration.

    Raises:
        UsageError: values cannot work, alone or together; all faults are listed.
    """

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
        """Number of placeholders of one image in the prompt."""
        linear = self.qformer.kind == "linear"
        return self.vision.patches if linear else self.qformer.queries

    @property
    def state_size(self) -> int:
        """Width of the states that a CAM adapts: queries, or features without a Q-Former."""
        linear = self.qformer.kind == "linear"
        return self.vision.hidden_size if linear else self.qformer.hidden_size

    @property
    def uses_semantic(self) -> bool:
        """Whether any part of the model reads the semantic encoder."""
        return bool(self.correspondence.layers) and self.correspondence.extraction

    def __post_init__(self) -> None:
        # All faults at once, before any side effect: a run must not fail on one value at a time.
        faults = list(self.faults())
        if faults:
            listed = "\n".join(f"  {fault}" for fault in faults)
            raise UsageError(f"the configuration '{self.name}' cannot work:\n{listed}")

    def faults(self) -> Iterator[str]:
        """Yield one sentence for every fault, with the dotted name of the value in front."""
        # First what single values may be, from their annotated types; then rules between values.
        yield from value_faults(self)
        for part in fields(self):
            value = getattr(self, part.name)
            if is_dataclass(value) and hasattr(value, "faults"):
                yield from (f"{part.name}.{fault}" for fault in value.faults())
        if self.pretraining.carry_over:
            yield from (f"pretraining.carry_over: {fault}" for fault in self._shape_faults())
        if self.execution.parallel == "fsdp" and self.training.optimizer == "muon":
            yield "training.optimizer: muon needs whole matrices, not execution.parallel: fsdp"
        if self.execution.parallel == "fsdp" and self.execution.quantization != "none":
            yield "execution.quantization: execution.parallel: fsdp shards fp32 and bf16 only"
        if self.execution.quantization != "none":
            # Weights in 8 or 4 bits have no gradients, and FSDP2 shards floating-point weights.
            if self.language.tuning == "full":
                yield "execution.quantization: needs language.tuning lora or frozen, not full"
            if self.execution.parallel == "fsdp":
                yield "execution.quantization: needs execution.parallel: ddp, not fsdp"
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
        """Yield why weights of the global encoder cannot be copied to the other two."""
        for section, other in (("semantic", self.semantic), ("sam", self.sam)):
            for name in ("patch_size", "hidden_size", "layers", "heads", "stem"):
                expected, value = getattr(self.vision, name), getattr(other, name)
                if value != expected:
                    yield f"{section}.{name} is {value!r}, vision.{name} is {expected!r}"
        if self.sam.mlp_size != self.vision.mlp_size:
            yield f"sam.mlp_size is {self.sam.mlp_size}, vision.mlp_size is {self.vision.mlp_size}"
        for name in ("image_size", "position_size"):  # SAM's positions are resized
            if (size := getattr(self.semantic, name)) != self.vision.image_size:
                yield f"semantic.{name} is {size}, vision.image_size is {self.vision.image_size}"
        # DINOv2's MLP is four times as wide as its states.
        if self.semantic.swiglu or 4 * self.semantic.hidden_size < self.vision.mlp_size:
            yield "the MLP of the semantic encoder is too small for that of the global one"
