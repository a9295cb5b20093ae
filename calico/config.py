"""Every choice of CALICO as frozen dataclasses: the defaults are the 7B model of the paper.

The parts of the model stand in `calico.architecture`, what is done with them here. Where the paper
(arXiv 2412.19331) leaves a choice open, the comment says what is known and the default is the most
probable reading. `calico.presets` holds the two named sets of values,
`calico.configfile` reads and writes YAML.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Literal

from calico.architecture import (
    CorrespondenceConfig,
    GlobalEncoderConfig,
    LanguageConfig,
    QFormerConfig,
    SamConfig,
    SemanticEncoderConfig,
)
from calico.faults import above_zero, fraction, multiple, positive, schedule_faults, weights
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
PARTS_WITH_RATES = ("language", "bridge", "correspondence", "grounding")  # of the model


@dataclass(frozen=True, slots=True)
class TrainedParts:
    """What training changes; all else is frozen and stays in evaluation mode.

    The language model's share is `LanguageConfig.tuning`.
    """

    queries: bool = True  # no icon in the figure; the fork lists them as trained
    qformer: bool = False
    projection: bool = False
    correspondence: bool = True
    seg_projection: bool = False  # frozen in the figure: GLaMM's; must be trained without it
    mask_decoder: bool = True


@dataclass(frozen=True, slots=True)
class LossConfig:
    """L = text CE + mask term + Dice (eqs. 10-11)."""

    text: float = 1.0
    mask: float = 2.0
    dice: float = 0.5
    mask_kind: Literal["bce", "focal"] = "bce"  # the paper says focal, its family's code BCE
    focal_gamma: float = 2.0  # open
    focal_alpha: float = 0.25  # open
    normalise: Literal["image", "batch"] = "image"  # mean per image first (fork), or over all masks
    # "decoder": at every cell of the decoder's grid, not at the original size; "points": at points
    # between its cells, most of them where the mask is uncertain, as Mask2Former draws them.
    resolution: Literal["decoder", "points"] = "decoder"
    points: int = 12544  # of a mask; these three are Mask2Former's
    oversample: float = 3.0  # even points that the most uncertain are chosen from, in `points`
    importance: float = 0.75  # share of uncertain points; the others are even

    def faults(self) -> Iterator[str]:
        for name in ("text", "mask", "dice", "focal_gamma"):
            if getattr(self, name) < 0:
                yield f"{name}: {getattr(self, name)} is negative"
        yield from fraction(self, "focal_alpha")
        yield from fraction(self, "importance")
        yield from positive(self, "points")
        if self.oversample < 1:
            yield f"oversample: {self.oversample} is less than 1"


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
class AugmentConfig:
    """How pictures are varied beyond mirroring; masks stay whole and exact.

    Open: of the paper nothing is known; the fork cuts EVA's input alone to 0.5-1 of its area.
    """

    crop: float = 0.0  # probability that an image is cut to a box around the sample's regions
    crop_share: float = 0.5  # of the image's area that such a box keeps at least
    colour: float = 0.0  # brightness, contrast and saturation change by up to this share

    def faults(self) -> Iterator[str]:
        yield from fraction(self, "crop")
        if not 0 < self.crop_share <= 1:
            yield f"crop_share: {self.crop_share} is not above 0 and at most 1"
        yield from fraction(self, "colour")


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """The training run of the assembled model (paper: 10 epochs x 500 steps, 4 x A40)."""

    steps: int = 5000
    batch_size: int = 80  # of all processes together: what one update of the weights learns from
    micro_batch: int = 0  # samples that a process takes at once; more are accumulated. 0: no limit
    learning_rate: float = 4e-4
    # "muon": matrices inside networks by torch.optim.Muon, everything else by AdamW.
    optimizer: Literal["adamw", "muon"] = "adamw"
    muon_factor: float = 1.0  # of the learning rate, for those matrices
    # Factors of the rate by part: language, bridge, correspondence, grounding. Others have 1.
    rate_factors: Mapping[str, float] = field(default_factory=dict, hash=False)
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.0
    warmup_steps: int = 100
    schedule: Literal["linear", "cosine"] = "linear"  # to zero at `steps`
    clip: float = 1.0
    seed: int = 0
    save_every: int = 500
    keep: int = 2  # checkpoints, beside the best one
    eval_every: int = 0  # steps between evaluations by free generation; 0: none
    eval_split: str = "validation"
    eval_samples: int = 90
    best: str = "miou_strict"  # metric over all tasks by which the best checkpoint is kept
    ema: float = 0.0  # decay of an average of the weights, which is then saved; 0: none
    loader_workers: int = 0  # processes that prepare batches ahead; they read stored features only
    log_every: int = 20
    swap_images: bool = True  # with p = 0.5, as the fork does
    redraw_questions: bool = True
    # Probability that a sample is asked in one conversation with others of the same images, in an
    # order drawn at random, and turns of it at most. The fork asks everything, in up to 6 turns.
    multi_turn: float = 0.0
    max_turns: int = 3
    group_by_length: bool = False  # batches of answers of like length: less padding
    # Share of each source and task in an epoch; empty: as in the data. Open: the paper names none.
    source_weights: Mapping[str, float] = field(default_factory=dict, hash=False)
    task_weights: Mapping[str, float] = field(default_factory=dict, hash=False)
    # "encode": pictures are encoded when a step asks for them, exactly; --feature-cache keeps that
    # on disk, bounded. "store": all of them first, kept in half precision in the run's folder.
    features: Literal["store", "encode"] = "encode"
    flips: bool = False  # left-right; doubles the feature cache
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def faults(self) -> Iterator[str]:
        yield from positive(self, "steps", "batch_size", "save_every", "keep", "log_every")
        yield from above_zero(self, "muon_factor")
        yield from schedule_faults(self.learning_rate, self.warmup_steps, self.clip, self.betas)
        yield from fraction(self, "multi_turn")
        if self.max_turns < 2:
            yield f"max_turns: {self.max_turns} are no conversation, it needs 2 or more"
        yield from (f"augment.{fault}" for fault in self.augment.faults())
        for name in ("crop", "colour"):
            if getattr(self.augment, name) and self.features != "encode":
                yield f"augment.{name}: needs training.features: encode; a store has plain pictures"
        yield from weights(self, "source_weights")
        yield from weights(self, "task_weights")
        yield from weights(self, "rate_factors")
        for part in self.rate_factors:
            if part not in PARTS_WITH_RATES:
                yield f"rate_factors.{part}: choose from {', '.join(PARTS_WITH_RATES)}"
        for name in ("micro_batch", "eval_every", "loader_workers"):
            if getattr(self, name) < 0:
                yield f"{name}: {getattr(self, name)} is negative"
        yield from positive(self, "eval_samples")
        if not 0 <= self.ema < 1:
            yield f"ema: {self.ema} is not in [0, 1)"
        if self.loader_workers and self.features == "encode":
            yield "loader_workers: features are encoded in the training process; must be 0"


@dataclass(frozen=True, slots=True)
class PretrainingConfig:
    """How encoders without published weights are made: on single images, with labels and masks."""

    steps: int = 0  # of the global encoder; 0: there are published weights, nothing is pretrained
    semantic_steps: int = 0
    mask_steps: int = 0  # of SAM's encoder and mask decoder
    batch_size: int = 8
    learning_rate: float = 1e-3
    qformer_steps: int = 0
    qformer_batch_size: int = 32
    qformer_learning_rate: float = 1e-3
    # "muon": matrices inside networks by torch.optim.Muon, everything else by AdamW.
    optimizer: Literal["adamw", "muon"] = "adamw"
    muon_factor: float = 1.0  # of the learning rate, for those matrices
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    warmup_steps: int = 50
    clip: float = 1.0
    carry_over: bool = False  # the other encoders start from the global one; like shapes needed
    background_weight: float = 0.2
    prompted_masks: int = 24  # masks a step that the mask decoder draws from label prompts
    seed: int = 0

    def faults(self) -> Iterator[str]:
        yield from positive(self, "batch_size", "qformer_batch_size", "prompted_masks")
        yield from above_zero(self, "muon_factor")
        yield from schedule_faults(self.learning_rate, self.warmup_steps, self.clip, self.betas)
        counts = (self.steps, self.semantic_steps, self.mask_steps, self.qformer_steps)
        if len({count > 0 for count in counts}) > 1 or min(counts) < 0:
            yield f"steps: {counts} of the four stages must all be positive, or all 0"


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
