"""What the server refuses before any of its pages runs.

A page of another site can make a browser send requests to a server on this machine, and with a name
that it lets point to 127.0.0.1 ("DNS rebinding") even read the answers. Such requests carry that
name in `Host`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HOST = re.compile(rb"(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?", re.IGNORECASE)
_METHODS = ("GET", "HEAD")
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
)


class Guard:
    """Refuses other hosts than this machine and other methods than GET and HEAD.

    Args:
        app: what answers the other requests.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection; see ASGI.

        Args:
            scope: of the connection.
            receive: its messages.
            send: takes the answer.
        """
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # a web socket: nothing here speaks it
            await send({"type": "websocket.close", "code": 1003})
            return
        refusal = _refusal(scope)
        if refusal is None:
            await self._app(scope, receive, _with_headers(send))
            return
        status, text, more = refusal
        headers = [(b"content-type", b"text/plain; charset=utf-8"), *more]
        sending = _with_headers(send)
        await sending({"type": "http.response.start", "status": status, "headers": headers})
        await sending({"type": "http.response.body", "body": f"{text}\n".encode()})


def _refusal(scope: Scope) -> tuple[int, str, list[tuple[bytes, bytes]]] | None:
    """Return status, text and headers of a refusal; None if the request is answered."""
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    if len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
        return 421, "This server answers requests for localhost and 127.0.0.1 only.", []
    if scope["method"] not in _METHODS:
        allowed = ", ".join(_METHODS)
        return 405, f"This server is read-only: {allowed}.", [(b"allow", allowed.encode())]
    return None


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *_HEADERS]
        await send(message)

    return sending
