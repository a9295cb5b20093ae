#!/usr/bin/env bash
# One read through s3fs becomes 25 requests to a server that does not answer, and 50 to one that hangs
# up, although both libraries say that they try 5 times.
#
# Expected: `S3FileSystem.retries = 5`, and "legacy" mode of botocore, which makes 5 attempts. A server
# that accepts connections and stays silent gets 5 requests, and with the default time-out of 15
# seconds the read fails after a minute and a quarter. One that answers 500 gets as many.
#
# What happens: s3fs repeats the call of botocore, which repeats the request, so the numbers multiply:
# 5 rounds of 5 attempts. Where the server closes the connection instead, aiohttp repeats each of them
# once more below botocore, because HEAD and GET are idempotent: 50 requests. Only answers such as 500 are not
# multiplied, because s3fs does not count them among its errors that can be repeated: 5 requests.
#
# Why it matters: with the default time-out a job hangs for more than 6 minutes before its first
# error, and a storage that is overloaded, so that it hangs up, gets ten times the load that either
# setting says. A limit that is set in one library changes a factor, not the number: 9 requests with
# `fs.retries = 3` and `total_max_attempts` 3.
#
# Needs: bash, python3.11, pip. Prints versions, behaviour and output; ends with 1 if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    's3fs==2026.9.0' 'fsspec==2026.9.0' 'aiobotocore==3.10.0' 'botocore==1.43.117' 'aiohttp==3.14.5'
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PYTHON'
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

import s3fs

SECONDS = 0.2  # the time-out; the default is 15
requests = []


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        pass


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        requests.append(self.command)
        if self.server.kind == "silent":
            time.sleep(3 * SECONDS)
        elif self.server.kind == "500":
            self.send_response(500)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.close_connection = True
        self.connection.close()

    do_GET = do_HEAD = answer

    def log_message(self, *_):
        pass


server = Server(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()


def asked(kind, rounds=None, attempts=None):
    """Return how many requests one read becomes, and the error that it ends with."""
    server.kind = kind
    requests.clear()
    limits = {"read_timeout": SECONDS}
    if attempts:
        limits["retries"] = {"mode": "standard", "total_max_attempts": attempts}
    files = s3fs.S3FileSystem(
        key="key",
        secret="secret",
        endpoint_url=f"http://127.0.0.1:{server.server_address[1]}",
        config_kwargs=limits,
        skip_instance_cache=True,
    )
    if rounds:
        files.retries = rounds
    try:
        files.cat_file("bucket/object")
    except Exception as error:
        time.sleep(2 * SECONDS)  # the last handlers may still be at work
        return len(requests), type(error).__name__
    raise AssertionError("the read ended without an error")


for name in ("s3fs", "aiobotocore", "botocore", "aiohttp"):
    print(name, version(name))
print("rounds of s3fs:", s3fs.S3FileSystem.retries)
found = {
    "silent": asked("silent"),
    "hangs up": asked("hangs up"),
    "500": asked("500"),
    "silent, 3 rounds of 3 attempts": asked("silent", 3, 3),
}
for what, (number, error) in found.items():
    print(f"{what}: {number} requests, {error}")
expected = {"silent": 25, "hangs up": 50, "500": 5, "silent, 3 rounds of 3 attempts": 9}
if {what: number for what, (number, _) in found.items()} != expected:
    sys.exit("this has changed")
print(f"with the default time-out of 15 s: at least {25 * 15} s until the first error")
PYTHON
