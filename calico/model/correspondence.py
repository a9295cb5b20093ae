"""CEM and CAM: how semantic features enter the language model's forward pass (eqs. 6-9).

Shapes: B samples of I images each; T positions; T_i image tokens an image; D is the width of the
language model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from calico.model.projector import Projector, Question
from calico.model.vision import INITIAL_STD, ImageFeatures


class ExtractionModule(nn.Module):
    """CEM: global features attend to the semantic features of their own image (eq. 6)."""

    def __init__(
        self, width: int, key_width: int, heads: int, residual: bool, norm: bool = False
    ) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(
            width, heads, kdim=key_width, vdim=key_width, batch_first=True
        )
        self.residual = residual
        self.norm = nn.LayerNorm(width) if norm else nn.Identity()
        self.key_norm = nn.LayerNorm(key_width) if norm else nn.Identity()

    def forward(self, vision: Tensor, semantic: Tensor) -> Tensor:
        """Return X'_global (N, 1 + patches, C_e) of features (N, ., C_e) and (N, patches, C_d)."""
        keys = self.key_norm(semantic)
        fused: Tensor = self.attention(self.norm(vision), keys, keys, need_weights=False)[0]
        return vision + fused if self.residual else fused


class AdaptiveModule(nn.Module):
    """The two Linears of one CAM: hidden state to query offset (eq. 7), result back (eq. 9).

    Without conditioning there is no first one: a weight that nothing uses would stop distributed
    training.
    """

    def __init__(
        self, width: int, query_width: int, initial: str, conditioning: bool = True
    ) -> None:
        super().__init__()
        self.adaptation = nn.Linear(width, query_width) if conditioning else None
        self.reintegration = nn.Linear(query_width, width)
        for layer in (self.adaptation, self.reintegration):
            if layer is None:
                continue
            nn.init.normal_(layer.weight, std=0.0 if initial == "zero" else INITIAL_STD)
            nn.init.zeros_(layer.bias)


@dataclass(frozen=True, slots=True)
class Prefill:
    """What the CAMs need to know about a batch of prompts.

    Attributes:
        features: (B * I, L, C_e) that the Q-Former is asked about, X'_global of eq. 6.
        image_positions: (B, I * T_i) int64, where the image tokens stand, image by image.
        last_prompt: (B,) int64, position of the last prompt token (never an answer token).
        images: I.
        question: of the B * I images, where the Q-Former sees it.
    """

    features: Tensor
    image_positions: Tensor
    last_prompt: Tensor
    images: int
    question: Question | None = None


class Correspondence(nn.Module):
    """One CEM and a CAM before each listed layer of the language model."""

    def __init__(
        self,
        extraction: ExtractionModule | None,
        adaptive: Sequence[AdaptiveModule],
        layers: Sequence[int],
        requery: bool = True,
    ) -> None:
        super().__init__()
        self.extraction = extraction
        self.adaptive = nn.ModuleList(adaptive)
        self.layers = tuple(layers)
        self.requery = requery

    def prepare(
        self,
        features: ImageFeatures,
        image_positions: Tensor,
        last_prompt: Tensor,
        images: int,
        question: Question | None = None,
    ) -> Prefill:
        """Run CEM once for a forward pass; every CAM shares its result."""
        vision = features.vision
        if self.extraction is not None:
            vision = self.extraction(vision, features.semantic)
        return Prefill(vision, image_positions, last_prompt, images, question)

    def update(
        self, module: AdaptiveModule, bridge: Projector, hidden: Tensor, prefill: Prefill
    ) -> Tensor:
        """Return hidden states (B, T, D) with the fused image tokens of one CAM (eqs. 7-9)."""
        batch, _, width = hidden.shape
        offset = None
        if module.adaptation is not None:
            rows = torch.arange(batch, device=hidden.device)
            offset = module.adaptation(hidden[rows, prefill.last_prompt])
        queries = bridge.adapted(offset, batch).repeat_interleave(prefill.images, dim=0)
        found = queries.expand(-1, bridge.tokens, -1)
        if self.requery:
            found = bridge.query(prefill.features, queries, prefill.question)
        answer = module.reintegration(found).reshape(batch, -1, width).to(hidden.dtype)
        index = prefill.image_positions[..., None].expand(-1, -1, width)
        return hidden.scatter_add(1, index, answer)

    @contextmanager
    def attached(
        self, decoder_layers: nn.ModuleList, bridge: Projector, prefill: Prefill
    ) -> Iterator[None]:
        """Run the CAMs before their layers inside the `with` block, at prefill only.

        Steps of one token, which a key-value cache makes, pass unchanged.
        """

        def before(number: int) -> Any:
            module = self.adaptive[number]
            assert isinstance(module, AdaptiveModule)

            def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
                hidden = args[0] if args else kwargs.pop("hidden_states")
                if hidden.shape[1] > 1:
                    hidden = self.update(module, bridge, hidden, prefill)
                return (hidden, *args[1:]), kwargs

            return hook

        handles = [
            decoder_layers[layer].register_forward_pre_hook(before(number), with_kwargs=True)
            for number, layer in enumerate(self.layers)
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
