"""Digests of what a build reads: annotations and segmentation maps by content, images by size.

The images of a source have many gigabytes. Their names and sizes are read in a fraction of a
second, and the write stage checks that each one is the image that was read. Everything else is
known by the SHA-256 of its bytes, which a cache beside the build keeps from run to run
(`mixedparts.storage.digest_cache`).
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from mixedparts.files.folders import walk_folders
from mixedparts.progress import Progress, Silent
from mixedparts.sources.contract import SeparatesImages, Source
from mixedparts.storage.digest_cache import DigestCache, Stamp, digest_cache

CONTENTS, LISTING = "contents", "listing"
# These stand for the content of files that have none to hash. No digest equals them.
_MISSING, _SPECIAL, _UNREADABLE = "missing", "special", "unreadable"
# JPEG is lossy, so ids of classes cannot be stored in it: such a file is an image wherever it is.
_ALWAYS_IMAGES = (".jpg", ".jpeg")
_THREADS = 4
_FILES_A_TASK = 64
# Below these, hashing takes a second or two, and a message about it would only be noise.
_MANY_FILES, _MANY_BYTES = 5_000, 2 << 30


# A named tuple: a source has tens of thousands of files, and a dataclass takes three times as long.
class _File(NamedTuple):
    """A file below a required path.

    Attributes:
        name: relative to the required path, POSIX separators.
        key: relative to the root of the source.
        stamp: None for what cannot be hashed, and for images.
        content: replaces the content of a file that is not hashed.
    """

    name: str
    key: str
    stamp: Stamp | None
    content: str = ""


def source_digests(
    source: Source, root: Path, splits: Iterable[str], progress: Progress | None = None
) -> dict[str, str]:
    """Return the digests of everything that some splits of a source are read from.

    Args:
        source: the reader.
        root: folder that the source's layout starts from.
        splits: splits whose files are present.
        progress: shows the hashing of many files.

    Returns:
        Digest of each required path, by that path; see `digests_below`.

    Raises:
        InputError: a folder cannot be listed.
    """
    required: set[str] = set()
    images: set[str] = set()
    for split in splits:
        required.update(source.required_files(root, split))
        if isinstance(source, SeparatesImages):
            images.update(source.image_folders(root, split))
    return digests_below(root, required, images, progress)


def digests_below(
    root: Path,
    paths: Iterable[str],
    images: Collection[str] = (),
    progress: Progress | None = None,
) -> dict[str, str]:
    """Return digests of files and folders, which change when what they contain changes.

    Args:
        root: folder that the paths are relative to.
        paths: files and folders.
        images: those of the folders that contain images only.
        progress: shows the hashing of many files.

    Returns:
        By path: the SHA-256 of a file (hex); for a folder the SHA-256 of a list of its files, with
        the digest of each file (`contents:` and hex), or in folders of images with the size
        (`listing:` and hex). JPEG files count as images in any folder.

    Raises:
        InputError: a folder cannot be listed.
    """
    cache = digest_cache(root)
    listed = {path: _files(root, path, path in images) for path in sorted(paths)}
    known = _hashed(listed, cache, progress or Silent())
    cache.save()
    return {
        path: _digest(files, known, LISTING if path in images else CONTENTS)
        for path, files in listed.items()
    }


def _digest(files: list[_File], known: dict[str, str], kind: str) -> str:
    """Return the digest of one required path, given the digests of its files by key."""
    if files and not files[0].name:
        return files[0].content or known[files[0].key]
    digest = hashlib.sha256()
    for file in files:
        content = file.content or known[file.key]
        # Names that are not UTF-8 come from the system with escaped bytes.
        digest.update(f"{file.name}\0{content}\n".encode("utf-8", "surrogateescape"))
    return f"{kind}:{digest.hexdigest()}"


def _files(root: Path, path: str, images: bool) -> list[_File]:
    """Return the file at a path (with an empty name), or all files below it in a fixed order.

    Raises:
        InputError: a folder cannot be listed.
    """
    place = root / path
    try:
        status = os.stat(place)
    # The reader knows whether it needs the file, and what to say about it.
    except OSError:
        return [_File("", path, None, _MISSING)]
    if not stat.S_ISDIR(status.st_mode):
        return [_by_content("", path, status)]
    files = []
    for listing in walk_folders(place):
        prefix = "" if listing.inside == "." else f"{listing.inside}/"
        for entry in listing.files:
            if not entry.name.startswith("."):
                by_size = images or entry.name.lower().endswith(_ALWAYS_IMAGES)
                name = prefix + entry.name
                files.append(_file(entry, name, f"{path}/{name}", by_size))
    return files


def _file(entry: os.DirEntry[str], name: str, key: str, by_size: bool) -> _File:
    """Return one file of a folder."""
    # A link without its file is a reject of the reader, and another content once the file is there.
    try:
        status = entry.stat()
    except OSError:
        return _File(name, key, None, _MISSING)
    if by_size:
        return _File(name, key, None, str(status.st_size))
    return _by_content(name, key, status)


def _by_content(name: str, key: str, status: os.stat_result) -> _File:
    """Return a file that is known by its content."""
    # Reading a pipe would wait for ever.
    if not stat.S_ISREG(status.st_mode):
        return _File(name, key, None, _SPECIAL)
    return _File(name, key, Stamp.of(status))


def _hashed(
    listed: dict[str, list[_File]], cache: DigestCache, progress: Progress
) -> dict[str, str]:
    """Return the digest of every file that has a stamp, by key; hash those that are not cached."""
    known: dict[str, str] = {}
    waiting: dict[str, tuple[_File, Stamp]] = {}
    for files in listed.values():
        for file in files:
            if file.stamp is not None:
                digest = cache.find(file.key, file.stamp)
                if digest is None:
                    waiting[file.key] = (file, file.stamp)
                else:
                    known[file.key] = digest
    if not waiting:
        return known

    def hash_all(files: list[tuple[_File, Stamp]]) -> list[tuple[str, str]]:
        return [(file.key, _hash(file, stamp, cache)) for file, stamp in files]

    # Dealt out like cards, so that the few large files of a source go to different threads. Threads
    # are enough: reading files and hashing large buffers both release the interpreter lock.
    everything = list(waiting.values())
    count = max(_THREADS, len(everything) // _FILES_A_TASK)
    tasks = [task for n in range(count) if (task := everything[n::count])]
    large = sum(stamp.size for _, stamp in everything) > _MANY_BYTES
    shown = progress if large or len(everything) > _MANY_FILES else Silent()
    shown.start("hashing annotations", len(everything), "files")
    with ThreadPoolExecutor(_THREADS) as pool:
        for digests in pool.map(hash_all, tasks):
            known.update(digests)
            shown.advance(len(digests))
    shown.finish()
    return known


def _hash(file: _File, stamp: Stamp, cache: DigestCache) -> str:
    """Return the digest of one file."""
    # The reader rejects what belongs to an unreadable file, or says that it cannot do without it.
    try:
        return cache.hashed(file.key, stamp)
    except OSError:
        return _UNREADABLE
