"""Sources at an address: the build of a folder; only what has changed is fetched again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mixedparts.errors import InputError, UsageError
from mixedparts.files.cache import cache_folder
from mixedparts.pipeline.config import BuildConfig
from mixedparts.pipeline.dry_run import dry_run
from mixedparts.pipeline.plan import make_plan
from mixedparts.pipeline.remote import sources
from mixedparts.pipeline.remote.sources import with_local_sources
from mixedparts.pipeline.remote.tasks import RunInStore
from mixedparts.progress import Silent
from mixedparts.remote.store import Store
from tests.factories.object_store import ObjectStore
from tests.oracles.digests import digests

ANNOTATIONS = "paco/annotations/paco_lvis_v1_val.json"


@pytest.fixture
def uploaded(object_store: ObjectStore, native_root: Path, config: BuildConfig) -> BuildConfig:
    """The configuration of the small build with its sources in the bucket, beside other files."""
    files = object_store.files()
    if not files.exists("bucket/native"):
        files.put(f"{native_root}/", "bucket/native/", recursive=True)
        files.pipe("bucket/native/paco/downloads/readme.txt", b"no part of the source")
    return replace(config, root=Path("s3:/bucket/native"))


class Fetched(Silent):
    """Counts the files that are fetched."""

    total = 0

    def start(self, what: str, total: int, unit: str) -> None:
        self.total += total if what.startswith("fetching s3://") else 0


def test_the_copy_has_the_files_of_the_source_and_the_plan_is_the_same(
    uploaded: BuildConfig, config: BuildConfig, native_root: Path
) -> None:
    local = with_local_sources(uploaded, Silent())
    copy = local.source_root("paco")
    assert make_plan(local).build_id == make_plan(config).build_id
    whole = digests(native_root)
    found = digests(copy)
    # The images and annotations of PACO, and no file of the two other sources.
    assert found == {name: whole[name] for name in found}
    assert ANNOTATIONS in found
    assert {name.split("/")[0] for name in found} == {"coco", "paco"}
    assert "paco/downloads/readme.txt" not in found


def test_only_what_has_changed_is_fetched_again(
    uploaded: BuildConfig, object_store: ObjectStore
) -> None:
    first, second, third = Fetched(), Fetched(), Fetched()
    copy = with_local_sources(uploaded, first).source_root("paco")
    with_local_sources(uploaded, second)
    assert first.total == len(digests(copy))
    assert second.total == 0
    files = object_store.files()
    before = files.cat(f"bucket/native/{ANNOTATIONS}")
    image = next(name for name in digests(copy) if name.endswith(".jpg"))
    picture = files.cat(f"bucket/native/{image}")
    try:
        files.pipe(f"bucket/native/{ANNOTATIONS}", before.replace(b'"width"', b'"Width"'))
        files.rm(f"bucket/native/{image}")
        (copy / "paco/annotations/paco_lvis_v1_train.json").write_bytes(b"damaged here")
        with_local_sources(uploaded, third)
        assert third.total == 2
        assert b'"Width"' in (copy / ANNOTATIONS).read_bytes()
        assert not (copy / image).exists()
    finally:
        files.pipe(f"bucket/native/{ANNOTATIONS}", before)
        files.pipe(f"bucket/native/{image}", picture)


def test_a_dry_run_reads_sources_at_an_address(uploaded: BuildConfig, config: BuildConfig) -> None:
    at_address = replace(uploaded, out=Path("s3:/bucket/dry"))
    values = dry_run(at_address, Silent()).report.values
    assert values == dry_run(config, Silent()).report.values
    assert "nothing was written to s3://bucket/dry" in dry_run(at_address, Silent()).report.text


def test_a_task_on_another_machine_reads_the_copy_of_that_machine(
    uploaded: BuildConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from mixedparts.pipeline.build import build
    from mixedparts.storage.shards import Commit

    seen: list[str] = []
    original = RunInStore.__call__

    def elsewhere(self: RunInStore, task: object) -> Commit:  # type: ignore[type-arg]
        sources.roots_here.cache_clear()
        with monkeypatch.context() as patched:
            patched.setenv("MIXEDPARTS_CACHE", str(tmp_path / "elsewhere"))
            patched.setattr("socket.gethostname", lambda: "elsewhere")
            seen.append(str(cache_folder()))
            return original(self, task)

    monkeypatch.setattr(RunInStore, "__call__", elsewhere)
    build(replace(uploaded, out=Path("s3:/bucket/elsewhere")), Silent())
    assert len(seen) > 5
    assert Store("s3://bucket/elsewhere").read(["manifest.json"])
    assert list((tmp_path / "elsewhere").glob("remote/*-native/source-paco/paco"))


def test_a_place_without_the_source_says_what_is_missing(
    object_store: ObjectStore, config: BuildConfig
) -> None:
    local = with_local_sources(replace(config, root=Path("s3:/bucket/empty")), Silent())
    with pytest.raises(InputError, match="no annotation file under"):
        make_plan(local)


def test_paths_of_images_cannot_be_stored_for_sources_at_an_address(config: BuildConfig) -> None:
    with pytest.raises(UsageError, match="a source is at an address"):
        replace(config, root=Path("s3:/bucket/native"), images="reference")
