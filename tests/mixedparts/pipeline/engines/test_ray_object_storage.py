"""Ray nodes that share no file system build into object storage."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from mixedparts.pipeline.build import build
from mixedparts.pipeline.config import BuildConfig
from mixedparts.progress import Silent
from tests.conftest import command
from tests.factories.object_store import BUCKET, ObjectStore
from tests.factories.processes import start
from tests.factories.ray_cluster import running_cluster
from tests.oracles.digests import digests

SHARDS = {"read_shard_images": 4, "pair_shard_rows": 20, "image_shard_rows": 6}


@pytest.mark.slow
@pytest.mark.parametrize("remote_sources", [False, True], ids=["sources here", "sources there"])
def test_nodes_with_scratch_folders_of_their_own(
    remote_sources: bool, object_store: ObjectStore, native_root: Path, tmp_path: Path
) -> None:
    alone = tmp_path / "alone"
    config = BuildConfig(sources=("paco",), root=native_root, out=alone, samples=120, **SHARDS)  # type: ignore[arg-type]
    build(config, Silent())
    settings = tmp_path / "build.yaml"
    settings.write_text("".join(f"{name}: {rows}\n" for name, rows in SHARDS.items()))
    root: object = native_root
    if remote_sources:
        root = f"s3://{BUCKET}/sources"
        for folder in ("paco", "coco"):
            object_store.files().put(
                f"{native_root}/{folder}", f"{BUCKET}/sources/", recursive=True
            )
    folder = f"ray-{remote_sources}"
    caches = [tmp_path / f"cache-{number}" for number in range(2)]
    variables = [{**object_store.environment(), "MIXEDPARTS_CACHE": str(cache)} for cache in caches]
    line = [command("mixedparts"), "build", "--sources", "paco", "--root", root, "--samples", 120]
    line += ["--config", settings, "--out", f"s3://{BUCKET}/{folder}", "--engine", "ray", "--quiet"]
    # The head schedules only; each of the two other nodes has a cache of its own.
    with running_cluster(num_cpus=0) as cluster:
        for number, environment in enumerate(variables):
            cluster.add(f"node-{number}", num_cpus=1, env_vars=environment)
        process = start([*line, "--ray-address", cluster.address], tmp_path)
        _, messages = process.communicate(timeout=240)
    assert (process.returncode, messages) == (0, "")
    objects = object_store.objects(folder)
    log = objects.pop("_build/log.jsonl").decode()
    found = {name: hashlib.sha256(data).hexdigest() for name, data in objects.items()}
    assert found == digests(alone, "log.jsonl")
    assert all(cache.is_dir() for cache in caches), "both nodes have worked"
    events = [json.loads(text) for text in log.splitlines()]
    assert len({event["worker"] for event in events if "worker" in event}) >= 2
    for cache in caches:
        shutil.rmtree(cache)
