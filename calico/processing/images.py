"""Pictures into the three encoders, masks onto the decoder's grid, and masks back again.

Frames: *original* is the stored pixel grid (EXIF orientation not applied); *square* is SAM's input,
longest side resized to S and padded to the right and below; *grid* is the decoder's output, the
square at S / step cells a side.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional as F

from calico.config.calico import CalicoConfig
from calico.dataset.views import PLAIN, View
from calico.model.vision import ImageInputs
from mixedparts.errors import InputError
from mixedparts.masks import Rle, decode, from_dense

# Mean and deviation of RGB in [0, 1]: CLIP's for EVA, ImageNet's for DINOv2 and SAM.
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SAM = ((123.675 / 255, 116.28 / 255, 103.53 / 255), (58.395 / 255, 57.12 / 255, 57.375 / 255))


@dataclass(frozen=True, slots=True)
class Pixels:
    """One picture resized for the three encoders.

    Attributes:
        vision: (H_e, H_e, 3) uint8 RGB, direct resize.
        semantic: (H_d, H_d, 3) uint8 RGB, direct resize.
        square: (S, S, 3) uint8 RGB, zeros outside the picture.
        inner: rows and columns of `square` that show the picture.
        size: (height, width) of the original.
    """

    vision: NDArray[np.uint8]
    semantic: NDArray[np.uint8]
    square: NDArray[np.uint8]
    inner: tuple[int, int]
    size: tuple[int, int]

    def flipped(self) -> Pixels:
        """Return the mirror image, left to right within the picture."""
        square = self.square.copy()
        square[:, : self.inner[1]] = square[:, : self.inner[1]][:, ::-1]
        return Pixels(
            np.ascontiguousarray(self.vision[:, ::-1]),
            np.ascontiguousarray(self.semantic[:, ::-1]),
            square,
            self.inner,
            self.size,
        )


def open_picture(data: bytes, name: str) -> Image.Image:
    """Decode a picture to RGB.

    Raises:
        InputError: it does not decode.
    """
    try:
        with Image.open(io.BytesIO(data)) as picture:
            return picture.convert("RGB")
    except UnidentifiedImageError as error:  # its text holds an address in memory
        raise InputError(
            f"the picture {name} cannot be decoded: it is in no known format"
        ) from error
    except (
        OSError,
        ValueError,
        SyntaxError,
        struct.error,
        zlib.error,
        Image.DecompressionBombError,
    ) as error:
        raise InputError(f"the picture {name} cannot be decoded: {error}") from error


class ImageProcessor:
    """Resizes and normalises pictures for one configuration."""

    def __init__(self, config: CalicoConfig) -> None:
        self.vision_size = config.vision.image_size
        self.semantic_size = config.semantic.image_size
        self.square_size = config.sam.image_size
        self.grid_size = config.sam.mask_size

    def description(self) -> dict[str, object]:
        """Return everything that pixels depend on, for the key of a feature cache."""
        return {
            "sizes": [self.vision_size, self.semantic_size, self.square_size],
            "resampling": ["bicubic", "bicubic", "bilinear"],
            "normalisation": [CLIP, IMAGENET, SAM],
        }

    def part_description(self, part: str) -> dict[str, object]:
        """Return what the pixels of one encoder ("vision", "semantic" or "sam") depend on."""
        place = ("vision", "semantic", "sam").index(part)
        sizes = (self.vision_size, self.semantic_size, self.square_size)
        normalisation = (CLIP, IMAGENET, SAM)
        resampling = ("bicubic", "bicubic", "bilinear")
        return {
            "size": sizes[place],
            "frame": "padded" if part == "sam" else "direct",
            "resampling": resampling[place],
            "normalisation": normalisation[place],
        }

    def inner_size(self, height: int, width: int) -> tuple[int, int]:
        """Return rows and columns of the square that a picture of this size fills."""
        scale = self.square_size / max(height, width)
        return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))

    def extent(self, height: int, width: int) -> tuple[int, int]:
        """Return rows and columns of the grid that show a picture of this size."""
        step = self.square_size // self.grid_size
        rows, columns = self.inner_size(height, width)
        return -(-rows // step), -(-columns // step)

    def pixels(self, picture: Image.Image) -> Pixels:
        """Resize one RGB picture for the three encoders."""
        direct = self._resized(
            picture, self.vision_size, self.vision_size, Image.Resampling.BICUBIC
        )
        semantic = direct
        if self.semantic_size != self.vision_size:
            side = self.semantic_size
            semantic = self._resized(picture, side, side, Image.Resampling.BICUBIC)
        rows, columns = self.inner_size(picture.height, picture.width)
        square = np.zeros((self.square_size, self.square_size, 3), np.uint8)
        inner = self._resized(picture, rows, columns, Image.Resampling.BILINEAR)
        square[:rows, :columns] = inner
        return Pixels(direct, semantic, square, (rows, columns), (picture.height, picture.width))

    def inputs(self, pictures: Sequence[Pixels]) -> ImageInputs:
        """Normalise a batch; SAM's padding is zero after normalisation."""
        vision = _normalised(np.stack([one.vision for one in pictures]), CLIP)
        semantic = _normalised(np.stack([one.semantic for one in pictures]), IMAGENET)
        sam = _normalised(np.stack([one.square for one in pictures]), SAM)
        for row, one in enumerate(pictures):
            sam[row, :, one.inner[0] :] = 0
            sam[row, :, :, one.inner[1] :] = 0
        return ImageInputs(vision, semantic, sam)

    def patch_mask(self, mask: Rle, view: View = PLAIN) -> NDArray[np.uint8]:
        """Bring a mask onto the decoder's grid: (g, g) uint8, covered share of each cell * 255.

        Args:
            mask: in original size.
            view: how its image is shown.
        """
        dense = view.mask(decode(mask)) * 255
        rows, columns = self.inner_size(*dense.shape)
        square = np.zeros((self.square_size, self.square_size), np.uint8)
        inner = cv2.resize(dense, (columns, rows), interpolation=cv2.INTER_AREA)
        square[:rows, :columns] = inner
        size = (self.grid_size, self.grid_size)
        return np.asarray(cv2.resize(square, size, interpolation=cv2.INTER_AREA), np.uint8)

    def original_masks(self, logits: Tensor, height: int, width: int) -> list[Rle]:
        """Bring logits (M, g, g) of one picture back to its original size, threshold 0."""
        if len(logits) == 0:
            return []
        rows, columns = self.inner_size(height, width)
        side = (self.square_size, self.square_size)
        square = F.interpolate(logits[None].float(), side, mode="bilinear", align_corners=False)
        inner = square[:, :, :rows, :columns]
        full = F.interpolate(inner, (height, width), mode="bilinear", align_corners=False)
        return [from_dense(mask) for mask in (full[0] > 0).cpu().numpy()]

    @staticmethod
    def _resized(
        picture: Image.Image, rows: int, columns: int, resampling: Image.Resampling
    ) -> NDArray[np.uint8]:
        return np.asarray(picture.resize((columns, rows), resampling))


def _normalised(
    pixels: NDArray[np.uint8], statistics: tuple[tuple[float, ...], tuple[float, ...]]
) -> Tensor:
    """Return (N, 3, H, W) float32 of (N, H, W, 3) uint8."""
    mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in statistics)
    values = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div_(255)
    return values.sub_(mean).div_(deviation).contiguous()
