"""Records of a bundle: all rows of one image pair in one record, in the order of first rows.

Rows of one image pair are far apart in a build, and all rows of a split do not fit into memory.
The entries are therefore written to disk as they come, and grouped at the end by a hash.
"""

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
    """Collects entries of records in a working file, with 16 bytes of memory for each entry.

    A context manager that removes its working files at the end.

    Args:
        work: folder of the working files; it is created if needed.
    """

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
        """Append an entry to the record of its image pair.

        Args:
            dataset: `dataset_name` of the record.
            image_ids: ids of the two images.
            is_object: whether the entry belongs to the list `common` of a common-object record, and
                not to the list `pairs` of a part record.
            entry: the entry as JSON values.
        """
        head = {"dataset_name": dataset, "img_ids": image_ids, "is_object": is_object}
        key = hashlib.blake2b(_encode(head), digest_size=8).digest()
        # 64 bits of a digest instead of the head itself: millions of heads would fill the memory.
        self._keys.append(int.from_bytes(key, "little"))
        self._handle.write(_encode({**head, "entry": entry}))
        self._ends.append(self._handle.tell())

    def write(self, target: Path) -> None:
        """Write all records as one JSON list; no entry can be added afterwards."""
        self._handle.close()
        with Spool(self._merged) as records:
            for record in self._records():
                records.add(record)
            write_list(target, records)

    def _records(self) -> Iterator[dict[str, Any]]:
        """Yield the records, each from the entries of one image pair."""
        if not self._keys:  # an empty file cannot be memory-mapped
            return
        keys = np.frombuffer(self._keys, np.uint64)
        # Sort entries by the first entry of their key: records come in the order of their first
        # rows, and the entries of a record in the order of the rows.
        _, firsts, group = np.unique(keys, return_index=True, return_inverse=True)
        order = np.argsort(firsts[group], kind="stable")
        starts = np.concatenate(([0], np.frombuffer(self._ends, np.uint64)[:-1])).astype(np.int64)
        with (
            self._path.open("rb") as handle,
            mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as stored,
        ):
            items: list[dict[str, Any]] = []
            for number in order.tolist():
                item = _decode(stored[int(starts[number]) : self._ends[number]])
                # Compare the heads themselves: two of them may have the same 64-bit hash.
                if items and _head(items[0]) != _head(item):
                    yield _merged(items)
                    items = []
                items.append(item)
            yield _merged(items)


def _head(item: dict[str, Any]) -> tuple[Any, ...]:
    return item["dataset_name"], *item["img_ids"], item["is_object"]


def _merged(items: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the record made from the entries of one image pair.

    A build has one row for the common parts of two entities and one for their unique parts; in a
    record the two share an entry.
    """
    head = {key: items[0][key] for key in ("dataset_name", "img_ids", "is_object")}
    entries = [item["entry"] for item in items]
    if head["is_object"]:
        return {**head, "common": entries}
    pairs: list[Entry] = []
    for entry in entries:
        for other in pairs:
            same = other["cats"] == entry["cats"] and other["ann_ids"] == entry["ann_ids"]
            # Free: neither kind of parts would be overwritten.
            free = all(other[key] is None or entry[key] is None for key in ("common", "unique"))
            if same and free:
                for key in ("common", "unique"):
                    other[key] = other[key] if entry[key] is None else entry[key]
                break
        else:
            pairs.append(entry)
    return {**head, "pairs": pairs}
