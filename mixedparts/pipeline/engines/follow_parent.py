"""The end of worker processes: they live as long as the process that started them."""

from __future__ import annotations

import os
import signal
import threading
import time

_SECONDS = 0.2  # between two looks


def follow_parent() -> None:
    """Let this process end with the process that started it, and ignore interrupts."""
    # Ctrl-C reaches all processes of a terminal. The main process alone handles it and ends its
    # workers; a worker that ended by itself would look like one that crashed.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = os.getppid()

    def poll() -> None:
        # A process whose parent is gone gets another parent. It must end, or it would wait for
        # tasks, or in a collective, forever.
        while os.getppid() == parent:
            time.sleep(_SECONDS)
        # `sys.exit` would end only this thread.
        os._exit(1)

    threading.Thread(target=poll, daemon=True).start()
