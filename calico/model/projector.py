"""From image features to tokens of the language model: Q-Former with queries, or one Linear.

Shapes: N images; T_i image tokens of an image; C_e is the width of the global features, W that of
queries (of features where there is no Q-Former), D that of the language model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    Blip2QFormerConfig,
    Blip2QFormerModel,
    InstructBlipQFormerConfig,
    InstructBlipQFormerModel,
)

from calico.config.calico import QFormerConfig
from calico.model.vision import INITIAL_STD

QFormer = Blip2QFormerModel | InstructBlipQFormerModel


@dataclass(frozen=True, slots=True)
class Question:
    """The questions that images are asked about, for a Q-Former that sees them.

    Attributes:
        tokens: (N, L) int64, padded on the right; the question of each image's sample.
        attention: (N, L) int64, 0 on padding; None where there is none.
    """

    tokens: Tensor
    attention: Tensor | None


def build_qformer(config: QFormerConfig, key_size: int) -> QFormer:
    """Build the Q-Former that attends to features of width `key_size`."""
    shape: dict[str, Any] = {
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "intermediate_size": config.mlp_size,
        "cross_attention_frequency": config.cross_attention_every,
        "encoder_hidden_size": key_size,
        "hidden_dropout_prob": config.dropout,
        "attention_probs_dropout_prob": config.dropout,
    }
    if not config.sees_question:
        return Blip2QFormerModel(Blip2QFormerConfig(**shape))
    shape["vocab_size"] = config.vocabulary
    shape["max_position_embeddings"] = config.question_tokens
    return InstructBlipQFormerModel(InstructBlipQFormerConfig(**shape))


class Projector(nn.Module):
    """What turns features of images into tokens; the CAMs ask it again with adapted queries.

    Attributes:
        tokens: T_i, of one image.
        projection: W -> D.
    """

    tokens: int
    projection: nn.Linear

    def query(self, features: Tensor, queries: Tensor, question: Question | None = None) -> Tensor:
        """Ask features (N, 1 + patches, C_e) with queries (N, T_i or 1, W): (N, T_i, W)."""
        raise NotImplementedError

    def adapted(self, offset: Tensor | None, batch: int) -> Tensor:
        """Return the queries (B, T_i or 1, W) of B samples, moved by `offset` (B, W)."""
        raise NotImplementedError

    def forward(self, features: Tensor, question: Question | None = None) -> Tensor:
        """Return the image tokens (N, T_i, D) of global features (N, 1 + patches, C_e)."""
        asked = self.query(features, self.adapted(None, features.shape[0]), question)
        tokens: Tensor = self.projection(asked)
        return tokens


class QFormerProjector(Projector):
    """Queries, Q-Former and projection (eqs. 1 and 2).

    The same Q-Former serves the prompt and every CAM (eq. 8), where the queries are adapted first
    (eq. 7).
    """

    def __init__(self, qformer: QFormer, queries: int, width: int) -> None:
        super().__init__()
        self.tokens = queries
        self.qformer = qformer
        self.queries = nn.Parameter(torch.empty(1, queries, qformer.config.hidden_size))
        self.projection = nn.Linear(qformer.config.hidden_size, width)
        nn.init.normal_(self.queries, std=INITIAL_STD)
        _draw(self.projection)

    def query(self, features: Tensor, queries: Tensor, question: Question | None = None) -> Tensor:
        """Run the Q-Former, which sees no question."""
        answer: Tensor = self.qformer(
            query_embeds=queries, encoder_hidden_states=features
        ).last_hidden_state
        return answer

    def adapted(self, offset: Tensor | None, batch: int) -> Tensor:
        """Add the same offset to all queries of a sample."""
        queries = self.queries.expand(batch, -1, -1)
        return queries if offset is None else queries + offset[:, None]


class InstructedQFormerProjector(QFormerProjector):
    """Queries and a Q-Former that sees the question: its words stand behind the queries."""

    def query(self, features: Tensor, queries: Tensor, question: Question | None = None) -> Tensor:
        """Run the Q-Former; without a question, as in pretraining, queries are all that it sees."""
        tokens = attention = None
        if question is not None and question.tokens.shape[1]:
            tokens = question.tokens
            if question.attention is not None:
                seen = question.attention.new_ones(queries.shape[:2])
                attention = torch.cat([seen, question.attention], dim=1)
        answer: Tensor = self.qformer(
            input_ids=tokens,
            attention_mask=attention,
            query_embeds=queries,
            encoder_hidden_states=features,
        ).last_hidden_state
        return answer[:, : queries.shape[1]]


class LinearProjector(Projector):
    """The ablation without a Q-Former: every patch is projected to one token."""

    def __init__(self, patches: int, feature_width: int, width: int) -> None:
        super().__init__()
        self.tokens = patches
        self.projection = nn.Linear(feature_width, width)
        _draw(self.projection)

    def query(self, features: Tensor, queries: Tensor, question: Question | None = None) -> Tensor:
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
