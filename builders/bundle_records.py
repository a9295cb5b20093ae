"""Read the records of `mixed_parts_{split}.json` one by one, or refuse them with a reason.

Schema: as the loaders of the authors read it. Other keys, `visibility` among them, are ignored: its
meaning is not documented, and a build does not use it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from builders.formats.identifiers import Id, id_text
from builders.formats.json_file import UNREADABLE, JsonFile, Records
from mixedparts.entities.normalise import plain
from mixedparts.interchange.bundle_import.contract import Ids, RecordEntry, RecordSide, Refused
from mixedparts.interchange.bundle_import.layout import DATASETS
from mixedparts.records import Reason
from mixedparts.sources.manifest_types import name_fault

T = TypeVar("T")
_SOURCES = {dataset: source for source, dataset in DATASETS.items()}
# For each image and part a list of ids; a single id is a list of one.
_Nested = list[list[list[Id] | Id] | None]


# `common` and `pairs` stay undecoded: a broken entry is refused alone, not with its record.
class _Record(msgspec.Struct):
    dataset_name: str
    img_ids: list[Id]
    is_object: bool
    common: list[msgspec.Raw] | None = None
    pairs: list[msgspec.Raw] | None = None


class _Common(msgspec.Struct):
    cat: str
    ann_ids: list[list[Id]]


# PACO and PartImageNet have annotation ids of parts; ADE has values of the part map instead.
class _CommonPart(msgspec.Struct):
    part_cat: str
    part_ann_ids: list[list[Id]] | None = None
    part_cat_ids: list[list[Id]] | None = None


class _Unique(msgspec.Struct):
    part_cats: list[list[str] | None]
    part_ann_ids: _Nested | None = None
    part_cat_ids: _Nested | None = None


class _Pair(msgspec.Struct):
    cats: list[str]
    ann_ids: list[list[Id]]
    common: list[_CommonPart] | None = None
    unique: _Unique | None = None


_record = msgspec.json.Decoder(_Record)
_common = msgspec.json.Decoder(_Common)
_pair = msgspec.json.Decoder(_Pair)


class _Fault(Exception):
    """The reason why an entry is refused; its text is the detail."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class RecordFile:
    """The records of one split, mapped, never in memory as a whole.

    Args:
        path: `mixed_parts_{split}.json`.

    Raises:
        InputError: the file is missing, is not JSON, or is not a list.
    """

    def __init__(self, path: Path) -> None:
        self._file = JsonFile(path)
        self._records: Records = self._file.records(self._file.items())

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[RecordEntry | Refused]:
        for position in range(len(self._records)):
            yield from _record_entries(self._records.raw(position), position)
        self._file.release()


def _record_entries(raw: memoryview, position: int) -> Iterator[RecordEntry | Refused]:
    """Yield the entries of one record."""
    name = str(position)
    try:
        record = _record.decode(raw)
    except UNREADABLE as error:
        yield Refused(name, "", Reason.MALFORMED_RECORD, str(error))
        return
    source = _SOURCES.get(record.dataset_name)
    if source is None:
        detail = f"{record.dataset_name!r} is not one of {', '.join(_SOURCES)}"
        yield Refused(name, "", Reason.UNKNOWN_DATASET, detail)
        return
    try:
        images = _images(record.img_ids)
    except _Fault as fault:
        yield Refused(name, source, fault.reason, str(fault))
        return
    entries = record.common if record.is_object else record.pairs
    if not entries:
        detail = "no common object" if record.is_object else "no pair"
        yield Refused(name, source, Reason.NOTHING_STATED, detail)
        return
    for number, entry in enumerate(entries):
        place = f"{position}.{number}"
        try:
            read = _common_sides if record.is_object else _pair_sides
            yield RecordEntry(place, source, record.is_object, read(entry, images, source))
        except _Fault as fault:
            yield Refused(place, source, fault.reason, str(fault))
        except UNREADABLE as error:
            yield Refused(place, source, Reason.MALFORMED_RECORD, str(error))


def _images(values: list[Id]) -> tuple[str, str]:
    """Return the ids of the two images as text; raise _Fault if they are not two."""
    first, second = _two([id_text(value) for value in values], "img_ids")
    if first is None or second is None:
        raise _Fault(Reason.MALFORMED_RECORD, "img_ids: one is not an id")
    if first == second:
        raise _Fault(Reason.MALFORMED_RECORD, f"img_ids: image {first} twice")
    return first, second


