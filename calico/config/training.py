"""How CALICO is trained, as frozen dataclasses: what changes, losses, the run, pretraining.

Where the paper (arXiv 2412.19331) leaves a choice open, the comment says what is known and the
default is the most probable reading.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from calico.config.validation import above_zero, fraction, positive, schedule_faults, weights

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
