"""A server that speaks S3, in a process of its own, and a proxy in front of it that injects faults.

`ObjectStore.environment` is what a process needs to reach the server; `FaultyProxy` passes requests
on, but for those that a test lets fail.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

_SERVER = """\
import logging, sys, threading
from moto.server import ThreadedMotoServer
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()  # until the test's process ends, by whatever signal
"""
BUCKET = "bucket"


@dataclass(frozen=True)
class ObjectStore:
    """A running server.

    Attributes:
        port: on the loopback interface.
    """

    port: int

    def environment(self, port: int | None = None) -> dict[str, str]:
        """Return the variables that a process needs, to reach the server or a proxy of it."""
        return {
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port or self.port}",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def files(self) -> Any:
        """Return the file system of the server, for what a test looks at or changes."""
        import s3fs

        return s3fs.S3FileSystem(
            key="key",
            secret="secret",
            endpoint_url=f"http://127.0.0.1:{self.port}",
            use_listings_cache=False,
        )

    def objects(self, folder: str) -> dict[str, bytes]:
        """Return name -> content of all objects below `bucket/folder`."""
        files = self.files()
        base = f"{BUCKET}/{folder}"
        found = files.find(base)
        contents = files.cat(found) if found else {}
        return {name[len(base) + 1 :]: content for name, content in contents.items()}

    def open_uploads(self) -> list[str]:
        """Return the keys of uploads in parts that nobody has ended."""
        answer = self.files().call_s3("list_multipart_uploads", Bucket=BUCKET)
        return [upload["Key"] for upload in answer.get("Uploads", ())]


def reach(environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process and its children reach a server."""
    import s3fs

    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    # File systems are kept in the process, with the address they were opened for.
    s3fs.S3FileSystem.clear_instance_cache()


@contextmanager
def running_store() -> Iterator[ObjectStore]:
    """Run a server with an empty bucket while the block runs."""
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        store = ObjectStore(_port(process.stdout))
        store.files().mkdir(BUCKET)
        yield store
    finally:
        process.kill()
        process.wait()


def _port(lines: Any) -> int:
    # The server's library prints a line of its own first.
    return next(int(line) for line in lines if line.strip().isdigit())


@dataclass
class Fault:
    """What happens to requests instead of an answer of the server.

    Attributes:
        kind: `500`, `503`, `reset` (the connection is closed without an answer), `cut` (half of the
            answer), or `silence` (no answer for `seconds`).
        when: whether a request, given as method and path, is meant.
        times: how many requests; the next ones are passed on.
        seconds: of silence.
        seen: gets the requests that failed.
    """

    kind: str
    when: Callable[[str, str], bool] = lambda method, path: True
    times: int = 1 << 30
    seconds: float = 30
    seen: list[tuple[str, str]] = field(default_factory=list)


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is killed resets its connections; that is no news."""


class FaultyProxy:
    """Passes requests on to a server, but for those that a fault takes.

    Attributes:
        port: on the loopback interface.
        faults: looked through for every request; a test adds and clears them.
        requests: method and path of all of them.
        on_request: called with the number of each, before it is passed on.
    """

    def __init__(self, server: ObjectStore) -> None:
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str]] = []
        self.on_request: Callable[[int], None] = lambda number: None
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                outer._answer(self, server.port)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _answer

            def log_message(self, *_: object) -> None:
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """End the proxy."""
        self._server.shutdown()
        self._server.server_close()

    def _fault(self, method: str, path: str) -> Fault | None:
        with self._lock:
            self.requests.append((method, path))
            self.on_request(len(self.requests))
            for fault in self.faults:
                if len(fault.seen) < fault.times and fault.when(method, path):
                    fault.seen.append((method, path))
                    return fault
        return None

    def _answer(self, request: BaseHTTPRequestHandler, port: int) -> None:
        length = int(request.headers.get("Content-Length") or 0)
        body = request.rfile.read(length) if length else b""
        fault = self._fault(request.command, request.path)
        if fault is not None and fault.kind.isdigit():
            request.send_response(int(fault.kind))
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        if fault is not None and fault.kind in ("reset", "silence"):
            time.sleep(fault.seconds if fault.kind == "silence" else 0)
            request.close_connection = True
            request.connection.close()
            return
        upstream = HTTPConnection("127.0.0.1", port)
        upstream.request(request.command, request.path, body, dict(request.headers))
        answer = upstream.getresponse()
        content = answer.read()
        request.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                request.send_header(name, value)
        head_length = answer.getheader("Content-Length") if request.command == "HEAD" else None
        request.send_header("Content-Length", head_length or str(len(content)))
        request.end_headers()
        if fault is not None and fault.kind == "cut":
            request.wfile.write(content[: len(content) // 2])
            request.close_connection = True
            request.connection.close()
            return
        if request.command != "HEAD":
            request.wfile.write(content)
        upstream.close()
