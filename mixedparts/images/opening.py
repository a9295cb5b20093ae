"""The one door for image files: what is opened, how large it may be, how its pixels become RGB.

Readers of sources, the preview, `load_dataset`, exports, verification, training and prediction all
open images here, so that an image has the same fate everywhere. Frame of coordinates: the stored
grid. An EXIF or TIFF orientation is never applied, because masks lie on the stored grid.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Collection
from pathlib import Path
from threading import Lock

from PIL import Image
from PIL import ImageFile as PillowFile
from PIL.ImageFile import ImageFile

from mixedparts.errors import InputError
from mixedparts.files.opening import open_file, reason
from mixedparts.images.exif import neutral_bytes
from mixedparts.images.formats import FORMATS, PLUGINS, foreign_format, format_of
from mixedparts.images.jpeg import plain_jpeg_size
from mixedparts.images.rgb import MODES, rgb_of

# Twice Pillow's default for `Image.MAX_IMAGE_PIXELS`: larger images are errors of plain Pillow and
# plain `datasets` too, which read the tables of a build.
MAX_PIXELS = 178_956_970
_ORIENTATION = 0x0112  # tag of EXIF and TIFF
_TOO_LARGE = f"more than the {MAX_PIXELS:,} pixels that an image may have: store a smaller copy"


class UnreadableImage(ValueError):
    """An image file that is not opened; the text says why, without the name of the file."""


def image_bytes(path: str | Path) -> bytes:
    """Return the bytes of an image file.

    Raises:
        InputError: the file cannot be read.
    """
    with open_file(Path(path), "the image") as file:
        try:
            return file.read()
        except OSError as error:
            raise InputError(f"the image {path} {reason(Path(path), error)}") from error


def rgb_image(data: bytes, name: str, least_height: int | None = None) -> Image.Image:
    """Decode an image file to RGB on its stored grid.

    Args:
        data: bytes of the file.
        name: for the message of an error.
        least_height: in pixels, that is enough. A JPEG of at least twice this height is decoded at
            1/2, 1/4 or 1/8 of its size, which is faster.

    Returns:
        A new image without metadata.

    Raises:
        InputError: the file has another format, is too large or does not decode.
    """
    try:
        with opened(data) as image:
            if least_height is not None and least_height < image.height:
                # Of other formats than JPEG this does nothing.
                scale = least_height / image.height
                image.draft("RGB", (max(1, round(image.width * scale)), least_height))
            decode(image)
            return rgb_of(image)
    except UnreadableImage as fault:
        raise InputError(f"the image {name} cannot be decoded: {fault}") from fault


def rgb_in_memory(image: Image.Image, name: str) -> Image.Image:
    """Return an image that a program hands over as RGB, by the rule for files.

    Args:
        image: of Pillow; its pixels may still be in a file.
        name: for the message of an error.

    Returns:
        A new image without metadata.

    Raises:
        InputError: it has no pixels, too many, or does not decode.
    """
    try:
        _check_size(image.size)
        # Pillow reads the pixels of such a file with an external program, Ghostscript.
        if image.format == "EPS":
            raise UnreadableImage(f"it is {foreign_format(b'%!')}")
        decode(image)
        return rgb_of(image)
    except ValueError as fault:
        raise InputError(f"the image {name} cannot be decoded: {fault}") from fault


def decodable_size(data: bytes) -> tuple[int, int]:
    """Return (width, height) in pixels of the stored grid of an image that decodes to its end.

    What this accepts, `rgb_image` returns. A plain JPEG is not decoded.

    Raises:
        UnreadableImage: `rgb_image` would refuse the file.
    """
    # Most files are plain JPEGs, whose segments show that they decode; the decoder judges the rest.
    size = plain_jpeg_size(data)
    if size is not None:
        _check_size(size)
        return size
    # Pillow warns of odd metadata, which is no fault here.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with opened(data) as image:
            size = image.size
            # At an eighth of its size a JPEG is read to its last byte, but few pixels are computed.
            # Still in colour: some broken files fail only where colours are enlarged.
            image.draft("RGB", (max(1, size[0] // 8), max(1, size[1] // 8)))
            decode(image)
    return size


def stored_size(data: bytes) -> tuple[int, int]:
    """Return (width, height) in pixels of the stored grid, from the header alone.

    Raises:
        UnreadableImage: the file has another format, is too large, or its header is broken.
    """
    with opened(data) as image:
        return image.size


def orientation_of(data: bytes) -> int:
    """Return the orientation that readers of an image file apply, 1 for upright.

    Raises:
        UnreadableImage: the header or the metadata is broken.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with _read_header(data, format_of(data) or "") as image:
            try:
                return int(image.getexif().get(_ORIENTATION, 1))
            except Exception as error:
                raise UnreadableImage(_reason(error)) from error


def opened(data: bytes, formats: Collection[str] = FORMATS) -> ImageFile:
    """Read the header of an image file; pixels are not decoded.

    Args:
        data: bytes of the file.
        formats: those to accept, of `FORMATS`. No decoder of another format runs.

    Returns:
        The first image of the file, not oriented; `decode` reads its pixels.

    Raises:
        UnreadableImage: the file has another format, is too large, or its header is broken.
    """
    form = format_of(data)
    if form is None:
        raise UnreadableImage(f"it is {foreign_format(data)}")
    if form not in formats:
        raise UnreadableImage(f"it is a {form} file, not {' or '.join(formats)}")
    # Pillow turns a TIFF by its orientation, its size included, as soon as it is opened.
    stored = neutral_bytes(data) if form == "TIFF" else data
    image = _read_header(stored, form)
    _check_size(image.size)
    if image.mode not in MODES:
        raise UnreadableImage(f"its pixels, of mode {image.mode}, are of no kind that becomes RGB")
    return image


def _read_header(data: bytes, form: str) -> ImageFile:
    # Decoders raise errors of any class on broken bytes: OSError, SyntaxError, struct.error, ….
    try:
        with _OWN_LIMITS:
            return PLUGINS[form](io.BytesIO(data))
    except Exception as error:
        raise UnreadableImage(_reason(error)) from error


def decode(image: Image.Image) -> None:
    """Read the pixels of an opened image to the end of its file.

    Raises:
        UnreadableImage: the file is broken or cut.
    """
    try:
        with _OWN_LIMITS:
            image.load()
    except Exception as error:
        raise UnreadableImage(_reason(error)) from error


class _OwnLimits:
    """Context in which Pillow follows no setting of this process.

    With `LOAD_TRUNCATED_IMAGES` a cut file decodes, with grey in place of what is missing. Some
    formats check `MAX_IMAGE_PIXELS` by themselves, and warn from half of `MAX_PIXELS` on.
    """

    # Threads decode at the same time: the first one in saves the settings, the last one out
    # restores them. With a lock around the decoding itself, threads would wait for each other.
    def __init__(self) -> None:
        self._lock = Lock()
        self._inside = 0
        self._saved: tuple[bool, int | None] = (False, None)

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._saved = PillowFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS
                PillowFile.LOAD_TRUNCATED_IMAGES = False
                if Image.MAX_IMAGE_PIXELS is not None:
                    Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, MAX_PIXELS)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                PillowFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = self._saved


_OWN_LIMITS = _OwnLimits()


def _check_size(size: tuple[int, int]) -> None:
    width, height = size
    if min(width, height) < 1:
        raise UnreadableImage(f"its size is {width} x {height}")
    if width * height > MAX_PIXELS:
        raise UnreadableImage(f"its size is {width} x {height}, {_TOO_LARGE}")


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
