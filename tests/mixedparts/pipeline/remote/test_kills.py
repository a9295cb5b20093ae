"""SIGKILL in the midst of requests: the next run goes on, on this machine or on another one.

The thirty kills run with `pytest -m slow tests/mixedparts/pipeline/remote/test_kills.py`.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
from pathlib import Path

import pytest

from mixedparts.errors import InputError
from mixedparts.storage.locate import resolve_build
from tests.conftest import command
from tests.factories.object_store import FaultyProxy, ObjectStore
from tests.mixedparts.pipeline.remote.test_build import assert_equal
from tests.oracles.digests import digests

LIMITS = "read_shard_images: 8\npair_shard_rows: 40\nimage_shard_rows: 12\n"


@pytest.fixture(scope="module")
def words(native_root: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command of a small build, without its place."""
    file = tmp_path_factory.mktemp("config") / "build.yaml"
    file.write_text(LIMITS)
    options = ["--sources", "paco", "--root", native_root, "--samples", 120, "--config", file]
    return [command("mixedparts"), "build", *map(str, options), "--quiet", "--out"]


@pytest.fixture(scope="module")
def whole(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Digests of the same build in a local folder."""
    out = tmp_path_factory.mktemp("whole") / "out"
    subprocess.run([*words, str(out)], check=True, stdout=subprocess.DEVNULL)
    return digests(out, "log.jsonl")


def kill_and_go_on(
    store: ObjectStore, words: list[str], whole: dict[str, str], caches: Path, number: int
) -> list[int]:
    """Kill a build twice in the midst of requests, let it end, and compare; return the requests."""
    chosen = random.Random(number)
    folder = f"killed-{number}"
    proxy = FaultyProxy(store)
    places = []
    try:
        for run in range(2):
            # Twice in three times, the next run is on a machine that knows nothing.
            cache = caches / str(run if chosen.random() < 0.67 else 0)
            environment = {
                **os.environ,
                **store.environment(proxy.port),
                "MIXEDPARTS_CACHE": str(cache),
            }
            line = [*words, f"s3://bucket/{folder}", "--workers", str(chosen.choice([1, 2]))]
            proxy.requests.clear()
            process = subprocess.Popen(
                line,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            place = chosen.randint(3, 150 - 50 * run)
            proxy.on_request = lambda n, p=process, at=place: kill(p) if n == at else None  # type: ignore[misc]
            process.wait()
            proxy.on_request = lambda n: None
            places.append(place if process.returncode else 0)
        if "manifest.json" not in store.objects(folder):
            with pytest.raises(InputError):
                resolve_build(f"s3://bucket/{folder}")
        subprocess.run(line, check=True, env=environment, stdout=subprocess.DEVNULL)
    finally:
        proxy.close()
    assert_equal(store, folder, whole)
    left = [path for path in caches.rglob("scratch-*") if path.is_dir()]
    assert all(path.parent.parent.parent.name != cache.name for path in left)
    return places


def kill(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("number", [1])
def test_a_killed_build_goes_on_to_the_same_objects(
    object_store: ObjectStore, words: list[str], whole: dict[str, str], tmp_path: Path, number: int
) -> None:
    assert any(kill_and_go_on(object_store, words, whole, tmp_path, number))


@pytest.mark.slow
def test_thirty_kills(
    object_store: ObjectStore, words: list[str], whole: dict[str, str], tmp_path: Path
) -> None:
    kills: list[int] = []
    number = 100
    while len(kills) < 30:
        places = kill_and_go_on(object_store, words, whole, tmp_path / str(number), number)
        kills += [place for place in places if place]
        number += 1
    print(f"{len(kills)} kills in {number - 100} builds, at requests {sorted(kills)}")
