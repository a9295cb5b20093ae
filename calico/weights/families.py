"""Translate names of weights from the code bases that published them to the model's own names.

A *stable name* is the name in transformers' published files under a prefix of `Calico`. It does not
change with the installed version of transformers or with adapters. One function for each family of
models translates a published name; `stable_piece` translates a name of the assembled model.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from calico.weights.key_names import (
    SWIGLU_HALVES,
    SWIGLU_JOINED,
    published_dino_name,
    rename_segment_anything,
)

Shape = tuple[int, ...]
EMBEDDINGS = "language.model.embed_tokens.weight"
# Stable names of the weights with one row for each token.
VOCABULARY = (EMBEDDINGS, "language.lm_head.weight")


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a published tensor that fills a weight, or a part of a weight.

    Code bases cut the same weights differently: one Linear for query, key and value against three,
    a SwiGLU's gate and value joined or not. A tensor can therefore give several pieces, and a
    weight can consist of several.

    Attributes:
        target: stable name of the weight.
        order: position among the pieces that are joined to the target along the first dimension.
        of: number of pieces of the target; missing ones are zero.
        share: which part of the tensor the piece is: (k, n) for the k-th of n equal parts.
    """

    target: str
    order: int = 0
    of: int = 1
    share: tuple[int, int] = (0, 1)


@dataclass(frozen=True, slots=True)
class Ignored:
    """A published tensor that the model does not use, with the reason for reports."""

    reason: str


# What becomes of a tensor: its pieces, ignored for a reason, or None: the name is unknown, which is
# an error. Nothing is ignored silently.
Assignment = Sequence[Piece] | Ignored | None
Family = Callable[[str, Shape], Assignment]

_HEAD = Ignored("the Q-Former's language head")
_COMPUTED = Ignored("a constant that is computed")
_TWICE = Ignored("the position code, which the prompt encoder holds as well")
_CLASSIFIER = Ignored("EVA's last block, norm and head: 39 blocks serve, normed by the Q-Former's")


def language(name: str, shape: Shape) -> Assignment:
    """Translate names of a Llama-family model."""
    if name.endswith("rotary_emb.inv_freq"):
        return _COMPUTED
    return [Piece(f"language.{name}")]


def sam(name: str, shape: Shape) -> Assignment:
    """Translate names of transformers' SAM."""
    if name.startswith("shared_image_embedding."):
        return _TWICE
    for theirs, ours in (
        ("vision_encoder.", "encoders.sam."),
        ("prompt_encoder.", "grounding.prompt_encoder."),
        ("mask_decoder.", "grounding.mask_decoder."),
    ):
        if name.startswith(theirs):
            return [Piece(ours + name.removeprefix(theirs))]
    return None


def segment_anything(name: str, shape: Shape) -> Assignment:
    """Translate names of segment-anything's own SAM."""
    return sam(rename_segment_anything(name), shape)


def blip_vision(name: str, shape: Shape) -> Assignment:
    """Translate names of transformers' EVA-CLIP."""
    if name.endswith("position_ids"):
        return _COMPUTED
    return [Piece(f"encoders.vision.{name}")]


def lavis_vision(name: str, shape: Shape) -> Assignment:
    """Translate names of LAVIS's EVA-CLIP."""
    if re.match(r"blocks\.39\.|norm\.|fc_norm\.|head\.", name):
        return _CLASSIFIER
    embeddings = {
        "cls_token": "embeddings.class_embedding",
        "pos_embed": "embeddings.position_embedding",
        "patch_embed.proj.weight": "embeddings.patch_embedding.weight",
        "patch_embed.proj.bias": "embeddings.patch_embedding.bias",
    }
    if name in embeddings:
        return [Piece(f"encoders.vision.{embeddings[name]}")]
    match = re.fullmatch(r"blocks\.(\d+)\.(.+)", name)
    if match is None:
        return None
    layer, rest = f"encoders.vision.encoder.layers.{match[1]}.", match[2]
    # Query and value have a bias here, the key has none. The model has one bias for all three, so
    # the piece in the middle (order 1) is missing and becomes zero.
    for part, order in (("attn.q_bias", 0), ("attn.v_bias", 2)):
        if rest == part:
            return [Piece(f"{layer}self_attn.qkv.bias", order, 3)]
    for theirs, ours in (
        ("norm1.", "layer_norm1."),
        ("norm2.", "layer_norm2."),
        ("attn.proj.", "self_attn.projection."),
        ("attn.qkv.weight", "self_attn.qkv.weight"),
        ("mlp.", "mlp."),
    ):
        if rest.startswith(theirs):
            return [Piece(layer + ours + rest.removeprefix(theirs))]
    return None


