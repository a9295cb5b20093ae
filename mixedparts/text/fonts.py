"""Fonts of this machine for the characters of a text: Latin, Arabic, CJK, emoji and others.

Pillow and matplotlib each bring one font for Latin text. A character that it lacks is taken from
the first installed font below that has it; no font comes with this package, because those for CJK
and emoji have tens of megabytes. A character that no installed font has is written as its number,
such as [U+5B57], and a warning says once which packages have fonts.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from itertools import accumulate, groupby
from pathlib import Path

from PIL import ImageFont, features

_LOG = logging.getLogger(__name__)
# Names of files without their suffix, the first that has a character is used: those of Linux
# distributions, then of macOS and Windows.
_PREFERRED = (
    "DejaVuSans", "NotoSans-Regular", "NotoNaskhArabic-Regular", "NotoSansArabic-Regular",
    "NotoSansHebrew-Regular", "NotoSansDevanagari-Regular", "NotoSansThai-Regular",
    "NotoSansCJK-Regular", "NotoSansCJKsc-Regular", "NotoSansSC-Regular", "NotoSansJP-Regular",
    "NotoSansKR-Regular", "SourceHanSans-Regular", "DroidSansFallbackFull", "DroidSansFallback",
    "wqy-microhei", "wqy-zenhei", "NotoColorEmoji", "NotoEmoji-Regular", "Symbola_hint", "Symbola",
    "NotoSansSymbols-Regular", "NotoSansSymbols2-Regular",
    "Arial Unicode", "GeezaPro", "Hiragino Sans GB", "PingFang", "AppleSDGothicNeo",
    "Apple Color Emoji", "Apple Symbols",
    "segoeui", "tahoma", "msyh", "meiryo", "malgun", "seguiemj", "seguisym",
)  # fmt: skip
_SUFFIXES = {".ttf", ".otf", ".ttc"}
_STYLED = ("bold", "italic", "oblique", "black", "light", "thin", "medium", "condensed", "serif")
_BITMAP_SIZES = (109, 128, 136, 160)  # of fonts of coloured emoji, which exist in one size only
_NOWHERE = "\U0010ffff"  # a number that no font has a glyph for
_SKIN = range(0x1F3FB, 0x1F400)
# Zero-width joiners, variation selectors, and the tags that make flags of regions.
_JOINERS = re.compile("[\u200c\u200d\ufe00-\ufe0f\U000e0020-\U000e007f]")
_WORD = re.compile(r"\S+|\s+")
_PACKAGES = (
    "Install fonts that have them, on Debian: apt install fonts-dejavu-core fonts-noto-core"
    " fonts-noto-cjk fonts-noto-color-emoji fonts-symbola"
)


@cache
def font_files() -> tuple[Path, ...]:
    """Return the files of installed fonts, those of `_PREFERRED` first, then others of Noto."""
    found: dict[str, Path] = {}
    for folder in _folders():
        for path in _files(folder):
            found.setdefault(path.stem, path)
    others = (
        stem
        for stem in sorted(found)
        if stem.startswith("Noto") and not any(word in stem.lower() for word in _STYLED)
    )
    return tuple(found[stem] for stem in dict.fromkeys([*_PREFERRED, *others]) if stem in found)


def _folders() -> list[Path]:
    home = Path.home()
    if sys.platform == "win32":
        return [Path(os.environ.get("WINDIR", "C:/Windows")) / "Fonts",
                Path(os.environ.get("LOCALAPPDATA", home)) / "Microsoft/Windows/Fonts"]  # fmt: skip
    if sys.platform == "darwin":
        return [home / "Library/Fonts", Path("/Library/Fonts"), Path("/System/Library/Fonts")]
    shared = os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share"
    own = os.environ.get("XDG_DATA_HOME") or str(home / ".local/share")
    return [home / ".fonts", *(Path(place) / "fonts" for place in (own, *shared.split(":")))]


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders.sort()  # the same font whatever the order of the file system
        yield from (Path(place, n) for n in sorted(names) if Path(n).suffix.lower() in _SUFFIXES)


@lru_cache(maxsize=256)
def load_font(path: Path | None, size: int) -> ImageFont.FreeTypeFont | None:
    """Return a font of Pillow.

    Args:
        path: its file; None: the font that comes with Pillow.
        size: in pixels; a font of bitmaps has the size of these.

    Returns:
        The font, None if the file is not a font that can be used.
    """
    if path is None:
        font = ImageFont.load_default(size)
        return font if isinstance(font, ImageFont.FreeTypeFont) else None
    for wanted in (size, *_BITMAP_SIZES):
        try:
            return ImageFont.truetype(path, wanted)
        except OSError:
            continue
    return None


@lru_cache(maxsize=1 << 14)
def has(path: Path | None, character: str) -> bool:
    """Return whether a font has a glyph for a character.

    Args:
        path: file of the font; None: the font that comes with Pillow.
        character: one character.
    """
    font = load_font(path, 20)
    if font is None:
        return False
    # Pillow does not tell; but every font draws the same sign for all that it lacks.
    return _drawn(font, character) != _drawn(font, _NOWHERE)


def _drawn(font: ImageFont.FreeTypeFont, text: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(text)
    return mask.size, bytes(mask)


def runs(text: str, first: Path | None = None) -> list[tuple[Path | None, str]]:
    """Divide a text into runs of characters of one font, in the order of the text.

    Args:
        text: any text in one line.
        first: file of the font that is preferred; None: the font that comes with Pillow.

    Returns:
        Font file and text of each run. Characters without any font are written as `[U+5B57]`;
        those without a shape are left out, such as the marks that turn the direction of a text.
    """
    divided: list[tuple[Path | None, str]] = []
    # A letter with its accent is one character in more fonts than the accent alone.
    for word in _WORD.findall(unicodedata.normalize("NFC", drawable(text))):
        for path, shown in _fonts_of(word, first):
            joins = len(shown) == 1 and _joins(shown)
            if divided and (joins or divided[-1][0] == path):
                last = divided.pop()
                divided.append((last[0], last[1] + shown))
            else:
                divided.append((path, shown))
    # Joiners and the like are for fonts that know them; that of Pillow draws boxes for them.
    plain = ((path, run if path else _JOINERS.sub("", run)) for path, run in divided)
    return [(path, "".join(_mark(path, c) for c in run)) for path, run in plain if run]


def _mark(path: Path | None, character: str) -> str:
    """Return a character of a run; a mark that its font lacks as its number."""
    if unicodedata.category(character) not in ("Mn", "Me") or _JOINERS.match(character):
        return character
    return character if has(path, character) else f"[U+{ord(character):04X}]"


def drawable(text: str, joiners: bool = True) -> str:
    """Return a text without characters that have no shape of their own.

    Args:
        text: any text.
        joiners: keep those that decide the shapes beside them, of emoji and Persian.
    """
    kept = "".join(c for c in text if unicodedata.category(c) != "Cf" or _JOINERS.match(c))
    return kept if joiners else _JOINERS.sub("", kept)


def _fonts_of(word: str, first: Path | None) -> list[tuple[Path | None, str]]:
    """Return a word with its font; its characters one by one where no font has them all."""
    # Letters of two fonts side by side in one word do not fit.
    for path in (first, *font_files()):
        if all(_fits(path, character) for character in word):
            return [(path, word)]
    return [_font_of(character, first) for character in word]


def _fits(path: Path | None, character: str) -> bool:
    return character.isspace() or _joins(character) or has(path, character)


def _joins(character: str) -> bool:
    """Return whether a character changes the one before it, so that both need one font."""
    return unicodedata.category(character) in ("Mn", "Me", "Cf") or ord(character) in _SKIN


@lru_cache(maxsize=1 << 14)
def _font_of(character: str, first: Path | None) -> tuple[Path | None, str]:
    """Return the font of a character, and how it is written."""
    if character.isspace() or _joins(character):
        return first, " " if character.isspace() else character
    for path in (first, *font_files()):
        if has(path, character):
            return path, character
    _warn_of_missing()
    return first, f"[U+{ord(character):04X}]"


def visual_order(texts: Sequence[str]) -> list[int]:
    """Return the positions of pieces of one line from left to right.

    Pieces that run to the left stand in reverse order beside each other, and so does the whole line
    if it begins with one; within a piece the shaping of the font library orders letters.

    Args:
        texts: in the order in which they are read.
    """
    base = is_right_to_left(" ".join(texts))
    known = [is_right_to_left(text) if any(map(str.isalpha, text)) else None for text in texts]
    # A piece without letters goes with its neighbours if they agree, else with the line.
    before = list(accumulate(known, lambda last, own: last if own is None else own, initial=base))
    after = list(accumulate(known[::-1], lambda n, own: n if own is None else own, initial=base))
    leftward = [
        (before[at] if before[at] == after[-at - 2] else base) if own is None else own
        for at, own in enumerate(known)
    ]
    groups = [list(group) for _, group in groupby(range(len(texts)), key=leftward.__getitem__)]
    ordered = [group[::-1] if leftward[group[0]] else group for group in groups]
    return [place for group in (ordered[::-1] if base else ordered) for place in group]


def is_right_to_left(text: str) -> bool:
    """Return whether the first letter of a text belongs to a script that runs to the left."""
    kinds = (unicodedata.bidirectional(character) for character in text)
    return next((kind in ("R", "AL") for kind in kinds if kind in ("L", "R", "AL")), False)


@cache
def _warn_of_missing() -> None:
    _LOG.warning(
        "no installed font has some characters of the labels; they are written as [U+…]. %s",
        _PACKAGES,
    )


@cache
def warn_of_shaping() -> None:
    """Warn once where Pillow cannot put Arabic and Hebrew letters in their order and shapes."""
    if not features.check("raqm"):
        _LOG.warning(
            "labels that run to the left are drawn letter by letter: Pillow lacks FriBiDi."
            " Install it, on Debian: apt install libfribidi0"
        )
