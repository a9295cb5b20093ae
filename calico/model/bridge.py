"""From image features to tokens of the language model: Q-Former with queries, or one Linear.

Shapes: N images; T_i image tokens of an image; C_e is the width of the global features, W that of
queries (of features where there is no Q-Former), D that of the language model.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import Blip2QFormerConfig, Blip2QFormerModel

from calico.config import QFormerConfig
from calico.model.vision import INITIAL_STD


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


class Bridge(nn.Module):
    """What turns features of images into tokens; the CAMs ask it again with adapted queries.

    Attributes:
        tokens: T_i, of one image.
        projection: W -> D.
    """

    tokens: int
    projection: nn.Linear

    def query(self, features: Tensor, queries: Tensor) -> Tensor:
        """Ask features (N, 1 + patches, C_e) with queries (N, T_i or 1, W): (N, T_i, W)."""
        raise NotImplementedError

    def adapted(self, offset: Tensor | None, batch: int) -> Tensor:
        """Return the queries (B, T_i or 1, W) of B samples, moved by `offset` (B, W)."""
        raise NotImplementedError

    def forward(self, features: Tensor) -> Tensor:
        """Return the image tokens (N, T_i, D) of global features (N, 1 + patches, C_e)."""
        asked = self.query(features, self.adapted(None, features.shape[0]))
        tokens: Tensor = self.projection(asked)
        return tokens


class QueryBridge(Bridge):
    """Queries, Q-Former and projection (eqs. 1 and 2).

    The same Q-Former serves the prompt and every CAM (eq. 8), where the queries are adapted first
    (eq. 7).
    """

    def __init__(self, qformer: Blip2QFormerModel, queries: int, width: int) -> None:
        super().__init__()
        self.tokens = queries
        self.qformer = qformer
        self.queries = nn.Parameter(torch.empty(1, queries, qformer.config.hidden_size))
        self.projection = nn.Linear(qformer.config.hidden_size, width)
        nn.init.normal_(self.queries, std=INITIAL_STD)
        _draw(self.projection)

    def query(self, features: Tensor, queries: Tensor) -> Tensor:
        """Run the Q-Former."""
        answer: Tensor = self.qformer(
            query_embeds=queries, encoder_hidden_states=features
        ).last_hidden_state
        return answer

    def adapted(self, offset: Tensor | None, batch: int) -> Tensor:
        """Add the same offset to all queries of a sample."""
        queries = self.queries.expand(batch, -1, -1)
        return queries if offset is None else queries + offset[:, None]


class LinearBridge(Bridge):
    """The ablation without a Q-Former: every patch is projected to one token."""

    def __init__(self, patches: int, feature_width: int, width: int) -> None:
        super().__init__()
        self.tokens = patches
        self.projection = nn.Linear(feature_width, width)
        _draw(self.projection)

    def query(self, features: Tensor, queries: Tensor) -> Tensor:
        """Move the features of the patches; the class token is left out."""
        return features[:, 1:] + queries

    def adapted(self, offset: Tensor | None, batch: int) -> Tensor:
        """Return the offset alone: there are no queries."""
        if offset is None:
            return self.projection.weight.new_zeros(batch, 1, self.projection.in_features)
        return offset[:, None]


def _draw(projection: nn.Linear) -> None:
    nn.init.normal_(projection.weight, std=INITIAL_STD)
    nn.init.zeros_(projection.bias)
