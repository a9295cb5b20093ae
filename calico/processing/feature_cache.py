"""Features of frozen encoders on disk, one safetensors file an encoder and image.

The key of an entry is a digest of everything its values depend on, so an entry is either right or
not there: nothing is ever invalidated. Any number of processes may share a folder; a file comes
into being by a rename, carries its key and a checksum, and is removed where those do not fit.
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

_STALE = 3600.0  # seconds after which a temporary file belongs to a killed process
_WRITERS = 8  # that may share a folder within its bound


def entry_key(facts: Mapping[str, Any]) -> str:
    """Return the key of an entry from JSON values that its features depend on."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


class FeatureCache:
    """A folder of entries, bounded in bytes; the entries used longest ago go first.

    The bound holds for up to eight processes that write at once: a process looks at the folder
    again whenever it has written a 64th of the bound, and clears it down to three quarters once it
    is seven eighths full.

    Args:
        folder: is made where it does not exist.
        limit: bytes that all entries may take together.

    Raises:
        EnvironmentFault: the folder cannot be written.
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
        self._seen = self._make_room(0)
        self._written = 0

    def get(self, key: str) -> Tensor | None:
        """Return the features of a key as they were put, None where there are none."""
        path = self._path(key)
        try:
            with safe_open(path, framework="pt") as file:
                said = file.metadata() or {}
                features: Tensor = file.get_tensor("features")
            if said.get("key") != key or said.get("crc32") != _checksum(features):
                raise SafetensorError("it is not what was written")
            os.utime(path)  # the order of use; file systems seldom keep the time of access
        except (FileNotFoundError, RuntimeError):
            # The library says RuntimeError where another process removes the file as it opens it.
            self.misses += 1
            return None
        except (OSError, SafetensorError):
            # Torn by a crash or damaged later: it is computed and written again.
            with suppress(OSError):
                path.unlink()
            self.misses += 1
            return None
        self.hits += 1
        return features

    def put(self, key: str, features: Tensor) -> None:
        """Keep the features of a key; what is larger than the whole bound is not kept.

        Raises:
            EnvironmentFault: the file cannot be written.
        """
        values = features.detach().cpu().contiguous()
        size = values.numel() * values.element_size() + 512  # of the header, at most
        if size > self.limit:
            return
        near = self._seen + self._written + size > self.limit - self.limit // _WRITERS
        if near or self._written > self.limit // (8 * _WRITERS):
            self._seen, self._written = self._make_room(size), 0
        path = self._path(key)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            path.parent.mkdir(exist_ok=True)
            save_file({"features": values}, temporary, {"key": key, "crc32": _checksum(values)})
            self._written += temporary.stat().st_size
            temporary.replace(path)
        except (OSError, SafetensorError) as error:
            raise EnvironmentFault(
                f"the feature cache {self.folder} cannot be written: {error}",
                "Make room there, or choose another folder with --feature-cache.",
            ) from error
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.safetensors"

    def _make_room(self, size: int) -> int:
        """Remove what exceeds the bound once `size` bytes are added; return the bytes that stay."""
        entries: list[tuple[float, int, Path]] = []
        now = time.time()
        for path in self.folder.glob("??/*"):
            with suppress(OSError):  # another process may have removed it
                facts = path.stat()
                if path.suffix == ".tmp" and now - facts.st_mtime > _STALE:
                    path.unlink()
                else:
                    entries.append((facts.st_mtime, facts.st_size, path))
        total = sum(entry[1] for entry in entries)
        if total + size <= self.limit - self.limit // _WRITERS:
            return total
        for _, bytes_there, path in sorted(entries):
            if total + size <= self.limit - 2 * (self.limit // _WRITERS) or path.suffix == ".tmp":
                continue
            with suppress(OSError):
                path.unlink()
            total -= bytes_there
        return total


def _checksum(values: Tensor) -> str:
    """Return the CRC-32 of a tensor's bytes: a file can be of full length and hold zeros."""
    return f"{zlib.crc32(values.reshape(-1).view(torch.uint8).numpy().data):08x}"
