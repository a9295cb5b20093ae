"""Key names of DINOv2's and SAM's weights, which depend on the version and origin of a file.

DINOv2: transformers renamed the weights between its versions. Published files, and modules up to
5.4, call them `attention.attention.query` and so on, and hold a SwiGLU's gate above its value in
one `mlp.weights_in`. Newer modules call them `attention.q_proj`, and have `mlp.gate_proj` and
`mlp.up_proj`. The published names are the stable ones here: files keep them for good.

SAM: `sam_vit_*.pth` of segment-anything has other names than transformers' `SamModel`. The weights
are the same: only keys differ, one for one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

import torch
from torch import Tensor

_MOVED = (
    (".attention.q_proj.", ".attention.attention.query."),
    (".attention.k_proj.", ".attention.attention.key."),
    (".attention.v_proj.", ".attention.attention.value."),
    (".attention.o_proj.", ".attention.output.dense."),
    (".mlp.down_proj.", ".mlp.weights_out."),
)
SWIGLU_JOINED = ".mlp.weights_in."
GATE, UP = SWIGLU_HALVES = (".mlp.gate_proj.", ".mlp.up_proj.")

# Names in segment-anything -> names in transformers, tried in order; each pattern is replaced
# wherever it occurs. The order of the last three counts: MLP layer 1 becomes `layers.0` only after
# the old `layers.0` is renamed, or the new name would be renamed again.
_RENAMES = (
    (r"^image_encoder\.", "vision_encoder."),
    (r"\.patch_embed\.proj\.", ".patch_embed.projection."),
    (r"\.blocks\.", ".layers."),
    (r"^(vision_encoder\.layers\.\d+\.)norm([12])\.", r"\1layer_norm\2."),
    (r"\.neck\.0\.", ".neck.conv1."),
    (r"\.neck\.1\.", ".neck.layer_norm1."),
    (r"\.neck\.2\.", ".neck.conv2."),
    (r"\.neck\.3\.", ".neck.layer_norm2."),
    (r"^prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix$",
     "prompt_encoder.shared_embedding.positional_embedding"),
    (r"\.point_embeddings\.", ".point_embed."),
    (r"\.mask_downscaling\.0\.", ".mask_embed.conv1."),
    (r"\.mask_downscaling\.1\.", ".mask_embed.layer_norm1."),
    (r"\.mask_downscaling\.3\.", ".mask_embed.conv2."),
    (r"\.mask_downscaling\.4\.", ".mask_embed.layer_norm2."),
    (r"\.mask_downscaling\.6\.", ".mask_embed.conv3."),
    (r"^(mask_decoder\.transformer\.layers\.\d+\.)norm([1-4])\.", r"\1layer_norm\2."),
    (r"^mask_decoder\.transformer\.norm_final_attn\.",
     "mask_decoder.transformer.layer_norm_final_attn."),
    (r"\.output_upscaling\.0\.", ".upscale_conv1."),
    (r"\.output_upscaling\.1\.", ".upscale_layer_norm."),
    (r"\.output_upscaling\.3\.", ".upscale_conv2."),
    (r"(output_hypernetworks_mlps\.\d+|iou_prediction_head)\.layers\.0\.", r"\1.proj_in."),
    (r"(output_hypernetworks_mlps\.\d+|iou_prediction_head)\.layers\.2\.", r"\1.proj_out."),
    (r"(output_hypernetworks_mlps\.\d+|iou_prediction_head)\.layers\.1\.", r"\1.layers.0."),
)  # fmt: skip


def published_dino_name(name: str) -> str:
    """Return the published name of a weight; halves of a SwiGLU, which have none, keep theirs."""
    for newer, published in _MOVED:
        name = name.replace(newer, published)
    return name


def newer_dino_name(name: str) -> str:
    """Return the newer name of a weight; a joined SwiGLU, which has none, keeps its own."""
    for newer, published in _MOVED:
        name = name.replace(published, newer)
    return name


def installed_names(values: Mapping[str, Tensor], own: Collection[str]) -> dict[str, Tensor]:
    """Return weights under the names that the installed version of transformers uses.

    Args:
        values: weights under the names of any version.
        own: names of the model that is filled. A weight that has none of them under any version
            keeps its name.
    """
    renamed: dict[str, Tensor] = {}
    for name, value in values.items():
        halves = [name.replace(SWIGLU_JOINED, half) for half in SWIGLU_HALVES]
        # Joined in the file, two halves in the model: the gate is above the value.
        if name not in own and halves[0] in own:
            renamed.update(zip(halves, value.chunk(2), strict=True))
        # The other way round: the gate's entry takes both halves ...
        elif name not in own and (joined := name.replace(GATE, SWIGLU_JOINED)) in own:
            up = values.get(name.replace(GATE, UP))
            renamed[joined] = value if up is None else torch.cat([value, up])
        # ... so the value's own entry is left out.
        elif name in own or name.replace(UP, SWIGLU_JOINED) not in own:
            names = (name, published_dino_name(name), newer_dino_name(name))
            renamed[next((other for other in names if other in own), name)] = value
    return renamed


def rename_segment_anything(name: str) -> str:
    """Return the name that a weight of segment-anything has in transformers' `SamModel`."""
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    return name
