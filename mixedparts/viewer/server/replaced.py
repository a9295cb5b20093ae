"""Notice that the build of a running server was replaced or removed."""

from __future__ import annotations

from mixedparts.errors import InputError
from mixedparts.storage.build_folder import MANIFEST, BuildFolder, stored_manifest

# In the message, for the page has no terminal.
_AGAIN = "stop the server with Ctrl+C, and start it again"


class Replaced:
    """Compares the manifest of a build with the one that was opened.

    What a server holds in memory, such as positions of rows, is of the build that it opened.

    Args:
        build: the build, as it was opened.
    """

    def __init__(self, build: BuildFolder) -> None:
        self._build = build
        self._file = build.path / MANIFEST
        self._seen = self._stamp()

    def check(self) -> None:
        """Check that the build is still there.

        Raises:
            InputError: its manifest is gone, or is that of another build.
        """
        stamp = self._stamp()
        if stamp is not None and stamp == self._seen:
            return
        now = stored_manifest(self._build.path)
        if now is None:
            raise InputError(f"the build {self._build.path} is no longer there; {_AGAIN}")
        if now != self._build.manifest:
            raise InputError(f"the build {self._build.path} was replaced by another one; {_AGAIN}")
        self._seen = stamp  # written again, with the same contents

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            status = self._file.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino
