"""Whatever stands in the place of a file that an earlier run wrote, its reader says so."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mixedparts.cards.croissant import croissant_problems
from mixedparts.errors import EnvironmentFault, InputError
from mixedparts.files.cache import cache_folder
from mixedparts.files.folders import check_plain_files
from mixedparts.files.text import read_own_json
from mixedparts.interchange.export.folder import stored_identity
from mixedparts.pipeline.build import build
from mixedparts.pipeline.config import BuildConfig
from mixedparts.pipeline.finalize import finished_manifest, is_unfinished
from mixedparts.progress import Silent
from mixedparts.storage.build_folder import BuildFolder, DamagedShard, stored_manifest, stored_plan
from mixedparts.storage.digest_cache import DigestCache, Stamp
from mixedparts.storage.locate import last_build
from mixedparts.storage.shards import Commit, WrittenFile, commit, intact, read_commit
from mixedparts.storage.writer_lock import writing
from mixedparts.verification.verify import verify
from tests.conftest import SOURCES
from tests.factories.broken_files import BROKEN, ends_within, put
from tests.oracles.digests import digests

SHARD = "preview/preview-00000-of-00001.parquet"


# Each takes the broken file, in a folder of its own, and returns what is read from it.
READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "own JSON of a wrong shape": ("a.json", lambda path: {}.get(str(read_own_json(path)))),
    "manifest": ("manifest.json", lambda path: finished_manifest(path.parent)),
    "plan": ("_build/plan.json", lambda path: (stored_plan(path.parents[1]) or {}).get("identity")),
    "commit record": ("_build/commits/t.json", lambda path: read_commit(path.parents[2], "t")),
    "mark of an export": ("export.json", lambda path: stored_identity(path.parent)),
    "card": ("README.md", lambda path: is_unfinished(path.parent) or None),
    "digests of folders": (
        "digests.json",
        lambda path: DigestCache(path.parent, path).find("a", Stamp(1, 1, 1, 1, 1)),
    ),
    "digest of a shard": (
        "a.parquet",
        lambda path: intact(path.parent, WrittenFile("a.parquet", 1, 5, "0" * 64)) or None,
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
@pytest.mark.parametrize("reader", READERS)
def test_a_broken_file_counts_as_none(reader: str, fault: str, tmp_path: Path) -> None:
    name, read = READERS[reader]
    put(tmp_path / name, fault)
    with ends_within(20):
        assert read(tmp_path / name) is None


@pytest.mark.parametrize("fault", BROKEN)
def test_the_note_of_the_last_build_counts_as_none(fault: str) -> None:
    put(cache_folder() / "last_build.json", fault)
    with ends_within(20):
        assert last_build() is None


FEW = ["nested lists", "wrong types", "a pipe", "nothing"]


@pytest.mark.parametrize("fault", FEW)
def test_verification_names_every_broken_file(built: Path, tmp_path: Path, fault: str) -> None:
    copy = Path(shutil.copytree(built, tmp_path / "build"))
    commits = sorted((copy / "_build/commits").iterdir())
    # Later rules are not looked at while earlier ones find faults.
    groups = [
        ["SHA256SUMS"],
        ["croissant.json"],
        ["README.md"],
        ["_build/plan.json", f"_build/commits/{commits[0].name}", SHARD],
    ]
    for names in groups:
        for name in names:
            put(copy / name, fault)
        with ends_within(60):
            found = verify(copy, "full", workers=1)
        assert set(names) <= {problem.file for problem in found.listed}


@pytest.mark.parametrize("fault", FEW)
def test_a_build_replaces_its_own_broken_files(
    native_root: Path, built: Path, tmp_path: Path, fault: str
) -> None:
    copy = Path(shutil.copytree(built, tmp_path / "build"))
    for name in ("_build/commits/pair.json", "_build/commits/pairs-train-00000.json", "SHA256SUMS"):
        put(copy / name, fault)
    with ends_within(120):
        build(BuildConfig(sources=SOURCES, root=native_root, out=copy, samples=900), Silent())
    assert digests(copy, "log.jsonl") == digests(built, "log.jsonl")


def test_changed_counts_are_counted_again(tmp_path: Path) -> None:
    record = Commit("read", (), {"source": "paco", "entities": 12, "rejects": {"empty_mask": 1}})
    commit(tmp_path, record)
    assert read_commit(tmp_path, "read") == record
    path = tmp_path / "_build/commits/read.json"
    text = path.read_text()
    path.write_text(text.replace("12", "13"))
    assert read_commit(tmp_path, "read") is None
    path.write_text(text.replace('"task": "read"', '"task": "pair"'))
    assert read_commit(tmp_path, "read") is None
    # Records of earlier versions have no digest of their counts.
    older = {name: value for name, value in json.loads(text).items() if "sha256" not in name}
    path.write_text(json.dumps(older))
    assert read_commit(tmp_path, "read") == record


@pytest.mark.parametrize("fault", BROKEN)
def test_a_shard_that_is_none_is_damaged(built: Path, tmp_path: Path, fault: str) -> None:
    copy = Path(shutil.copytree(built, tmp_path / "build"))
    put(copy / SHARD, fault)
    with ends_within(20), pytest.raises(DamagedShard, match="preview-00000-of-00001"):
        BuildFolder.open(copy).read_shard(SHARD)
    assert stored_manifest(copy) is not None


@pytest.mark.parametrize("fault", BROKEN)
def test_metadata_for_loaders(built: Path, tmp_path: Path, fault: str) -> None:
    manifest = stored_manifest(built)
    assert manifest is not None
    put(tmp_path / "croissant.json", fault)
    with ends_within(20):
        assert len(list(croissant_problems(tmp_path, manifest))) == 1


@pytest.mark.parametrize("fault", BROKEN)
def test_a_lock_holds_whatever_its_note_is(tmp_path: Path, fault: str) -> None:
    with writing(tmp_path / "out"):
        put(tmp_path / ".out.writer", fault)
        with (
            ends_within(20),
            pytest.raises(EnvironmentFault, match="another process is writing"),
            writing(tmp_path / "out"),
        ):
            pass


def test_what_a_library_would_wait_for(tmp_path: Path) -> None:
    put(tmp_path / "inner/tokenizer.json", "a pipe")
    (tmp_path / "config.json").touch()
    check_plain_files(tmp_path)
    with pytest.raises(InputError, match=r"tokenizer\.json cannot be read: it is a pipe"):
        check_plain_files(tmp_path / "inner")
