"""The samples of a split in the cache: same samples, shared, made once, remade when they change."""

from __future__ import annotations

import errno
import hashlib
import os
import pickle
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import filelock
import pyarrow as pa
import pytest

from calico.dataset import compact, sample_cache
from calico.dataset.pairs import BuiltDataset, SampleTable
from calico.dataset.sample import Sample
from mixedparts.errors import InputError
from mixedparts.storage.build_folder import BuildFolder
from tests.factories.forger import damage
from tests.factories.micro_build import write_build

ROWS = 11  # three row groups


@pytest.fixture
def build(tmp_path: Path) -> Path:
    return write_build(tmp_path / "build", 6, ("train", "test"), ROWS)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache that is used for tables of any size."""
    monkeypatch.setattr(sample_cache, "_LEAST_ROWS", 1)
    monkeypatch.setenv("MIXEDPARTS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "samples"


def entries(cache: Path) -> list[Path]:
    """Return all folders of all splits, finished or not."""
    return sorted(path for path in cache.glob("*/*") if path.is_dir())


def plain(build: Path, split: str = "train") -> list[Sample]:
    """Return the samples without the cache."""
    return list(SampleTable(BuildFolder.open(build).read("pairs", split)))


def no_reading(*_: object) -> None:
    raise AssertionError("the table was read again")


def test_the_second_process_reads_nothing_of_the_table(
    build: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = plain(build)
    assert len(expected) == ROWS
    assert BuiltDataset(build).pairs("train")[:] == expected
    assert len(entries(cache)) == 1
    monkeypatch.setattr(sample_cache, "write_compact", no_reading)
    pairs = BuiltDataset(build).pairs("train")
    assert pairs[:] == expected
    order = [7, 0, 10, 7]
    assert pairs.take(order) == [expected[index] for index in order]


def test_splits_have_entries_of_their_own(build: Path, cache: Path) -> None:
    for split in ("train", "test"):
        assert BuiltDataset(build).pairs(split)[:] == plain(build, split)
    assert len(entries(cache)) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_cells_are_views_of_the_file(build: Path) -> None:
    pairs = BuiltDataset(build).pairs("train")
    maps = Path("/proc/self/maps").read_text()
    entry = pairs.columns.entry  # type: ignore[attr-defined]
    assert all(str(entry / name) in maps for name in ("rows", "masks", "texts"))
    before = pa.total_allocated_bytes()
    for batch in pairs.columns.batches:
        for array in (batch.numbers("answer"), *batch.lists("parts")):
            assert not array.flags.owndata
    assert pa.total_allocated_bytes() == before


def test_whole_columns_are_those_of_the_table(build: Path) -> None:
    cached = BuiltDataset(build).pairs("train")
    table = SampleTable(cached.table)
    assert cached.ids() == table.ids() == cached.table.column("id").to_pylist()
    assert cached.coded("task")[0] == table.coded("task")[0]
    assert cached.coded("task")[1].tolist() == table.coded("task")[1].tolist()
    answers = cached.table.column("answer").to_pylist()
    assert cached.answer_lengths().tolist() == [len(text) for text in answers]
    assert list(cached.texts()) == cached.table.column("question").to_pylist() + answers
    assert cached.image_rows() == {"train": [0, 1, 2, 3, 4, 5]}
    rows = [[image["row"] for image in cell] for cell in cached.table.column("images").to_pylist()]
    assert cached.image_numbers().tolist() == rows


def test_the_digest_is_that_of_earlier_checkpoints(build: Path) -> None:
    pairs = BuiltDataset(build).pairs("train")
    joined = "\n".join(pairs.ids()).encode()
    assert pairs.digest() == hashlib.sha256(joined).hexdigest()[:20]


def test_a_changed_build_is_read_again_and_the_old_entry_removed(build: Path, cache: Path) -> None:
    BuiltDataset(build).pairs("train")
    before = entries(cache)
    shutil.rmtree(build)
    write_build(build, 6, ("train", "test"), ROWS - 2)
    assert BuiltDataset(build).pairs("train")[:] == plain(build)
    assert len(plain(build)) == ROWS - 2
    assert len(entries(cache)) == 1
    assert entries(cache) != before


def test_a_shard_that_is_written_again_is_read_again(build: Path, cache: Path) -> None:
    BuiltDataset(build).pairs("train")
    before = entries(cache)
    shard = next((build / "pairs").glob("train-*"))
    os.utime(shard, ns=(1, 1))
    assert len(BuiltDataset(build).pairs("train")) == ROWS
    assert entries(cache) != before


@pytest.mark.parametrize("file", ["rows", "labels", "masks", "key.json"])
@pytest.mark.parametrize("harm", ["flip", "cut", "remove"])
def test_a_damaged_entry_is_made_again(build: Path, cache: Path, file: str, harm: str) -> None:
    expected = BuiltDataset(build).pairs("train")[:]
    path = entries(cache)[0] / file
    data = bytearray(path.read_bytes())
    path.unlink()
    if harm == "flip":
        data[len(data) // 2] ^= 0x10
    if harm != "remove":
        path.write_bytes(data if harm == "flip" else data[: len(data) // 2])
    assert BuiltDataset(build).pairs("train")[:] == expected
    assert len(entries(cache)) == 1


def test_what_a_killed_process_left_is_removed(build: Path, cache: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path\n"
        "from calico.dataset import sample_cache\n"
        "from calico.dataset.pairs import BuiltDataset\n"
        "sample_cache._LEAST_ROWS = 1\n"
        "sample_cache.write_compact = lambda *_: (print('writing', flush=True), time.sleep(60))\n"
        "BuiltDataset(Path(sys.argv[1])).pairs('train')\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(build)], stdout=subprocess.PIPE, env=dict(os.environ)
    )
    assert process.stdout is not None
    with process, process.stdout:
        assert process.stdout.readline() == b"writing\n"
        left = entries(cache)
        process.kill()
    assert [path.suffix for path in left] == [".tmp"]
    assert BuiltDataset(build).pairs("train")[:] == plain(build)
    assert [path.suffix for path in entries(cache)] == [""]


def test_of_several_at_once_one_writes_and_the_others_wait(
    build: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = compact.write_compact
    writes: list[tuple[Any, ...]] = []

    def slowly(*arguments: Any) -> None:
        writes.append(arguments)
        time.sleep(0.3)
        write(*arguments)

    monkeypatch.setattr(sample_cache, "write_compact", slowly)
    found: list[list[Sample]] = []
    threads = [
        threading.Thread(target=lambda: found.append(BuiltDataset(build).pairs("train")[:]))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(writes) == 1
    assert found == [plain(build)] * 4


def once_full(write: Callable[..., None]) -> Callable[..., None]:
    calls: list[object] = []

    def full(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(*arguments)

    return full


def test_a_full_disk_costs_memory_and_leaves_nothing(
    build: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = plain(build)
    monkeypatch.setattr(sample_cache, "write_compact", once_full(compact.write_compact))
    assert BuiltDataset(build).pairs("train")[:] == expected
    assert entries(cache) == []
    assert "No space left on device" in caplog.text
    assert "MIXEDPARTS_CACHE" in caplog.text


def test_a_cache_that_cannot_be_written_costs_memory(
    build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("MIXEDPARTS_CACHE", str(tmp_path / "file"))
    assert BuiltDataset(build).pairs("train")[:] == plain(build)
    assert "stay in the memory of each process" in caplog.text


def test_a_file_system_without_locks_costs_memory(
    build: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_lock(*_: object, **__: object) -> None:
        raise NotImplementedError("no locks here")

    monkeypatch.setattr(filelock.FileLock, "acquire", no_lock)
    assert BuiltDataset(build).pairs("train")[:] == plain(build)
    assert "no locks here" in caplog.text


def test_a_finished_entry_needs_no_lock(
    build: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = BuiltDataset(build).pairs("train")[:]
    monkeypatch.setattr(sample_cache, "FileLock", no_reading)  # as in a folder to read only
    assert BuiltDataset(build).pairs("train")[:] == expected
    assert caplog.text == ""


def test_a_broken_build_is_reported_and_leaves_no_entry(build: Path, cache: Path) -> None:
    damage(build, "pairs/train-00000-of-00001.parquet", "answer")
    with pytest.raises(InputError, match="cannot be read"):
        BuiltDataset(build).pairs("train")
    assert entries(cache) == []


def test_small_tables_have_no_file(
    build: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample_cache, "_LEAST_ROWS", ROWS + 1)
    assert BuiltDataset(build).pairs("train")[:] == plain(build)
    assert not cache.exists()


@pytest.mark.parametrize("least", [1, ROWS + 1], ids=["cached", "in memory"])
def test_workers_get_the_samples_by_pickle(
    build: Path, monkeypatch: pytest.MonkeyPatch, least: int
) -> None:
    monkeypatch.setattr(sample_cache, "_LEAST_ROWS", least)
    pairs = BuiltDataset(build).pairs("train")
    before = pickle.dumps(pairs)
    assert pairs[:] == plain(build)
    data = pickle.dumps(pairs)
    assert data == before  # no caches travel
    assert (len(data) < 1000) == (least == 1)
    copy = pickle.loads(data)
    assert copy[:] == plain(build)
    assert copy.table.equals(pairs.table)
