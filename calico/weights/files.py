"""Weight files as a mapping from name to tensor, read one at a time, without running pickled code.

A model of 7B parameters is read tensor by tensor, so memory holds the model once, not twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from calico.weights.published.wrappers import plain_names, unpacked
from mixedparts.errors import InputError
from mixedparts.files.folders import list_folder
from mixedparts.files.opening import check_regular, check_unpacked, open_regular
from mixedparts.files.text import read_json

_PICKLED = (".pth", ".pt", ".bin")
_SAMPLED = 1 << 20  # bytes at either end of a file that its fingerprint reads
_INDICES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_SINGLE = ("model.safetensors", "pytorch_model.bin")  # transformers' names, the safer one first


class WeightFiles(Mapping[str, Tensor]):
    """The tensors of one published model, under their names without the words of wrappers.

    Attributes:
        place: file or folder.
        files: with the tensors.
        notes: what was taken off around the weights, for reports.

    Args:
        place: a safetensors, .pth, .pt or .bin file, or a folder with one model in one or several
            of them.

    Raises:
        InputError: there are no such files, a file is broken or contains more than tensors, or a
            name occurs in two files.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.files = _files(place)
        self.notes: list[str] = []
        self._where: dict[str, Path] = {}
        # Tensors of .pth and .bin files; torch maps their bytes from disk where the format allows.
        self._pickled: dict[Path, Mapping[str, Tensor]] = {}
        for path in self.files:
            for name in self._names(path):
                if name in self._where:
                    raise InputError(f"{name} is in {self._where[name].name} and in {path.name}")
                self._where[name] = path
        self._stored, words = plain_names(self._where, str(place))
        self.notes += words

    def _names(self, path: Path) -> list[str]:
        if path.suffix in _PICKLED:
            self._pickled[path], notes = unpacked(_loaded(path), str(path))
            self.notes += [note for note in notes if note not in self.notes]
            return list(self._pickled[path])
        try:
            check_regular(path)
            with safe_open(path, framework="pt") as file:
                return list(file.keys())
        except (OSError, SafetensorError) as error:
            check_unpacked(path, "the weights")
            raise InputError(f"the weights {path} cannot be read: {error}") from error

    def __getitem__(self, name: str) -> Tensor:
        stored = self._stored[name]
        path = self._where[stored]
        if path in self._pickled:
            return self._pickled[path][stored]
        with safe_open(path, framework="pt") as file:
            value: Tensor = file.get_tensor(stored)
        return value

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor without reading it."""
        stored = self._stored[name]
        path = self._where[stored]
        if path in self._pickled:
            return tuple(self._pickled[path][stored].shape)
        with safe_open(path, framework="pt") as file:
            return tuple(file.get_slice(stored).get_shape())

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)

    def fingerprint(self) -> str:
        """Return a digest of names, sizes and both ends of every file, 20 hexadecimal digits."""
        # Enough to notice other weights, without reading tens of gigabytes: a safetensors file has
        # its names and shapes at the start, a zip of torch has its directory at the end.
        digest = hashlib.sha256()
        for path in self.files:
            size = path.stat().st_size
            digest.update(f"{path.name}\0{size}\0".encode())
            with path.open("rb") as file:
                digest.update(file.read(_SAMPLED))
                file.seek(max(0, size - _SAMPLED))
                digest.update(file.read(_SAMPLED))
        return digest.hexdigest()[:20]


def _files(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise InputError(
            f"there are no weights at {place}",
            "Give --init a file (.safetensors, .pth) or the folder of a published model. Nothing is"
            " downloaded: docs/weights.md lists where each model comes from.",
        )
    # An index first: without it, the shards of a model look like any other files.
    present = [Path(entry.path) for entry in list_folder(place)]
    indices = [path for path in present if path.name.endswith(".safetensors.index.json")] or [
        path for path in present if path.name.endswith(".bin.index.json")
    ]
    # The usual name takes precedence; other names say nothing about which index is meant.
    indices = [path for path in indices if path.name in _INDICES] or indices
    if len(indices) > 1:
        names = " and ".join(path.name for path in indices[:2])
        raise InputError(
            f"{place} contains {names}, two indices of weights", "Keep one of them in the folder."
        )
    if indices:
        try:
            listed = read_json(indices[0], "the index")["weight_map"].values()
        except (TypeError, KeyError, AttributeError) as error:
            raise InputError(f"the index {indices[0]} cannot be read: {error!r}") from error
        files = [place / name for name in sorted(set(map(str, listed)))]
        missing = [path.name for path in files if not path.is_file()]
        if missing:
            raise InputError(f"{place} lacks {', '.join(missing)}, which its index names")
        return files
    for name in _SINGLE:
        if (place / name).is_file():
            return [place / name]
    files = [path for path in present if path.suffix in (".safetensors", *_PICKLED)]
    if not files:
        raise InputError(
            f"{place} contains no weights ({', '.join(('.safetensors', *_PICKLED))})",
            "Download the model into this folder, or name the right one.",
        )
    if len(files) != 1:
        names = f" ({', '.join(path.name for path in files[:5])})"
        raise InputError(
            f"{place} contains {len(files)} weight files{names} and no index",
            "Give --init the file itself.",
        )
    return files


def _loaded(path: Path) -> Any:
    """Return the content of a file that torch saved."""
    mapped = False
    try:
        with open_regular(path) as file:
            mapped = file.read(2) == b"PK"  # a zip; the format before torch 1.6 cannot be mapped
        # A pickle can run any code when it is loaded; `weights_only` allows tensors alone.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # torch raises errors of many types on broken bytes
        # The format of torch is a zip archive itself.
        if not mapped:
            check_unpacked(path, "the weights")
        reason = str(error).strip().split("\n")[0]
        raise InputError(
            f"the weights {path} cannot be read without running code: {reason}",
            "Only tensors are read from .pth and .bin files; convert others to safetensors.",
        ) from error
