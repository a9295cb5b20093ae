"""Run the server until it is interrupted."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mixedparts.errors import EnvironmentFault, missing_package
from mixedparts.storage.build_folder import BuildFolder
from mixedparts.viewer.build_page import check_ids
from mixedparts.viewer.predictions import Predictions
from mixedparts.viewer.selection import Query
from mixedparts.viewer.selection.choose import choose

if TYPE_CHECKING:
    import uvicorn

HOST = "127.0.0.1"
PORT = 8765


def serve(
    build: Path,
    port: int = PORT,
    predictions: Path | None = None,
    query: Query | None = None,
    ready: Callable[[str], None] = print,
) -> None:
    """Serve the page of a whole build to this machine until it is interrupted.

    Args:
        build: the build folder.
        port: to listen on; 0 for any that is free.
        predictions: a file with predictions to show beside the ground truth.
        query: filters that the page starts with.
        ready: gets the address once the server listens.

    Raises:
        InputError: there is no finished build in the folder, or the predictions are damaged.
        UsageError: the query names something that the build does not have, or leaves no row.
        EnvironmentFault: the port is taken, or the extra `serve` is not installed.
        KeyboardInterrupt: the server was interrupted.
    """
    try:
        import uvicorn

        from mixedparts.viewer.server.app import create_app
        from mixedparts.viewer.server.stored import StoredRows
    except ImportError as error:
        raise missing_package(error, "mixedparts view --serve", "serve") or error from error
    opened = BuildFolder.open(build)
    shown = None if predictions is None else Predictions(predictions)
    wanted = query or Query()
    if shown is not None:
        check_ids(opened, shown)
        wanted = replace(wanted, among=shown.ids)
    if wanted != Query():
        choose(opened, wanted, 1)  # says which name is wrong, and whether no row is left
    app = create_app(StoredRows(opened, shown), query)
    with listening(port) as listener:
        ready(f"http://{HOST}:{listener.getsockname()[1]}/")
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            lifespan="off",
            ws="none",
        )
        run_until_interrupted(uvicorn.Server(config), listener)


def run_until_interrupted(server: uvicorn.Server, listener: socket.socket) -> None:
    """Run a server on a socket until a signal stops it.

    Raises:
        KeyboardInterrupt: it was stopped after it had started.
    """
    server.run(sockets=[listener])
    # Only a signal stops it. uvicorn raises it once more, which something may swallow.
    if server.started:
        raise KeyboardInterrupt


def listening(port: int) -> socket.socket:
    """Return a socket that listens on a port of this machine alone.

    Raises:
        EnvironmentFault: another program has the port.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise EnvironmentFault(
            f"port {port} of {HOST} cannot be used: {error.strerror or error}",
            "Choose another one with --port, or any that is free with --port 0.",
        ) from error
    return listener
