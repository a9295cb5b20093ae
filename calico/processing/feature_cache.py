"""Features of frozen encoders on disk, one safetensors file for each encoder and image.

The key of an entry is a digest of everything that its values depend on. An entry is therefore right
or missing, and no entry is ever out of date. Any number of processes may share a folder: a file
appears by a rename, contains its key and a checksum, and is removed if one of them is wrong.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mixedparts.errors import EnvironmentFault
from mixedparts.files.folders import is_folder, list_folder
from mixedparts.files.opening import check_regular
from mixedparts.files.temporary import temporary_beside

_STALE = 3600.0  # age in seconds at which a temporary file is taken for that of a killed process
_WRITERS = 8  # processes that may write to a folder at once without exceeding its bound


def entry_key(values: Mapping[str, Any]) -> str:
    """Return the key of an entry: a digest of the JSON values that its features depend on."""
    # Sorted, so that the order in which a caller lists the values does not matter.
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


class FeatureCache:
    """A folder of entries, bounded in bytes; the least recently used entries are removed first.

    The bound holds for up to eight processes that write at once: a process measures the folder
    again whenever it has written a 64th of the bound, and once the folder is seven eighths full,
    removes entries until it is three quarters full.

    Args:
        folder: is created if it does not exist.
        limit: bytes that all entries together may take.

    Raises:
        EnvironmentFault: the folder cannot be created.
        InputError: the folder, or one in it, cannot be listed.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self.limit = limit
        self.hits = 0
        self.misses = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EnvironmentFault(
                f"the feature cache {folder} cannot be made: {error.strerror or error}"
            ) from error
        # Bytes in the folder when it was last measured, and bytes that this process wrote since.
        self._measured = self._evict(0)
        self._written = 0

    def get(self, key: str) -> Tensor | None:
        """Return the features of a key as they were stored on the CPU, None if there are none."""
        path = self._path(key)
        try:
            check_regular(path)
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                features: Tensor = file.get_tensor("features")
            if metadata.get("key") != key or metadata.get("crc32") != _checksum(features):
                raise SafetensorError("it is not what was written")
            # Records the use for `_evict`. Most file systems do not update access times (relatime).
            os.utime(path)
        except (FileNotFoundError, RuntimeError):
            # safetensors raises RuntimeError if another process removes the file as it is opened.
            self.misses += 1
            return None
        except (OSError, SafetensorError):
            # Cut off by a crash, or damaged later: it is computed and written again.
            with suppress(OSError):
                path.unlink()
            self.misses += 1
            return None
        self.hits += 1
        return features

    def put(self, key: str, features: Tensor) -> None:
        """Store the features of a key; a tensor that is larger than the whole bound is not stored.

        Raises:
            EnvironmentFault: the file cannot be written.
        """
        values = features.detach().cpu().contiguous()
        size = values.numel() * values.element_size() + 512  # of the header, at most
        if size > self.limit:
            return
        # Other processes write too, and this one does not see it between two measurements. Each of
        # eight writers adds at most a 64th, so the last eighth of the bound is enough for all.
        near = self._measured + self._written + size > self.limit - self.limit // _WRITERS
        if near or self._written > self.limit // (8 * _WRITERS):
            self._measured, self._written = self._evict(size), 0
        path = self._path(key)
        # Two writers of the same key have two temporary files; the rename is atomic, and both
        # write the same values, so it does not matter which of them comes last.
        temporary = temporary_beside(path)
        try:
            path.parent.mkdir(exist_ok=True)
            save_file({"features": values}, temporary, {"key": key, "crc32": _checksum(values)})
            self._written += temporary.stat().st_size
            temporary.replace(path)
        except (OSError, SafetensorError) as error:
            raise EnvironmentFault(
                f"the feature cache {self.folder} cannot be written: {error}",
                "Free space there, or choose another folder with --feature-cache.",
            ) from error
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        # 256 sub-folders: hundreds of thousands of files in one folder are slow to list.
        return self.folder / key[:2] / f"{key}.safetensors"

    def _evict(self, size: int) -> int:
        """Remove entries so that `size` more bytes fit into the bound; return the bytes left."""
        entries: list[tuple[float, int, Path]] = []
        now = time.time()
        # Not `glob`, which skips a closed folder: its entries would count as no bytes.
        folders = [
            item for item in list_folder(self.folder) if len(item.name) == 2 and is_folder(item)
        ]
        paths = [Path(item.path) for folder in folders for item in list_folder(folder.path)]
        for path in paths:
            with suppress(OSError):  # another process may have removed it
                status = path.stat()
                if path.suffix == ".tmp" and now - status.st_mtime > _STALE:
                    path.unlink()
                else:
                    entries.append((status.st_mtime, status.st_size, path))
        total = sum(entry[1] for entry in entries)
        if total + size <= self.limit - self.limit // _WRITERS:
            return total
        # Down to three quarters, not just below the mark, or every `put` would list the folder.
        for _, bytes_there, path in sorted(entries):
            if total + size <= self.limit - 2 * (self.limit // _WRITERS) or path.suffix == ".tmp":
                continue
            with suppress(OSError):
                path.unlink()
            total -= bytes_there
        return total


def _checksum(values: Tensor) -> str:
    """Return the CRC-32 of a tensor's bytes, eight hexadecimal digits."""
    # After a power cut a file can have its full length and contain zeros: its size proves nothing.
    return f"{zlib.crc32(values.reshape(-1).view(torch.uint8).numpy().data):08x}"
