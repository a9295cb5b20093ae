"""The layouts of LISA and GLaMM, which the paper compares with, in shapes only.

Both feed CLIP's patch tokens to the same language model and decode masks with the same SAM. Their
forward pass costs more because an image has 256 and 576 tokens instead of 32.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModel

from calico.config.calico import CalicoConfig
from calico.cost.flops import calico_flops, count_flops, meta_tensor, run_language_model
from calico.cost.skeleton import language_skeleton
from calico.cost.workload import Workload


@dataclass(frozen=True, slots=True)
class PeerModel:
    """A model of the family.

    Attributes:
        name: of the model in its paper.
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
        layout: CLIP and projector of the peer.
        config: of CALICO; the peer has the same language model and SAM.
        workload: one sample, as for CALICO.

    Returns:
        Operations by the name of the part.
    """
    # The parts that a peer shares with CALICO are taken from its counts.
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
    pixels = meta_tensor(workload.images, 3, layout.image_size, layout.image_size)
    patches = meta_tensor(workload.images, layout.tokens, 1024)
    length = workload.text + workload.images * layout.tokens
    model = language_skeleton(config)
    image_side = count_flops(lambda: clip(pixels)) + count_flops(lambda: projector(patches))
    return {
        "CLIP ViT-L/14 and projection": image_side,
        "SAM image encoder": shared["SAM image encoder"],
        "language model": count_flops(lambda: run_language_model(model, workload.answer, length)),
        "[SEG] projection and SAM mask decoder": shared["[SEG] projection and SAM mask decoder"],
    }
