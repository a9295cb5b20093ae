"""The site, built once; and the modules of docs/_site, which are not a package."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from threading import Thread
from types import ModuleType

import pytest

from tests.checkout import DOCS, ROOT

MKDOCS = Path(sys.executable).with_name("mkdocs")


def build_site(out: Path, configuration: Path = ROOT / "mkdocs.yml") -> tuple[int, str]:
    """Build as `make docs` does; return the exit code and what was printed."""
    if not MKDOCS.exists():
        pytest.skip("MkDocs is not installed: pip install --editable '.[docs]'")
    done = subprocess.run(
        [MKDOCS, "build", "--config-file", configuration, "--site-dir", out],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built site; do not write here."""
    out = tmp_path_factory.mktemp("site")
    code, printed = build_site(out)
    assert code == 0, printed
    return out


@pytest.fixture(scope="session")
def address(site: Path) -> Iterator[str]:
    """The address at which the site is served."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Import a module of docs/_site by name."""
    monkeypatch.syspath_prepend(str(DOCS / "_site"))

    def load(name: str) -> ModuleType:
        return import_module(name)

    return load
