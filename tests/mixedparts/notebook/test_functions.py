"""Build, verify, view and show from Python, as the commands do it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mixedparts
from mixedparts.errors import InputError, UsageError
from tests.oracles.build_tables import read_manifest


def test_names_of_the_package() -> None:
    for name in mixedparts.__all__:
        assert getattr(mixedparts, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'bild'"):
        mixedparts.bild  # noqa: B018


def test_build_verify_and_view(native_root: Path, tmp_path: Path) -> None:
    out = mixedparts.build(
        ["paco"], tmp_path / "out", root=native_root, samples=60, seed=3, quiet=True
    )
    manifest = read_manifest(out)
    assert manifest is not None
    assert manifest["configuration"]["seed"] == 3
    found = mixedparts.verify(out, "deep", quiet=True)
    assert found.total == 0
    page = mixedparts.view(out, tmp_path / "x.html", splits="train", limit=3, quiet=True)
    assert page == tmp_path / "x.html"
    assert "<!doctype html>" in page.read_text()[:20].lower()
    # The last build is what a name without a folder means, from anywhere.
    assert mixedparts.verify("mixedparts", "quick", quiet=True).total == 0


def test_wrong_arguments_are_named(native_root: Path, built: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"smaples: unknown. Did you mean 'samples'"):
        mixedparts.build(["paco"], tmp_path / "o", root=native_root, smaples=3)
    with pytest.raises(UsageError, match="samples: expected int >= 1"):
        mixedparts.build(["paco"], tmp_path / "o", root=native_root, samples=0)
    with pytest.raises(UsageError, match=r"no filter 'clases'. Did you mean 'classes'"):
        mixedparts.view(built, tmp_path / "x.html", clases="mug")
    for wrong in ({"limit": 0}, {"limit": -3}, {"max_side": 2}):
        with pytest.raises(UsageError, match="must be at least"):
            mixedparts.view(built, tmp_path / "x.html", quiet=True, **wrong)
    with pytest.raises(UsageError, match=r"no row of .* passes"):
        mixedparts.view(built, tmp_path / "x.html", search="no such words", quiet=True)
    with pytest.raises(InputError, match="no build folder"):
        mixedparts.verify(tmp_path / "none")
    assert not (tmp_path / "o").exists()


class TestShow:
    def test_a_row_is_drawn_with_its_masks(self, built: Path, tmp_path: Path) -> None:
        row = mixedparts.load_dataset(built, split="test")[0]
        shown = mixedparts.show(row)
        picture = shown.picture(height=200)
        assert picture.height == 200
        plain = mixedparts.show({**row, "objects": [], "parts": [], "seg": []}).picture(height=200)
        assert (np.asarray(picture) != np.asarray(plain)).any()
        with Image.open(shown.save(tmp_path / "row.png")) as saved:
            assert saved.height == 320

    def test_several_rows(self, built: Path, tmp_path: Path) -> None:
        rows = mixedparts.load_dataset(built, split="test")
        stream = mixedparts.load_dataset(built, split="test", streaming=True)
        ids = rows["id"][:3]
        listed = [rows[n] for n in range(3)]
        streamed = (row for row in stream.take(3))
        for several in (listed, rows[:3], rows.select(range(3)), stream.take(3), streamed):
            shown = mixedparts.show(several)
            assert [row.row["id"] for row in shown] == ids
            assert len(shown) == shown._repr_html_().count("<figure") == 3
        one = mixedparts.show(rows[0])
        with Image.open(mixedparts.show(rows[:2]).save(tmp_path / "rows.png")) as saved:
            assert saved.height == 2 * 320 + 8
            upper = np.asarray(saved.convert("RGB"))[:320, : one.picture().width]
        np.testing.assert_array_equal(upper, np.asarray(one.picture()))
        assert len(mixedparts.show(rows, limit=2)) == 2
        for nothing in ([], rows.select([]), 7, "row", [7]):
            with pytest.raises(UsageError, match="wants a row of 'pairs'"):
                mixedparts.show(nothing)
        with pytest.raises(UsageError, match="limit must be at least 1"):
            mixedparts.show(rows, limit=0)

    def test_a_notebook_shows_text_as_text(self, built: Path) -> None:
        row = mixedparts.load_dataset(built, split="test")[0]
        hostile = {**row, "question": "<script>alert(1)</script>", "id": '"><b>'}
        html = mixedparts.show(hostile)._repr_html_()
        assert "<script>" not in html
        assert "&lt;script&gt;" in html
        assert '"><b>' not in html.replace("&quot;&gt;&lt;b&gt;", "")
        # Every phrase of the answer has a colour, and none of its tags is shown.
        phrases = re.findall(r"<p>\s*(.*?)\s*</p>", row["answer"])
        assert phrases
        for phrase in phrases:
            assert re.search(rf'<span style="color:rgb\([^"]*">{re.escape(phrase)}</span>', html)
        assert "[SEG]" not in html

    def test_phrases_have_the_colours_of_their_masks(self, built: Path) -> None:
        rows = mixedparts.load_dataset(built, split="test")
        row = next(row for row in rows if row["task"] == "common_parts")
        html = mixedparts.show(row)._repr_html_()
        colours = re.findall(r"color:rgb\((\d+),(\d+),(\d+)\)", html)
        drawn = np.asarray(mixedparts.show(row).picture()).reshape(-1, 3).astype(int)
        for colour in {tuple(map(int, one)) for one in colours}:
            # Masks are painted over the image with some transparency, labels in the colour itself.
            assert np.abs(drawn - np.array(colour)).sum(1).min() <= 6

    @pytest.mark.parametrize("row", [{}, [], {"images": []}])
    def test_what_is_not_a_row_is_refused(self, row: object) -> None:
        with pytest.raises(UsageError, match="wants a row of 'pairs'"):
            mixedparts.show(row)  # type: ignore[arg-type]

    def test_a_row_without_pixels_is_refused(self, built: Path) -> None:
        row = mixedparts.load_dataset(built, split="test", pixels=False)[0]
        with pytest.raises(UsageError, match="has no pixels"):
            mixedparts.show(row)
        json.dumps(row)  # plain values
