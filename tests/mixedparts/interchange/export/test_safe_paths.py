"""Rows of a doctored build make an export neither write nor read outside of its folders."""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from mixedparts.errors import InputError, UsageError
from mixedparts.interchange.export.request import ExportRequest, Format
from mixedparts.interchange.export.run import export
from mixedparts.interchange.export.safe_paths import inside, member
from mixedparts.pipeline.build import build
from mixedparts.pipeline.config import BuildConfig
from mixedparts.progress import Silent
from mixedparts.tables.stored_images import referenced_file
from tests.factories.forger import Row, rewrite
from tests.oracles.build_tables import iter_rows
from tests.oracles.digests import digests

UNSAFE = ["../x.jpg", "a/../../x", "/etc/x", "C:/x", "a\\b", "a\x00b", "a\nb", "..", ".", ""]


@pytest.mark.parametrize("name", UNSAFE)
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="not safe"):
        inside(tmp_path, name)
    with pytest.raises(InputError, match="not safe"):
        member(name)


def test_other_names_stay(tmp_path: Path) -> None:
    for name in ("paco/1.jpg", "..x/y..jpg", "ADE val 1.jpg", "näme.jpg"):
        assert inside(tmp_path, name) == tmp_path / name
    assert member("paco-train-3") == "paco-train-3"
    with pytest.raises(InputError):
        member("a/b")


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("/etc/hostname", "paco"),
        ("/data/sources/../secret.jpg", "paco"),
        ("/data/sourcesx/1.jpg", "paco"),
        ("1.jpg", "paco"),
        ("/data/sources/1.jpg", "other"),
    ],
)
def test_an_image_elsewhere_is_not_read(path: str, source: str) -> None:
    with pytest.raises(InputError, match="not below the folder"):
        referenced_file(path, source, {"paco": "/data/sources"})
    good = referenced_file("/data/sources/coco/1.jpg", "paco", {"paco": "/data/sources"})
    assert good == Path("/data/sources/coco/1.jpg")


@pytest.mark.parametrize("source", ["../../../evil", "/tmp/evil", "a\x00b"])
@pytest.mark.parametrize("name", ["coco", "webdataset", "parquet"])
def test_a_doctored_build_writes_nothing_outside(
    built: Path, tmp_path: Path, source: str, name: str
) -> None:
    doctored = tmp_path / "in" / "build"
    shutil.copytree(built, doctored)

    def change(rows: list[Row]) -> None:
        for row in rows:
            row["source"] = source
            if "id" in row:
                row["id"] = f"{source}/{row['id']}"

    for table in ("images", "entities", "pairs"):
        rewrite(doctored, change, table, "train")
    before = digests(tmp_path)
    request = ExportRequest(doctored, Format(name), tmp_path / "out" / "a" / "b", splits=("train",))
    # The files of the format parquet have the names of splits and numbers alone.
    refused = nullcontext() if name == "parquet" else pytest.raises(InputError, match="not safe")
    with refused:
        export(request, Silent())
    after = {path: sha for path, sha in digests(tmp_path).items() if not path.startswith("out/a/b")}
    assert after == before


def test_a_build_that_refers_to_its_images_is_exported_and_links_below_the_root_are_followed(
    native_root: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    shutil.copytree(native_root, root)
    # As users do who keep images on another disk.
    shutil.move(root / "coco" / "train2017", tmp_path / "elsewhere")
    (root / "coco" / "train2017").symlink_to(tmp_path / "elsewhere")
    config = BuildConfig(
        sources=("paco",), root=root, out=tmp_path / "b", samples=40, images="reference"
    )
    build(config, Silent())
    paths = [Path(row["image"]["path"]) for row in iter_rows(config.out, "images")]
    assert any("train2017" in path.parts for path in paths)
    assert all(path.is_relative_to(root) for path in paths)
    export(ExportRequest(config.out, Format("coco"), tmp_path / "referred"), Silent())
    embedded = replace(config, out=tmp_path / "e", images="embed")
    build(embedded, Silent())
    export(ExportRequest(embedded.out, Format("coco"), tmp_path / "embedded"), Silent())
    pictures = [digests(tmp_path / name / "images") for name in ("referred", "embedded")]
    assert len(pictures[0]) > 10
    assert sorted(pictures[0].values()) == sorted(pictures[1].values())

    def look_elsewhere(rows: list[Row]) -> None:
        (tmp_path / "secret.jpg").write_bytes(paths[0].read_bytes())
        for row in rows:
            row["image"] = {"bytes": None, "path": str(tmp_path / "secret.jpg")}

    rewrite(config.out, look_elsewhere, "images", "train")
    with pytest.raises(InputError, match="not below the folder of its source"):
        export(ExportRequest(config.out, Format("coco"), tmp_path / "third"), Silent())
    assert not (tmp_path / "third").exists()


def test_a_plain_text_names_a_format(built: Path, tmp_path: Path) -> None:
    request = ExportRequest(built, "coco", tmp_path / "coco")  # type: ignore[arg-type]
    assert request.format is Format.COCO
    with pytest.raises(UsageError, match="format 'dragon', choose from published, coco"):
        ExportRequest(built, "dragon", tmp_path / "x")  # type: ignore[arg-type]


def test_a_shard_has_a_limit_of_rows(built: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--shard-rows must be at most 1,000,000,000"):
        ExportRequest(built, Format.WEBDATASET, tmp_path / "x", shard_rows=10**20)
