"""Contact sheets: A4 at 300 dpi, the chosen rows, text that stays text."""

from __future__ import annotations

import json
import re
import shutil
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from mixedparts.cli.program import main
from mixedparts.errors import UsageError
from mixedparts.exit_codes import run_command
from mixedparts.reports.contact_sheet import write_contact_sheet
from mixedparts.viewer.selection import Query
from tests.oracles.build_tables import iter_rows


def test_pages_are_a4_at_300_dpi(built: Path, tmp_path: Path) -> None:
    sheet = write_contact_sheet(built, tmp_path / "sheet.png", limit=9)
    assert [path.name for path in sheet.files] == ["sheet.png", "sheet-2.png"]
    assert sheet.samples == 9
    pages = []
    for path in sheet.files:
        with Image.open(path) as page:
            assert page.size == (2480, 3508)
            assert page.info["dpi"] == pytest.approx((300, 300), abs=0.01)
            pages.append(np.asarray(page.convert("L")))
    # Eight samples on the first page, in two columns; one at the upper left of the second.
    assert (pages[0][2700:3300, 1300:2400] < 250).any()
    assert (pages[1][150:700, 140:1200] < 250).mean() > 0.3
    assert (pages[1][900:, :] == 255).all()


@pytest.mark.parametrize("synthetic", [True, False])
def test_every_page_names_the_build_and_synthetic_images(
    built: Path, tmp_path: Path, synthetic: bool
) -> None:
    copy = Path(shutil.copytree(built, tmp_path / "copy"))
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps({**manifest, "synthetic": synthetic}))
    figures = []

    def kept(figure: Figure, *rest: object, **options: object) -> None:
        figures.append([text.get_text() for text in figure.texts])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", kept)
        patch.setattr(
            "mixedparts.reports.contact_sheet.written_beside", lambda path, flush: nullcontext(path)
        )
        write_contact_sheet(copy, tmp_path / "sheet.png", limit=9)
    for number, texts in enumerate(figures, 1):
        (head,) = [text for text in texts if manifest["build_id"] in text]
        assert head.endswith(f"; page {number} of 2")
        assert ("synthetic: images and masks were drawn by a program" in head) == synthetic
    assert len(figures) == 2


def test_a_pdf_has_the_rows_that_were_named(built: Path, tmp_path: Path) -> None:
    ids = [row["id"] for row in iter_rows(built, "pairs", "test")][:2]
    sheet = write_contact_sheet(built, tmp_path / "sheet.pdf", Query(ids=tuple(ids)), limit=1)
    assert sheet.samples == 2
    data = (tmp_path / "sheet.pdf").read_bytes()
    assert data.count(b"/Type /Page\n") + data.count(b"/Type /Page ") == 1
    assert re.search(rb"/MediaBox \[ 0 0 595\.2 841\.92 \]", data)
    assert b"/FontFile2" in data
    again = write_contact_sheet(built, tmp_path / "again.pdf", Query(ids=tuple(ids)), limit=1)
    assert again.files[0].read_bytes() == data


def test_other_kinds_of_file_are_refused(built: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"PDF or PNG, not sheet\.jpg"):
        write_contact_sheet(built, tmp_path / "sheet.jpg")
    with pytest.raises(UsageError, match="no task"):
        write_contact_sheet(built, tmp_path / "sheet.pdf", Query(tasks=("common_part",)))
    assert list(tmp_path.iterdir()) == []


def test_the_command_takes_the_filters_of_the_page(
    built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "sheet.pdf"
    words = ["view", str(built), "--sheet", str(out), "--task", "unique_parts", "--limit", "2"]
    assert main(words) == 0
    assert f"{out}: 2 samples of " in capsys.readouterr().out
    assert out.exists()
    for other, says in ((["--out", "x.html"], "--out is for"), (["--serve"], "with --serve")):
        assert run_command(lambda other=other: main([*words, *other])) == 2
        assert says in capsys.readouterr().err