def _common_sides(
    raw: msgspec.Raw, images: tuple[str, str], source: str
) -> tuple[RecordSide, RecordSide]:
    """Return both sides of a common object: one class, with instances in each image."""
    entry = _common.decode(raw)
    category = _name(entry.cat, "cat")
    one, two = _two([_ids(ids, "ann_ids") for ids in entry.ann_ids], "ann_ids")
    return (
        RecordSide(images[0], category, one, {}, {}),
        RecordSide(images[1], category, two, {}, {}),
    )


def _pair_sides(
    raw: msgspec.Raw, images: tuple[str, str], source: str
) -> tuple[RecordSide, RecordSide]:
    """Return both sides of a pair: a class in each image, common and unique parts."""
    entry = _pair.decode(raw)
    categories = _two([_name(cat, "cats") for cat in entry.cats], "cats")
    objects = _two([_ids(ids, "ann_ids") for ids in entry.ann_ids], "ann_ids")
    common: tuple[dict[str, Ids], dict[str, Ids]] = ({}, {})
    for part in entry.common or ():
        name = _name(part.part_cat, "part_cat")
        lists = part.part_cat_ids if source == "ade20k" else part.part_ann_ids
        ids = _two([_ids(side_ids, f"ids of {name}") for side_ids in lists or ()], f"ids of {name}")
        for side, side_ids in zip(common, ids, strict=True):
            if name in side:
                raise _Fault(Reason.MALFORMED_RECORD, f"common part {name} twice")
            side[name] = side_ids
    unique = _unique(entry.unique, source)
    if not any((*common, *unique)):
        raise _Fault(Reason.NOTHING_STATED, "neither a common nor a unique part")
    # A part is common, or unique to one image. Anything else would make contradictory answers.
    twice = (set(common[0]) & {*unique[0], *unique[1]}) | (set(unique[0]) & set(unique[1]))
    if twice:
        names = ", ".join(sorted(twice))
        raise _Fault(Reason.MALFORMED_RECORD, f"both common and unique, or unique twice: {names}")
    return (
        RecordSide(images[0], categories[0], objects[0], common[0], unique[0]),
        RecordSide(images[1], categories[1], objects[1], common[1], unique[1]),
    )


def _unique(entry: _Unique | None, source: str) -> tuple[dict[str, Ids], dict[str, Ids]]:
    """Return part name -> ids of the unique parts of each image."""
    if entry is None:
        return {}, {}
    nested = entry.part_cat_ids if source == "ade20k" else entry.part_ann_ids
    # An image without unique parts has None or an empty list.
    names = _two([side or [] for side in entry.part_cats], "part_cats")
    lists = _two([side or [] for side in nested or ()], "ids of unique parts")
    sides: tuple[dict[str, Ids], dict[str, Ids]] = ({}, {})
    for side, side_names, side_ids in zip(sides, names, lists, strict=True):
        if len(side_names) != len(side_ids):
            detail = f"{len(side_names)} unique parts, ids of {len(side_ids)}"
            raise _Fault(Reason.MALFORMED_RECORD, detail)
        for text, ids in zip(side_names, side_ids, strict=True):
            name = _name(text, "part_cats")
            if name in side:
                raise _Fault(Reason.MALFORMED_RECORD, f"unique part {name} twice")
            side[name] = _ids(ids if isinstance(ids, list) else [ids], f"ids of {name}")
    return sides


def _name(text: str, what: str) -> str:
    """Return a name in plain form; raise _Fault if it is invalid. `what` is the key, for people."""
    name = plain(text)
    fault = "an empty name" if not name else name_fault(name)
    if fault is not None:
        raise _Fault(Reason.MALFORMED_RECORD, f"{what}: {fault}")
    return name


def _ids(values: list[Id], what: str) -> Ids:
    """Return ids as text, sorted, each once; raise _Fault if one is not an id, or if none is."""
    # Sorted: two records with the same ids in another order give the same build.
    texts = [id_text(value) for value in values]
    ids = {text for text in texts if text is not None}
    if not ids or None in texts:
        why = "one is not an id" if texts else "no id"
        raise _Fault(Reason.MALFORMED_RECORD, f"{what}: {why}")
    return tuple(sorted(ids))


def _two(values: list[T], what: str) -> tuple[T, T]:
    """Return the values of the two images; raise _Fault for another number of values."""
    if len(values) != 2:
        raise _Fault(Reason.MALFORMED_RECORD, f"{what}: {len(values)} entries for two images")
    return values[0], values[1]
