"""Masks at the size of their images, where LISA and GLaMM take the loss.

Frames as in `calico.processing.images`: *grid* is the decoder's output, *square* SAM's input of S
pixels a side, whose upper left part *inner* shows the image, and *original* the image as a sample
shows it. Shapes: M masks, H rows and W columns of an original.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

_BITS = (7, 6, 5, 4, 3, 2, 1, 0)  # of a byte, in the order of `np.packbits`


@dataclass(frozen=True, slots=True)
class OriginalMasks:
    """The true masks of a batch at original size, a bit a pixel.

    Attributes:
        bits: (bytes,) uint8, the masks one after the other, row by row; each begins with a byte.
        sizes: (H, W) of each mask.
        inner: rows and columns of the square that show the image of each mask.
        square: S.
    """

    # One tensor of bits and not a list of masks: the 640 masks of a step of the 7B model take 25 MB
    # instead of 200, and a worker process hands over one piece of memory.
    bits: Tensor
    sizes: tuple[tuple[int, int], ...]
    inner: tuple[tuple[int, int], ...]
    square: int

    @classmethod
    def of(
        cls, masks: Sequence[NDArray[np.uint8]], inner: Sequence[tuple[int, int]], square: int
    ) -> OriginalMasks:
        """Return the masks packed.

        Args:
            masks: M of (H, W) uint8, 0 or 1.
            inner: of each mask.
            square: S.

        Returns:
            The masks.
        """
        packed = [np.packbits(mask) for mask in masks]
        joined = np.concatenate(packed) if packed else np.zeros(0, np.uint8)
        sizes = tuple((mask.shape[0], mask.shape[1]) for mask in masks)
        return cls(torch.from_numpy(joined), sizes, tuple(inner), square)

    def to(self, device: torch.device) -> OriginalMasks:
        """Return the same masks on another device."""
        return replace(self, bits=self.bits.to(device, non_blocking=True))

    def portions(self, pixels: int) -> Iterator[Portion]:
        """Yield all masks in order, those of a portion of one frame, cut at `pixels` pixels."""
        start = begin = 0
        count = len(self.sizes)
        while start < count:
            frame = (self.sizes[start], self.inner[start])
            rows, columns = frame[0]
            # The larger of the two frames that the masks are resized to.
            most = max(1, pixels // max(self.square**2, rows * columns))
            stop = start + 1
            while stop < min(count, start + most) and frame == (self.sizes[stop], self.inner[stop]):
                stop += 1
            each = -(-rows * columns // 8)
            end = begin + (stop - start) * each
            bits = self.bits[begin:end].view(stop - start, each)
            yield Portion(slice(start, stop), bits, *frame, self.square)
            start, begin = stop, end


@dataclass(frozen=True, slots=True)
class Portion:
    """Some masks of one frame.

    Attributes:
        masks: their places among all masks.
        bits: (m, bytes) uint8.
        size: H, W.
        inner: rows and columns of the square that show the image.
        square: S.
    """

    masks: slice
    bits: Tensor
    size: tuple[int, int]
    inner: tuple[int, int]
    square: int

    def targets(self) -> Tensor:
        """Return the masks (m, H, W) float32, 0 or 1."""
        rows, columns = self.size
        shifts = torch.tensor(_BITS, dtype=torch.uint8, device=self.bits.device)
        pixels = (self.bits[..., None] >> shifts) & 1
        return pixels.flatten(1)[:, : rows * columns].view(-1, rows, columns).float()

    def resized(self, logits: Tensor) -> Tensor:
        """Return decoded logits (m, g, g) of these masks as (m, H, W) float32."""
        return at_original_size(logits, self.square, self.inner, self.size)


def at_original_size(
    logits: Tensor, square: int, inner: tuple[int, int], size: tuple[int, int]
) -> Tensor:
    """Resize decoded masks to the size of their image, as SAM does.

    Args:
        logits: (M, g, g) float, on the decoder's grid.
        square: S.
        inner: rows and columns of the square that show the image.
        size: H, W.

    Returns:
        (M, H, W) float32.
    """
    # To the square, cut the padding off, to the original size. In float32: interpolated bf16 logits
    # would put visible steps into the outlines.
    whole = F.interpolate(
        logits[:, None].float(), (square, square), mode="bilinear", align_corners=False
    )
    shown = whole[:, :, : inner[0], : inner[1]]
    return F.interpolate(shown, size, mode="bilinear", align_corners=False)[:, 0]
