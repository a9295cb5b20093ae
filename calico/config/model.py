"""The parts of the model: one frozen dataclass each; the defaults are those of the 7B model.

Equations are those of the paper (CALICO, arXiv 2412.19331). Where it leaves a choice open, a
comment gives what is known, and the default is the most probable reading.

Some values do not show in the shapes of weights, and published weights decide them. They are None
until `calico.config.open_values` fills them; a value that is given must be that of the weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from calico.config.validation import encoder_faults, multiple, stem_faults
from mixedparts.settings.fields import AboveZero, Count, CountOrZero, Share


@dataclass(frozen=True, slots=True)
class GlobalEncoderConfig:
    """The EVA-CLIP-style ViT of equation 4 (`Blip2VisionModel`): 39 of EVA-g's 40 layers."""

    image_size: int = 224  # direct resize to a square, no crop: features can be cached
    patch_size: int = 14  # side of a patch in pixels
    hidden_size: int = 1408  # width of the states
    layers: int = 39  # transformer layers
    heads: int = 16  # attention heads
    mlp_size: int = 6144  # width inside the MLPs
    # How patches are embedded. "conv": strided 3 x 3 layers, for training from scratch.
    stem: Literal["patch", "conv"] = "patch"
    norm_eps: AboveZero | None = None  # constant of the norms; None: of the weights

    @property
    def patches(self) -> int:
        """Number of patches of an image, without the class token."""
        return (self.image_size // self.patch_size) ** 2

    def faults(self) -> Iterator[str]:
        """Yield one sentence for every value that does not fit another."""
        yield from encoder_faults(self.image_size, self.patch_size, self.hidden_size, self.heads)
        yield from stem_faults(self.stem, self.patch_size)


@dataclass(frozen=True, slots=True)
class SemanticEncoderConfig:
    """The DINOv2 ViT of equation 5 (`Dinov2Model`, with registers `Dinov2WithRegistersModel`).

    The size is open: the fork's default is base with registers, the paper's 29M trained weights fit
    giant. `calico.config.presets.DINOV2` contains the published sizes.
    """

    image_size: int = 224  # open: 224 gives 16 x 16 patches, the grid of the global encoder
    position_size: int = 518  # side of the image that the position table was made for
    patch_size: int = 14  # side of a patch in pixels
    hidden_size: int = 768  # width of the states
    layers: int = 12  # transformer layers
    heads: int = 12  # attention heads
    swiglu: bool = False  # SwiGLU in the MLPs; only giant has it
    # The paper cites DINOv2 with registers, and the fork loads `dinov2_vitb14_reg`, which has 4.
    registers: CountOrZero | None = None  # None: of the weights; 4 without them
    class_token: bool = False  # open: whether CEM also sees the class token
    stem: Literal["patch", "conv"] = "patch"  # as in `vision`
    norm_eps: AboveZero | None = None  # constant of the norms; None: of the weights

    def faults(self) -> Iterator[str]:
        """Yield one sentence for every value that does not fit another."""
        yield from encoder_faults(self.image_size, self.patch_size, self.hidden_size, self.heads)
        yield from stem_faults(self.stem, self.patch_size)


@dataclass(frozen=True, slots=True)
class QFormerConfig:
    """The querying transformer of equation 2, with queries only (`Blip2QFormerModel`).

    With `sees_question`, the queries attend to the words of the question as well, as InstructBLIP's
    do (`InstructBlipQFormerModel`), in the prompt and in every CAM.
    `kind="linear"` is the paper's ablation without a Q-Former: every patch of the global encoder is
    projected to one token, and a CAM adds its offset (equation 7) to the features themselves.
    """

    kind: Literal["qformer", "linear"] = "qformer"  # "linear": no Q-Former, one projection
    hidden_size: int = 768  # width of the queries
    layers: Count = 12  # transformer layers
    heads: int = 12  # attention heads
    mlp_size: Count = 3072  # width inside the MLPs
    cross_attention_every: Count = 2  # every so many layers attend to the image
    queries: Count = 32  # placeholders of one image in the prompt
    dropout: Share = 0.1  # probability, in training
    # The queries attend to the question. Open: the fork has it in a commented call only.
    sees_question: bool = False
    # Rows of word embeddings for the question: BERT's words and InstructBLIP's [DEC]. Without
    # published weights, the language model's tokenizer is used, and its tokens must fit.
    vocabulary: Count = 30523
    question_tokens: Count = 512  # positions; a longer question is an error
    norm_eps: AboveZero | None = None  # constant of the norms; None: of the weights

    def faults(self) -> Iterator[str]:
        """Yield one sentence for every value that does not fit another."""
        yield from multiple("hidden_size", self.hidden_size, "heads", self.heads)
        if self.sees_question and self.kind == "linear":
            yield "sees_question: without a Q-Former nothing sees the question"


@dataclass(frozen=True, slots=True)
class SamConfig:
    """The Segment Anything model of equation 3 (parts of `SamModel`)."""

    image_size: int = 1024  # longest side; padded with zeros to a square after normalisation
    patch_size: int = 16  # side of a patch in pixels
    hidden_size: int = 1280  # width of the states
    layers: Count = 32  # layers of the image encoder
    heads: int = 16  # attention heads
    mlp_size: Count = 5120  # width inside the MLPs
    # Layers, from 0, that attend to the whole image; the others attend within windows.
    global_layers: tuple[int, ...] = (7, 15, 23, 31)
    window: CountOrZero = 14  # side of a window in patches; 0: every layer attends globally
    prompt_size: int = 256  # width of the image embedding, of prompts and of the decoder
    decoder_layers: Count = 2  # layers of the mask decoder
    decoder_heads: int = 8  # attention heads of the mask decoder
    decoder_mlp_size: Count = 2048  # width inside the MLPs of the mask decoder
    iou_head_size: int = 256  # width of the head that predicts the IoU of a mask
    stem: Literal["patch", "conv"] = "patch"  # as in `vision`
    norm_eps: AboveZero | None = None  # of the image encoder; None: of the weights

    @property
    def mask_size(self) -> int:
        """Side of a decoded mask: four times the grid of the image embedding."""
        return 4 * (self.image_size // self.patch_size)

    def faults(self) -> Iterator[str]:
        """Yield one sentence for every value that does not fit another."""
        yield from encoder_faults(self.image_size, self.patch_size, self.hidden_size, self.heads)
        yield from stem_faults(self.stem, self.patch_size)
        yield from multiple(
            "prompt_size", self.prompt_size, "2 decoder_heads", 2 * self.decoder_heads
        )
        yield from multiple("prompt_size", self.prompt_size, "8 (mask channels)", 8)
        if any(not 0 <= layer < self.layers for layer in self.global_layers):
            yield f"global_layers: {self.global_layers} are not all in 0..{self.layers - 1}"


@dataclass(frozen=True, slots=True)
class LanguageConfig:
    """The language model: any Llama-family decoder (Vicuna-7B in the paper)."""

    family: Literal["llama", "mistral", "qwen2", "qwen3"] = "llama"  # architecture
    # Rows of the embedding; 0: as many as the dataset's own tokenizer has.
    vocabulary: CountOrZero = 32000
    hidden_size: int = 4096  # width of the states
    layers: Count = 32  # decoder layers
    heads: int = 32  # attention heads
    # Key and value heads of grouped-query attention; 0: as many as heads.
    kv_heads: CountOrZero = 0
    head_size: CountOrZero = 0  # width of a head; 0: hidden_size / heads
    mlp_size: Count = 11008  # width inside the MLPs
    max_positions: Count = 4096  # longest prompt with its answer, in tokens
    # Constant of the norms. None: of the weights. Vicuna v1.1 (InstructBLIP) has 1e-6, v1.5 (GLaMM)
    # has 1e-5.
    norm_eps: AboveZero | None = None
    rope_theta: AboveZero | None = None  # base of the rotary positions; None: of the weights
    # The output layer is the embedding; None: of the weights.
    tie_embeddings: bool | None = None
    # What is trained: adapters, everything, or nothing. "full" is for random weights.
    tuning: Literal["lora", "full", "frozen"] = "lora"
    lora_rank: Count = 8  # rank of the adapters
    lora_alpha: Count = 16  # scale of the adapters: alpha / rank
    lora_dropout: Share = 0.05  # dropout before the adapters
    # Projections of the attention that get adapters: of q_proj, k_proj, v_proj, o_proj.
    lora_targets: tuple[str, ...] = ("q_proj", "v_proj")
    # Embeddings of [SEG], <p>, … : GLaMM's, unchanged, or trained, as the only rows.
    new_token_rows: Literal["inherited", "trained"] = "inherited"

    def faults(self) -> Iterator[str]:
        """Yield one sentence for every value that does not fit another."""
        # Rotary positions turn pairs of numbers, so the size of a head must be even.
        if self.head_size == 0:
            yield from multiple("hidden_size", self.hidden_size, "2 heads", 2 * self.heads)
        elif self.head_size % 2:
            yield f"head_size: {self.head_size} is not an even number"
        if self.kv_heads and self.heads % self.kv_heads:
            yield f"kv_heads: {self.kv_heads} does not divide {self.heads} heads"
        choices = {"q_proj", "k_proj", "v_proj", "o_proj"}
        if not self.lora_targets or not set(self.lora_targets) <= choices:
            yield f"lora_targets: {self.lora_targets}, choose from {sorted(choices)}"


@dataclass(frozen=True, slots=True)
class CorrespondenceConfig:
    """The correspondence modules: CEM (equation 6) and CAM (equations 7 to 9).

    The paper's ablations:

    - `extraction=False`, without DINO: CAMs query the global features, and no semantic encoder is
      built.
    - `requery=False` as well, without CEM: only the hidden state is fused.
    - `conditioning=False`, without CAM: CEM features are fused without the hidden state.
    - `layers=()`: without both.
    """

    # 0-based; a CAM runs before its layer. The paper's text has {11, 22}, its figure 16 and 32.
    layers: tuple[int, ...] = (11, 22)
    extraction: bool = True  # CEM: features of the semantic encoder
    requery: bool = True  # CAM: the Q-Former is queried again
    conditioning: bool = True  # CAM: the hidden state is fused
    heads: int = 16  # attention heads of CEM; open: the global encoder's count
    residual: bool = False  # CEM adds its input; open: equation 6 does not
    norm: bool = False  # open: LayerNorm of queries, keys and values before the attention
    # Of both Linears of a CAM. Open: VPG-C, which CAM comes from, starts both at zero.
    initial: Literal["zero", "normal"] = "zero"
    # Token whose hidden state is t in equation 7; for several turns the paper leaves it open. The
    # last token of the prompt comes before every answer, so no answer can leak into image states.
    condition_on: Literal["last_prompt_token"] = "last_prompt_token"

    def faults(self) -> Iterator[str]:
        """Yield one sentence for every value that does not fit another."""
        if len(set(self.layers)) != len(self.layers) or min(self.layers, default=0) < 0:
            yield f"layers: {self.layers} must be different and not negative"
        if self.extraction and not self.requery:
            yield "requery: false leaves what CEM extracts unused; set extraction to false as well"
        if not self.requery and not self.conditioning:
            yield "conditioning: without it and without requery a CAM has nothing to fuse"
