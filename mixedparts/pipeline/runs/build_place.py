"""A place of a build, finished or not, as far as a status reads it: small files and names."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from mixedparts.errors import InputError
from mixedparts.pipeline.runs.event_log import EVENTS
from mixedparts.pipeline.runs.shares import recorded_names
from mixedparts.storage.writer_lock import Writer, writers


class BuildPlace(Protocol):
    """A place of a build, as far as a status reads it."""

    name: str

    def read(self, name: str) -> bytes | None:
        """Return the bytes of a small file; None if it is not there."""
        ...

    def log_lines(self) -> Iterable[bytes]:
        """Yield the lines of the logs of all runs."""
        ...

    def recorded(self) -> set[str]:
        """Return the names of all tasks that have a commit record."""
        ...

    def writers(self) -> list[tuple[str, Writer]]:
        """Return share and description of each process that writes now, as far as it shows."""
        ...


class OnDiskPlace:
    """A build folder.

    Args:
        folder: the folder; it need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.name = str(folder)
        self._folder = folder

    def read(self, name: str) -> bytes | None:
        """Return the bytes of a small file; None if it is not there.

        Raises:
            InputError: it may not be read.
        """
        try:
            return (self._folder / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise InputError(f"{self._folder / name} cannot be read: {error.strerror}") from error

    def log_lines(self) -> Iterable[bytes]:
        """Yield the lines of the log."""
        with suppress(OSError), open(self._folder / EVENTS, "rb") as log:
            yield from log

    def recorded(self) -> set[str]:
        """Return the names of all tasks that have a commit record."""
        return recorded_names(self._folder)

    def writers(self) -> list[tuple[str, Writer]]:
        """Return share and description of each process that writes now."""
        return writers(self._folder)
