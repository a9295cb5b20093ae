"""Records of `mixed_parts_{split}.json`, read one by one; each is sound or refused with a reason.

Schema: as the authors' loaders read it. Other keys, `visibility` among them, are left alone: its
meaning is not documented and a build has no use for it.
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

T = TypeVar("T")
_SOURCES = {dataset: source for source, dataset in DATASETS.items()}
_Nested = list[list[list[Id] | Id] | None]  # a lone id stands for a list of one


class _Record(msgspec.Struct):
    dataset_name: str
    img_ids: list[Id]
    is_object: bool
    common: list[msgspec.Raw] | None = None
    pairs: list[msgspec.Raw] | None = None


class _Common(msgspec.Struct):
    cat: str
    ann_ids: list[list[Id]]


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
    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class RecordFile:
    """The records of one split, mapped, never in memory as a whole.

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
            yield from _stated(self._records.raw(position), position)
        self._file.release()


def _stated(raw: memoryview, position: int) -> Iterator[RecordEntry | Refused]:
    """Yield what one record states, entry by entry."""
    name = str(position)
    try:
        record = _record.decode(raw)
    except UNREADABLE as error:
        yield Refused(name, "", Reason.MALFORMED_RECORD, str(error))
        return
    source = _SOURCES.get(record.dataset_name)
    if source is None:
        detail = f"{record.dataset_name!r} is none of {', '.join(_SOURCES)}"
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
    first, second = _two([id_text(value) for value in values], "img_ids")
    if first is None or second is None:
        raise _Fault(Reason.MALFORMED_RECORD, "img_ids: one is no id")
    if first == second:
        raise _Fault(Reason.MALFORMED_RECORD, f"img_ids: image {first} twice")
    return first, second


def _common_sides(
    raw: msgspec.Raw, images: tuple[str, str], source: str
) -> tuple[RecordSide, RecordSide]:
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
    entry = _pair.decode(raw)
    categories = _two([_name(cat, "cats") for cat in entry.cats], "cats")
    objects = _two([_ids(ids, "ann_ids") for ids in entry.ann_ids], "ann_ids")
    common: tuple[dict[str, Ids], dict[str, Ids]] = ({}, {})
    for part in entry.common or ():
        name = _name(part.part_cat, "part_cat")
        lists = part.part_cat_ids if source == "ade20k" else part.part_ann_ids
        ids = _two([_ids(mine, f"ids of {name}") for mine in lists or ()], f"ids of {name}")
        for side, mine in zip(common, ids, strict=True):
            if name in side:
                raise _Fault(Reason.MALFORMED_RECORD, f"common part {name} twice")
            side[name] = mine
    unique = _unique(entry.unique, source)
    if not any((*common, *unique)):
        raise _Fault(Reason.NOTHING_STATED, "neither a common nor a unique part")
    twice = (set(common[0]) & {*unique[0], *unique[1]}) | (set(unique[0]) & set(unique[1]))
    if twice:
        names = ", ".join(sorted(twice))
        raise _Fault(Reason.MALFORMED_RECORD, f"both common and unique, or unique twice: {names}")
    return (
        RecordSide(images[0], categories[0], objects[0], common[0], unique[0]),
        RecordSide(images[1], categories[1], objects[1], common[1], unique[1]),
    )


def _unique(entry: _Unique | None, source: str) -> tuple[dict[str, Ids], dict[str, Ids]]:
    if entry is None:
        return {}, {}
    nested = entry.part_cat_ids if source == "ade20k" else entry.part_ann_ids
    names = _two([mine or [] for mine in entry.part_cats], "part_cats")
    lists = _two([mine or [] for mine in nested or ()], "ids of unique parts")
    sides: tuple[dict[str, Ids], dict[str, Ids]] = ({}, {})
    for side, mine, ids in zip(sides, names, lists, strict=True):
        if len(mine) != len(ids):
            detail = f"{len(mine)} unique parts, ids of {len(ids)}"
            raise _Fault(Reason.MALFORMED_RECORD, detail)
        for text, own in zip(mine, ids, strict=True):
            name = _name(text, "part_cats")
            if name in side:
                raise _Fault(Reason.MALFORMED_RECORD, f"unique part {name} twice")
            side[name] = _ids(own if isinstance(own, list) else [own], f"ids of {name}")
    return sides


def _name(text: str, what: str) -> str:
    name = plain(text)
    if not name:
        raise _Fault(Reason.MALFORMED_RECORD, f"{what}: an empty name")
    return name


def _ids(values: list[Id], what: str) -> Ids:
    """Return ids as text, each once, in an order that does not hang on the file's."""
    texts = [id_text(value) for value in values]
    found = {text for text in texts if text is not None}
    if not found or None in texts:
        raise _Fault(Reason.MALFORMED_RECORD, f"{what}: {'no id' if not texts else 'one is no id'}")
    return tuple(sorted(found))


def _two(values: list[T], what: str) -> tuple[T, T]:
    if len(values) != 2:
        raise _Fault(Reason.MALFORMED_RECORD, f"{what}: {len(values)} entries for two images")
    return values[0], values[1]
