"""Check that every node of a cluster sees the build folder and the sources.

In the build folder is a file with a random word for this: a node could have an empty folder of the
same name, or an older copy.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mixedparts.errors import EnvironmentFault, InputError
from mixedparts.files.temporary import temporary_beside
from mixedparts.files.text import read_text
from mixedparts.pipeline.engines import NodeNeeds


@dataclass(frozen=True, slots=True)
class Mark:
    """What a node must see.

    Attributes:
        needs: build folder and files of the sources.
        path: the file in the build folder, None without one.
        word: what is in it.
    """

    needs: NodeNeeds
    path: Path | None
    word: str

    def check(self) -> None:
        """Check that this machine sees everything.

        Raises:
            EnvironmentFault: it does not; the message names the machine and the place.
        """
        unseen = [file for file in self.needs.files if not file.exists()]
        if self.needs.build is not None and self.path is not None and not self._sees(self.path):
            unseen.insert(0, self.needs.build)
        if unseen:
            raise EnvironmentFault(
                f"the node {socket.gethostname()} of the Ray cluster does not see {unseen[0]}",
                "Give --out and --root folders that all nodes mount under one path, or object"
                " storage, such as --out s3://BUCKET/FOLDER.",
            )

    def _sees(self, path: Path) -> bool:
        try:
            return read_text(path) == self.word
        except InputError:
            return False


@contextmanager
def marked(needs: NodeNeeds) -> Iterator[Mark]:
    """Put a mark into the build folder, where there is one, while the block runs."""
    word = secrets.token_hex(16)
    files = tuple(file.absolute() for file in needs.files)
    if needs.build is None:
        yield Mark(NodeNeeds(None, files), None, word)
        return
    build = needs.build.absolute()
    # By its name, a later run removes it if this process is killed.
    path = temporary_beside(build / "_build" / "shared")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(word, encoding="utf-8")
    try:
        yield Mark(NodeNeeds(build, files), path, word)
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)
