"""The image encoders: an EVA-style ViT, DINOv2 and SAM's (CALICO, arXiv 2412.19331, eqs. 3-5).

Shapes: N images; C_e, C_d, C_s widths of the three encoders. An encoder with a class token has it
in the first place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    Blip2VisionConfig,
    Blip2VisionModel,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
)
from transformers.models.dinov2.modeling_dinov2 import Dinov2Embeddings

from calico.config.calico import GlobalEncoderConfig, SemanticEncoderConfig
from calico.config.open_values import open_value

INITIAL_STD = 0.02  # transformers' Blip2VisionConfig and SamVisionConfig say 1e-10
# Added to the number of patches where the original code computes the scale of its position table.
_POSITION_OFFSET = 0.1


@dataclass(frozen=True, slots=True)
class ImageInputs:
    """Normalised pixels of N images, one tensor per encoder.

    Attributes:
        vision: (N, 3, H_e, H_e) float, direct resize.
        semantic: (N, 3, H_d, H_d) float, direct resize.
        sam: (N, 3, H_s, H_s) float, longest side resized, zeros at the right and bottom.
    """

    vision: Tensor
    semantic: Tensor
    sam: Tensor

    def to(self, device: torch.device, dtype: torch.dtype) -> ImageInputs:
        """Return the same pixels on another device, in another dtype."""
        moved = (pixels.to(device, dtype) for pixels in (self.vision, self.semantic, self.sam))
        return ImageInputs(*moved)


@dataclass(frozen=True, slots=True)
class ImageFeatures:
    """Output of the frozen encoders for N images; the feature cache stores it.

    Attributes:
        vision: (N, 1 + patches, C_e), X_global of eq. 4.
        semantic: (N, patches, C_d), X_semantic of eq. 5, by default without the class token;
            (N, 0, 0) where nothing reads it.
        sam: (N, C_s, h, w) image embedding of SAM.
    """

    vision: Tensor
    semantic: Tensor
    sam: Tensor

    def to(self, device: torch.device, dtype: torch.dtype) -> ImageFeatures:
        """Return the same features on another device, in another dtype."""
        moved = (part.to(device, dtype) for part in (self.vision, self.semantic, self.sam))
        return ImageFeatures(*moved)

    @property
    def nbytes(self) -> int:
        """Bytes of all three."""
        return self.vision.nbytes + self.semantic.nbytes + self.sam.nbytes

    def select(self, index: Tensor) -> ImageFeatures:
        """Return the features of the images at `index` (M,) int64, repeats allowed."""
        return ImageFeatures(self.vision[index], self.semantic[index], self.sam[index])


class ResidualConv(nn.Module):
    """Two 3 x 3 convolutions with a residual: (N, C, h, w) -> (N, C, h, w).

    Args:
        width: C.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return refined features of the same shape (N, C, h, w)."""
        return torch.relu(features + self.layers(features))


class ConvStem(nn.Sequential):
    """Patch embedding by strided 3 x 3 convolutions, each halving the grid.

    A transformer trained from scratch on few images needs the locality that one large patch
    projection does not give.

    Args:
        hidden_size: width of the encoder.
        patch_size: pixels of a patch side, a power of 2.
    """

    def __init__(self, hidden_size: int, patch_size: int) -> None:
        halvings = patch_size.bit_length() - 1
        # The width doubles where the grid halves; the last layer, without a norm, has full width.
        widths = [max(16, hidden_size >> (halvings - 1 - step)) for step in range(halvings - 1)]
        layers: list[nn.Module] = []
        channels = 3
        for width in widths:
            layers += [
                nn.Conv2d(channels, width, 3, 2, 1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
            channels = width
        layers += [ResidualConv(channels), nn.Conv2d(channels, hidden_size, 3, 2, 1)]
        super().__init__(*layers)

    @property
    def weight(self) -> Tensor:
        """Weight of the last layer."""
        # transformers reads `projection.weight.dtype` to cast pixels before the patch embedding.
        last = self[-1]
        assert isinstance(last, nn.Conv2d)
        return last.weight


def build_global_encoder(config: GlobalEncoderConfig) -> Blip2VisionModel:
    """Build the EVA-style ViT with a final norm: (N, 3, H, H) -> (N, 1 + patches, C_e)."""
    # BLIP-2's vision class is EVA-CLIP-g without its last layer, as InstructBLIP ships it.
    encoder = Blip2VisionModel(
        Blip2VisionConfig(
            hidden_size=config.hidden_size,
            intermediate_size=config.mlp_size,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            image_size=config.image_size,
            patch_size=config.patch_size,
            layer_norm_eps=open_value(config, "norm_eps"),
            initializer_range=INITIAL_STD,
        )
    )
    if config.stem == "conv":
        stem = ConvStem(config.hidden_size, config.patch_size)
        encoder.embeddings.patch_embedding = stem  # type: ignore[assignment]
    return encoder


class OffsetPositions(Dinov2Embeddings):
    """Embeddings of DINOv2 without registers, whose position table is resized as in the original.

    `facebookresearch/dinov2` resizes by the factor (patches + 0.1) / side, bicubic, without
    antialiasing (`interpolate_offset` of its hub models); transformers resizes to the number of
    patches. The models with registers were published with an offset of 0 and antialiasing, which
    transformers has too.
    """

    def interpolate_pos_encoding(self, embeddings: Tensor, height: int, width: int) -> Tensor:
        """Resize the position table for an input of this size.

        Args:
            embeddings: (N, 1 + rows * columns, C_d), class token and patches.
            height: of the input in pixels.
            width: of the input in pixels.

        Returns:
            (1, 1 + rows * columns, C_d), the class token's position first.
        """
        table: Tensor = self.position_embeddings
        side = round((table.shape[1] - 1) ** 0.5)
        down, right = self.patch_embeddings.patch_size
        rows, columns = height // down, width // right
        if rows == columns == side:
            return table
        grid = table[:, 1:].float().reshape(1, side, side, -1).permute(0, 3, 1, 2)
        # With factors, torch takes its sampling places from them and not from the two sizes: the
        # offset shifts and stretches them.
        scale = ((rows + _POSITION_OFFSET) / side, (columns + _POSITION_OFFSET) / side)
        resized = F.interpolate(grid, scale_factor=scale, mode="bicubic")
        patches = resized.permute(0, 2, 3, 1).reshape(1, rows * columns, -1)
        return torch.cat([table[:, :1], patches.to(table.dtype)], dim=1)


def build_semantic_encoder(
    config: SemanticEncoderConfig,
) -> Dinov2Model | Dinov2WithRegistersModel:
    """Build the DINOv2 ViT: (N, 3, H, H) -> (N, 1 + registers + patches, C_d)."""
    shape: dict[str, Any] = {
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "image_size": config.position_size,
        "patch_size": config.patch_size,
        "use_swiglu_ffn": config.swiglu,
        "layer_norm_eps": open_value(config, "norm_eps"),
    }
    encoder: Dinov2Model | Dinov2WithRegistersModel
    # The position table is made for `position_size`; the class interpolates it to other inputs.
    if registers := open_value(config, "registers"):
        encoder = Dinov2WithRegistersModel(
            Dinov2WithRegistersConfig(num_register_tokens=registers, **shape)
        )
    else:
        encoder = Dinov2Model(Dinov2Config(**shape))
        if config.image_size != config.position_size:
            encoder.embeddings = OffsetPositions(encoder.config)
            nn.init.trunc_normal_(encoder.embeddings.position_embeddings, std=INITIAL_STD)
    if config.stem == "conv":
        stem = ConvStem(config.hidden_size, config.patch_size)
        encoder.embeddings.patch_embeddings.projection = stem  # type: ignore[assignment]
    return encoder


class ImageEncoders(nn.Module):
    """The encoders of single images (eqs. 3-5), frozen while CALICO trains.

    Args:
        vision: the global encoder.
        semantic: None where no CEM reads it.
        sam: SAM's encoder.
        leading: tokens of the semantic encoder before its patches that are left out.
    """

    def __init__(
        self,
        vision: nn.Module,
        semantic: nn.Module | None,
        sam: nn.Module,
        leading: slice = slice(0, 1),
    ) -> None:
        super().__init__()
        self.vision = vision
        self.semantic = semantic
        self.sam = sam
        self.leading = leading
        # Where pixels come from and features are wanted, if the encoders lie apart (a device map).
        self.home: torch.device | None = None

    @property
    def device(self) -> torch.device:
        """Device of pixels and features."""
        return self.home or next(self.parameters()).device

    def forward(self, inputs: ImageInputs) -> ImageFeatures:
        """Encode N images."""
        parts = {part: self.encode_part(part, inputs) for part in ("vision", "semantic", "sam")}
        return ImageFeatures(**parts)

    def encode_part(self, part: str, inputs: ImageInputs) -> Tensor:
        """Return the features of N images by one encoder ("vision", "semantic" or "sam")."""
        if part == "semantic":
            return self.encode_semantic(inputs.semantic)
        pixels: Tensor = getattr(inputs, part)
        states: Tensor = getattr(self, part)(pixels).last_hidden_state
        return states.to(pixels.device)

    def encode_semantic(self, pixels: Tensor) -> Tensor:
        """Return X_semantic (N, tokens, C_d) of pixels (N, 3, H_d, H_d)."""
        if self.semantic is None:
            return pixels.new_zeros(pixels.shape[0], 0, 0)
        states: Tensor = self.semantic(pixels).last_hidden_state.to(pixels.device)
        # Without class and register tokens the rest is the grid of patches, row by row.
        if self.leading.start == 0:
            return states[:, self.leading.stop :]
        # Leave out the register tokens, which follow the class token.
        without = [states[:, : self.leading.start], states[:, self.leading.stop :]]
        return torch.cat(without, dim=1)


def unread_tokens(config: SemanticEncoderConfig) -> slice:
    """Return the range of tokens of the semantic encoder that CEM does not see."""
    return slice(int(config.class_token), 1 + open_value(config, "registers"))
