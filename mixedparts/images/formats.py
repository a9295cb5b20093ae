"""The formats of image files that are opened, and the names of others, from the first bytes.

A file is what its content is, not what its suffix says: names in datasets are not reliable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

TIFF_SIGNATURES = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")  # classic, then BigTIFF

# The classes and not `Image.open`, which tries what any package has registered, warns of large
# images, and has limits that the process may change. Of a file with several images a class opens
# the first: `JpegImageFile` that of an MPO, the format of cameras that store a second view.
PLUGINS: Mapping[str, Callable[..., ImageFile]] = MappingProxyType(
    {
        "JPEG": JpegImageFile,
        "PNG": PngImageFile,
        "BMP": BmpImageFile,
        "WEBP": WebPImageFile,
        "TIFF": TiffImageFile,
    }
)
FORMATS = tuple(PLUGINS)
FORMATS_TEXT = "JPEG, PNG, BMP, WebP and TIFF"
# Suffixes for files of these formats.
SUFFIXES: Mapping[str, str] = MappingProxyType(
    {"JPEG": "jpg", "PNG": "png", "BMP": "bmp", "WEBP": "webp", "TIFF": "tif"}
)
# What a folder of images may hold: files of these formats, and of others that are refused with a
# message.
IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".bmp", ".webp", ".tif", ".tiff"}
    | {".gif", ".heic", ".heif", ".avif", ".jp2", ".jxl", ".psd", ".eps", ".svg"}
)

_STARTS = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"BM": "BMP",
    **dict.fromkeys(TIFF_SIGNATURES, "TIFF"),
}
_OTHER_IMAGES = {
    b"%!": "an EPS or PostScript program",
    b"\xc5\xd0\xd3\xc6": "an EPS or PostScript program",
    b"GIF8": "a GIF",
    b"%PDF": "a PDF",
    b"8BPS": "a Photoshop document (PSD)",
    b"\x00\x00\x00\x0cjP  ": "a JPEG 2000",
    b"\xff\x4f\xff\x51": "a JPEG 2000",
    b"\x00\x00\x00\x0cJXL ": "a JPEG XL",
    b"\xff\x0a": "a JPEG XL",
    b"\x00\x00\x01\x00": "an icon (ICO)",
    b"\x76\x2f\x31\x01": "an OpenEXR",
    b"#?RADIANCE": "a Radiance HDR",
    b"DDS ": "a DDS texture",
    b"SIMPLE  =": "a FITS",
    **{b"P%d" % number: "a netpbm (PBM, PGM or PPM)" for number in range(1, 8)},
    b"<svg": "an SVG",
    b"<?xml": "an XML or SVG",
}
_NO_IMAGES = {
    b"<!doctype": "a web page, as a failed download leaves it",
    b"<html": "a web page, as a failed download leaves it",
    b"version https://git-lfs": "a pointer of Git LFS: `git lfs pull` fetches the image",
    b"\x1f\x8b": "packed with gzip: unpack it with `gzip -d`",
    b"PK\x03\x04": "a zip archive: unpack it with `unzip`",
}
# AVIF and HEIC share the container of videos: bytes 4 to 12 are `ftyp` and the name of the format.
_BRANDS = {
    **dict.fromkeys((b"avif", b"avis"), "an AVIF"),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1"), "a HEIC"),
}


def format_of(data: bytes) -> str | None:
    """Return the format of an image file, one of `FORMATS`, None if it has another one."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    return next((name for start, name in _STARTS.items() if data.startswith(start)), None)


def foreign_format(data: bytes) -> str:
    """Return what a file of no format in `FORMATS` is, and what helps, as the end of a sentence."""
    if not data:
        return "an empty file"
    # Text formats may begin with a byte order mark and blanks, and HTML in either case.
    text = data[:64].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    name = next(
        (
            known
            for start, known in (_NO_IMAGES | _OTHER_IMAGES).items()
            if (text if start[:1] == b"<" else data).startswith(start)
        ),
        _BRANDS.get(data[8:12], "a video (MP4)") if data[4:8] == b"ftyp" else None,
    )
    if name is None:
        return f"in no known format: {FORMATS_TEXT} are opened"
    if name in _NO_IMAGES.values():
        return name
    return f"{name}; only {FORMATS_TEXT} are opened: convert it, as with `magick FILE FILE.png`"
