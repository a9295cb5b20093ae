"""Names of weights in the code bases that published them, brought to the model's own names.

The model's names are those of transformers' published files under the prefixes of `Calico`; module
names of DINOv2 moved later, which `place` undoes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from calico.weights.dino_names import HALVES, JOINED, published_name
from calico.weights.sam_names import rename_segment_anything

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """What a published tensor is in the model.

    Attributes:
        target: the model's name.
        order: place among the pieces that are joined to the target, along the first dimension.
        of: number of pieces of the target; missing ones are zero.
        share: which part of the tensor, (k, n) for the k-th of n equal parts.
    """

    target: str
    order: int = 0
    of: int = 1
    share: tuple[int, int] = (0, 1)


@dataclass(frozen=True, slots=True)
class Ignored:
    """A published tensor that the model has no use for, and why."""

    reason: str


Found = Sequence[Piece] | Ignored | None
Family = Callable[[str, Shape], Found]

_HEAD = Ignored("the Q-Former's language head")
_COMPUTED = Ignored("a constant that is computed")
_TWICE = Ignored("the position code, which the prompt encoder holds as well")
_CLASSIFIER = Ignored("EVA's last block, norm and head: 39 blocks serve, normed by the Q-Former's")


def language(name: str, shape: Shape) -> Found:
    """Name weights of a Llama-family model."""
    if name.endswith("rotary_emb.inv_freq"):
        return _COMPUTED
    return [Piece(f"language.{name}")]


def sam(name: str, shape: Shape) -> Found:
    """Name weights of transformers' SAM."""
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


def segment_anything(name: str, shape: Shape) -> Found:
    """Name weights of segment-anything's own SAM."""
    return sam(rename_segment_anything(name), shape)


def blip_vision(name: str, shape: Shape) -> Found:
    """Name weights of transformers' EVA-CLIP."""
    if name.endswith("position_ids"):
        return _COMPUTED
    return [Piece(f"encoders.vision.{name}")]


def lavis_vision(name: str, shape: Shape) -> Found:
    """Name weights of LAVIS's EVA-CLIP: its query and value have a bias, its key has none."""
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


def final_norm(name: str, shape: Shape) -> Found:
    """Name LAVIS's norm after EVA-CLIP."""
    return [Piece(f"encoders.vision.post_layernorm.{name}")]


def qformer(name: str, shape: Shape) -> Found:
    """Name weights of transformers' Q-Former, with its text path."""
    if name.endswith("position_ids"):
        return _COMPUTED
    return [Piece(f"bridge.qformer.{name.removeprefix('embeddings.')}")]


def lavis_qformer(name: str, shape: Shape) -> Found:
    """Name weights of LAVIS's Q-Former, a BERT with cross-attention."""
    if name.startswith("cls."):
        return _HEAD
    name = name.removeprefix("bert.").replace("embeddings.LayerNorm.", "embeddings.layernorm.")
    return qformer(name.replace("attention.self.", "attention.attention."), shape)


def queries(name: str, shape: Shape) -> Found:
    """Name the query tokens."""
    return [Piece("bridge.queries")]


def projection(name: str, shape: Shape) -> Found:
    """Name the Linear from Q-Former to language model."""
    return [Piece(f"bridge.projection.{name}")]


def seg_projection(name: str, shape: Shape) -> Found:
    """Name the [SEG] MLP of LISA and GLaMM, the first and only one of its list."""
    return [Piece(f"grounding.projection.{name.removeprefix('0.')}")]


def dino(name: str, shape: Shape) -> Found:
    """Name weights of transformers' DINOv2, by the names of its files or of its newer modules."""
    if name.startswith("classifier."):
        return Ignored("DINOv2's classifier")
    target = published_name(f"encoders.semantic.{name}")
    for order, half in enumerate(HALVES):
        if half in target:
            return [Piece(target.replace(half, JOINED), order, 2)]
    return [Piece(target)]


def dino_hub(name: str, shape: Shape) -> Found:
    """Name weights of DINOv2's own repository: query, key and value are one Linear there."""
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
    match = re.fullmatch(r"blocks\.(?:\d+\.)?(\d+)\.(.+)", name)
    if match is None:
        return None
    layer, rest = f"encoders.semantic.encoder.layer.{match[1]}.", match[2]
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


def place(name: str) -> Piece:
    """Return where a weight of the assembled model stands under stable names.

    They depend neither on adapters nor on how transformers' version cuts a DINOv2 block.
    """
    name = name.replace(".base_layer.", ".")
    if name.startswith("encoders.semantic."):
        found = dino(name.removeprefix("encoders.semantic."), ())
        assert found is not None
        assert not isinstance(found, Ignored)
        return found[0]
    # A Q-Former that sees queries only has its norm outside of `embeddings`.
    return Piece(name.replace("bridge.qformer.embeddings.", "bridge.qformer."))
