"""Run the page on this machine until it is interrupted."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import gradio as gr
import uvicorn
from fastapi import FastAPI
from starlette.middleware.trustedhost import TrustedHostMiddleware

from calico.demo.page import CSS, SCRIPT, THEME
from mixedparts.viewer.server.run import HOST, listening, run_until_interrupted

PORT = 7860
_CACHE_VARIABLE = "GRADIO_TEMP_DIR"


@contextmanager
def workspace() -> Iterator[Path]:
    """Yield a folder for uploads and answers, which is deleted in the end.

    Gradio keeps its files there too: build the page inside of the block.
    """
    before = os.environ.get(_CACHE_VARIABLE)
    with TemporaryDirectory(prefix="calico-demo-") as name:
        # Gradio answers with files of this folder alone.
        os.environ[_CACHE_VARIABLE] = name
        try:
            yield Path(name)
        finally:
            if before is None:
                del os.environ[_CACHE_VARIABLE]
            else:
                os.environ[_CACHE_VARIABLE] = before


def page_app(page: gr.Blocks) -> FastAPI:
    """Return the application that answers requests of this machine for a page."""
    app = FastAPI(openapi_url=None)
    # Another name in `Host` means that a page of another site lets its own name point here.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])
    mounted: FastAPI = gr.mount_gradio_app(
        app, page, path="/", server_name=HOST, footer_links=[], run_history=False,
        enable_monitoring=False, show_error=True, ssr_mode=False, pwa=False, mcp_server=False,
        theme=THEME, css=CSS, js=SCRIPT,
    )  # fmt: skip
    return mounted


def serve_page(page: gr.Blocks, port: int = PORT, ready: Callable[[str], None] = print) -> None:
    """Serve a page to this machine alone until it is interrupted.

    Args:
        page: what `build_page` returned.
        port: to listen on; 0 for any that is free.
        ready: gets the address once the server listens.

    Raises:
        EnvironmentFault: the port is taken.
        KeyboardInterrupt: the server was interrupted.
    """
    with listening(port) as listener:
        app = page_app(page)
        ready(f"http://{HOST}:{listener.getsockname()[1]}/")
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            # A browser holds a connection for as long as the page is open.
            timeout_graceful_shutdown=1,
        )
        run_until_interrupted(uvicorn.Server(config), listener)
