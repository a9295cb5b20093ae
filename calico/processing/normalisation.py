"""Normalised pixels of the encoders, from 8-bit values by a table on any device.

A channel has 256 levels, so its normalised values are a table, computed once on the CPU. Looking a
level up gives the same number everywhere. The arithmetic itself does not: a division by 255 is a
product with the rounded reciprocal on CUDA. A look-up also reads a byte where arithmetic reads and
writes four of them several times.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import cv2
import torch
from torch import Tensor

# Mean and standard deviation of RGB in [0, 1]: CLIP's for EVA, ImageNet's for DINOv2 and SAM. SAM
# publishes the same values in 0..255, rounded: its features need them exactly.
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SAM = ((123.675 / 255, 116.28 / 255, 103.53 / 255), (58.395 / 255, 57.12 / 255, 57.375 / 255))
STATISTICS = {"vision": CLIP, "semantic": IMAGENET, "sam": SAM}
_LEVELS = 256


def normalised(part: str, pixels: Tensor, inner: Sequence[tuple[int, int]]) -> Tensor:
    """Return images as an encoder takes them.

    Args:
        part: the encoder, "vision", "semantic" or "sam".
        pixels: (N, H, W, 3) uint8 RGB, on any device.
        inner: rows and columns of each image that are not padding.

    Returns:
        (N, 3, H, W) float32 on the device of `pixels`, zero on the padding.
    """
    count, height, width, _ = pixels.shape
    if pixels.device.type == "cpu":
        values = torch.empty(count, 3, height, width)
        _look_up_on_cpu(part, pixels, values)
    else:
        levels = _table(part, pixels.device).flatten()
        first = torch.arange(0, 3 * _LEVELS, _LEVELS, dtype=torch.int32, device=pixels.device)
        values = levels[pixels.permute(0, 3, 1, 2).int() + first.view(3, 1, 1)]
    # SAM pads after normalisation: its padding is zero, which black pixels would not be.
    for image, (rows, columns) in zip(values, inner, strict=True):
        if rows < height:
            image[:, rows:] = 0
        if columns < width:
            image[:, :, columns:] = 0
    return values


def _look_up_on_cpu(part: str, pixels: Tensor, values: Tensor) -> None:
    """Fill (N, 3, H, W) float32 with the normalised pixels (N, H, W, 3)."""
    # OpenCV, because indexing by a tensor takes twice as long on a CPU.
    table = _table(part, torch.device("cpu")).numpy()
    for image, planes in zip(pixels.numpy(), values.numpy(), strict=True):
        for levels, channel, plane in zip(table, cv2.split(image), planes, strict=True):
            cv2.LUT(channel, levels, dst=plane)


@lru_cache(maxsize=16)
def _table(part: str, device: torch.device) -> Tensor:
    """Return the normalised value of every level of every channel, (3, 256) float32."""
    mean, deviation = (torch.tensor(values).view(3, 1) for values in STATISTICS[part])
    levels = torch.arange(_LEVELS, dtype=torch.uint8).expand(3, -1)
    # Also where the first image is encoded in inference mode: the table outlives it.
    with torch.inference_mode(False):
        return levels.float().div_(255).sub_(mean).div_(deviation).to(device)
