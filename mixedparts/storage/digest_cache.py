"""Digests of files that have not changed since they were last hashed, as git's index keeps them.

Hashing gigabytes takes seconds, and most runs find every file as it was. The cache keeps the
SHA-256 of each file with a stamp: size, times of change, inode and device. A file with the same
stamp is not read again. `ctime` is part of the stamp because programs can restore `mtime`.

A file that changed less than two seconds before it was hashed is hashed again the next time: the
clock of a file system can be that coarse, so a later change might leave the stamp as it was.

The cache is no part of a build. It is in the user's cache folder, one file for each folder that it
describes. A file that is damaged, or cannot be read or written, only costs time.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from mixedparts.files.cache import cache_folder
from mixedparts.files.opening import open_regular
from mixedparts.storage.shards import sha256_of, written_beside

_FORMAT = 1
_FOLDER = "digests"
# The coarsest clock of a file system in use is that of FAT: two seconds.
_RACY_NS = 2_000_000_000


class Stamp(NamedTuple):
    """What shows that a file has changed, without reading it."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    device: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        """Return the stamp of a file, given what `os.stat` returned for it."""
        return cls(
            status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev
        )

    def settled(self, now_ns: int) -> bool:
        """Return whether a change after `now_ns`, a time in nanoseconds, would change the stamp."""
        return now_ns - max(self.mtime_ns, self.ctime_ns) > _RACY_NS


class DigestCache:
    """The digests of the files below one folder.

    Threads may share a cache. Processes may too: the one that saves last wins.

    Args:
        root: the folder.
        file: where the cache is stored; None keeps it in memory.
    """

    def __init__(self, root: Path, file: Path | None) -> None:
        self._root = root
        self._file = file
        self._entries = _load(file, root) if file else {}
        self._changed = False

    def find(self, relative: str, stamp: Stamp) -> str | None:
        """Return the digest of a file that has this stamp; None if it has to be hashed.

        Args:
            relative: path of the file, relative to the root of the cache.
            stamp: its present stamp.
        """
        entry = self._entries.get(relative)
        return entry[1] if entry is not None and entry[0] == stamp else None

    def sha256(self, relative: str) -> str:
        """Return the SHA-256 of a file (hex), from the cache if the file has not changed.

        Raises:
            OSError: the file cannot be read.
        """
        path = self._root / relative
        stamp = Stamp.of(path.stat())
        return self.find(relative, stamp) or self.hashed(relative, stamp)

    def hashed(self, relative: str, stamp: Stamp) -> str:
        """Read a file and return its SHA-256 (hex), and remember it if that is safe.

        Args:
            relative: path of the file, relative to the root of the cache.
            stamp: its stamp, taken before this call.

        Raises:
            OSError: the file cannot be read.
        """
        started = time.time_ns()
        digest = sha256_of(self._root / relative)
        # A file that changes while it is read has another stamp than before, so its entry is never
        # found.
        if stamp.settled(started):
            self._entries[relative] = (stamp, digest)
            self._changed = True
        return digest

    def know(self, relative: str, digest: str, since_ns: int) -> None:
        """Remember the digest of a file that this program has written and hashed itself.

        Args:
            relative: path of the file, relative to the root of the cache.
            digest: its SHA-256 (hex).
            since_ns: a time after hashing, by the clock of the file system. A file that changed
                later is not remembered.
        """
        try:
            stamp = Stamp.of((self._root / relative).stat())
        except OSError:
            return
        if max(stamp.mtime_ns, stamp.ctime_ns) <= since_ns and stamp.settled(time.time_ns()):
            self._entries[relative] = (stamp, digest)
            self._changed = True

    def save(self) -> None:
        """Write the cache, without files that no longer exist, if anything was hashed."""
        if not self._changed or self._file is None:
            return
        self._changed = False
        kept = {
            relative: [*stamp, digest]
            for relative, (stamp, digest) in list(self._entries.items())
            if os.path.lexists(self._root / relative)
        }
        body = json.dumps(kept).encode()
        head = {"format": _FORMAT, "root": str(self._root), "sha256": _checksum(body)}
        # The cache is a convenience: a run must not fail because the cache folder is read-only.
        try:
            if not self._file.exists():
                _drop_orphans(self._file.parent)
            with written_beside(self._file, flush=False) as temporary:
                temporary.write_bytes(json.dumps(head).encode() + b"\n" + body)
        except OSError:
            return


def digest_cache(root: Path) -> DigestCache:
    """Return the cache of a folder, from the user's cache folder or from this process."""
    absolute = Path(os.path.abspath(root))
    name = hashlib.sha256(os.fsencode(absolute)).hexdigest()[:32]
    try:
        file = cache_folder() / _FOLDER / f"{name}.json"
    except OSError:
        file = None
    return _opened(absolute, file)


# A process plans and checks the same few folders again.
@lru_cache(maxsize=8)
def _opened(root: Path, file: Path | None) -> DigestCache:
    return DigestCache(root, file)


def _load(file: Path, root: Path) -> dict[str, tuple[Stamp, str]]:
    """Return the stored entries; none if there is no intact file of this format and root."""
    try:
        with open_regular(file) as handle:
            first, _, body = handle.read().partition(b"\n")
        head = json.loads(first)
        # The checksum finds damage that leaves the file valid JSON with a wrong digest in it.
        if head != {"format": _FORMAT, "root": str(root), "sha256": _checksum(body)}:
            return {}
        return {
            relative: (Stamp(*stamp), digest)
            for relative, (*stamp, digest) in json.loads(body).items()
        }
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}


def _drop_orphans(folder: Path) -> None:
    """Remove the caches of folders that no longer exist."""
    for file in folder.glob("*.json"):
        try:
            with open_regular(file) as handle:
                root = json.loads(handle.readline())["root"]
            used = os.path.isdir(root)
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            used = False  # not readable as a cache, so it is not needed
        if not used:
            with suppress(OSError):
                file.unlink()


def _checksum(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
