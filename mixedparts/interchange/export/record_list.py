"""Records of the published bundle: the rows of one image pair together, in order of appearance."""

from __future__ import annotations

import hashlib
import mmap
from array import array
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import numpy as np

from mixedparts.interchange.export.spool import Spool, write_list

Entry = dict[str, Any]
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class RecordList:
    """Collects entries of records on disk; only a number of each stays in memory."""

    def __init__(self, work: Path) -> None:
        work.mkdir(parents=True, exist_ok=True)
        self._path = work / "entries"
        self._merged = work / "records"
        self._handle = self._path.open("wb")
        self._keys = array("Q")
        self._ends = array("Q")

    def __enter__(self) -> RecordList:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._handle.close()
        self._path.unlink(missing_ok=True)

    def add(self, dataset: str, image_ids: list[int | str], is_object: bool, entry: Entry) -> None:
        """Append an entry: of `common` for a common object, else of `pairs`."""
        head = {"dataset_name": dataset, "img_ids": image_ids, "is_object": is_object}
        key = hashlib.blake2b(_encode(head), digest_size=8).digest()
        self._keys.append(int.from_bytes(key, "little"))
        self._handle.write(_encode({**head, "entry": entry}))
        self._ends.append(self._handle.tell())

    def write(self, target: Path) -> None:
        """Write the list of records."""
        self._handle.close()
        with Spool(self._merged) as records:
            for record in self._records():
                records.add(record)
            write_list(target, records)

    def _records(self) -> Iterator[dict[str, Any]]:
        if not self._keys:
            return
        keys = np.frombuffer(self._keys, np.uint64)
        _, firsts, group = np.unique(keys, return_index=True, return_inverse=True)
        order = np.argsort(firsts[group], kind="stable")
        starts = np.concatenate(([0], np.frombuffer(self._ends, np.uint64)[:-1])).astype(np.int64)
        with (
            self._path.open("rb") as handle,
            mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as stored,
        ):
            mine: list[dict[str, Any]] = []
            for number in order.tolist():
                item = _decode(stored[int(starts[number]) : self._ends[number]])
                if mine and _head(mine[0]) != _head(item):
                    yield _merged(mine)
                    mine = []
                mine.append(item)
            yield _merged(mine)


def _head(item: dict[str, Any]) -> tuple[Any, ...]:
    return item["dataset_name"], *item["img_ids"], item["is_object"]


def _merged(items: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the record of entries of one image pair; common and unique parts share an entry."""
    head = {key: items[0][key] for key in ("dataset_name", "img_ids", "is_object")}
    entries = [item["entry"] for item in items]
    if head["is_object"]:
        return {**head, "common": entries}
    pairs: list[Entry] = []
    for entry in entries:
        for other in pairs:
            same = other["cats"] == entry["cats"] and other["ann_ids"] == entry["ann_ids"]
            free = all(other[key] is None or entry[key] is None for key in ("common", "unique"))
            if same and free:
                for key in ("common", "unique"):
                    other[key] = other[key] if entry[key] is None else entry[key]
                break
        else:
            pairs.append(entry)
    return {**head, "pairs": pairs}
