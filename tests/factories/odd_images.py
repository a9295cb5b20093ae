"""Image files of odd kinds, all of one size, with the pixels that numpy says they have.

What decodes losslessly has its oracle from the array that was encoded. Of JPEG the oracle is what a
decoder makes of the plain file, or of its four channels, before anything odd was done to it.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

WIDTH, HEIGHT = 96, 64
Pixels = NDArray[Any]


class Odd(NamedTuple):
    """An image that is opened: its file, and its (H, W, 3) uint8 RGB on the stored grid."""

    data: bytes
    rgb: Pixels


def ramp(most: int) -> Pixels:
    """Return (H, W) numbers from 0 to `most`, every row another."""
    values = np.arange(HEIGHT * WIDTH) * 7919 % (HEIGHT * WIDTH)
    return (values * most / values.max()).round().astype(np.int64).reshape(HEIGHT, WIDTH)


def colours() -> Pixels:
    """Return (H, W, 3) uint8."""
    grey = ramp(255)
    return np.stack([grey, grey[::-1], grey[:, ::-1]], axis=2).astype(np.uint8)


def encoded(image: Image.Image | Pixels, form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    drawn = image if isinstance(image, Image.Image) else Image.fromarray(image)
    drawn.save(stream, form, **options)
    return stream.getvalue()


def decoded(data: bytes) -> Pixels:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def grey(values: Pixels) -> Pixels:
    """Return (H, W) numbers from 0 to 255 as RGB."""
    return np.repeat(np.rint(values).astype(np.uint8)[:, :, None], 3, axis=2)


def tiff(samples: bytes, bits: int, photometric: int = 1, form: int = 1) -> bytes:
    """Write an uncompressed grey TIFF by hand; `form` is 1 unsigned, 2 signed, 3 float."""
    entries = [
        (256, 3, WIDTH), (257, 3, HEIGHT), (258, 3, bits), (259, 3, 1), (262, 3, photometric),
        (273, 4, 8 + 2 + 10 * 12 + 4), (277, 3, 1), (278, 3, HEIGHT), (279, 4, len(samples)),
        (339, 3, form),
    ]  # fmt: skip
    directory = struct.pack("<H", len(entries))
    directory += b"".join(struct.pack("<HHII", tag, kind, 1, v) for tag, kind, v in entries)
    return struct.pack("<2sHI", b"II", 42, 8) + directory + bytes(4) + samples


def png(ihdr: bytes, rows: bytes, *extra: tuple[bytes, bytes]) -> bytes:
    """Write a PNG from its header fields and its unfiltered rows."""
    chunks = [(b"IHDR", ihdr), *extra, (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


def opened_images() -> dict[str, Odd]:
    """Return name -> image of every odd kind that is opened."""
    return {
        **dict(_wide_grey()), **dict(_channels()), **dict(_several()),
        **{f"{form} orientation {turn}": _turned(form, turn)
           for form in ("JPEG", "PNG", "WEBP", "TIFF") for turn in range(2, 9)},
    }  # fmt: skip


def _wide_grey() -> Iterator[tuple[str, Odd]]:
    sixteen = ramp(65535).astype(np.uint16)
    by_257 = grey(sixteen / 257)
    yield "16-bit grey PNG", Odd(encoded(sixteen, "PNG"), by_257)
    yield "16-bit grey TIFF", Odd(encoded(sixteen, "TIFF"), by_257)
    big = Image.frombytes("I;16B", (WIDTH, HEIGHT), sixteen.astype(">u2").tobytes())
    yield "16-bit grey TIFF, big endian", Odd(encoded(big, "TIFF"), by_257)
    yield (
        "16-bit grey TIFF, 0 is white",
        Odd(tiff(sixteen.tobytes(), 16, photometric=0), 255 - by_257),
    )
    dark = ramp(900).astype(np.uint16)
    yield "16-bit grey PNG, dark", Odd(encoded(dark, "PNG"), grey(dark / 257))
    twelve = ramp(4095)
    pairs = twelve.reshape(-1, 2)
    packed = np.stack([pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1]])
    data = (packed & 255).T.astype(np.uint8).tobytes()
    yield "12-bit grey TIFF", Odd(tiff(data, 12), grey(twelve / 4095 * 255))
    whole = ramp(60_000).astype(np.int32)
    yield "32-bit grey TIFF of 16-bit values", Odd(encoded(whole, "TIFF"), grey(whole / 257))
    signed = (ramp(2_000_000) - 1_000_000).astype(np.int32)
    spread = grey((signed + 1_000_000) / 2_000_000 * 255)
    yield "32-bit grey TIFF, signed", Odd(encoded(signed, "TIFF"), spread)
    unsigned = (ramp(2**32 - 1)).astype("<u4")
    yield (
        "32-bit grey TIFF, unsigned",
        Odd(tiff(unsigned.tobytes(), 32), grey(unsigned / (2**32 - 1) * 255)),
    )
    share = (ramp(1_000) / 1_000).astype(np.float32)
    yield "float TIFF in 0..1", Odd(encoded(share, "TIFF"), grey(share.astype(np.float64) * 255))
    metres = (share * 40 - 10).astype(np.float32)
    wide = (metres.astype(np.float64) - metres.min()) / np.ptp(metres.astype(np.float64))
    yield "float TIFF of another range", Odd(encoded(metres, "TIFF"), grey(wide * 255))
    holes = metres.copy()
    holes[3, 4], holes[5, 6], holes[7, 8] = np.nan, np.inf, -np.inf
    filled = wide.copy()
    filled[3, 4] = filled[5, 6] = filled[7, 8] = 0
    yield "float TIFF with holes", Odd(encoded(holes, "TIFF"), grey(filled * 255))


def _channels() -> Iterator[tuple[str, Odd]]:
    values, rgb = ramp(255).astype(np.uint8), colours()
    alpha = (255 - values)[:, :, None]
    with_alpha = np.dstack([values, alpha])
    yield "LA PNG", Odd(encoded(Image.fromarray(with_alpha, "LA"), "PNG"), grey(values))
    yield "RGBA PNG", Odd(encoded(np.dstack([rgb, alpha]), "PNG"), rgb)
    yield "RGBA TIFF", Odd(encoded(np.dstack([rgb, alpha]), "TIFF"), rgb)
    for name, colours_used in (("P PNG", 256), ("P PNG of 16 colours", 16)):
        table = np.random.default_rng(3).integers(0, 256, (colours_used, 3), dtype=np.uint8)
        indices = (ramp(255) % colours_used).astype(np.uint8)
        palette = Image.fromarray(indices, "P")
        palette.putpalette(table.tobytes())
        yield name, Odd(encoded(palette, "PNG"), table[indices])
        clear = encoded(palette, "PNG", transparency=bytes(range(0, 256, 256 // colours_used)))
        yield f"{name} with transparency", Odd(clear, table[indices])
        clear = encoded(palette, "PNG", transparency=5)
        yield f"{name} with a transparent colour", Odd(clear, table[indices])
    yield (
        "grey PNG with a transparent grey",
        Odd(encoded(values, "PNG", transparency=7), grey(values)),
    )
    bits = values > 99
    yield "1-bit PNG", Odd(encoded(bits, "PNG"), grey(bits * 255))
    yield "1-bit TIFF", Odd(encoded(bits, "TIFF"), grey(bits * 255))
    yield "BMP", Odd(encoded(rgb, "BMP"), rgb)
    yield "TIFF named .jpg", Odd(encoded(rgb, "TIFF"), rgb)
    yield "LZW TIFF", Odd(encoded(rgb, "TIFF", compression="tiff_lzw"), rgb)
    yield "BigTIFF", Odd(encoded(rgb, "TIFF", big_tiff=True), rgb)
    inks = np.dstack([rgb, values // 3])
    cmyk = Image.fromarray(inks, "CMYK")
    yield "CMYK TIFF", Odd(encoded(cmyk, "TIFF"), of_inks(inks))
    data = encoded(cmyk, "JPEG")
    yield "CMYK JPEG", Odd(data, of_inks(decoded(data)))
    wide = ramp(65535).astype(">u2")
    sixteen = np.dstack([wide, wide[::-1], wide[:, ::-1]])
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in sixteen)
    ihdr = struct.pack(">2I5B", WIDTH, HEIGHT, 16, 2, 0, 0, 0)
    yield "16-bit RGB PNG", Odd(png(ihdr, rows), (sixteen >> 8).astype(np.uint8))


def of_inks(inks: Pixels) -> Pixels:
    """Return (H, W, 4) cyan, magenta, yellow and black as RGB: white less black, less each ink."""
    light = 255 - inks[:, :, 3:].astype(np.int64)
    return (light - np.floor(inks[:, :, :3] * light / 255 + 0.5)).astype(np.uint8)


def _several() -> Iterator[tuple[str, Odd]]:
    def two(form: str, **options: Any) -> bytes:
        # Pillow leaves settings of one format on an image, so each format gets new ones.
        second = Image.fromarray(colours()[::-1])
        return encoded(colours(), form, save_all=True, append_images=[second], **options)

    yield "MPO", Odd(two("MPO"), decoded(encoded(colours(), "JPEG")))
    yield "animated PNG", Odd(two("PNG"), colours())
    yield "animated WebP", Odd(two("WEBP", lossless=True), colours())
    yield "TIFF of two pages", Odd(two("TIFF"), colours())


def _turned(form: str, orientation: int) -> Odd:
    """Return an image whose metadata ask readers to turn it."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, Any] = {"lossless": True} if form == "WEBP" else {}
    # Pillow turns a TIFF itself, so the oracle is that of the file without the tag.
    plain = encoded(colours(), form, **options)
    return Odd(encoded(colours(), form, exif=exif, **options), decoded(plain))


