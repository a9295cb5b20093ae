"""The JSON of one full-ADE20K image: objects, their classes, and which is part of which.

MATLAB wrote these files: a list of one element may stand there as the element, an empty value as
an empty list, a number as text. What cannot be read as a record is a fault of that record alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from builders.bases.coco_index import Fault
from builders.bases.file_source import Refused
from builders.formats.identifiers import id_text, whole
from mixedparts.records import Level, Reason
from mixedparts.sources.manifests import load_manifest

NAME = "ade20k_full"


@dataclass(frozen=True, slots=True)
class AdeRecord:
    """A readable object of one image.

    Attributes:
        name_ndx: class id, from 1.
        parent: id of the object that it is part of, or None.
        level: 0 for objects, 1 for their parts, 2 for parts of parts.
        instance_file: its mask, relative to the JSON file's folder; empty where not named.
        polygon: x0, y0, x1, y1, … of its outline, occluded pixels included.
    """

    id: str
    name_ndx: int
    parent: str | None
    level: int
    instance_file: str
    polygon: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class AdeImage:
    """The annotation of one image; width and height are 0 where they cannot be read.

    Attributes:
        faults: the records that are refused, with their level.
    """

    file_name: str
    width: int
    height: int
    records: tuple[AdeRecord, ...]
    faults: tuple[tuple[Level, Fault], ...]


@dataclass(frozen=True, slots=True)
class Role:
    """What a record is for the vocabulary: an object, or with an owner, a part of it."""

    category: str
    owner: AdeRecord | None = None
    part: str = ""


def read_annotation(path: Path) -> AdeImage:
    """Return what one JSON file says.

    Raises:
        Refused: it cannot be read, or is not such a file.
    """
    try:
        data = path.read_bytes()
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            text = data.decode("latin-1")  # as the published loaders open it
        content = json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        why = str(error).replace(str(path), path.name)
        raise Refused(Reason.MALFORMED_RECORD, f"{path.name} is not readable JSON: {why}") from None
    note = content.get("annotation") if isinstance(content, dict) else None
    if not isinstance(note, dict):
        raise Refused(Reason.MALFORMED_RECORD, f"{path.name} has no 'annotation'")
    height, width = ([whole(n) or 0 for n in _listed(note.get("imsize"))] + [0, 0])[:2]
    file_name = note.get("filename")
    records: dict[str, AdeRecord] = {}
    faults: list[tuple[Level, Fault]] = []
    for position, raw in enumerate(_listed(note.get("object"))):
        item = _record(raw, position)
        if isinstance(item, AdeRecord) and item.id in records:
            item = (_level_of(raw), Fault(item.id, Reason.DUPLICATE_ID, "an object had it before"))
        if isinstance(item, AdeRecord):
            records[item.id] = item
        else:
            faults.append(item)
    return AdeImage(
        file_name=file_name if isinstance(file_name, str) else "",
        width=width,
        height=height,
        records=tuple(records.values()),
        faults=tuple(faults),
    )


def roles(image: AdeImage) -> dict[str, Role | Fault]:
    """Return what each record is, by its id; a fault where it is nothing that can be used.

    The object is the highest of a record's owners, or itself, that is of one of the 44 classes;
    what lies below it is its part if the class has a part of that id.
    """
    records = {record.id: record for record in image.records}
    return {record.id: _role(record, records) for record in image.records}


def _role(record: AdeRecord, records: Mapping[str, AdeRecord]) -> Role | Fault:
    classes, parts = _vocabulary()
    chain, whole_chain = _chain(record, records)
    owner = next((item for item in reversed(chain) if item.name_ndx in classes), None)
    if owner is None:
        if whole_chain:
            detail = f"class {record.name_ndx} of level {record.level}"
            return Fault(record.id, Reason.OUTSIDE_VOCABULARY, detail)
        return Fault(record.id, Reason.ORPHAN_PART, f"no usable object {chain[-1].parent}")
    category = classes[owner.name_ndx]
    if owner is record:
        return Role(category)
    part = parts[category].get(record.name_ndx)
    if part is None:
        detail = f"class {record.name_ndx} as a part of {category}"
        return Fault(record.id, Reason.OUTSIDE_VOCABULARY, detail)
    return Role(category, owner, part)


def _chain(record: AdeRecord, records: Mapping[str, AdeRecord]) -> tuple[list[AdeRecord], bool]:
    """Return a record and its owners, upwards; false where an owner is missing or comes again."""
    chain = [record]
    while chain[-1].parent is not None:
        above = records.get(chain[-1].parent)
        if above is None or above in chain:
            return chain, False
        chain.append(above)
    return chain, True


@cache
def _vocabulary() -> tuple[dict[int, str], dict[str, dict[int, str]]]:
    """Return name_ndx -> class, and for each class name_ndx -> native part name."""
    objects = load_manifest(NAME).objects.values()
    classes = {number: item.key for item in objects for number in (item.id, *item.also)}
    parts = {
        item.key: {number: part.native for part in item.parts for number in (part.id, *part.also)}
        for item in objects
    }
    return classes, parts


def _record(raw: Any, position: int) -> AdeRecord | tuple[Level, Fault]:
    """Return a record, or its level and fault."""

    def fault(why: str) -> tuple[Level, Fault]:
        name = (id_text(raw.get("id")) if isinstance(raw, dict) else None) or str(position)
        return _level_of(raw), Fault(name, Reason.MALFORMED_RECORD, why)

    if not isinstance(raw, dict):
        return fault("an object is not a mapping")
    own, name_ndx = id_text(raw.get("id")), whole(raw.get("name_ndx"))
    if own is None or name_ndx is None:
        return fault("id or name_ndx is no number")
    links = raw.get("parts")
    links = links if isinstance(links, dict) else {}
    owners = [id_text(item) for item in _listed(links.get("ispartof"))]
    if len(owners) > 1 or None in owners:
        return fault(f"ispartof is no id: {links.get('ispartof')!r}")
    file = raw.get("instance_mask")
    return AdeRecord(
        id=own,
        name_ndx=name_ndx,
        parent=owners[0] if owners else None,
        level=whole(links.get("part_level")) or 0,
        instance_file=file if isinstance(file, str) else "",
        polygon=_outline(raw.get("polygon")),
    )


def _level_of(raw: Any) -> Level:
    links = raw.get("parts") if isinstance(raw, dict) else None
    linked = isinstance(links, dict) and _listed(links.get("ispartof"))
    return Level.PART if linked else Level.OBJECT


def _outline(polygon: Any) -> tuple[float, ...]:
    """Return the corners of a polygon, none where it cannot be read."""
    if not isinstance(polygon, dict):
        return ()
    xs, ys = _listed(polygon.get("x")), _listed(polygon.get("y"))
    if len(xs) != len(ys) or any(type(n) not in (int, float) for n in (*xs, *ys)):
        return ()
    return tuple(float(n) for corner in zip(xs, ys, strict=True) for n in corner)


def _listed(value: Any) -> list[Any]:
    """Return a list as it is, nothing as an empty one, and a lone element as a list of it."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
