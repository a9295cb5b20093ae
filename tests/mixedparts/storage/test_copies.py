"""A build at an address: files are fetched when they are read, and compared with the manifest."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mixedparts
from mixedparts.errors import InputError, UsageError
from mixedparts.hub.push import push_plan
from mixedparts.interchange.export.request import ExportRequest, Format
from mixedparts.interchange.export.run import export
from mixedparts.loading import load_dataset
from mixedparts.progress import Silent
from mixedparts.remote.mirror import FixedMirror
from mixedparts.reports.statistics import collect
from mixedparts.reports.statistics_report import values_of
from mixedparts.storage.build_folder import BuildFolder, DamagedShard
from mixedparts.storage.locate import folder_to_read, remember_build, resolve_build
from mixedparts.verification.at_address import verify_at
from mixedparts.verification.verify import verify
from tests.factories.object_store import ObjectStore
from tests.oracles.digests import digests

ADDRESS = "s3://bucket/read"


@pytest.fixture
def stored(object_store: ObjectStore, built: Path) -> ObjectStore:
    """The server with a copy of the whole build."""
    files = object_store.files()
    if not files.exists("bucket/read"):
        files.put(f"{built}/", "bucket/read/", recursive=True)
    return object_store


def tables_in(folder: Path) -> set[str]:
    return {path.parent.name for path in folder.rglob("*.parquet")}


def test_a_build_is_found_by_its_address_and_fetched_table_by_table(
    stored: ObjectStore, built: Path
) -> None:
    folder = resolve_build(ADDRESS)
    assert isinstance(folder, Path)
    assert tables_in(folder) == set()
    build = BuildFolder.open(folder)
    assert build.manifest == BuildFolder.open(built).manifest
    assert build.read("entities", "test").equals(BuildFolder.open(built).read("entities", "test"))
    assert tables_in(folder) == {"entities"}
    whole = digests(built)
    assert {name: whole[name] for name in digests(folder)} == digests(folder)


def test_rows_and_pixels_are_those_of_the_folder(stored: ObjectStore, built: Path) -> None:
    wanted: Any = load_dataset(built, split="test")
    found: Any = load_dataset(ADDRESS, split="test")
    streamed: Any = next(iter(load_dataset(ADDRESS, split="test", streaming=True)))
    assert found[:] == wanted[:]
    for row in (found[0], streamed):
        pixels = row["images"][0]["pixels"]
        assert pixels.tobytes() == wanted[0]["images"][0]["pixels"].tobytes()
    remember_build(Path("s3:/bucket/read"))
    last: Any = load_dataset(split="test")
    assert last.num_rows == wanted.num_rows
    images: Any = load_dataset(ADDRESS, "images", split="train")
    assert images.num_rows == BuildFolder.open(built).count("images", "train")


def test_statistics_exports_and_the_plan_of_a_push_are_those_of_the_folder(
    stored: ObjectStore, built: Path, tmp_path: Path
) -> None:
    folder = folder_to_read(Path("s3:/bucket/read"), whole=True)
    assert values_of(collect(folder)) == values_of(collect(built))
    plan = push_plan(folder, "me/set", False)
    assert plan.values == push_plan(built, "me/set", False).values
    for name, build in (("there", folder), ("here", built)):
        request = ExportRequest(
            build=build, format=Format.COCO, out=tmp_path / name, pictures=False
        )
        export(request, Silent(), False)
    assert digests(tmp_path / "there") == digests(tmp_path / "here")


def test_an_object_that_the_manifest_does_not_describe_is_a_damaged_shard(
    stored: ObjectStore,
) -> None:
    files = stored.files()
    path = "pairs/validation-00000-of-00001.parquet"
    content = files.cat(f"bucket/read/{path}")
    build = BuildFolder.open(folder_to_read(Path("s3:/bucket/read")))
    try:
        files.pipe(f"bucket/read/{path}", content[:-1] + b"?")
        with pytest.raises(DamagedShard, match="does not match its recorded sha256") as raised:
            build.read("pairs", "validation")
        assert str(raised.value).startswith(f"s3://bucket/read/{path} cannot be read")
        assert str(raised.value).endswith("Type: mixedparts verify s3://bucket/read")
        files.rm(f"bucket/read/{path}")
        with pytest.raises(DamagedShard, match="is not there"):
            build.read("pairs", "validation")
    finally:
        files.pipe(f"bucket/read/{path}", content)
    assert build.read("pairs", "validation").num_rows


@pytest.mark.parametrize("level", ["quick", "full", "deep"])
def test_verification_looks_at_the_objects_and_not_at_a_copy(
    stored: ObjectStore, level: str
) -> None:
    assert verify_at(ADDRESS, level).total == 0
    folder_to_read(Path("s3:/bucket/read"), whole=True)  # all files are here, and whole
    files = stored.files()
    path = "entities/test-00000-of-00001.parquet"
    content = files.cat(f"bucket/read/{path}")
    worse = content[:-9] if level == "quick" else content[:500] + b"?" + content[501:]
    try:
        files.pipe(f"bucket/read/{path}", worse)
        files.pipe("bucket/read/pairs/notes.parquet", b"not of the build")
        found = verify_at(ADDRESS, level)
        files.rm("bucket/read/pairs/notes.parquet")
        second = verify_at(ADDRESS, level)
    finally:
        files.pipe(f"bucket/read/{path}", content)
    listed = [str(problem) for problem in found.listed]
    assert "pairs/notes.parquet: is not part of the build [file]" in listed
    assert [problem.file for problem in second.listed] == [path]
    copy = resolve_build(ADDRESS)
    assert isinstance(copy, Path)
    assert verify(copy, "full").total == 0
    assert list(copy.parent.glob("verify-*")) == []


def test_an_address_without_a_build_says_so(stored: ObjectStore) -> None:
    for read in (resolve_build, verify_at):
        with pytest.raises(InputError, match="s3://bucket/nothing contains no finished build"):
            read("s3://bucket/nothing")
        with pytest.raises(InputError, match="s3://no-such-bucket/x is not there"):
            read("s3://no-such-bucket/x")


def test_another_build_at_the_address_is_read_from_then_on(
    stored: ObjectStore, published: Path
) -> None:
    files = stored.files()
    first = resolve_build("s3://bucket/read")
    files.put(f"{published}/", "bucket/changes/", recursive=True)
    before = resolve_build("s3://bucket/changes")
    files.pipe("bucket/changes/manifest.json", files.cat("bucket/read/manifest.json"))
    after = resolve_build("s3://bucket/changes")
    assert isinstance(before, Path)
    assert isinstance(after, Path)
    assert before != after
    assert BuildFolder.open(before).build_id == BuildFolder.open(published).build_id
    assert isinstance(first, Path)
    assert BuildFolder.open(after).build_id == BuildFolder.open(first).build_id
    copy = FixedMirror.at(after)
    assert copy is not None
    assert copy.address == "s3://bucket/changes"


def test_commands_take_an_address(
    stored: ObjectStore,
    run_mixedparts: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
) -> None:
    shown = run_mixedparts("view", ADDRESS, "--out", "view.html", "--limit", 5, "--quiet")
    assert shown.returncode == 0, shown.stderr
    assert "mixedparts view s3://bucket/read --serve" in shown.stdout
    refused = run_mixedparts("export", ADDRESS, "--format", "coco", "--out", "s3://bucket/coco")
    assert refused.returncode == 2
    assert "s3://bucket/coco is an address" in refused.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"view.html"}


def test_python_calls_take_addresses_or_refuse_them(
    stored: ObjectStore, native_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = mixedparts.verify(ADDRESS, "quick", quiet=True)
    assert found.total == 0
    mixedparts.view(ADDRESS, tmp_path / "view.html", limit=2, quiet=True)
    request = ExportRequest(
        build=folder_to_read(Path(ADDRESS)), format=Format.PARQUET, out=Path("s3://bucket/few")
    )
    calls: list[Callable[[], object]] = [
        lambda: mixedparts.sample("s3://bucket/sources", images=3),
        lambda: mixedparts.view(ADDRESS, "s3://bucket/view.html", limit=2, quiet=True),
        lambda: export(request, Silent(), False),
    ]
    for call in calls:
        with pytest.raises(UsageError, match="is an address"):
            call()
    assert [path.name for path in tmp_path.iterdir()] == ["view.html"]
