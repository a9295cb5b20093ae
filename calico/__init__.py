"""CALICO: the reference model for part-focused semantic co-segmentation.

import calico

model = calico.load("runs/tiny")
answer = model("a.jpg", "b.jpg", task="common_parts")
answer.text, answer.segments  # what it says, and a labelled COCO RLE mask for every phrase
answer.overlay().save("overlay.png")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from calico.inference.predictor import Predictor

__all__ = ["load"]


def load(checkpoint: str | Path, device: str = "auto") -> Predictor:
    """Load a trained model that answers questions about pictures.

    Args:
        checkpoint: what calico-train wrote, or the folder of a run: then its newest one.
        device: "auto" (CUDA where there is one), "cpu", "cuda", "cuda:N" or "mps".

    Raises:
        InputError: there is none, or it does not fit the code.
        UsageError: there is no such kind of device.
        EnvironmentFault: this machine has no such device.
    """
    from calico.inference.predictor import Predictor  # torch is loaded only here

    return Predictor.from_pretrained(checkpoint, device)
