"""Faults of a storage: passing ones do not matter, lasting ones end in one message, soon."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest

from mixedparts.errors import EnvironmentFault, InputError, MixedPartsError, UsageError
from mixedparts.pipeline.build import build
from mixedparts.pipeline.config import BuildConfig
from mixedparts.progress import Silent
from mixedparts.remote.store import Store
from tests.factories.object_store import Fault, FaultyProxy, ObjectStore, reach
from tests.mixedparts.pipeline.remote.conftest import at
from tests.mixedparts.pipeline.remote.test_build import assert_equal


@pytest.fixture
def proxy(store_server: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """In front of the server; a time-out is one second, and the first try is repeated twice."""
    retries = {"mode": "standard", "total_max_attempts": 3}
    limits = {"read_timeout": 1, "connect_timeout": 1, "retries": retries}
    monkeypatch.setitem(fsspec.config.conf, "s3", {"config_kwargs": limits})
    between = FaultyProxy(store_server)
    reach(store_server.environment(between.port), monkeypatch)
    yield between
    between.close()


def of(method: str, part: str) -> Callable[[str, str], bool]:
    return lambda asked, path: asked == method and part in path


def test_passing_faults_change_nothing(
    proxy: FaultyProxy, store_server: ObjectStore, config: BuildConfig, local: dict[str, str]
) -> None:
    proxy.faults = [
        Fault("500", of("PUT", "pairs/train-00000"), times=2),
        Fault("503", of("PUT", "_build/commits/pair"), times=2),
        Fault("reset", of("PUT", "images/test"), times=1),
        Fault("silence", of("PUT", "_build/work/entities/read-paco-train"), times=1, seconds=1.5),
        Fault("503", of("GET", "list-type=2"), times=2),
        Fault("500", of("POST", "delete"), times=1),
    ]
    build(at(config, "faulty"), Silent())
    assert [len(fault.seen) for fault in proxy.faults] == [2, 2, 1, 1, 2, 1]
    assert_equal(store_server, "faulty", local)


@pytest.mark.parametrize("kind", ["cut", "reset", "500"])
def test_an_answer_that_breaks_off_is_asked_for_again(
    proxy: FaultyProxy, store_server: ObjectStore, tmp_path: Path, kind: str
) -> None:
    content = bytes(range(256)) * 4000
    store_server.files().pipe(f"bucket/breaks/{kind}", content)
    proxy.faults = [Fault(kind, of("GET", f"breaks/{kind}"), times=2)]
    Store("s3://bucket/breaks").get(kind, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == content
    assert len(proxy.faults[0].seen) == 2


LASTING = {
    "500": (EnvironmentFault, "the storage did not answer as expected"),
    "503": (EnvironmentFault, "the storage did not answer as expected"),
    "reset": (EnvironmentFault, "the storage did not answer as expected"),
    "silence": (EnvironmentFault, "the storage did not answer as expected"),
    "403": (EnvironmentFault, "access was refused"),
}


@pytest.mark.parametrize("kind", LASTING)
def test_a_lasting_fault_is_one_message(proxy: FaultyProxy, config: BuildConfig, kind: str) -> None:
    error, text = LASTING[kind]
    proxy.faults = [Fault(kind, seconds=3)]
    started = time.monotonic()
    with pytest.raises(error, match=f"s3://bucket/lasting: {text}") as raised:
        build(at(config, "lasting"), Silent())
    assert raised.value.exit_code == 3
    assert raised.value.hint
    # Three attempts of botocore in three rounds of s3fs; aiohttp repeats each once when a
    # connection breaks. A refusal is final.
    assert 1 <= len(proxy.requests) <= (1 if kind == "403" else 18)
    assert time.monotonic() - started < 60


@pytest.mark.parametrize(
    ("address", "error", "text"),
    [
        ("s3://no-such-bucket/x", InputError, "s3://no-such-bucket/x is not there"),
        ("nothing://bucket/x", UsageError, "nothing here reads nothing://"),
        ("hf://datasets/me/set/x", UsageError, "would be a commit"),
        ("gs://bucket/x", EnvironmentFault, r"needs the package gcsfs"),
    ],
)
def test_an_address_that_cannot_be_used_is_one_message(
    object_store: ObjectStore,
    config: BuildConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    address: str,
    error: type[MixedPartsError],
    text: str,
) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    monkeypatch.chdir(tmp_path)
    values = {name: getattr(config, name) for name in ("sources", "root", "samples")}
    with pytest.raises(error, match=text):
        build(BuildConfig(**values, out=Path(address)), Silent())
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_names_its_extra(
    config: BuildConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(EnvironmentFault, match=r"mixedparts\[gcs\]"):
        Store("gs://bucket/x").listing()