def refused_images() -> dict[str, tuple[bytes, str]]:
    """Return name -> file of every odd kind that is refused, and a text that the reason has."""
    rgb = Image.fromarray(colours())
    jpeg, progressive = encoded(rgb, "JPEG"), encoded(rgb, "JPEG", progressive=True)
    huge = struct.pack(">2I5B", 14_000, 13_000, 1, 0, 0, 0, 0)
    lab = tiff(colours().tobytes(), 8)
    return {
        "EPS": (encoded(rgb, "EPS"), "PostScript"),
        "GIF": (encoded(rgb, "GIF"), "a GIF"),
        "PPM": (encoded(rgb, "PPM"), "netpbm"),
        "HEIC": (b"\0\0\0\x18ftypheic" + bytes(80), "a HEIC"),
        "AVIF": (b"\0\0\0\x18ftypavif" + bytes(80), "an AVIF"),
        "SVG": (b'\n<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG"),
        "PSD": (b"8BPS\0\1" + bytes(80), "PSD"),
        "web page": (b"<!doctype html><title>404</title>", "web page"),
        "pointer": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        "no file of an image": (bytes(range(7, 90)), "no known format"),
        "empty": (b"", "empty"),
        "180 megapixels PNG": (png(huge, bytes(1751 * 64)), "178,956,970"),
        "180 megapixels JPEG": (_enlarged(jpeg), "178,956,970"),
        "180 megapixels JPEG, progressive": (_enlarged(progressive), "178,956,970"),
        "180 megapixels BMP": (_patched(encoded(rgb, "BMP"), 18, "<2i", 14_000, 13_000), "178,956"),
        "BMP without a pixel": (_patched(encoded(rgb, "BMP"), 18, "<2i", 0, 0), ""),
        "cut JPEG": (jpeg[: len(jpeg) // 2], ""),
        "cut progressive JPEG": (progressive[: len(progressive) // 2], ""),
        "JPEG without its end": (jpeg[:-40], ""),
        "cut PNG": (_cut(encoded(rgb, "PNG")), ""),
        "cut BMP": (_cut(encoded(rgb, "BMP")), ""),
        "cut WebP": (_cut(encoded(rgb, "WEBP")), ""),
        "cut LZW TIFF": (_cut(encoded(rgb, "TIFF", compression="tiff_lzw")), ""),
        "cut 16-bit TIFF": (_cut(tiff(ramp(65535).astype("<u2").tobytes(), 16)), ""),
        "TIFF of another depth": (lab.replace(struct.pack("<HHII", 258, 3, 1, 8),
                                              struct.pack("<HHII", 258, 3, 1, 24)), ""),
    }  # fmt: skip


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _patched(data: bytes, at: int, form: str, *values: int) -> bytes:
    return data[:at] + struct.pack(form, *values) + data[at + struct.calcsize(form) :]


def _enlarged(jpeg: bytes) -> bytes:
    """Return a JPEG whose header claims 14,000 x 13,000 pixels."""
    at = next(at for at in range(len(jpeg)) if jpeg[at : at + 2] in (b"\xff\xc0", b"\xff\xc2"))
    return _patched(jpeg, at + 5, ">2H", 13_000, 14_000)
