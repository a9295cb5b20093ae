"""The layouts that the paper compares with, in shapes only: LISA's and GLaMM's.

Both feed CLIP's patch tokens to the same language model and decode masks with the same SAM. What
makes their forward pass dearer is 256 and 576 tokens an image instead of 32.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModel

from calico.config.calico import CalicoConfig
from calico.cost.flops import Workload, calico_flops, counted, meta, speak
from calico.cost.skeleton import speaker


@dataclass(frozen=True, slots=True)
class PeerModel:
    """A model of the family.

    Attributes:
        name: as the papers call it.
        image_size: side of CLIP ViT-L/14's input.
        projector: number of Linears from CLIP to the language model.
    """

    name: str
    image_size: int
    projector: int

    @property
    def tokens(self) -> int:
        """Tokens of an image: CLIP's patches."""
        return (self.image_size // 14) ** 2


GLAMM = PeerModel("GLaMM", 336, 2)
LISA = PeerModel("LISA", 224, 1)


def peer_flops(layout: PeerModel, config: CalicoConfig, workload: Workload) -> dict[str, int]:
    """Return the operations of each part of a forward pass.

    Args:
        layout: of the encoder in front.
        config: its language model and SAM serve here too.
        workload: one sample, as for CALICO.
    """
    shared = calico_flops(config, workload)
    with torch.device("meta"):
        clip = CLIPVisionModel(
            CLIPVisionConfig(
                hidden_size=1024,
                intermediate_size=4096,
                num_hidden_layers=24,
                num_attention_heads=16,
                image_size=layout.image_size,
                patch_size=14,
                projection_dim=768,
            )
        )
        width = config.language.hidden_size
        layers: list[nn.Module] = [nn.Linear(1024, width)]
        for _ in range(layout.projector - 1):
            layers += [nn.GELU(), nn.Linear(width, width)]
        projector = nn.Sequential(*layers)
    pixels = meta(workload.images, 3, layout.image_size, layout.image_size)
    patches = meta(workload.images, layout.tokens, 1024)
    length = workload.text + workload.images * layout.tokens
    model = speaker(config)
    seen = counted(lambda: clip(pixels)) + counted(lambda: projector(patches))
    return {
        "CLIP ViT-L/14 and projection": seen,
        "SAM image encoder": shared["SAM image encoder"],
        "language model": counted(lambda: speak(model, workload.answer, length)),
        "[SEG] projection and SAM mask decoder": shared["[SEG] projection and SAM mask decoder"],
    }
