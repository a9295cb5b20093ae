"""The JSON of one image of the full ADE20K: objects, their classes, and which is part of which.

MATLAB wrote these files: a list of one element can be the element itself, an empty value an empty
list, a number text. An entry that cannot be read as a record is a fault of that record alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from builders.bases.coco_index import Fault
from builders.bases.file_source import UnusableImage
from builders.formats.identifiers import id_text, whole_number
from mixedparts.errors import InputError
from mixedparts.files.foreign import HEAD
from mixedparts.files.text import beginning, parse_json, read_bytes
from mixedparts.records import Level, Reason
from mixedparts.sources.manifests import load_manifest

NAME = "ade20k_full"


@dataclass(frozen=True, slots=True)
class AdeRecord:
    """A readable object of one image.

    Attributes:
        id: upstream id as text.
        name_ndx: class id, from 1.
        parent: id of the object that it is part of, or None.
        level: 0 for objects, 1 for their parts, 2 for parts of parts.
        instance_file: the PNG of its mask, relative to the folder of the JSON file; empty if the
            file names none.
        polygon: x0, y0, x1, y1, … of its outline in pixels, occluded pixels included.
    """

    id: str
    name_ndx: int
    parent: str | None
    level: int
    instance_file: str
    polygon: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class AdeImage:
    """The annotation of one image.

    Attributes:
        file_name: name of the image file; empty if it cannot be read.
        width, height: pixels of the stored grid; 0 if they cannot be read.
        records: the readable objects and parts, in file order.
        faults: the records that are refused, with their level.
    """

    file_name: str
    width: int
    height: int
    records: tuple[AdeRecord, ...]
    faults: tuple[tuple[Level, Fault], ...]


@dataclass(frozen=True, slots=True)
class Role:
    """The meaning of a record in the vocabulary: an object, or a part of its `owner`.

    Attributes:
        category: class of the object; for a part, the class of its owner.
        owner: the object that a part belongs to; None for an object.
        part: native name of the part; empty for an object.
    """

    category: str
    owner: AdeRecord | None = None
    part: str = ""


def read_annotation(path: Path) -> AdeImage:
    """Return the annotation in one JSON file.

    Raises:
        UnusableImage: the file cannot be read, or has another structure.
    """
    try:
        data = read_bytes(path)
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            # The loaders of the authors open the files so; every byte is a character of Latin-1.
            text = data.decode("latin-1")
        content = parse_json(text)
    except InputError as error:
        # Rejects name files relative to the source's folder.
        detail = error.message.replace(str(path), path.name)
        raise UnusableImage(Reason.MALFORMED_RECORD, detail) from None
    except ValueError as error:
        why = f"{error}{beginning(data[:HEAD])}"
        raise UnusableImage(
            Reason.MALFORMED_RECORD, f"{path.name} is not readable JSON: {why}"
        ) from None
    annotation = content.get("annotation") if isinstance(content, dict) else None
    if not isinstance(annotation, dict):
        raise UnusableImage(Reason.MALFORMED_RECORD, f"{path.name} has no 'annotation'")
    height, width = ([whole_number(n) or 0 for n in _listed(annotation.get("imsize"))] + [0, 0])[:2]
    file_name = annotation.get("filename")
    records: dict[str, AdeRecord] = {}
    faults: list[tuple[Level, Fault]] = []
    for position, raw in enumerate(_listed(annotation.get("object"))):
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
    """Return the role of each record by its id, or the fault of a record without a role.

    A record and its owners form a chain. The highest of them with one of the 44 classes is the
    object; a record below it is its part if the class has a part of that id.
    """
    records = {record.id: record for record in image.records}
    return {record.id: _role(record, records) for record in image.records}


def _role(record: AdeRecord, records: Mapping[str, AdeRecord]) -> Role | Fault:
    classes, parts = _vocabulary()
    chain, whole_chain = _chain(record, records)
    # From the top: a door is a part of its car, although a door by itself is also a class.
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
    """Return a record and its owners from the bottom up, and whether the chain is complete."""
    # Incomplete: an owner is missing, or the links form a circle.
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
    """Return the record of a JSON value, or its level and fault."""

    def fault(why: str) -> tuple[Level, Fault]:
        name = (id_text(raw.get("id")) if isinstance(raw, dict) else None) or str(position)
        return _level_of(raw), Fault(name, Reason.MALFORMED_RECORD, why)

    if not isinstance(raw, dict):
        return fault("an object is not a mapping")
    own, name_ndx = id_text(raw.get("id")), whole_number(raw.get("name_ndx"))
    if own is None or name_ndx is None:
        return fault("id or name_ndx is not a number")
    links = raw.get("parts")
    links = links if isinstance(links, dict) else {}
    owners = [id_text(item) for item in _listed(links.get("ispartof"))]
    if len(owners) > 1 or None in owners:
        return fault(f"ispartof is not an id: {links.get('ispartof')!r}")
    file = raw.get("instance_mask")
    return AdeRecord(
        id=own,
        name_ndx=name_ndx,
        parent=owners[0] if owners else None,
        level=whole_number(links.get("part_level")) or 0,
        instance_file=file if isinstance(file, str) else "",
        polygon=_outline(raw.get("polygon")),
    )


def _level_of(raw: Any) -> Level:
    """Return the level of a record that may be broken: a part if it names an owner."""
    links = raw.get("parts") if isinstance(raw, dict) else None
    linked = isinstance(links, dict) and _listed(links.get("ispartof"))
    return Level.PART if linked else Level.OBJECT


def _outline(polygon: Any) -> tuple[float, ...]:
    """Return x0, y0, x1, y1, … of a polygon; empty if it cannot be read."""
    # Only a fallback for a missing PNG, so a broken outline is no fault of its record.
    if not isinstance(polygon, dict):
        return ()
    xs, ys = _listed(polygon.get("x")), _listed(polygon.get("y"))
    if len(xs) != len(ys) or any(type(n) not in (int, float) for n in (*xs, *ys)):
        return ()
    return tuple(float(n) for corner in zip(xs, ys, strict=True) for n in corner)


def _listed(value: Any) -> list[Any]:
    """Return a list as it is, None as an empty list, and any other value as a list of one."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
