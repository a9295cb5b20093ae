"""Labels of any script are drawn with a font that has them, in the right order and shape."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont, features

from mixedparts.text import fonts
from mixedparts.text.lettering import text_length, write_text
from tests.factories.fonts import make_font

DEJAVU = Path("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf")
ARABIC = "سيارة"


@pytest.fixture
def own_fonts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Let the machine have a font of two CJK characters and one emoji, and no other."""
    path = make_font(tmp_path / "fonts/NotoSansCJK-Regular.ttf", "字車🚗")
    monkeypatch.setattr(fonts, "_folders", lambda: [tmp_path / "fonts"])
    yield path
    monkeypatch.undo()
    _forget()


@pytest.fixture(autouse=True)
def _forgotten() -> None:
    _forget()


def _forget() -> None:
    for cached in (fonts.font_files, fonts._font_of, fonts._warn_of_missing, fonts.warn_of_shaping):
        cached.cache_clear()


def drawn(text: str, size: int = 20) -> np.ndarray:
    canvas = Image.new("RGB", (400, 40), "white")
    write_text(canvas, (5, 5), text, size, "black")
    return np.asarray(canvas.convert("L"))


def test_a_latin_label_is_drawn_as_pillow_draws_it() -> None:
    canvas = Image.new("RGB", (400, 40), "white")
    font = ImageFont.load_default(20)
    ImageDraw.Draw(canvas).text((5, 5), "a bus wheel", fill="black", font=font)
    np.testing.assert_array_equal(drawn("a bus wheel"), np.asarray(canvas.convert("L")))
    assert text_length("a bus wheel", 20) == font.getlength("a bus wheel")
    assert fonts.runs("a bus wheel") == [(None, "a bus wheel")]


def test_characters_come_from_the_font_that_has_them(own_fonts: Path) -> None:
    assert fonts.runs("a 字車 🚗!") == [
        (None, "a "), (own_fonts, "字車"), (None, " "), (own_fonts, "🚗"), (None, "!"),
    ]  # fmt: skip
    one, other = drawn("字"), drawn("車")
    assert (one < 100).sum() > 50
    assert not np.array_equal(one, other)  # boxes for missing characters would be equal
    # The box of the first character is 900 x 300 of 1,000 units.
    rows, columns = np.nonzero(one < 128)
    assert np.ptp(columns) + 1 == pytest.approx(18, abs=1)
    assert np.ptp(rows) + 1 == pytest.approx(6, abs=1)
    assert text_length("字車", 20) == 40


