"""A build at an address has the bytes of a local one, goes on anywhere, and leaves nothing over."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from mixedparts.cards.card import unfinished_card
from mixedparts.errors import InputError, ProblemsFound, UsageError
from mixedparts.files.cache import cache_folder
from mixedparts.pipeline.build import build
from mixedparts.pipeline.config import BuildConfig
from mixedparts.pipeline.remote import in_store
from mixedparts.pipeline.remote.in_store import InStore
from mixedparts.progress import Silent
from mixedparts.remote.store import Store
from mixedparts.storage.build_folder import PLAN
from mixedparts.storage.locate import resolve_build
from mixedparts.storage.shards import write_json
from tests.factories.object_store import ObjectStore
from tests.mixedparts.pipeline.remote.conftest import at
from tests.oracles.build_tables import read_manifest

LOG = "_build/log.jsonl"


class Heard(Silent):
    """Keeps the messages."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, message: str) -> None:
        self.lines.append(message)


def assert_equal(store: ObjectStore, folder: str, local: dict[str, str]) -> None:
    """The objects are exactly the files of the local build, and nothing hidden is left."""
    found = {name: hashlib.sha256(data).hexdigest() for name, data in store.objects(folder).items()}
    assert found.pop(LOG)
    assert found == local
    uploads = [key for key in store.open_uploads() if key.startswith(f"{folder}/")]
    assert [key for key in uploads if "/mine/" not in key] == []


def forget() -> None:
    """Lose everything on this machine, as on another one."""
    shutil.rmtree(cache_folder())


