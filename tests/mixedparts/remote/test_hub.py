"""Builds in repositories of the Hub are read through the file system of huggingface_hub."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlparse

import fsspec
import pytest

from mixedparts.errors import InputError
from mixedparts.remote.store import Store
from mixedparts.storage.build_folder import BuildFolder
from mixedparts.storage.locate import resolve_build
from tests.oracles.digests import digests

INFO = {"id": "me/set", "sha": "a" * 40, "siblings": [], "private": False, "tags": []}


class Hub(BaseHTTPRequestHandler):
    """The part of the Hub's interface that reading a dataset repository needs."""

    protocol_version = "HTTP/1.1"
    folder: Path

    def answer(self) -> None:
        path = unquote(urlparse(self.path).path)
        for start, found in (
            ("/api/datasets/me/set/tree/main", self.tree),
            ("/datasets/me/set/resolve/main", self.file),
        ):
            if path.startswith(start):
                found(path.removeprefix(start).strip("/"))
                return
        if path == "/api/datasets/me/set":
            self.send(200, json.dumps(INFO).encode())
        else:
            self.send(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    do_GET = do_HEAD = answer

    def tree(self, inside: str) -> None:
        files = [path for path in sorted((self.folder / inside).rglob("*")) if path.is_file()]
        items = [
            {
                "type": "file",
                "oid": "b" * 40,
                "size": path.stat().st_size,
                "path": path.relative_to(self.folder).as_posix(),
            }
            for path in files
        ]
        if items:
            self.send(200, json.dumps(items).encode())
        else:
            self.send(404, b"{}", {"X-Error-Code": "EntryNotFound"})

    def file(self, name: str) -> None:
        if (self.folder / name).is_file():
            self.send(200, (self.folder / name).read_bytes(), {"ETag": f'"{"b" * 40}"'})
        else:
            self.send(404, b"", {"X-Error-Code": "EntryNotFound"})

    def send(self, code: int, body: bytes, head: dict[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in {"X-Repo-Commit": "a" * 40, **(head or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(built: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Hub with one repository, `me/set`, which contains a build."""
    handler = type("Handler", (Hub,), {"folder": built})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    # Tests that could reach the real one run offline.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setitem(fsspec.config.conf, "hf", {"endpoint": endpoint, "token": False})
    fsspec.get_filesystem_class("hf").clear_instance_cache()
    yield
    server.shutdown()
    server.server_close()
    fsspec.get_filesystem_class("hf").clear_instance_cache()


def test_a_build_in_a_repository_is_read_table_by_table(hub: None, built: Path) -> None:
    store = Store("hf://datasets/me/set")
    sizes = {name: (built / name).stat().st_size for name in digests(built)}
    assert {name: item.size for name, item in store.listing().items()} == sizes
    folder = resolve_build("hf://datasets/me/set")
    assert isinstance(folder, Path)
    found = BuildFolder.open(folder).read("images", "test", ["row", "sha256"])
    assert found.equals(BuildFolder.open(built).read("images", "test", ["row", "sha256"]))
    assert {path.parent.name for path in folder.rglob("*.parquet")} == {"images"}


def test_a_missing_repository_or_folder_is_one_message(hub: None) -> None:
    assert Store("hf://datasets/me/set/none").listing() == {}
    for address in ("hf://datasets/me/other", "hf://datasets/me/other/folder"):
        with pytest.raises(InputError, match=f"{address} is not there"):
            resolve_build(address)
    with pytest.raises(InputError, match="contains no finished build"):
        resolve_build("hf://datasets/me/set/pairs")
