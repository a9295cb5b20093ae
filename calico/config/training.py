"""Settings of training as frozen dataclasses: trained parts, losses, the run, pretraining.

Where the paper (CALICO, arXiv 2412.19331) leaves a choice open, a comment gives what is known, and
the default is the most probable reading.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from msgspec import Meta

from calico.config.validation import weights
from mixedparts.records import Task
from mixedparts.settings.fields import AboveZero, Count, CountOrZero, Share, ZeroOrMore

_Decay = Annotated[float, Meta(ge=0, lt=1)]  # of running averages
PARTS_WITH_RATES = ("language", "bridge", "correspondence", "grounding")  # of the model


@dataclass(frozen=True, slots=True)
class TrainedParts:
    """The parts that are trained; all others are frozen and stay in evaluation mode.

    For the language model, `LanguageConfig.tuning` decides.
    """

    queries: bool = True  # no icon in the figure; the fork lists them as trained
    qformer: bool = False  # the Q-Former
    projection: bool = False  # from the queries to the language model
    correspondence: bool = True  # CEM and CAMs
    # From [SEG] states to prompts of the mask decoder. Frozen in the figure, where it comes from
    # GLaMM; without GLaMM's weights it must be trained.
    seg_projection: bool = False
    mask_decoder: bool = True  # of SAM


@dataclass(frozen=True, slots=True)
class LossConfig:
    """The loss: text cross-entropy + mask term + Dice (equations 10 and 11), with their weights."""

    text: ZeroOrMore = 1.0  # weight of the cross-entropy of the answer
    mask: ZeroOrMore = 2.0  # weight of the mask term
    dice: ZeroOrMore = 0.5  # weight of the Dice loss
    # The mask term: focal in the paper, BCE in its family's code.
    mask_kind: Literal["bce", "focal"] = "bce"
    focal_gamma: ZeroOrMore = 2.0  # exponent of the focal loss; open
    focal_alpha: Share = 0.25  # weight of pixels inside the mask in the focal loss; open
    # Of an auxiliary loss that the paper does not have: at the last prompt token, a linear layer
    # reads which parts (or classes) each image shows (`calico.model.presence`). 0: no such layer.
    presence: ZeroOrMore = 0.0
    # How masks are averaged. "image": the mean over each image's masks, then over images (fork);
    # "batch": over all masks.
    normalise: Literal["image", "batch"] = "image"
    # Where the loss is computed. "original": at every pixel of the image, as LISA and GLaMM;
    # "decoder": at every cell of the decoder's masks; "points": at points between the cells, most
    # of them where the mask is uncertain, as in Mask2Former.
    resolution: Literal["original", "decoder", "points"] = "decoder"
    # The values of the next three are Mask2Former's.
    points: Count = 12544  # points of a mask
    # The most uncertain points are chosen from this many times `points` uniform ones.
    oversample: Annotated[float, Meta(ge=1)] = 3.0
    importance: Share = 0.75  # share of the uncertain points; the others are uniform


@dataclass(frozen=True, slots=True)
class AugmentConfig:
    """Augmentation of images besides mirroring; masks stay complete and exact.

    The paper says nothing about it.
    """

    crop: Share = 0.0  # probability of a crop to a box around all regions of the sample
    crop_share: Annotated[float, Meta(gt=0, le=1)] = 0.5  # smallest area of the box, of the image's
    colour: Share = 0.0  # largest relative change of brightness, contrast and saturation
    # Smallest area of a random box, of the image's, that the global encoder alone sees; the fork
    # has 0.5. 1: all of the image. The features of this encoder are then not cached.
    global_crop: Annotated[float, Meta(gt=0, le=1)] = 1.0


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """The training run of the assembled model (paper: 10 epochs x 500 steps, 4 x A40)."""

    steps: Count = 5000  # updates of the weights
    batch_size: Count = 80  # samples of one update of the weights, over all processes
    # Samples that a process computes at once; gradients of more are accumulated. 0: no limit.
    # "auto": on a GPU what its memory holds (`calico.cost.fitting`), on a CPU no limit. The run's
    # configuration has the number that was chosen.
    micro_batch: CountOrZero | Literal["auto"] = "auto"
    learning_rate: AboveZero = 4e-4  # greatest one, after the warm-up
    # "muon": torch.optim.Muon for matrices inside networks, AdamW for everything else.
    optimizer: Literal["adamw", "muon"] = "adamw"
    muon_factor: AboveZero = 1.0  # factor of the learning rate for these matrices
    # Factors of the rate by part: language, bridge, correspondence, grounding. Other parts have 1.
    rate_factors: Mapping[str, ZeroOrMore] = field(default_factory=dict, hash=False)
    betas: tuple[_Decay, _Decay] = (0.9, 0.95)  # decays of the moments of AdamW
    weight_decay: float = 0.0  # of matrices; norms and biases have none
    warmup_steps: CountOrZero = 100  # steps of linear increase of the learning rate
    schedule: Literal["linear", "cosine"] = "linear"  # decay of the rate to zero at `steps`
    clip: AboveZero = 1.0  # greatest norm of the gradient
    seed: int = 0  # of samples, augmentation, dropout and new weights
    save_every: Count = 500  # steps between checkpoints
    keep: Count = 2  # newest checkpoints that stay, besides the best one
    eval_every: CountOrZero = 0  # steps between evaluations by free generation; 0: none
    eval_split: str = "validation"  # split of these evaluations
    eval_samples: Count = 90  # samples of an evaluation, spread over the split
    best: str = "miou_strict"  # metric over all tasks that decides which checkpoint is the best
    ema: _Decay = 0.0  # decay of an average of the weights, which is then saved; 0: none
    # Processes that prepare batches ahead: they decode, resize and read images and masks.
    loader_workers: Annotated[int, Meta(ge=0, le=256)] = 0
    # Images that they hold ready at most, over all of them; of the 7B model 3.3 MB each.
    loader_images: Count = 128
    # Share of the steps, from the first one on, that train text (and presence) without masks, at
    # about half the time of a step: for a language model with random weights.
    text_share: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    log_every: Count = 20  # steps between lines of the log
    swap_images: bool = True  # swaps the images of a sample with p = 0.5, as the fork does
    redraw_questions: bool = True  # a new wording of the question each time a sample is used
    # Probability that a sample becomes a multi-turn conversation with other samples of the same
    # images, in random order. The fork always uses all of them.
    multi_turn: Share = 0.0
    max_turns: Annotated[int, Meta(ge=2)] = (
        3  # turns of a conversation at most; up to 6 in the fork
    )
    group_by_length: bool = False  # batches of answers of similar length: less padding
    # Share of each source in an epoch; empty: as in the data. Open: the paper has none.
    source_weights: Mapping[str, ZeroOrMore] = field(default_factory=dict, hash=False)
    # Share of each task in an epoch; empty: as in the data. Open: the paper has none.
    task_weights: Mapping[str, ZeroOrMore] = field(default_factory=dict, hash=False)
    # Share of a task's samples that stand in one batch beside a sample that contrasts with them:
    # one image is the same, the other image and the answer are not. It has no effect on samples of
    # more than two images. Open: the paper has none.
    contrast: Mapping[str, Share] = field(default_factory=dict, hash=False)
    # "encode": images are encoded in each step; --feature-cache stores their features on disk, up
    # to a bound. "store": all are encoded first and stored in half precision in the run's folder.
    features: Literal["store", "encode"] = "encode"
    flips: bool = False  # mirrors images left to right; doubles the feature cache
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def faults(self) -> Iterator[str]:
        """Yield one sentence for every value that does not fit another."""
        for name in ("crop", "colour"):
            if getattr(self.augment, name) and self.features != "encode":
                yield f"augment.{name}: needs training.features: encode; a store has plain images"
        if self.augment.global_crop < 1 and self.features != "encode":
            yield "augment.global_crop: needs training.features: encode; a store has plain images"
        yield from weights(self, "source_weights")
        yield from weights(self, "task_weights")
        yield from weights(self, "rate_factors")
        for task in self.contrast:
            if task not in set(Task):
                yield f"contrast.{task}: choose from {', '.join(Task)}"
        for part in self.rate_factors:
            if part not in PARTS_WITH_RATES:
                yield f"rate_factors.{part}: choose from {', '.join(PARTS_WITH_RATES)}"


@dataclass(frozen=True, slots=True)
class PretrainingConfig:
    """Pretraining of encoders without published weights, on single images with labels and masks."""

    # Steps of the global encoder; 0: nothing is pretrained, because there are published weights.
    steps: CountOrZero = 0
    semantic_steps: CountOrZero = 0  # steps of the semantic encoder
    mask_steps: CountOrZero = 0  # steps of SAM's encoder and mask decoder
    batch_size: Count = 8  # images of a step of the encoders
    learning_rate: AboveZero = 1e-3  # of the encoders
    qformer_steps: CountOrZero = 0  # steps of the Q-Former
    qformer_batch_size: Count = 32  # images of a step of the Q-Former
    qformer_learning_rate: float = 1e-3  # of the Q-Former
    # "muon": torch.optim.Muon for matrices inside networks, AdamW for everything else.
    optimizer: Literal["adamw", "muon"] = "adamw"
    muon_factor: AboveZero = 1.0  # factor of the learning rate for these matrices
    betas: tuple[_Decay, _Decay] = (0.9, 0.98)  # decays of the moments of AdamW
    weight_decay: float = 0.01  # of matrices; norms and biases have none
    warmup_steps: CountOrZero = 50  # steps of linear increase of the learning rate
    clip: AboveZero = 1.0  # greatest norm of the gradient
    carry_over: bool = False  # the other encoders start from the global one; needs equal shapes
    background_weight: float = 0.2  # weight of patches of background in the loss of labels
    prompted_masks: Count = 24  # masks that the mask decoder predicts in a step, from labels
    seed: int = 0  # of samples and new weights

    def faults(self) -> Iterator[str]:
        """Yield one sentence for every value that does not fit another."""
        counts = (self.steps, self.semantic_steps, self.mask_steps, self.qformer_steps)
        if len({count > 0 for count in counts}) > 1:
            yield f"steps: {counts} of the four stages must all be positive, or all 0"
