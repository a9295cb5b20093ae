"""A font that a test makes: a filled shape for each of some characters."""

from __future__ import annotations

from pathlib import Path

from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen


def _box(width: int, height: int) -> object:
    pen = TTGlyphPen(None)
    pen.moveTo((50, 0))
    for corner in ((50, height), (width - 50, height), (width - 50, 0)):
        pen.lineTo(corner)
    pen.closePath()
    return pen.glyph()


def make_font(path: Path, characters: str) -> Path:
    """Write a TrueType font; the n-th character is a box of its own height, 1 em wide."""
    names = [f"u{ord(character):05X}" for character in characters]
    heights = [300 + 500 * place // len(names) for place in range(len(names))]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", *names])
    builder.setupCharacterMap({ord(c): name for c, name in zip(characters, names, strict=True)})
    glyphs = {name: _box(1000, height) for name, height in zip(names, heights, strict=True)}
    builder.setupGlyf({".notdef": _box(500, 900), **glyphs})
    builder.setupHorizontalMetrics(dict.fromkeys([".notdef", *names], (1000, 50)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupOS2()
    builder.setupNameTable({"familyName": path.stem, "styleName": "Regular"})
    builder.setupPost()
    path.parent.mkdir(parents=True, exist_ok=True)
    builder.save(path)
    return path
