"""What CALICO is built from: one frozen dataclass a part, the defaults are the 7B model's.

Where the paper (arXiv 2412.19331) leaves a choice open, the comment says what is known and the
default is the most probable reading.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from calico.config.validation import encoder_faults, fraction, multiple, positive, stem_faults


@dataclass(frozen=True, slots=True)
class GlobalEncoderConfig:
    """The EVA-CLIP-style ViT of eq. 4 (`Blip2VisionModel`): 39 of EVA-g's 40 layers."""

    image_size: int = 224  # direct resize to a square, no crop: features can be cached
    patch_size: int = 14
    hidden_size: int = 1408
    layers: int = 39
    heads: int = 16
    mlp_size: int = 6144
    # "conv": strided 3 x 3 layers, for training from scratch
    stem: Literal["patch", "conv"] = "patch"

    @property
    def patches(self) -> int:
        """Patches of an image, without the class token."""
        return (self.image_size // self.patch_size) ** 2

    def faults(self) -> Iterator[str]:
        yield from encoder_faults(self.image_size, self.patch_size, self.hidden_size, self.heads)
        yield from stem_faults(self.stem, self.patch_size)


@dataclass(frozen=True, slots=True)
class SemanticEncoderConfig:
    """The DINOv2 ViT of eq. 5 (`Dinov2Model`, with registers `Dinov2WithRegistersModel`).

    Size open: the fork's default is base with registers, the paper's 29M trained weights fit giant.
    `calico.config.presets.DINOV2` holds the published sizes.
    """

    image_size: int = 224  # open: 224 gives 16 x 16 patches, the grid of the global encoder
    position_size: int = 518  # side of the image that the position table was made for
    patch_size: int = 14
    hidden_size: int = 768
    layers: int = 12
    heads: int = 12
    swiglu: bool = False  # only giant has it
    registers: int = 0  # open: the paper cites DINOv2 with registers (4), the counts fit either
    class_token: bool = False  # open: whether CEM also sees the class token
    stem: Literal["patch", "conv"] = "patch"

    def faults(self) -> Iterator[str]:
        yield from encoder_faults(self.image_size, self.patch_size, self.hidden_size, self.heads)
        yield from stem_faults(self.stem, self.patch_size)


@dataclass(frozen=True, slots=True)
class QFormerConfig:
    """The querying transformer of eq. 2, query only (`Blip2QFormerModel`).

    With `sees_question` its queries attend to the words of the question as well, as InstructBLIP's
    do (`InstructBlipQFormerModel`), in the prompt and in every CAM.
    `kind="linear"` is the paper's ablation without it: every patch of the global encoder is
    projected to one token, and a CAM adds its offset (eq. 7) to the features themselves.
    """

    kind: Literal["qformer", "linear"] = "qformer"
    hidden_size: int = 768
    layers: int = 12
    heads: int = 12
    mlp_size: int = 3072
    cross_attention_every: int = 2
    queries: int = 32  # placeholders of one image in the prompt
    dropout: float = 0.1
    sees_question: bool = False  # open: the fork has it in a commented call only
    # Of the question: rows of BERT's words with InstructBLIP's [DEC]. Without published weights the
    # words are the language model's, which must not be more.
    vocabulary: int = 30523
    question_tokens: int = 512  # positions; a longer question is refused

    def faults(self) -> Iterator[str]:
        yield from multiple("hidden_size", self.hidden_size, "heads", self.heads)
        yield from positive(self, "layers", "mlp_size", "cross_attention_every", "queries")
        yield from fraction(self, "dropout")
        yield from positive(self, "vocabulary", "question_tokens")
        if self.sees_question and self.kind == "linear":
            yield "sees_question: without a Q-Former nothing sees the question"


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
        yield from encoder_faults(self.image_size, self.patch_size, self.hidden_size, self.heads)
        yield from stem_faults(self.stem, self.patch_size)
        yield from multiple(
            "prompt_size", self.prompt_size, "2 decoder_heads", 2 * self.decoder_heads
        )
        yield from multiple("prompt_size", self.prompt_size, "8 (mask channels)", 8)
        yield from positive(self, "layers", "mlp_size", "decoder_layers", "decoder_mlp_size")
        if any(not 0 <= layer < self.layers for layer in self.global_layers):
            yield f"global_layers: {self.global_layers} are not all in 0..{self.layers - 1}"
        if self.window < 0:
            yield f"window: {self.window} is negative (0: every layer attends globally)"


@dataclass(frozen=True, slots=True)
class LanguageConfig:
    """The language model: any Llama-family decoder (Vicuna-7B in the paper)."""

    family: Literal["llama", "mistral", "qwen2", "qwen3"] = "llama"
    vocabulary: int = 32000  # rows of the embedding; 0: as many as the dataset's own tokenizer has
    hidden_size: int = 4096
    layers: int = 32
    heads: int = 32
    kv_heads: int = 0  # of grouped-query attention; 0: as many as heads
    head_size: int = 0  # 0: hidden_size / heads
    mlp_size: int = 11008
    max_positions: int = 4096
    norm_eps: float = 1e-6  # Vicuna v1.1 (InstructBLIP); v1.5 (GLaMM) has 1e-5
    rope_theta: float = 10000.0
    tie_embeddings: bool = False
    tuning: Literal["lora", "full", "frozen"] = "lora"  # "full": where no pretrained weights exist
    lora_rank: int = 8
    lora_alpha: int = 16
    lora_dropout: float = 0.05
    lora_targets: tuple[str, ...] = ("q_proj", "v_proj")
    # Rows of [SEG], <p>, … : kept as inherited from GLaMM, or the only rows that are trained.
    new_token_rows: Literal["inherited", "trained"] = "inherited"

    def faults(self) -> Iterator[str]:
        if self.head_size == 0:
            yield from multiple("hidden_size", self.hidden_size, "2 heads", 2 * self.heads)
        elif self.head_size < 0 or self.head_size % 2:
            yield f"head_size: {self.head_size} is not a positive even number"
        if self.kv_heads < 0 or (self.kv_heads and self.heads % self.kv_heads):
            yield f"kv_heads: {self.kv_heads} does not divide {self.heads} heads"
        yield from positive(self, "layers", "mlp_size", "max_positions", "lora_rank", "lora_alpha")
        for name in ("norm_eps", "rope_theta"):
            if getattr(self, name) <= 0:
                yield f"{name}: {getattr(self, name)} is not positive"
        yield from fraction(self, "lora_dropout")
        if self.vocabulary < 0:
            yield f"vocabulary: {self.vocabulary} is negative"
        known = {"q_proj", "k_proj", "v_proj", "o_proj"}
        if not self.lora_targets or not set(self.lora_targets) <= known:
            yield f"lora_targets: {self.lora_targets}, choose from {sorted(known)}"


@dataclass(frozen=True, slots=True)
class CorrespondenceConfig:
    """The correspondence modules: CEM (eq. 6) and CAM (eqs. 7-9).

    The paper's ablations: `extraction=False` is the one without DINO (the CAMs ask the global
    features themselves; no semantic encoder is built); with `requery=False` as well, the one
    without CEM (only the hidden state is fused); `conditioning=False` the one without CAM (CEM
    features without the hidden state); `layers=()` the one without both.
    """

    # 0-based, updated before the layer runs; the paper's text says {11, 22}, its figure 16 and 32.
    layers: tuple[int, ...] = (11, 22)
    extraction: bool = True
    requery: bool = True
    conditioning: bool = True
    heads: int = 16  # open: the global encoder's count
    residual: bool = False  # open: eq. 6 has none
    norm: bool = False  # open: LayerNorm of queries, keys and values before the attention
    initial: Literal["zero", "normal"] = "zero"  # open: the ancestor VPG-C starts both at zero
    # Open for several turns; here every sample has one question, so it is its last token.
    condition_on: Literal["last_prompt_token"] = "last_prompt_token"

    def faults(self) -> Iterator[str]:
        if len(set(self.layers)) != len(self.layers) or min(self.layers, default=0) < 0:
            yield f"layers: {self.layers} must be different and not negative"
        if self.extraction and not self.requery:
            yield "requery: false leaves what CEM extracts unused; set extraction to false as well"
        if not self.requery and not self.conditioning:
            yield "conditioning: without it and without requery a CAM has nothing to fuse"
