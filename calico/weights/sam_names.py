"""Names of SAM's published weights (`sam_vit_*.pth`, segment-anything) in transformers' classes."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

# Published name -> transformers name, tried in order; each pattern is replaced wherever it occurs.
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


def rename_segment_anything(name: str) -> str:
    """Return the name in `SamModel` of a weight's published name."""
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def from_segment_anything(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return published SAM weights under the names of `SamModel`.

    The position code appears twice there: in the prompt encoder and shared.
    """
    renamed: dict[str, Tensor] = {}
    for name, value in weights.items():
        renamed[rename_segment_anything(name)] = value
    code = "prompt_encoder.shared_embedding.positional_embedding"
    if code in renamed:
        renamed["shared_image_embedding.positional_embedding"] = renamed[code]
    return renamed