def final_norm(name: str, shape: Shape) -> Assignment:
    """Translate names of LAVIS's norm after EVA-CLIP."""
    return [Piece(f"encoders.vision.post_layernorm.{name}")]


def qformer(name: str, shape: Shape) -> Assignment:
    """Translate names of transformers' Q-Former, its text path included."""
    if name.endswith("position_ids"):
        return _COMPUTED
    # InstructBLIP's Q-Former has its norm inside of `embeddings`, BLIP-2's has it outside.
    return [Piece(f"bridge.qformer.{name.removeprefix('embeddings.')}")]


def lavis_qformer(name: str, shape: Shape) -> Assignment:
    """Translate names of LAVIS's Q-Former, a BERT with cross-attention."""
    if name.startswith("cls."):
        return _HEAD
    name = name.removeprefix("bert.").replace("embeddings.LayerNorm.", "embeddings.layernorm.")
    return qformer(name.replace("attention.self.", "attention.attention."), shape)


def queries(name: str, shape: Shape) -> Assignment:
    """Translate the name of the query tokens (q in equation 2 of the paper)."""
    return [Piece("bridge.queries")]


def projection(name: str, shape: Shape) -> Assignment:
    """Translate names of the Linear from Q-Former to language model (equation 1)."""
    return [Piece(f"bridge.projection.{name}")]


def seg_projection(name: str, shape: Shape) -> Assignment:
    """Translate names of the [SEG] MLP of LISA and GLaMM."""
    # `text_hidden_fcs` is a ModuleList there with this one member.
    return [Piece(f"grounding.projection.{name.removeprefix('0.')}")]


def dino(name: str, shape: Shape) -> Assignment:
    """Translate names of transformers' DINOv2, as in its files or as in its newer modules."""
    if name.startswith("classifier."):
        return Ignored("DINOv2's classifier")
    target = published_dino_name(f"encoders.semantic.{name}")
    for order, half in enumerate(SWIGLU_HALVES):
        if half in target:
            return [Piece(target.replace(half, SWIGLU_JOINED), order, 2)]
    return [Piece(target)]


def dino_hub(name: str, shape: Shape) -> Assignment:
    """Translate names of DINOv2's own repository."""
    tokens = {
        "cls_token": "cls_token",
        "register_tokens": "register_tokens",
        "mask_token": "mask_token",
        "pos_embed": "position_embeddings",
        "patch_embed.proj.weight": "patch_embeddings.projection.weight",
        "patch_embed.proj.bias": "patch_embeddings.projection.bias",
    }
    if name in tokens:
        return [Piece(f"encoders.semantic.embeddings.{tokens[name]}")]
    if name.startswith("norm."):
        return [Piece(f"encoders.semantic.layernorm.{name.removeprefix('norm.')}")]
    # A checkpoint saved in chunks for FSDP has the number of the chunk before that of the block;
    # blocks are numbered throughout all the same.
    match = re.fullmatch(r"blocks\.(?:\d+\.)?(\d+)\.(.+)", name)
    if match is None:
        return None
    layer, rest = f"encoders.semantic.encoder.layer.{match[1]}.", match[2]
    # Query, key and value are one Linear here and three in the model.
    if rest.startswith("attn.qkv."):
        kind = rest.removeprefix("attn.qkv.")
        return [
            Piece(f"{layer}attention.attention.{part}.{kind}", share=(number, 3))
            for number, part in enumerate(("query", "key", "value"))
        ]
    for theirs, ours in (
        ("attn.proj.", "attention.output.dense."),
        ("ls1.gamma", "layer_scale1.lambda1"),
        ("ls2.gamma", "layer_scale2.lambda1"),
        ("mlp.w12.", "mlp.weights_in."),
        ("mlp.w3.", "mlp.weights_out."),
        ("norm1.", "norm1."),
        ("norm2.", "norm2."),
        ("mlp.", "mlp."),
    ):
        if rest.startswith(theirs):
            return [Piece(layer + ours + rest.removeprefix(theirs))]
    return None


def stable_piece(name: str) -> Piece:
    """Return the stable name of a weight of the assembled model, and which piece of it this is."""
    # PEFT moves the weights of an adapted Linear into a module `base_layer`.
    name = name.replace(".base_layer.", ".")
    if name.startswith("encoders.semantic."):
        # The installed transformers decides how a DINOv2 block is cut; its files do not change.
        pieces = dino(name.removeprefix("encoders.semantic."), ())
        assert pieces is not None
        assert not isinstance(pieces, Ignored)
        return pieces[0]
    # A Q-Former that sees queries only has its norm outside of `embeddings`.
    return Piece(name.replace("bridge.qformer.embeddings.", "bridge.qformer."))