def test_a_build_at_an_address_has_the_bytes_of_a_local_one(
    object_store: ObjectStore, config: BuildConfig, local: dict[str, str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    heard = Heard()
    manifest = build(at(config, "equal"), heard)
    assert_equal(object_store, "equal", local)
    assert json.loads(json.dumps(manifest)) == read_manifest(config.out)
    assert list(cache_folder().glob("remote/*/*")) == []  # nor is anything left on this machine
    objects = object_store.objects("equal")
    again = build(at(config, "equal"), heard)
    assert again == read_manifest(config.out)
    assert heard.lines[-1] == "s3://bucket/equal is complete; nothing to do."
    assert object_store.objects("equal") == objects
    assert list(tmp_path.iterdir()) == []


def test_two_shares_in_two_scratch_folders_make_one_build(
    object_store: ObjectStore, config: BuildConfig, local: dict[str, str],
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    waiting = []
    for share in (0, 1, 0):
        monkeypatch.setenv("MIXEDPARTS_CACHE", str(tmp_path / str(share)))
        result = build(replace(at(config, "two-shares"), shard_range=(share, 2)), Silent())
        waiting.append(result.get("waiting"))
    assert waiting == ["reading", "writing", None]
    assert_equal(object_store, "two-shares", local)


def test_a_stopped_build_goes_on_from_another_machine(
    object_store: ObjectStore, config: BuildConfig, local: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def stop(*_: object) -> None:
        raise ProblemsFound("stopped")

    with monkeypatch.context() as patched:
        patched.setattr(in_store, "finish", stop)
        with pytest.raises(ProblemsFound, match="stopped"):
            build(at(config, "stopped"), Silent())
    objects = object_store.objects("stopped")
    assert objects["README.md"] == unfinished_card().encode()
    assert "manifest.json" not in objects
    with pytest.raises(InputError, match="s3://bucket/stopped contains no finished build"):
        resolve_build("s3://bucket/stopped")
    shards = {name for name in objects if name.endswith(".parquet")}
    files = object_store.files()
    # One shard is gone and one has been replaced; no other task runs again.
    gone, replaced = sorted(shards)[0], sorted(shards)[-1]
    files.rm(f"bucket/stopped/{gone}")
    files.pipe(f"bucket/stopped/{replaced}", b"not a shard")
    times = {name: files.info(f"bucket/stopped/{name}")["LastModified"] for name in shards - {gone}}
    time.sleep(1.1)  # the time of an object has a resolution of one second
    forget()
    build(at(config, "stopped"), Silent())
    assert_equal(object_store, "stopped", local)
    written = {n for n in times if files.info(f"bucket/stopped/{n}")["LastModified"] != times[n]}
    assert written == {replaced}
    events = [json.loads(line) for line in object_store.objects("stopped")[LOG].splitlines()]
    tasks = [event["task"] for event in events if event["event"] == "writing"]
    assert len(tasks) == len(shards) + 2


def test_another_build_is_refused_and_replaced_when_asked(
    object_store: ObjectStore, config: BuildConfig, local: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    build(replace(at(config, "other"), seed=4), Silent())
    files = object_store.files()
    files.pipe("bucket/other/notes.txt", b"mine")
    before = object_store.objects("other")
    with pytest.raises(UsageError, match=r"configuration\.seed: 4 -> 0") as refused:
        build(at(config, "other"), Silent())
    assert "s3://bucket/other contains another build" in str(refused.value)

    def stop(*_: object) -> None:
        now = object_store.objects("other")
        assert {name: now[name] for name in before} == before  # it stays until the end
        raise ProblemsFound("stopped")

    with monkeypatch.context() as patched:
        patched.setattr(in_store, "finish", stop)
        with pytest.raises(ProblemsFound):
            build(at(config, "other"), Silent(), overwrite=True)
    build(at(config, "other"), Silent(), overwrite=True)
    assert files.cat("bucket/other/notes.txt") == b"mine"
    files.rm("bucket/other/notes.txt")
    assert_equal(object_store, "other", local)


def test_a_place_with_something_else_is_not_touched(
    object_store: ObjectStore, config: BuildConfig
) -> None:
    object_store.files().pipe("bucket/taken/thesis.txt", b"mine")
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="taken is not empty and contains no build"):
            build(at(config, "taken"), Silent(), overwrite)
    with pytest.raises(UsageError, match=r"s3://bucket/taken/thesis\.txt is an object"):
        build(at(config, "taken/thesis.txt"), Silent())
    assert object_store.objects("taken") == {"thesis.txt": b"mine"}


def test_what_killed_and_late_runs_leave_is_removed_and_damage_repaired(
    object_store: ObjectStore, config: BuildConfig, local: dict[str, str]
) -> None:
    files = object_store.files()
    others = ["late/mine/film.mp4", "later/images/train-0.parquet"]
    for key in ("late/images/train-0.parquet", "late/_build/work/x.npy", *others):
        files.call_s3("create_multipart_upload", Bucket="bucket", Key=key)
    build(at(config, "late"), Silent())
    assert [key for key in object_store.open_uploads() if key.startswith("late")] == others
    files.pipe("bucket/late/_build/work/entities/read.arrow", b"late")
    files.pipe("bucket/late/_build/new/README.md", b"late")
    build(at(config, "late"), Silent())
    assert_equal(object_store, "late", local)
    files.pipe("bucket/late/pairs/train-00000-of-00002.parquet", b"short")
    build(at(config, "late"), Silent())
    assert_equal(object_store, "late", local)


def test_of_two_builds_that_begin_at_one_time_the_second_stops(tmp_path: Path) -> None:
    store = Store("memory://claimed/place")
    for number, seed in enumerate((1, 2)):
        plan = {"build_id": f"{number}" * 32, "identity": {"configuration": {"seed": seed}}}
        write_json(tmp_path / str(number) / PLAN, plan)
    first, second = (
        InStore(store, tmp_path / str(number), f"{number}" * 32) for number in range(2)
    )
    first.store_plan()
    first.store_plan()
    with pytest.raises(UsageError, match=r"configuration\.seed: 1 -> 2") as stopped:
        second.store_plan()
    assert "memory://claimed/place" in str(stopped.value)
    assert store.read([PLAN.as_posix()])[PLAN.as_posix()] == (tmp_path / "0" / PLAN).read_bytes()
