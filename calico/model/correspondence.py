"""CEM and CAM: how semantic features enter the language model's forward pass.

CALICO (arXiv 2412.19331), eqs. 6-9: CEM fuses the global and semantic features of each image, and
a CAM before each chosen layer queries the result again with what the layer knows of the question.

Shapes: B samples of I images each; T positions; T_i image tokens an image; D is the width of the
language model, C_e and C_d those of the global and semantic encoders.
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
    """CEM: global features attend to the semantic features of their own image (eq. 6).

    Args:
        width: C_e, of queries and result; a multiple of `heads`.
        key_width: C_d, of keys and values.
        heads: attention heads.
        residual: adds the global features to the result; eq. 6 does not.
        norm: LayerNorm of queries and of keys before the attention.
    """

    def __init__(
        self, width: int, key_width: int, heads: int, residual: bool, norm: bool = False
    ) -> None:
        super().__init__()
        # kdim and vdim: the attention itself projects C_d to C_e, no Linear comes before it.
        self.attention = nn.MultiheadAttention(
            width, heads, kdim=key_width, vdim=key_width, batch_first=True
        )
        self.residual = residual
        self.norm = nn.LayerNorm(width) if norm else nn.Identity()
        self.key_norm = nn.LayerNorm(key_width) if norm else nn.Identity()

    def forward(self, vision: Tensor, semantic: Tensor) -> Tensor:
        """Return X'_global (N, 1 + patches, C_e) of features (N, ., C_e) and (N, patches, C_d)."""
        keys = self.key_norm(semantic)
        # Without attention weights torch may use its fused attention kernel.
        fused: Tensor = self.attention(self.norm(vision), keys, keys, need_weights=False)[0]
        # Without the residual, as in eq. 6, a new module replaces the global features by random
        # mixtures of semantic ones: it does not start as the identity.
        return vision + fused if self.residual else fused


class AdaptiveModule(nn.Module):
    """The two Linears of one CAM: hidden state to query offset (eq. 7), result back (eq. 9).

    Args:
        width: D.
        query_width: of the queries, D_I.
        initial: "zero" or "normal" weights; biases are zero.
        conditioning: False leaves out the first Linear, the ablation without CAM.
    """

    def __init__(
        self, width: int, query_width: int, initial: str, conditioning: bool = True
    ) -> None:
        super().__init__()
        # Left out and not only unused: distributed training expects a gradient of every weight.
        self.adaptation = nn.Linear(width, query_width) if conditioning else None
        self.reintegration = nn.Linear(query_width, width)
        # From zero, as in the ancestor VPG-C, a new CAM changes nothing and the model starts as the
        # plain language model. The first update moves the reintegration alone: while that is zero,
        # no gradient reaches the adaptation.
        for layer in (self.adaptation, self.reintegration):
            if layer is None:
                continue
            nn.init.normal_(layer.weight, std=0.0 if initial == "zero" else INITIAL_STD)
            nn.init.zeros_(layer.bias)


@dataclass(frozen=True, slots=True)
class Prefill:
    """The inputs of the CAMs for a batch of prompts.

    Attributes:
        features: (B * I, L, C_e) that the Q-Former attends to, X'_global of eq. 6.
        image_positions: (B, I * T_i) int64, columns of the image tokens, image by image.
        last_prompt: (B,) int64, position of the last prompt token (never an answer token).
        images: I.
        question: of the B * I images; None where the Q-Former does not see it.
    """

    features: Tensor
    image_positions: Tensor
    last_prompt: Tensor
    images: int
    question: Question | None = None


class Correspondence(nn.Module):
    """One CEM and a CAM before each listed layer of the language model.

    Args:
        extraction: the CEM; None lets the CAMs query the global features (ablation without DINO).
        adaptive: the Linears of each CAM.
        layers: indices of their layers from 0, one for each of `adaptive`.
        requery: whether a CAM runs the Q-Former; False adds the adapted queries themselves.
    """

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
        """Run CEM once for a forward pass; every CAM shares its result.

        Args:
            features: of the B * I images.
            image_positions: (B, I * T_i) int64, columns of the image tokens.
            last_prompt: (B,) int64, position of the last prompt token.
            images: I.
            question: of the B * I images; None where the Q-Former does not see it.

        Returns:
            The inputs of `update` and `attached`.
        """
        vision = features.vision
        if self.extraction is not None:
            vision = self.extraction(vision, features.semantic)
        return Prefill(vision, image_positions, last_prompt, images, question)

    def update(
        self, module: AdaptiveModule, projector: Projector, hidden: Tensor, prefill: Prefill
    ) -> Tensor:
        """Add the fused image tokens of one CAM to the states of a layer (eqs. 7-9).

        Args:
            module: Linears of the CAM.
            projector: has the queries and the Q-Former.
            hidden: (B, T, D), input of the layer.
            prefill: of the batch.

        Returns:
            (B, T, D) of the dtype of `hidden`; only the image tokens differ from it.
        """
        batch, _, width = hidden.shape
        offset = None
        if module.adaptation is not None:
            # Eq. 7. Of the prompt, never of the answer: image tokens come before both, so an
            # answer token here would let every position see the answer that it has to predict.
            rows = torch.arange(batch, device=hidden.device)
            offset = module.adaptation(hidden[rows, prefill.last_prompt])
        # All images of a sample are queried alike; images of a sample are neighbours in the batch.
        queries = projector.adapted(offset, batch).repeat_interleave(prefill.images, dim=0)
        fused = queries.expand(-1, projector.tokens, -1)
        if self.requery:
            fused = projector.query(prefill.features, queries, prefill.question)  # eq. 8
        added = module.reintegration(fused).reshape(batch, -1, width).to(hidden.dtype)
        # Not in place: autograd still needs the states as the layer before returned them.
        index = prefill.image_positions[..., None].expand(-1, -1, width)
        return hidden.scatter_add(1, index, added)

    @contextmanager
    def attached(
        self, decoder_layers: nn.ModuleList, projector: Projector, prefill: Prefill
    ) -> Iterator[None]:
        """Run the CAMs before their layers inside the `with` block, at prefill only.

        Steps of one token, which a key-value cache makes, pass unchanged.

        Args:
            decoder_layers: of the language model.
            projector: has the queries and the Q-Former.
            prefill: of the batch that the block computes.

        Yields:
            None; the hooks are removed after the block.
        """

        # Hooks, not wrapped layers: the names of modules, which state dicts and LoRA's pattern
        # depend on, stay those of transformers. A pre-hook runs before its layer, so the layer
        # listed as 11 attends to fused image tokens already, as in VPG-C.
        def before(number: int) -> Any:
            module = self.adaptive[number]
            assert isinstance(module, AdaptiveModule)

            def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
                # Versions of transformers differ in how they pass the states.
                hidden = args[0] if args else kwargs.pop("hidden_states")
                # The length marks the prefill in every version: a prompt holds image tokens, so it
                # is longer than 1. In a later step the image tokens exist only as keys and values,
                # which the prefill computed from the fused states.
                if hidden.shape[1] > 1:
                    # With a device map the layer before may lie on another device.
                    hidden = hidden.to(prefill.features.device)
                    hidden = self.update(module, projector, hidden, prefill)
                return (hidden, *args[1:]), kwargs

            return hook

        handles = [
            decoder_layers[layer].register_forward_pre_hook(before(number), with_kwargs=True)
            for number, layer in enumerate(self.layers)
        ]
        try:
            yield
        finally:
            # Also after an error: a hook that stays would add this batch's images to the next one.
            for handle in handles:
                handle.remove()
