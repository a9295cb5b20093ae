"""What many tests share: tiny native sources, a build of them, and the installed commands."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from mixedparts.pipeline.build import build
from mixedparts.pipeline.config import BuildConfig
from mixedparts.progress import Silent
from mixedparts.synthetic import make_sources
from tests.factories.ade20k import write_ade20k
from tests.factories.object_store import ObjectStore, reach, running_store
from tests.factories.paco import write_paco
from tests.factories.partimagenet import write_partimagenet
from tests.factories.synthetic import IMAGES, SEED

SOURCES = ("ade20k", "paco", "partimagenet")

# Tests check behaviour, never wall time: an example may take as long as a busy machine needs.
settings.register_profile("mixedparts", deadline=None)
settings.load_profile("mixedparts")


@pytest.fixture(autouse=True)
def _quiet_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep notes of every test away from the user's."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    monkeypatch.delenv("MIXEDPARTS_HOME", raising=False)
    monkeypatch.delenv("MIXEDPARTS_ROOT", raising=False)


@pytest.fixture(autouse=True)
def _process_settings_stay() -> Iterator[None]:
    """Undo the settings of PyTorch that commands make in this process.

    CALICO's commands flush denormal numbers to zero, and Hypothesis then refuses to draw floats.
    """
    before = sys.modules.get("torch")
    threads = before.get_num_threads() if before else None
    yield
    torch = sys.modules.get("torch")
    if torch is None:
        return
    torch.set_flush_denormal(False)
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cuda.enable_mem_efficient_sdp(True)
    torch.backends.cuda.enable_cudnn_sdp(True)
    if threads is not None:
        torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def native_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All three sources in their native layouts, a few dozen tiny images; do not write here."""
    root = tmp_path_factory.mktemp("native")
    write_paco(root, {"train": 16, "validation": 8, "test": 8})
    write_partimagenet(root, {"train": 16, "validation": 8, "test": 8})
    write_ade20k(root, 16, 16)
    return root


@pytest.fixture(scope="session")
def built(native_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole build of `native_root`; do not write here."""
    out = tmp_path_factory.mktemp("built") / "mixedparts"
    build(BuildConfig(sources=SOURCES, root=native_root, out=out, samples=900), Silent())
    return out


@pytest.fixture(scope="session")
def published(native_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build of `native_root` in the profile `published`; do not write here."""
    out = tmp_path_factory.mktemp("published") / "b"
    config = BuildConfig(
        sources=SOURCES, root=native_root, out=out, samples=300, profile="published"
    )
    build(config, Silent())
    return out


@pytest.fixture(scope="session")
def synthetic_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Synthetic sources with `IMAGES` images each, in three layouts; do not write here."""
    root = tmp_path_factory.mktemp("synthetic") / "sources"
    make_sources(root, IMAGES, SEED, 1, lambda done, total: None)
    return root


@pytest.fixture(scope="session")
def synthetic_build(synthetic_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build of `synthetic_root`; do not write here."""
    out = tmp_path_factory.mktemp("synthetic_build") / "out"
    build(BuildConfig(sources=SOURCES, root=synthetic_root, out=out, samples=400), Silent())
    return out


@pytest.fixture(scope="session")
def store_server() -> Iterator[ObjectStore]:
    """A server that speaks S3, with the bucket `bucket`."""
    with running_store() as store:
        yield store


@pytest.fixture
def object_store(store_server: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """The same, reached by this process and its children; each test uses folders of its own."""
    reach(store_server.environment(), monkeypatch)
    return store_server


@pytest.fixture
def run_mixedparts(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the installed `mixedparts` script in an empty folder."""

    def run(*arguments: object, cwd: Path = tmp_path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [command("mixedparts"), *map(str, arguments)],
            cwd=cwd,
            capture_output=True,
            text=True,
            check=False,
            env=dict(os.environ),
        )

    return run


def command(name: str) -> str:
    """Return the path of a console script of this environment."""
    return str(Path(sys.executable).with_name(name))
