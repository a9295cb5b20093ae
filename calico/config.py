"""Every choice of CALICO as frozen dataclasses: the defaults are the 7B model of the paper.

Where the paper (arXiv 2412.19331) leaves a choice open, the comment says what is known and the
default is the most probable reading. `calico.presets` holds the two named sets of values,
`calico.configfile` reads and writes YAML.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal

from mixedparts.errors import UsageError

FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class GlobalEncoderConfig:
    """The EVA-CLIP-style ViT of eq. 4 (`Blip2VisionModel`): 39 of EVA-g's 40 layers."""

    image_size: int = 224  # direct resize to a square, no crop: features can be cached
    patch_size: int = 14
    hidden_size: int = 1408
    layers: int = 39
    heads: int = 16
    mlp_size: int = 6144
    stem: Literal["patch", "conv"] = (
        "patch"  # "conv": strided 3 x 3 layers, for training from scratch
    )

    def faults(self) -> Iterator[str]:
        yield from _encoder_faults(self.image_size, self.patch_size, self.hidden_size, self.heads)
        yield from _stem_faults(self.stem, self.patch_size)


@dataclass(frozen=True, slots=True)
class SemanticEncoderConfig:
    """The DINOv2 ViT of eq. 5 (`Dinov2Model`). Size open: the fork's default is base."""

    image_size: int = 224  # open: 224 gives 16 x 16 patches, the grid of the global encoder
    position_size: int = 518  # side of the image that the position table was made for
    patch_size: int = 14
    hidden_size: int = 768
    layers: int = 12
    heads: int = 12
    swiglu: bool = False  # only giant has it
    stem: Literal["patch", "conv"] = "patch"

    def faults(self) -> Iterator[str]:
        yield from _encoder_faults(self.image_size, self.patch_size, self.hidden_size, self.heads)
        yield from _stem_faults(self.stem, self.patch_size)


@dataclass(frozen=True, slots=True)
class QFormerConfig:
    """The querying transformer of eq. 2 (`Blip2QFormerModel`), query only."""

    hidden_size: int = 768
    layers: int = 12
    heads: int = 12
    mlp_size: int = 3072
    cross_attention_every: int = 2
    queries: int = 32  # placeholders of one image in the prompt
    dropout: float = 0.1
    sees_question: bool = False  # open: only in a commented call; without it prompts can be cached

    def faults(self) -> Iterator[str]:
        yield from _multiple("hidden_size", self.hidden_size, "heads", self.heads)
        yield from _positive(self, "layers", "mlp_size", "cross_attention_every", "queries")
        yield from _fraction(self, "dropout")
        if self.sees_question:
            yield "sees_question: a Q-Former with text input is not built; set it to false"


