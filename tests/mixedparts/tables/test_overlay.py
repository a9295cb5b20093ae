"""Overlays: what is coloured, panels that hold labels, distinct colours."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from mixedparts import masks
from mixedparts.tables.overlay import PANEL_HEIGHT, Marked, colours_of, draw_panels, draw_sample
from mixedparts.text import fonts
from tests.factories.fonts import make_font


def test_overlays_colour_only_what_they_mark() -> None:
    grey = np.full((40, 60, 3), 128, np.uint8)
    dense = np.zeros((40, 60), np.uint8)
    dense[10:20, 10:30] = 1
    drawn = draw_sample([grey, grey], [Marked(0, "lid", masks.from_dense(dense))])
    width = round(60 * PANEL_HEIGHT / 40)
    assert drawn.shape == (PANEL_HEIGHT, 2 * width + 12, 3)
    assert (drawn[:, -width:] == 128).all()
    assert (drawn[-60:, :60] == 128).all()
    inside = drawn[15 * 8, 12 * 8].astype(int)
    assert np.ptp(inside) > 20


def test_very_wide_and_narrow_pictures_stand_in_panels_that_hold_labels() -> None:
    strips = [np.full((10, 4000, 3), 90, np.uint8), np.full((4000, 10, 3), 90, np.uint8)]
    marked = []
    for number, strip in enumerate(strips):
        dense = np.zeros(strip.shape[:2], np.uint8)
        dense[2:-2, 2:-2] = 1
        marked.append(Marked(number, "left rear wheel", masks.from_dense(dense)))
    wide, narrow = draw_panels(strips, marked, 200)
    assert (wide.height, narrow.height) == (200, 200)
    assert wide.width == 500
    assert narrow.width == 90
    for panel in (wide, narrow):
        pixels = np.asarray(panel)
        assert (pixels == colours_of(["left rear wheel"])["left rear wheel"]).all(-1).any()
        assert (pixels[0, 0] == 255).all()  # around the picture it is white


def test_twenty_labels_have_twenty_colours() -> None:
    colours = np.array(list(colours_of([str(number) for number in range(20)]).values()), int)
    apart = np.abs(colours[:, None] - colours[None]).sum(-1)
    assert apart[~np.eye(20, dtype=bool)].min() >= 40


def test_panels_without_text_are_the_recorded_ones() -> None:
    """The same pixels under every allowed version of OpenCV; text is drawn by Pillow's font."""
    rng = np.random.Generator(np.random.Philox(6))
    digest = hashlib.sha256()
    for height, width in ((90, 61), (333, 480), (700, 500)):
        image = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
        y, x = np.mgrid[:height, :width]
        blobs = np.sin(y / 9) + np.cos(x / 7)
        filled = Marked(0, "", masks.from_dense(blobs > 0.6))
        ring = np.abs(np.hypot(y - height / 2, x - width / 2) - height / 4) < height / 12
        outlined = Marked(0, "", masks.from_dense(ring), outlined=True)
        digest.update(draw_sample([image], [filled, outlined]))
    assert digest.hexdigest()[:16] == "85f55525cf7cbc08"


def test_a_label_of_another_script_is_drawn_with_an_installed_font(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_font(tmp_path / "NotoSansCJK-Regular.ttf", "字車")
    monkeypatch.setattr(fonts, "_folders", lambda: [tmp_path])
    caches = (fonts.font_files, fonts._font_of)
    for cached in caches:
        cached.cache_clear()
    grey, dense = np.full((60, 60, 3), 128, np.uint8), np.zeros((60, 60), np.uint8)
    dense[10:50, 10:50] = 1
    plates = [
        np.asarray(draw_panels([grey], [Marked(0, label, masks.from_dense(dense))], 200)[0])
        for label in ("字", "車", "\u0e01")
    ]
    for cached in caches:
        cached.cache_clear()
    white = [int((plate[60:140, 60:140] == 255).all(-1).sum()) for plate in plates]
    # The made-up characters are boxes of 30 % and 55 % of the letters' height.
    assert white[1] > white[0] > 0
    assert white[2] > 0  # no font has it: its number is written
    assert not np.array_equal(plates[0], plates[1])
