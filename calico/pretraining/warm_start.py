"""Warm starts: the other encoders start from the global one, which can already distinguish parts.

All three are the same transformer under other names. SAM adds relative positions, which start at
zero; DINOv2 adds a scale for each layer and may have a wider MLP. The weights are copied so that
the copy computes the same features at first. `PretrainingConfig.carry_over` requires equal shapes;
only SAM's input may be larger, and its position embeddings are then resized.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from calico.weights.key_names import newer_dino_name

# Patterns of Blip2VisionModel's names -> names of the other model, applied in order.
_TO_SAM = (
    (r"^embeddings\.patch_embedding\.", "patch_embed.projection."),
    (r"^embeddings\.position_embedding$", "pos_embed"),
    (r"^encoder\.layers\.", "layers."),
    (r"\.self_attn\.projection\.", ".attn.proj."),
    (r"\.self_attn\.", ".attn."),
    (r"\.mlp\.fc(\d)\.", r".mlp.lin\1."),
)
_TO_SEMANTIC = (
    (r"^embeddings\.patch_embedding\.", "embeddings.patch_embeddings.projection."),
    (r"^embeddings\.position_embedding$", "embeddings.position_embeddings"),
    (r"^embeddings\.class_embedding$", "embeddings.cls_token"),
    (r"^post_layernorm\.", "layernorm."),
    (r"^encoder\.layers\.", "encoder.layer."),
    (r"\.layer_norm([12])\.", r".norm\1."),
    (r"\.self_attn\.projection\.", ".attention.o_proj."),
    (r"\.self_attn\.", ".attention."),
)


@torch.no_grad()
def carry_to_sam(vision: nn.Module, sam: nn.Module) -> None:
    """Copy stem, positions and layers of the global encoder (`Blip2VisionModel`) to SAM's."""
    # A state dictionary shares memory with its module: copies into it change the module.
    target = sam.state_dict()
    for name, value in _renamed(vision, _TO_SAM):
        if name == "pos_embed":
            # Position 0 is the class token's, which SAM does not have.
            target[name].copy_(_regridded(value[:, 1:], target[name].shape[1]))
        # SAM has neither class token nor final norm; its neck has no counterpart and starts fresh.
        elif name in target:
            target[name].copy_(value)


@torch.no_grad()
def carry_to_semantic(vision: nn.Module, semantic: nn.Module) -> None:
    """Copy the global encoder to the DINOv2-style one."""
    # One set of rules serves every version of transformers under the newer names.
    target = {newer_dino_name(name): value for name, value in semantic.state_dict().items()}
    for name, value in _renamed(vision, _TO_SEMANTIC):
        if ".attention.qkv." in name:
            for part, third in zip(("q_proj", "k_proj", "v_proj"), value.chunk(3), strict=True):
                target[name.replace("qkv", part)].copy_(third)
        # A wider MLP: the outputs of the additional units have weight zero, so they change nothing
        # at first, but their random inputs let them be trained.
        elif name.endswith("mlp.fc2.weight"):
            target[name].zero_()[:, : value.shape[1]] = value
        elif ".mlp.fc1." in name:
            target[name][: len(value)] = value
        else:
            target[name].copy_(value)


def _regridded(positions: Tensor, side: int) -> Tensor:
    """Resize position embeddings (1, n * n, C) of a square grid to (1, side, side, C)."""
    given = round(positions.shape[1] ** 0.5)
    grid = positions.view(1, given, given, -1)
    if given == side:
        return grid
    channels_first = grid.permute(0, 3, 1, 2)
    resized = F.interpolate(channels_first, (side, side), mode="bilinear", align_corners=False)
    regridded: Tensor = resized.permute(0, 2, 3, 1)
    return regridded


def _renamed(module: nn.Module, rules: tuple[tuple[str, str], ...]) -> Iterator[tuple[str, Tensor]]:
    for name, value in module.state_dict().items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        yield name, value