def test_a_character_without_font_is_its_number_and_one_warning(
    own_fonts: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert fonts.runs("a ก ข") == [(None, "a [U+0E01] [U+0E02]")]
    assert len(caplog.records) == 1
    assert "apt install fonts-" in caplog.text


def test_a_label_of_such_characters_alone_is_drawn_as_numbers(own_fonts: Path) -> None:
    """Not as boxes, in the width of the numbers."""
    np.testing.assert_array_equal(drawn("กข"), drawn("[U+0E01][U+0E02]"))
    assert text_length("ก", 20) == text_length("[U+0E01]", 20)
    # Marks go with the letter before them: to its font if it has one.
    np.testing.assert_array_equal(drawn("है"), drawn("[U+0939][U+0948]"))
    np.testing.assert_array_equal(drawn("cafe\u0301"), drawn("café"))
    for odd in ("\x07", "\ue000"):  # control, private use
        np.testing.assert_array_equal(drawn(odd), drawn(f"[U+{ord(odd):04X}]"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\u202eevil\u202c b", "aevil b"),  # turns the direction of what follows
        ("\u2066left\u2069 \u200fmark", "left mark"),
        ("soft\u00adhyphen\ufeff", "softhyphen"),
        ("joi\u200dner \u200cnone\ufe0f", "joiner none"),
    ],
)
def test_characters_without_a_shape_are_no_boxes(own_fonts: Path, text: str, shown: str) -> None:
    np.testing.assert_array_equal(drawn(text), drawn(shown))
    assert text_length(text, 20) == text_length(shown, 20)
    assert fonts.drawable(text, joiners=False) == shown


def test_joiners_stay_where_a_font_knows_them(own_fonts: Path) -> None:
    assert fonts.runs("🚗\u200d字 \u200d") == [(own_fonts, "🚗\u200d字"), (None, " ")]
    assert fonts.drawable("🚗\u200d🚗\u202e") == "🚗\u200d🚗"


def test_marks_and_skin_tones_stay_with_their_character(own_fonts: Path) -> None:
    assert fonts.runs("🚗\ufe0f") == [(own_fonts, "🚗\ufe0f")]
    assert fonts.runs("🚗🏽") == [(own_fonts, "🚗🏽")]


def test_a_file_that_is_no_font_is_passed_over(tmp_path: Path, own_fonts: Path) -> None:
    (tmp_path / "fonts/DejaVuSans.ttf").write_text("not a font")
    fonts.font_files.cache_clear()
    assert len(fonts.font_files()) == 2
    assert fonts.runs("字") == [(own_fonts, "字")]


@pytest.mark.parametrize(
    ("words", "order"),
    [
        (["a", "bus"], [0, 1]),
        (["باب", "السيارة"], [1, 0]),
        (["a", "باب", "السيارة", "there"], [0, 2, 1, 3]),
        (["باب", "3", "السيارة"], [2, 1, 0]),
        (["باب", "bus", "stop", "السيارة"], [3, 1, 2, 0]),
        (["a", "باب", "!"], [0, 1, 2]),
        (["🚗", "باب"], [1, 0]),
        ([], []),
    ],
)
def test_words_that_run_to_the_left_stand_in_reverse_order(
    words: list[str], order: list[int]
) -> None:
    assert fonts.visual_order(words) == order


def test_a_space_stands_between_its_words_where_a_line_runs_to_the_left(own_fonts: Path) -> None:
    make_font(own_fonts.with_stem("NotoSansHebrew-Regular"), "דה")
    fonts.font_files.cache_clear()

    def columns(text: str) -> np.ndarray:
        return np.flatnonzero((drawn(text) < 128).any(axis=0))

    word, number = columns("דה"), columns("12")
    line = columns("דה 12")  # the number is on the left
    gap = np.diff(line).max() - 1
    inside = max(np.diff(number).max(), np.diff(word).max()) - 1
    assert gap >= inside + text_length(" ", 20) - 2
    assert line.min() == number.min()


@pytest.mark.skipif(not DEJAVU.exists(), reason="fonts-dejavu-core is not installed")
@pytest.mark.skipif(not features.check("raqm"), reason="Pillow has no FriBiDi")
def test_arabic_letters_are_joined_and_run_to_the_left() -> None:
    assert fonts.runs(ARABIC) == [(DEJAVU, ARABIC)]
    shaped = drawn(ARABIC)
    # The presentation forms of Unicode say which shapes the letters have side by side, and stand in
    # the order from left to right here: an oracle that needs no shaping.
    forms = "\ufe93\ufead\ufe8e\ufef4\ufeb3"
    canvas = Image.new("RGB", (400, 40), "white")
    basic = ImageFont.truetype(DEJAVU, 20, layout_engine=ImageFont.Layout.BASIC)
    first = ImageFont.load_default(20)
    assert isinstance(first, ImageFont.FreeTypeFont)
    baseline = 5 + first.getmetrics()[0]
    ImageDraw.Draw(canvas).text((5, baseline), forms, fill="black", font=basic, anchor="ls")
    expected = np.asarray(canvas.convert("L"))
    columns = [np.flatnonzero((picture < 128).any(axis=0)) for picture in (shaped, expected)]
    assert abs(np.ptp(columns[0]) - np.ptp(columns[1])) <= 2
    overlap = ((shaped < 128) & (expected < 128)).sum() / ((shaped < 128) | (expected < 128)).sum()
    backwards = expected[:, ::-1] < 128
    assert overlap > 0.7
    assert ((shaped < 128) & backwards).sum() < (shaped < 128).sum() / 2


@pytest.mark.skipif(
    not any(path.stem == "NotoColorEmoji" for path in fonts.font_files()),
    reason="fonts-noto-color-emoji is not installed",
)
def test_emoji_have_their_colours_and_the_size_of_the_letters() -> None:
    canvas = Image.new("RGB", (200, 60), "white")
    write_text(canvas, (5, 5), "🚗", 30, "black")
    pixels = np.asarray(canvas).astype(int)
    rows, columns = np.nonzero((pixels != 255).any(-1))
    assert 20 < np.ptp(columns) < 45
    assert 12 < np.ptp(rows) < 45
    assert np.ptp(pixels[rows, columns], axis=1).max() > 100  # not grey
    assert text_length("🚗", 30) == pytest.approx(text_length("🚗", 15) * 2)


@pytest.mark.skipif(
    not any(path.stem == "DroidSansFallbackFull" for path in fonts.font_files()),
    reason="fonts-droid-fallback is not installed",
)
def test_chinese_is_drawn_with_an_installed_font() -> None:
    one, other = drawn("車"), drawn("輪")
    assert fonts.runs("車輪")[0][0] is not None
    assert not np.array_equal(one, other)
    assert (one < 100).sum() > 30


def test_without_fribidi_a_warning_names_the_package(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(features, "check", lambda name: False)
    drawn(ARABIC)
    drawn(ARABIC)
    assert caplog.text.count("apt install libfribidi0") == 1