@dataclass(frozen=True, slots=True)
class SamConfig:
    """The Segment Anything model of eq. 3 (parts of `SamModel`)."""

    image_size: int = 1024  # longest side; padded with zeros to a square after normalisation
    patch_size: int = 16
    hidden_size: int = 1280
    layers: int = 32
    heads: int = 16
    mlp_size: int = 5120
    global_layers: tuple[int, ...] = (7, 15, 23, 31)  # the others attend within windows
    window: int = 14
    prompt_size: int = 256  # width of the image embedding, of prompts and of the decoder
    decoder_layers: int = 2
    decoder_heads: int = 8
    decoder_mlp_size: int = 2048
    iou_head_size: int = 256
    stem: Literal["patch", "conv"] = "patch"

    @property
    def mask_size(self) -> int:
        """Side of a decoded mask: four times the grid of the image embedding."""
        return 4 * (self.image_size // self.patch_size)

    def faults(self) -> Iterator[str]:
        yield from _encoder_faults(self.image_size, self.patch_size, self.hidden_size, self.heads)
        yield from _stem_faults(self.stem, self.patch_size)
        yield from _multiple(
            "prompt_size", self.prompt_size, "2 decoder_heads", 2 * self.decoder_heads
        )
        yield from _multiple("prompt_size", self.prompt_size, "8 (mask channels)", 8)
        yield from _positive(self, "layers", "mlp_size", "decoder_layers", "decoder_mlp_size")
        if any(not 0 <= layer < self.layers for layer in self.global_layers):
            yield f"global_layers: {self.global_layers} are not all in 0..{self.layers - 1}"
        if self.window < 0:
            yield f"window: {self.window} is negative (0: every layer attends globally)"


@dataclass(frozen=True, slots=True)
class LanguageConfig:
    """The language model (`LlamaForCausalLM`; Vicuna-7B in the paper)."""

    vocabulary: int = 32000  # rows of the embedding; 0: as many as the dataset's own tokenizer has
    hidden_size: int = 4096
    layers: int = 32
    heads: int = 32
    mlp_size: int = 11008
    max_positions: int = 4096
    tie_embeddings: bool = False
    tuning: Literal["lora", "full", "frozen"] = "lora"  # "full": where no pretrained weights exist
    lora_rank: int = 8
    lora_alpha: int = 16
    lora_dropout: float = 0.05
    lora_targets: tuple[str, ...] = ("q_proj", "v_proj")
    # Rows of [SEG], <p>, … : kept as inherited from GLaMM, or the only rows that are trained.
    new_token_rows: Literal["inherited", "trained"] = "inherited"

    def faults(self) -> Iterator[str]:
        yield from _multiple("hidden_size", self.hidden_size, "2 heads", 2 * self.heads)
        yield from _positive(self, "layers", "mlp_size", "max_positions", "lora_rank", "lora_alpha")
        yield from _fraction(self, "lora_dropout")
        if self.vocabulary < 0:
            yield f"vocabulary: {self.vocabulary} is negative"
        known = {"q_proj", "k_proj", "v_proj", "o_proj"}
        if not self.lora_targets or not set(self.lora_targets) <= known:
            yield f"lora_targets: {self.lora_targets}, choose from {sorted(known)}"


@dataclass(frozen=True, slots=True)
class CorrespondenceConfig:
    """The correspondence modules: CEM (eq. 6) and CAM (eqs. 7-9).

    `layers=()` is the paper's ablation without both; `extraction=False` the one without CEM (the
    global features are queried again), `conditioning=False` the one without the hidden state.
    """

    # 0-based, updated before the layer runs; the paper's text says {11, 22}, its figure 16 and 32.
    layers: tuple[int, ...] = (11, 22)
    extraction: bool = True
    conditioning: bool = True
    heads: int = 16  # open: the global encoder's count
    residual: bool = False  # open: eq. 6 has none
    initial: Literal["zero", "normal"] = "zero"  # open: the ancestor VPG-C starts both at zero
    # Open for several turns; here every sample has one question, so it is its last token.
    condition_on: Literal["last_prompt_token"] = "last_prompt_token"

    def faults(self) -> Iterator[str]:
        if len(set(self.layers)) != len(self.layers) or min(self.layers, default=0) < 0:
            yield f"layers: {self.layers} must be different and not negative"


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
    resolution: Literal["decoder"] = "decoder"  # at the decoder's grid, not at the original size

    def faults(self) -> Iterator[str]:
        for name in ("text", "mask", "dice", "focal_gamma"):
            if getattr(self, name) < 0:
                yield f"{name}: {getattr(self, name)} is negative"
        yield from _fraction(self, "focal_alpha")


@dataclass(frozen=True, slots=True)
class PromptConfig:
    """The words around images, question and answer."""

    system: str = (
        "A chat between a curious human and an artificial intelligence assistant. "
        "The assistant gives helpful, detailed, and polite answers to the human's questions. "
    )
    lead: str = "Given are these pictures: {images}."  # {images}: placeholders, each with its tag
    user: str = "USER: "
    assistant: str = " ASSISTANT: "
    image_markers: bool = True  # <im_start> and <im_end> around every image
    max_images: int = 2  # tags (IMAGE1) … that the vocabulary knows
    # State that a mask is decoded from: t-1, the one that predicts [SEG] (CALICO's family).
    seg_state: Literal["predicting"] = "predicting"
    untagged: Literal["first_image"] = "first_image"  # a [SEG] without a known tag; counted

    def faults(self) -> Iterator[str]:
        if "{images}" not in self.lead:
            yield "lead: must hold {images}, where the pictures stand"
        if not 1 <= self.max_images <= 9:
            yield f"max_images: {self.max_images} is not in 1..9"


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """The training run of the assembled model (paper: 10 epochs x 500 steps, 4 x A40)."""

    steps: int = 5000
    batch_size: int = 80
    learning_rate: float = 4e-4
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.0
    warmup_steps: int = 100
    schedule: Literal["linear", "cosine"] = "linear"  # to zero at `steps`
    clip: float = 1.0
    seed: int = 0
    save_every: int = 500
    keep: int = 2  # checkpoints
    log_every: int = 20
    swap_images: bool = True  # with p = 0.5, as the fork does
    redraw_questions: bool = True
    group_by_length: bool = False  # batches of answers of like length: less padding
    flips: bool = False  # left-right; doubles the feature cache. The fork crops at random instead

    def faults(self) -> Iterator[str]:
        yield from _positive(self, "steps", "batch_size", "save_every", "keep", "log_every")
        yield from _schedule_faults(self.learning_rate, self.warmup_steps, self.clip, self.betas)


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
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    warmup_steps: int = 50
    clip: float = 1.0
    background_weight: float = 0.2
    prompted_masks: int = 24  # masks a step that the mask decoder draws from label prompts
    seed: int = 0

    def faults(self) -> Iterator[str]:
        yield from _positive(self, "batch_size", "qformer_batch_size", "prompted_masks")
        yield from _schedule_faults(self.learning_rate, self.warmup_steps, self.clip, self.betas)
        counts = (self.steps, self.semantic_steps, self.mask_steps, self.qformer_steps)
        if len({count > 0 for count in counts}) > 1 or min(counts) < 0:
            yield f"steps: {counts} of the four stages must all be positive, or all 0"


@dataclass(frozen=True, slots=True)
class GenerationConfig:
    """Greedy decoding."""

    max_new_tokens: int = 512
    batch_size: int = 8

    def faults(self) -> Iterator[str]:
        yield from _positive(self, "max_new_tokens", "batch_size")


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
        if self.format_version != FORMAT_VERSION:
            yield f"format_version: {self.format_version}, this program reads {FORMAT_VERSION}"
        if self.correspondence.layers and max(self.correspondence.layers) >= self.language.layers:
            yield (
                f"correspondence.layers: {self.correspondence.layers} reach beyond the "
                f"{self.language.layers} layers of the language model (0-based)"
            )
        yield from (
            f"correspondence.{fault}"
            for fault in _multiple(
                "vision.hidden_size", self.vision.hidden_size, "heads", self.correspondence.heads
            )
        )


def _positive(value: Any, *names: str) -> Iterator[str]:
    for name in names:
        if getattr(value, name) < 1:
            yield f"{name}: {getattr(value, name)} is not positive"


def _fraction(value: Any, name: str) -> Iterator[str]:
    if not 0 <= getattr(value, name) <= 1:
        yield f"{name}: {getattr(value, name)} is not in 0..1"


def _multiple(name: str, value: int, of: str, step: int) -> Iterator[str]:
    if step < 1 or value < 1 or value % step:
        yield f"{name}: {value} is not a positive multiple of {of} ({step})"


def _encoder_faults(
    image_size: int, patch_size: int, hidden_size: int, heads: int
) -> Iterator[str]:
    yield from _multiple("image_size", image_size, "patch_size", patch_size)
    yield from _multiple("hidden_size", hidden_size, "heads", heads)


def _stem_faults(stem: str, patch_size: int) -> Iterator[str]:
    if stem == "conv" and patch_size not in (4, 8, 16):
        yield f"stem: a convolutional stem needs patch_size 4, 8 or 16, not {patch_size}"


def _schedule_faults(
    rate: float, warmup: int, clip: float, betas: tuple[float, float]
) -> Iterator[str]:
    if rate <= 0:
        yield f"learning_rate: {rate} is not positive"
    if warmup < 0:
        yield f"warmup_steps: {warmup} is negative"
    if clip <= 0:
        yield f"clip: {clip} is not positive"
    if not all(0 <= beta < 1 for beta in betas):
        yield f"betas: {betas} are not in [0, 1)"
