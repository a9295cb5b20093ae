"""Write a line of text of any script into an image, with fonts of this machine where needed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from mixedparts.text.fonts import is_right_to_left, load_font, runs, visual_order, warn_of_shaping

Colour = tuple[int, int, int]
Run = tuple[Path | None, str]
"""File of a font (None: that of Pillow), and text in it."""
_SPACED = re.compile(r"\s+|\S+(?:\s+\S+)*")


def text_length(text: str, size: int) -> float:
    """Return the width in pixels of a line of text."""
    return sum(_run_length(path, run, size) for path, run in runs(text))


def write_text(
    canvas: Image.Image,
    place: tuple[float, float],
    text: str,
    size: int,
    colour: Colour | str,
    middle: bool = False,
) -> None:
    """Write a line of text.

    Args:
        canvas: RGB image, which is changed.
        place: (x, y) of the left end in pixels, at the top of the line.
        text: any text without line breaks.
        size: of the letters in pixels.
        colour: of the letters; emoji have their own.
        middle: y is the middle of the line instead.
    """
    pen = ImageDraw.Draw(canvas)
    divided = runs(text)
    if any(is_right_to_left(run) for _, run in divided):
        warn_of_shaping()
    if len(divided) < 2 and all(path is None for path, _ in divided):
        # Not the text as it came: characters without a font are numbers here.
        shown = "".join(run for _, run in divided)
        pen.text(place, shown, fill=colour, font=_font(None, size), anchor="lm" if middle else "la")
        return
    # Runs of different fonts stand on one line: that of the font that comes with Pillow.
    ascent, descent = _font(None, size).getmetrics()
    baseline = place[1] + ((ascent - descent) / 2 if middle else ascent)
    left = place[0]
    for path, run in _from_left(divided):
        font = _font(path, size)
        if font.size == size:
            pen.text((left, baseline), run, fill=colour, font=font, anchor="ls")
        else:
            _paste_bitmaps(canvas, (left, baseline), run, font, size)
        left += _run_length(path, run, size)


def _from_left(divided: Sequence[Run]) -> list[Run]:
    """Return the runs of a line from left to right."""
    # Spaces stand alone: one before a number stands behind it where a line runs to the left.
    pieces = [(path, piece) for path, run in divided for piece in _SPACED.findall(run)]
    return [pieces[number] for number in visual_order([piece for _, piece in pieces])]


def _font(path: Path | None, size: int) -> ImageFont.FreeTypeFont:
    font = load_font(path, size)
    assert font is not None  # `runs` names only fonts that have been loaded
    return font


def _run_length(path: Path | None, run: str, size: int) -> float:
    font = _font(path, size)
    return font.getlength(run) * size / font.size


def _paste_bitmaps(
    canvas: Image.Image,
    place: tuple[float, float],
    run: str,
    font: ImageFont.FreeTypeFont,
    size: int,
) -> None:
    """Draw a run of coloured bitmaps in their own size, and paste it in the size of the letters."""
    ascent, descent = font.getmetrics()
    drawn = Image.new("RGBA", (max(1, round(font.getlength(run))), ascent + descent))
    pen = ImageDraw.Draw(drawn)
    pen.text((0, ascent), run, font=font, anchor="ls", embedded_color=True)
    scale = size / font.size
    small = drawn.resize(
        (max(1, round(drawn.width * scale)), max(1, round(drawn.height * scale))),
        Image.Resampling.LANCZOS,
    )
    canvas.paste(small, (round(place[0]), round(place[1] - ascent * scale)), small)
