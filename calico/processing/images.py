"""Images for the three encoders, masks on the decoder's grid, and decoded masks at original size.

Frames: *original* is the stored pixel grid (EXIF orientation not applied); *square* is SAM's input,
S pixels a side, where the longest side of the image is resized to S and the rest is padding on the
right and below; *grid* is the decoder's output, the same square at g = S / step patches a side.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from calico.config.calico import ENCODERS, CalicoConfig
from calico.dataset.views import PLAIN, Box, View, cropped
from calico.model.original_masks import at_original_size
from calico.model.vision import ImageInputs
from calico.processing.normalisation import CLIP, IMAGENET, SAM, normalised
from calico.processing.resampling import bilinear_rows
from mixedparts.errors import InputError
from mixedparts.images.opening import rgb_image, rgb_in_memory
from mixedparts.images.rgb import eight_bits
from mixedparts.masks import Rle, decode, from_dense

PARTS = ENCODERS
RESIZED_BYTES = 1 << 28  # that resizing decoded masks to original size may take at once


@dataclass(frozen=True, slots=True)
class Pixels:
    """One image resized for the three encoders.

    Attributes:
        vision: (H_e, H_e, 3) uint8 RGB, resized without regard to the aspect ratio.
        semantic: (H_d, H_d, 3) uint8 RGB, resized the same way.
        square: (S, S, 3) uint8 RGB, zeros outside the image.
        inner: rows and columns of `square` that the image fills.
        size: (height, width) of the original in pixels.
    """

    vision: NDArray[np.uint8]
    semantic: NDArray[np.uint8]
    square: NDArray[np.uint8]
    inner: tuple[int, int]
    size: tuple[int, int]

    def flipped(self) -> Pixels:
        """Return the mirror image: left and right exchanged within the image."""
        # The padding of SAM's square stays on the right.
        square = self.square.copy()
        square[:, : self.inner[1]] = square[:, : self.inner[1]][:, ::-1]
        return Pixels(
            np.ascontiguousarray(self.vision[:, ::-1]),
            np.ascontiguousarray(self.semantic[:, ::-1]),
            square,
            self.inner,
            self.size,
        )


def open_image(data: bytes, name: str) -> Image.Image:
    """Decode an image to RGB, without applying its EXIF orientation.

    Args:
        data: encoded bytes.
        name: for the message of an error.

    Raises:
        InputError: the bytes cannot be decoded; see `mixedparts.images.opening`.
    """
    return rgb_image(data, name)


def rgb_of_any(given: Image.Image | NDArray[Any], name: str) -> Image.Image:
    """Return an image that a program hands over as RGB, by the rule for image files.

    Args:
        given: of Pillow, or an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) of uint8, uint16,
            bool or floats; a fourth channel is alpha, which is dropped.
        name: for the message of an error.

    Raises:
        InputError: it is none of these, has too many pixels, or does not decode.
    """
    if isinstance(given, Image.Image):
        return rgb_in_memory(given, name)
    if not isinstance(given, np.ndarray):
        raise InputError(
            f"the image {name} is a {type(given).__name__}, not an image of Pillow or an array"
        )
    shape = given.shape
    # Wide integers are refused: whether their white is 255 or 65535 is not known.
    if given.dtype.kind not in "bfu" or (given.dtype.kind == "u" and given.dtype.itemsize > 2):
        raise InputError(
            f"the image {name} is an array of {given.dtype}, not of uint8, uint16, bool or floats"
        )
    if given.ndim not in (2, 3) or (given.ndim == 3 and given.shape[2] not in (1, 3, 4)):
        raise InputError(f"the image {name} is an array of shape {shape}, not (H, W) or (H, W, 3)")
    if given.size == 0:
        raise InputError(f"the image {name} is an array of shape {shape}, without a pixel")
    # Alpha is dropped first, so that it does not decide the range of floats.
    colours = (
        given[:, :, :3] if given.ndim == 3 and given.shape[2] > 1 else given.reshape(shape[:2])
    )
    return rgb_in_memory(Image.fromarray(np.ascontiguousarray(eight_bits(colours))), name)


class ImageProcessor:
    """Resizes and normalises images for one configuration.

    Args:
        config: gives the input sizes of the encoders and the size of the decoder's masks.
    """

    def __init__(self, config: CalicoConfig) -> None:
        self.vision_size = config.vision.image_size
        self.semantic_size = config.semantic.image_size
        self.square_size = config.sam.image_size
        self.grid_size = config.sam.mask_size

    @property
    def image_bytes(self) -> int:
        """Bytes of one image that is resized for all encoders."""
        return 3 * (self.vision_size**2 + self.semantic_size**2 + self.square_size**2)

    def description(self) -> dict[str, object]:
        """Return everything that pixels depend on, for the key of a feature store."""
        return {
            "sizes": [self.vision_size, self.semantic_size, self.square_size],
            "resampling": ["bicubic", "bicubic", "bilinear"],
            "first_axis": "columns",
            "normalisation": [CLIP, IMAGENET, SAM],
        }

    def part_description(self, part: str) -> dict[str, object]:
        """Return what the pixels of one encoder ("vision", "semantic" or "sam") depend on."""
        # Separate by encoder, so that another SAM size leaves cached DINOv2 features valid.
        number = ("vision", "semantic", "sam").index(part)
        sizes = (self.vision_size, self.semantic_size, self.square_size)
        normalisation = (CLIP, IMAGENET, SAM)
        resampling = ("bicubic", "bicubic", "bilinear")
        return {
            "size": sizes[number],
            "frame": "padded" if part == "sam" else "direct",
            "resampling": resampling[number],
            "first_axis": "columns",
            "normalisation": normalisation[number],
        }

    def inner_size(self, height: int, width: int) -> tuple[int, int]:
        """Return rows and columns of SAM's square that an image of this size fills."""
        # Rounded as segment-anything's `get_preprocess_shape` does: halves go up.
        scale = self.square_size / max(height, width)
        return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))

    def extent(self, height: int, width: int) -> tuple[int, int]:
        """Return rows and columns of the decoder's grid that show an image of this size."""
        step = self.square_size // self.grid_size
        rows, columns = self.inner_size(height, width)
        return -(-rows // step), -(-columns // step)

    def pixels(self, image: Image.Image, global_box: Box | None = None) -> Pixels:
        """Resize one RGB image for the three encoders; the global one sees `global_box` of it."""
        parts = self.part_pixels(image, PARTS, global_box)
        return Pixels(
            parts["vision"],
            parts["semantic"],
            parts["sam"],
            self.inner_size(image.height, image.width),
            (image.height, image.width),
        )

    def part_pixels(
        self,
        image: Image.Image,
        parts: Collection[str],
        global_box: Box | None = None,
        mirrored: bool = False,
        into: Mapping[str, NDArray[np.uint8]] | None = None,
    ) -> dict[str, NDArray[np.uint8]]:
        """Resize one RGB image for some of the encoders.

        Args:
            image: as it is shown, but not mirrored.
            parts: encoders, of `PARTS`.
            global_box: what the global encoder sees of it, in its pixels; None for all.
            mirrored: whether left and right are exchanged, after resizing.
            into: arrays to write to, by encoder; new ones by default.

        Returns:
            (side, side, 3) uint8 by encoder; one array for two encoders that see the same.
        """
        made: dict[str, NDArray[np.uint8]] = {}
        if "vision" in parts:
            seen = image if global_box is None else cropped(image, global_box)
            made["vision"] = self._direct(seen, self.vision_size, mirrored)
        if "semantic" in parts:
            # DINOv2's own preprocessing crops the centre. It is resized as EVA's input is instead,
            # so that the patches of both encoders lie over the same regions (CEM, equation 6).
            alike = self.semantic_size == self.vision_size and global_box is None
            if alike and "vision" in made:
                made["semantic"] = made["vision"]
            else:
                made["semantic"] = self._direct(image, self.semantic_size, mirrored)
        if "sam" in parts:
            rows, columns = self.inner_size(image.height, image.width)
            side = self.square_size
            square = np.empty((side, side, 3), np.uint8) if into is None else into["sam"]
            square[rows:] = 0
            square[:rows, columns:] = 0
            # Columns first, as `_resized`.
            narrowed = image.resize((columns, image.height), Image.Resampling.BILINEAR)
            inner = bilinear_rows(np.asarray(narrowed), rows)
            # The padding stays on the right.
            square[:rows, :columns] = inner[:, ::-1] if mirrored else inner
            made["sam"] = square
        for part in parts:
            if into is not None and into[part] is not made[part]:
                into[part][...] = made[part]
        return made

    def inputs(self, images: Sequence[Pixels]) -> ImageInputs:
        """Return N images, normalised, as the inputs (N, 3, side, side) float32 of the encoders."""
        return ImageInputs(*(self.part_inputs(part, images) for part in PARTS))

    def part_inputs(
        self, part: str, images: Sequence[Pixels], device: torch.device | None = None
    ) -> Tensor:
        """Return N images, normalised, as the input of one encoder.

        Args:
            part: the encoder, of `PARTS`.
            images: N of them.
            device: to normalise on, the CPU by default; bytes are copied to it.

        Returns:
            (N, 3, side, side) float32.
        """
        name = "square" if part == "sam" else part
        values = np.stack([getattr(one, name) for one in images])
        whole = values.shape[1:3]
        inner = [one.inner if part == "sam" else whole for one in images]
        return normalised(part, torch.from_numpy(values).to(device or torch.device("cpu")), inner)

    def shown(self, part: str, height: int, width: int) -> tuple[int, int]:
        """Return what part of an encoder's input shows an image.

        Args:
            part: the encoder, of `PARTS`.
            height: of the image in pixels.
            width: of the image in pixels.

        Returns:
            Rows and columns of the input; the rest is padding.
        """
        if part == "sam":
            return self.inner_size(height, width)
        side = self.vision_size if part == "vision" else self.semantic_size
        return side, side

    def patch_mask(self, mask: Rle, view: View = PLAIN) -> NDArray[np.uint8]:
        """Return a mask on the decoder's grid: (g, g) uint8, covered share of each patch times 255.

        Args:
            mask: at the original size of its image.
            view: how its image is shown.
        """
        dense = view.mask(decode(mask)) * 255
        rows, columns = self.inner_size(*dense.shape)
        square = np.zeros((self.square_size, self.square_size), np.uint8)
        # In two steps, through the frame that the pixels take. INTER_AREA averages, so thin parts
        # become soft values, where sampling single pixels could lose them.
        inner = cv2.resize(dense, (columns, rows), interpolation=cv2.INTER_AREA)
        square[:rows, :columns] = inner
        size = (self.grid_size, self.grid_size)
        return np.asarray(cv2.resize(square, size, interpolation=cv2.INTER_AREA), np.uint8)

    def original_masks(self, logits: Tensor, height: int, width: int) -> list[Rle]:
        """Return the decoded masks of one image at its original size.

        At most `RESIZED_BYTES` of the device's memory are taken, or what one mask needs. The masks
        do not depend on how many of them are resized together.

        Args:
            logits: (M, g, g) of the decoder, on its grid.
            height: of the original image in pixels.
            width: of the original image in pixels.

        Returns:
            M masks (height, width), true where the resized logit is above 0.
        """
        rows, columns = self.inner_size(height, width)
        # Of one mask: the square and what it shows in float32, the result in float32 and as bool.
        needed = 4 * (self.square_size**2 + rows * columns) + 5 * height * width
        portion = max(1, RESIZED_BYTES // needed)
        masks: list[Rle] = []
        for start in range(0, len(logits), portion):
            part = logits[start : start + portion]
            # In one expression: no name keeps the numbers of a portion while the next is resized.
            inside = (
                at_original_size(part, self.square_size, (rows, columns), (height, width)) > 0
            ).cpu()
            masks += [from_dense(mask) for mask in inside.numpy()]
        return masks

    def _direct(self, image: Image.Image, side: int, mirrored: bool) -> NDArray[np.uint8]:
        """Return an image resized to a square without regard to its aspect ratio."""
        values = self._resized(image, side, side, Image.Resampling.BICUBIC)
        return np.ascontiguousarray(values[:, ::-1]) if mirrored else values

    @staticmethod
    def _resized(
        image: Image.Image, rows: int, columns: int, resampling: Image.Resampling
    ) -> NDArray[np.uint8]:
        # One axis a call, columns first. A single call rounds and clips between its two passes too,
        # and since Pillow 13 it takes the rows of some tall images first: other pixels, by up to 23
        # levels.
        narrowed = image.resize((columns, image.height), resampling)
        return np.asarray(narrowed.resize((columns, rows), resampling))
