"""The bytes of images on a page: those of the file where they fit, else a smaller JPEG.

Masks are drawn in the original size of the image, whatever the size of these bytes.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from mixedparts.errors import InputError
from mixedparts.images.exif import neutral_bytes
from mixedparts.images.formats import format_of
from mixedparts.images.opening import UnreadableImage, decodable_size, rgb_image
from mixedparts.viewer.samples import ShownImage

# What every browser shows. A TIFF becomes a JPEG.
_MIME = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "BMP": "image/bmp"}
_QUALITY = 80
_SMALLEST = 96  # pixels of the longer side; below that a preview shows nothing
_STEP = 0.75  # from one side that is tried to the next
_BASE64 = 4 / 3


@dataclass(frozen=True, slots=True)
class Preview:
    """An image as the page has it.

    Attributes:
        data: bytes of a file that a browser shows.
        mime: its media type.
        width, height: of these bytes, in pixels.
    """

    data: bytes
    mime: str
    width: int
    height: int

    def address(self) -> str:
        """Return the image as an address of the scheme `data:`."""
        return f"data:{self.mime};base64,{base64.b64encode(self.data).decode()}"


def bytes_of_each(images: Sequence[ShownImage], budget: int) -> int:
    """Return how many bytes each image may have so that all of them, in base64, fit a budget."""
    return int(budget / _BASE64 / max(1, len(images)))


def preview(image: ShownImage, data: bytes, most_bytes: int, most_side: int) -> Preview:
    """Return an image as its file has it, or as a smaller JPEG.

    Args:
        image: the image.
        data: bytes of its file.
        most_bytes: of the preview. An image that needs more at 96 pixels stays as it is there.
        most_side: pixels of its longer side.

    Returns:
        The preview, on the stored grid: no orientation tag turns it.

    Raises:
        InputError: the image does not decode, or has another size than its row says.
    """
    size = _size(image, data)
    mime = _MIME.get(format_of(data) or "")
    if mime is not None and len(data) <= most_bytes and max(size) <= most_side:
        return Preview(neutral_bytes(data), mime, *size)
    side = min(most_side, max(size))
    # At half the size a JPEG has about a quarter of the bytes; the first guess aims at that.
    if len(data) > most_bytes:
        side = min(side, max(_SMALLEST, round(2 * max(size) * (most_bytes / len(data)) ** 0.5)))
    pixels = rgb_image(data, image.name, least_height=max(1, side * size[1] // max(size)))
    while True:
        shrunk = _shrunk(pixels, size, side)
        encoded = _jpeg(shrunk)
        if len(encoded) <= most_bytes or side <= _SMALLEST:
            return Preview(encoded, _MIME["JPEG"], *shrunk.size)
        side = max(_SMALLEST, int(side * _STEP))


def _size(image: ShownImage, data: bytes) -> tuple[int, int]:
    """Return (width, height) of a file's pixels, those that the masks are made for."""
    try:
        size = decodable_size(data)
    except UnreadableImage as fault:
        raise InputError(f"the image {image.name} cannot be decoded: {fault}") from fault
    if size != (image.width, image.height):
        raise InputError(
            f"the image {image.name} has {size[0]} x {size[1]} pixels, its row says"
            f" {image.width} x {image.height}"
        )
    return size


def _shrunk(pixels: Image.Image, size: tuple[int, int], side: int) -> Image.Image:
    """Return RGB pixels with the proportions of `size` (w, h) and a longer side of `side`."""
    scale = min(1.0, side / max(size))
    wanted = tuple(max(1, round(length * scale)) for length in size)
    return pixels if pixels.size == wanted else pixels.resize((wanted[0], wanted[1]))


def _jpeg(pixels: Image.Image) -> bytes:
    stream = io.BytesIO()
    pixels.save(stream, "JPEG", quality=_QUALITY)
    return stream.getvalue()
