"""The projector: image features to tokens of the language model.

CALICO (arXiv 2412.19331), eqs. 1 and 2, uses a Q-Former with learned queries; the ablation without
it projects every patch by one Linear.

Shapes: B samples; N images; T_i image tokens of an image; C_e is the width of the global features,
W that of queries (of features where there is no Q-Former), D that of the language model.
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
from calico.config.open_values import open_value
from calico.model.vision import INITIAL_STD

QFormer = Blip2QFormerModel | InstructBlipQFormerModel


@dataclass(frozen=True, slots=True)
class Question:
    """The question about each image, for a Q-Former that sees it.

    Attributes:
        tokens: (N, L) int64, padded on the right; the question of each image's sample.
        attention: (N, L) int64, 0 on padding; None means that there is no padding.
    """

    tokens: Tensor
    attention: Tensor | None


def build_qformer(config: QFormerConfig, key_size: int) -> QFormer:
    """Build a Q-Former that attends to image features of width `key_size`."""
    shape: dict[str, Any] = {
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "intermediate_size": config.mlp_size,
        "cross_attention_frequency": config.cross_attention_every,
        "encoder_hidden_size": key_size,
        "hidden_dropout_prob": config.dropout,
        "attention_probs_dropout_prob": config.dropout,
        "layer_norm_eps": open_value(config, "norm_eps"),
    }
    # Both classes give the same output from the same weights where there is no question; the second
    # has word embeddings and MLPs for text in addition.
    if not config.sees_question:
        return Blip2QFormerModel(Blip2QFormerConfig(**shape))
    shape["vocab_size"] = config.vocabulary
    shape["max_position_embeddings"] = config.question_tokens
    return InstructBlipQFormerModel(InstructBlipQFormerConfig(**shape))


class Projector(nn.Module):
    """Turns features of images into tokens; the CAMs query it again with adapted queries.

    Attributes:
        tokens: T_i, of one image.
        projection: W -> D.
    """

    tokens: int
    projection: nn.Linear

    def query(self, features: Tensor, queries: Tensor, question: Question | None = None) -> Tensor:
        """Read features with queries.

        Args:
            features: (N, 1 + patches, C_e).
            queries: (N, T_i or 1, W).
            question: of each image; None where the projector does not see it.

        Returns:
            (N, T_i, W).

        Raises:
            NotImplementedError: the subclass does not define it.
        """
        raise NotImplementedError

    def adapted(self, offset: Tensor | None, batch: int) -> Tensor:
        """Return the queries (B, T_i or 1, W) of B samples, moved by `offset` (B, W)."""
        raise NotImplementedError

    def forward(self, features: Tensor, question: Question | None = None) -> Tensor:
        """Return the image tokens (N, T_i, D) of global features (N, 1 + patches, C_e)."""
        queried = self.query(features, self.adapted(None, features.shape[0]), question)
        tokens: Tensor = self.projection(queried)
        return tokens


class QFormerProjector(Projector):
    """Queries, Q-Former and projection (eqs. 1 and 2).

    The same Q-Former computes the image tokens of the prompt and those of every CAM (eq. 8), where
    the queries are adapted first (eq. 7).

    Args:
        qformer: attends to the global features.
        queries: T_i.
        width: D.
    """

    def __init__(self, qformer: QFormer, queries: int, width: int) -> None:
        super().__init__()
        self.tokens = queries
        self.qformer = qformer
        self.queries = nn.Parameter(torch.empty(1, queries, qformer.config.hidden_size))
        self.projection = nn.Linear(qformer.config.hidden_size, width)
        nn.init.normal_(self.queries, std=INITIAL_STD)
        _initialise(self.projection)

    def query(self, features: Tensor, queries: Tensor, question: Question | None = None) -> Tensor:
        """Run the Q-Former, which does not see the question.

        Args:
            features: (N, 1 + patches, C_e).
            queries: (N, T_i or 1, W).
            question: not read.

        Returns:
            (N, T_i, W).
        """
        answer: Tensor = self.qformer(
            query_embeds=queries, encoder_hidden_states=features
        ).last_hidden_state
        return answer

    def adapted(self, offset: Tensor | None, batch: int) -> Tensor:
        """Add the same offset to all queries of a sample (eq. 7)."""
        queries = self.queries.expand(batch, -1, -1)
        return queries if offset is None else queries + offset[:, None]


class InstructedQFormerProjector(QFormerProjector):
    """Queries and a Q-Former that sees the question: its words follow the queries.

    As in InstructBLIP, queries and words attend to each other, and only queries attend to the
    image.
    """

    def query(self, features: Tensor, queries: Tensor, question: Question | None = None) -> Tensor:
        """Run the Q-Former with the question, or with queries alone, as in pretraining.

        Args:
            features: (N, 1 + patches, C_e).
            queries: (N, T_i or 1, W).
            question: of each image; None as in pretraining.

        Returns:
            (N, T_i, W).
        """
        # With None as word ids the input of the Q-Former is the queries alone.
        tokens = attention = None
        if question is not None and question.tokens.shape[1]:
            tokens = question.tokens
            if question.attention is not None:
                every_query = question.attention.new_ones(queries.shape[:2])
                attention = torch.cat([every_query, question.attention], dim=1)
        answer: Tensor = self.qformer(
            input_ids=tokens,
            attention_mask=attention,
            query_embeds=queries,
            encoder_hidden_states=features,
        ).last_hidden_state
        # What follows the queries are states of words, which are no image tokens.
        return answer[:, : queries.shape[1]]


class LinearProjector(Projector):
    """The ablation without a Q-Former: every patch is projected to one token.

    Args:
        patches: T_i, of one image.
        feature_width: C_e, which is W here.
        width: D.
    """

    def __init__(self, patches: int, feature_width: int, width: int) -> None:
        super().__init__()
        self.tokens = patches
        self.projection = new_projection(feature_width, width)

    def query(self, features: Tensor, queries: Tensor, question: Question | None = None) -> Tensor:
        """Add the offset of a CAM to the features of the patches.

        Args:
            features: (N, 1 + patches, C_e).
            queries: (N, T_i or 1, W).
            question: not read.

        Returns:
            (N, T_i, W).
        """
        # The class token comes first. It belongs to no patch, and gets no image token.
        return features[:, 1:] + queries

    def adapted(self, offset: Tensor | None, batch: int) -> Tensor:
        """Return the offset (B, 1, W) alone, zero in the prompt: there are no queries."""
        if offset is None:
            weight = self.projection.weight
            # Not `new_zeros`: of a weight that is sharded, the zeros would be sharded as well.
            size = (batch, 1, self.projection.in_features)
            return torch.zeros(size, dtype=weight.dtype, device=weight.device)
        return offset[:, None]


def new_projection(size: int, width: int) -> nn.Linear:
    """Return a Linear W -> D with initial values."""
    projection = nn.Linear(size, width)
    _initialise(projection)
    return projection


def _initialise(projection: nn.Linear) -> None:
    nn.init.normal_(projection.weight, std=INITIAL_STD)
    nn.init.zeros_(projection.bias)
