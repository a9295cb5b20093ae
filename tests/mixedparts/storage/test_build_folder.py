"""A damaged file of a build is one error of the project, wherever in it the damage is."""

from __future__ import annotations

import pickle
import random
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mixedparts.errors import InputError
from mixedparts.storage.build_folder import BuildFolder, DamagedShard, shard_name
from tests.factories.foreign_files import NAMED
from tests.factories.forger import damage

SHARD = "pairs/test-00000-of-00001.parquet"


@pytest.fixture
def build(built: Path, tmp_path: Path) -> Path:
    """A copy of a build that a test may damage."""
    return Path(shutil.copytree(built, tmp_path / "build"))


def test_a_shard_is_read_whole_and_in_batches(built: Path) -> None:
    folder = BuildFolder.open(built)
    expected = pq.read_table(built / SHARD).to_pylist()
    assert folder.read_shard(SHARD).to_pylist() == expected
    batches = list(folder.shard_batches(SHARD, rows=7))
    assert max(batch.num_rows for batch in batches) == 7
    assert [row for batch in batches for row in batch.to_pylist()] == expected
    names = folder.read_shard(SHARD, ["id", "task"]).column_names
    assert names == next(folder.shard_batches(SHARD, ["id", "task"])).schema.names == ["id", "task"]


def test_a_shard_that_git_did_not_fetch_is_named(build: Path) -> None:
    (build / SHARD).write_bytes(NAMED["pointer"][0](""))
    message = f"{build / SHARD} cannot be read: it is a pointer of Git LFS, .*`git lfs pull`\n"
    with pytest.raises(DamagedShard, match=message):
        BuildFolder.open(build).read_shard(SHARD)


def test_a_damaged_page_is_an_error_that_names_the_file(build: Path) -> None:
    damage(build, SHARD, "question")
    folder = BuildFolder.open(build)
    assert folder.read_shard(SHARD, ["id"]).num_rows == folder.count("pairs", "test")
    message = f"{build / SHARD} cannot be read: .*\nType: mixedparts verify {build}"
    with pytest.raises(DamagedShard, match=message):
        list(folder.shard_batches(SHARD))
    with pytest.raises(DamagedShard, match=message):
        list(folder.rows("pairs", "test"))
    with pytest.raises(DamagedShard, match=message):
        folder.read("pairs", "test")
    with pytest.raises(DamagedShard, match=message) as caught, folder.open_shard(SHARD) as file:
        file.read_row_group(0)
    # Worker processes send the error to the process that reports it.
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.shard, copy.reason) == (str(caught.value), SHARD, caught.value.reason)


def test_other_columns_than_the_schema_has_are_the_same_error(build: Path) -> None:
    table = pq.read_table(build / SHARD)
    folder = BuildFolder.open(build)
    for spoilt in (
        table.drop_columns(["seg"]),
        table.set_column(0, "id", table["source"].cast("binary")),
    ):
        pq.write_table(spoilt, build / SHARD)
        with pytest.raises(DamagedShard, match="other columns than the schema has"):
            next(folder.shard_batches(SHARD, ["id"]))


def test_a_missing_shard_is_the_same_error(build: Path) -> None:
    (build / SHARD).unlink()
    with pytest.raises(DamagedShard, match="No such file"):
        BuildFolder.open(build).read_shard(SHARD)


def test_no_wrong_byte_ends_in_another_error(build: Path) -> None:
    """Single bytes all over a file are changed: it is read, or refused with an error of ours."""
    folder, data = BuildFolder.open(build), (build / SHARD).read_bytes()
    rng = random.Random(5)
    messages = []
    for _ in range(300):
        spoilt = bytearray(data)
        # Half of the places are in the footer, where the names of the columns are.
        place = rng.choice([rng.randrange(len(data)), len(data) - rng.randrange(1, 4000)])
        spoilt[place] ^= rng.randrange(1, 256)
        (build / SHARD).write_bytes(spoilt)
        try:
            assert all(isinstance(row, dict) for row in folder.rows("pairs", "test"))
        except InputError as error:
            messages.append(str(error))
    assert len(messages) > 50
    assert all(str(build / SHARD) in message for message in messages)


@pytest.mark.parametrize("of", [1, 99_999, 100_000, 1_200_000])
def test_names_in_order_are_shards_in_order(of: int) -> None:
    numbers = sorted({0, 9, of // 2, min(of, 99_999) - 1, min(of, 100_000) - 1, of - 1} - {-1})
    names = [shard_name("pairs", "train", number, of) for number in numbers]
    assert names == sorted(names)
    assert names[0].endswith(f"-of-{of:05d}.parquet")
