"""The other encoders start from the global one, which has learnt to tell parts apart.

All three are the same transformer under other names (SAM adds relative positions, which start at
zero, and DINOv2 a scale for each layer and a wider MLP), so its weights can be carried over
without a change of what they compute. `PretrainingConfig.carry_over` asks for equal shapes; only
the picture that SAM sees may be larger, its positions are then resized.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from calico.weights.key_names import newer_dino_name

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
    target = sam.state_dict()
    for name, value in _renamed(vision, _TO_SAM):
        if name == "pos_embed":
            target[name].copy_(_regridded(value[:, 1:], target[name].shape[1]))  # no class token
        elif name in target:
            target[name].copy_(value)


@torch.no_grad()
def carry_to_semantic(vision: nn.Module, semantic: nn.Module) -> None:
    """Copy the global encoder to the DINOv2-style one; its further MLP units start silent."""
    target = {newer_dino_name(name): value for name, value in semantic.state_dict().items()}
    for name, value in _renamed(vision, _TO_SEMANTIC):
        if ".attention.qkv." in name:
            for part, third in zip(("q_proj", "k_proj", "v_proj"), value.chunk(3), strict=True):
                target[name.replace("qkv", part)].copy_(third)
        elif name.endswith("mlp.fc2.weight"):
            target[name].zero_()[:, : value.shape[1]] = value
        elif ".mlp.fc1." in name:
            target[name][: len(value)] = value
        else:
            target[name].copy_(value)


def _regridded(positions: Tensor, side: int) -> Tensor:
    """Resize position embeddings (1, n * n, C) of a square grid to (1, side, side, C)."""
    known = round(positions.shape[1] ** 0.5)
    grid = positions.view(1, known, known, -1)
    if known == side:
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
