"""The end of a server: an interruption is one, whatever the library makes of the signal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import uvicorn

from mixedparts.viewer.server.run import serve


def test_a_server_that_stops_quietly_was_interrupted(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses: list[str] = []

    def run(server: uvicorn.Server, sockets: Any) -> None:
        assert addresses
        server.started = True

    monkeypatch.setattr(uvicorn.Server, "run", run)
    with pytest.raises(KeyboardInterrupt):
        serve(built, 0, ready=addresses.append)
    assert addresses[0].startswith("http://127.0.0.1:")
