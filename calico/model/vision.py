"""The image side: EVA-style and DINOv2 encoders, SAM's encoder, and the Q-Former with its queries.

Shapes: N images; C_e, C_d, C_s widths of the three encoders; Q queries of width D_q; D is the
width of the language model. Class tokens come first where an encoder has one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import (
    Blip2QFormerConfig,
    Blip2QFormerModel,
    Blip2VisionConfig,
    Blip2VisionModel,
    Dinov2Config,
    Dinov2Model,
)

from calico.config import GlobalEncoderConfig, QFormerConfig, SemanticEncoderConfig

INITIAL_STD = 0.02  # transformers' Blip2VisionConfig and SamVisionConfig say 1e-10


@dataclass(frozen=True, slots=True)
class ImageInputs:
    """Normalised pixels of N images, one tensor per encoder.

    Attributes:
        vision: (N, 3, H_e, H_e) float, direct resize.
        semantic: (N, 3, H_d, H_d) float, direct resize.
        sam: (N, 3, H_s, H_s) float, longest side resized, zeros to the right and below.
    """

    vision: Tensor
    semantic: Tensor
    sam: Tensor

    def to(self, device: torch.device, dtype: torch.dtype) -> ImageInputs:
        """Return the same pixels elsewhere."""
        moved = (pixels.to(device, dtype) for pixels in (self.vision, self.semantic, self.sam))
        return ImageInputs(*moved)


@dataclass(frozen=True, slots=True)
class ImageFeatures:
    """What the frozen encoders say about N images; this is what the feature cache holds.

    Attributes:
        vision: (N, 1 + patches, C_e), X_global of eq. 4.
        semantic: (N, patches, C_d), X_semantic of eq. 5, without the class token.
        sam: (N, C_s, h, w) image embedding of SAM.
    """

    vision: Tensor
    semantic: Tensor
    sam: Tensor

    def to(self, device: torch.device, dtype: torch.dtype) -> ImageFeatures:
        """Return the same features elsewhere."""
        moved = (part.to(device, dtype) for part in (self.vision, self.semantic, self.sam))
        return ImageFeatures(*moved)

    def select(self, index: Tensor) -> ImageFeatures:
        """Return the features of the images at `index` (M,) int64, repeats allowed."""
        return ImageFeatures(self.vision[index], self.semantic[index], self.sam[index])


class ResidualConv(nn.Module):
    """Two 3 x 3 convolutions with a residual: (N, C, h, w) -> (N, C, h, w)."""

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
        """Refine features."""
        return torch.relu(features + self.layers(features))


class ConvStem(nn.Sequential):
    """Patch embedding by strided 3 x 3 convolutions, each halving the grid.

    A transformer trained from scratch on few images needs the locality that one large patch
    projection does not give.
    """

    def __init__(self, hidden_size: int, patch_size: int) -> None:
        halvings = patch_size.bit_length() - 1
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
        """The last layer's weight: transformers asks a patch projection for its dtype."""
        last = self[-1]
        assert isinstance(last, nn.Conv2d)
        return last.weight


def build_global_encoder(config: GlobalEncoderConfig) -> Blip2VisionModel:
    """Build the EVA-style ViT, output normalised: (N, 3, H, H) -> (N, 1 + patches, C_e)."""
    encoder = Blip2VisionModel(
        Blip2VisionConfig(
            hidden_size=config.hidden_size,
            intermediate_size=config.mlp_size,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            image_size=config.image_size,
            patch_size=config.patch_size,
            initializer_range=INITIAL_STD,
        )
    )
    if config.stem == "conv":
        stem = ConvStem(config.hidden_size, config.patch_size)
        encoder.embeddings.patch_embedding = stem  # type: ignore[assignment]
    return encoder


def build_semantic_encoder(config: SemanticEncoderConfig) -> Dinov2Model:
    """Build the DINOv2 ViT: (N, 3, H, H) -> (N, 1 + patches, C_d)."""
    encoder = Dinov2Model(
        Dinov2Config(
            hidden_size=config.hidden_size,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            image_size=config.position_size,
            patch_size=config.patch_size,
            use_swiglu_ffn=config.swiglu,
        )
    )
    if config.stem == "conv":
        stem = ConvStem(config.hidden_size, config.patch_size)
        encoder.embeddings.patch_embeddings.projection = stem  # type: ignore[assignment]
    return encoder


def build_qformer(config: QFormerConfig, key_size: int) -> Blip2QFormerModel:
    """Build the query-only Q-Former that attends to features of width `key_size`."""
    return Blip2QFormerModel(
        Blip2QFormerConfig(
            hidden_size=config.hidden_size,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            intermediate_size=config.mlp_size,
            cross_attention_frequency=config.cross_attention_every,
            encoder_hidden_size=key_size,
            hidden_dropout_prob=config.dropout,
            attention_probs_dropout_prob=config.dropout,
        )
    )


class ImageEncoders(nn.Module):
    """The three encoders of single images (eqs. 3-5), frozen while CALICO trains."""

    def __init__(self, vision: Blip2VisionModel, semantic: Dinov2Model, sam: nn.Module) -> None:
        super().__init__()
        self.vision = vision
        self.semantic = semantic
        self.sam = sam

    def forward(self, inputs: ImageInputs) -> ImageFeatures:
        """Encode N images."""
        return ImageFeatures(
            vision=self.vision(inputs.vision).last_hidden_state,
            semantic=self.semantic(inputs.semantic).last_hidden_state[:, 1:],
            sam=self.sam(inputs.sam).last_hidden_state,
        )


class QueryBridge(nn.Module):
    """Queries, Q-Former and projection: image features to tokens of the language model.

    Eqs. 1 and 2. The same Q-Former serves the prompt and every CAM (eq. 8), where the queries are
    adapted first.
    """

    def __init__(self, qformer: Blip2QFormerModel, queries: int, width: int) -> None:
        super().__init__()
        self.qformer = qformer
        self.queries = nn.Parameter(torch.empty(1, queries, qformer.config.hidden_size))
        self.projection = nn.Linear(qformer.config.hidden_size, width)
        nn.init.normal_(self.queries, std=INITIAL_STD)
        nn.init.normal_(self.projection.weight, std=INITIAL_STD)
        nn.init.zeros_(self.projection.bias)

    def query(self, features: Tensor, queries: Tensor) -> Tensor:
        """Ask features (N, L, C_e) with queries (N, Q, D_q): (N, Q, D_q)."""
        answer: Tensor = self.qformer(
            query_embeds=queries, encoder_hidden_states=features
        ).last_hidden_state
        return answer

    def forward(self, features: Tensor) -> Tensor:
        """Return the image tokens (N, Q, D) of global features (N, 1 + patches, C_e)."""
        queries = self.queries.expand(features.shape[0], -1, -1)
        tokens: Tensor = self.projection(self.query(features, queries))
        return tokens
