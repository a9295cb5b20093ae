"""Indices of large annotation files, kept in the user's cache folder.

Every process of a build needs the index of the file that it reads, and making one takes seconds for
a file of half a gigabyte. The first process stores it for the others and for later builds. A stored
index belongs to one state of one file (`mixedparts.storage.digest_cache.Stamp`); a damaged one, or
a folder that cannot be written, only costs time.
"""

from __future__ import annotations

import hashlib
import os
import time
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import FunctionType
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from mixedparts._version import __version__
from mixedparts.files.cache import cache_folder
from mixedparts.storage.digest_cache import Stamp
from mixedparts.storage.shards import written_beside

T = TypeVar("T")
# Smaller files are indexed faster than a stored index is written.
_LEAST_BYTES = 8 << 20
_FOLDER = "indices"
_REST = "rest"


def index_rules(*functions: object) -> str | None:
    """Return a text that names functions and their code; None if names do not say what they do.

    A method depends on its object as well, and a nested function on where it was made.
    """
    rules = []
    for function in functions:
        if not isinstance(function, FunctionType) or "<" in function.__qualname__:
            return None
        code = function.__code__
        text = repr((code.co_code, code.co_consts, code.co_names, function.__defaults__))
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        rules.append(f"{function.__module__}.{function.__qualname__} {digest}")
    return ", ".join(rules)


class IndexCache:
    """The stored index of one annotation file in its present state.

    Args:
        path: the annotation file.
        stamp: its state.
        rules: names what the index depends on beside the file.
    """

    def __init__(self, path: Path, stamp: Stamp, rules: str) -> None:
        # One a file, whatever the rules: an edit of a rule leaves no stored index behind.
        place = os.fsencode(os.path.abspath(path))
        self._name = f"{hashlib.sha256(place).hexdigest()[:32]}.npz"
        # The version, because another one may index the same file in another way.
        self._state = f"{__version__} {rules} {tuple(stamp)}"
        # A change within the resolution of the file system's clock would leave the stamp as it was.
        self._useful = stamp.settled(time.time_ns()) and stamp.size >= _LEAST_BYTES

    def load(self, kind: type[T]) -> tuple[dict[str, NDArray[Any]], T] | None:
        """Return the arrays and the other values of the index, None if it is not stored.

        Args:
            kind: type of the other values.
        """
        if not self._useful:
            return None
        try:
            with np.load(cache_folder() / _FOLDER / self._name, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            rest = arrays.pop(_REST).tobytes()
            state, values = msgspec.json.decode(rest, type=tuple[str, kind])  # type: ignore[valid-type]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        return (arrays, values) if state == self._state else None

    def store(self, arrays: Mapping[str, NDArray[Any]], values: Any) -> None:
        """Store the index; an older one of the same file is replaced."""
        if not self._useful:
            return
        rest = np.frombuffer(msgspec.json.encode((self._state, values)), np.uint8)
        with (
            suppress(OSError),
            written_beside(cache_folder() / _FOLDER / self._name, flush=False) as temporary,
            temporary.open("wb") as file,
        ):
            np.savez(file, **{_REST: rest, **arrays})  # type: ignore[arg-type]
