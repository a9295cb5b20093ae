"""The YAML beside any COCO-style files that says what their categories mean and how parts link.

See `docs/coco-parts.md` for an example; every fault names the file and the line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath

from builders.formats.paths import safe_name
from mixedparts.errors import InputError
from mixedparts.sources.contract import SPLITS
from mixedparts.sources.manifest_parsing import described_groups
from mixedparts.sources.manifest_types import (
    Manifest,
    ObjectClass,
    PartClass,
    Rename,
    by_name,
    plain_name,
)
from mixedparts.sources.yaml_entries import Entry, load_yaml

NAME = "coco_parts"
FOLDER = NAME
FILE = f"{FOLDER}/{NAME}.yaml"
_NAMED_THERE = f"named so in {NAME}.yaml"


class Link(StrEnum):
    """How a part annotation finds its object.

    KEY: the part holds the id of its object's annotation.
    OVERLAP: the object of a fitting class that holds most of the part's pixels.
    UNION: objects are not annotated; each class's object is the union of its parts in the image.
    """

    KEY = "key"
    OVERLAP = "overlap"
    UNION = "union"


@dataclass(frozen=True, slots=True)
class SplitPlace:
    """Where one split lies, relative to the root."""

    annotations: str
    images: str


@dataclass(frozen=True, slots=True)
class Description:
    """What the YAML says.

    Attributes:
        splits: the splits that it names.
        link_key: for `Link.KEY`, under which key of a part's annotation its object's id stands.
        manifest: classes, parts, names, groups and terms; keys and natives are category names.
    """

    splits: Mapping[str, SplitPlace]
    link: Link
    link_key: str
    manifest: Manifest


Categories = Callable[[str], list[str]]
"""Returns the category names of an annotation file, given relative to the root."""


def read_description(root: Path, categories: Categories) -> Description:
    """Read `coco_parts/coco_parts.yaml` below a root.

    Args:
        categories: asked only where the YAML lists no classes but a separator.

    Raises:
        InputError: it is missing or broken.
    """
    try:
        text = (root / FILE).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        hint = "It says how parts and objects link: see docs/coco-parts.md for an example."
        raise InputError(f"{root / FILE} cannot be read: {error}", hint) from None
    top = load_yaml(text, str(root / FILE))
    identity = ("title", "version", "homepage", "licence", "image_licence", "citation")
    top.only(*identity, "splits", "link", "separator", "objects", "groups", "alone")
    splits = _splits(top.at("splits"))
    link, link_key = _link(top)
    if top.has("separator") == top.has("objects"):
        top.fault("either 'objects' or 'separator' says what the categories mean")
    if top.has("objects"):
        objects = _listed(top.at("objects"))
    else:
        names = dict.fromkeys(n for place in splits.values() for n in categories(place.annotations))
        objects = _separated(top, list(names))
    _check(top, objects, link)
    manifest = Manifest(
        source=NAME,
        title=top.string("title"),
        version=top.string("version", "1"),
        homepage=top.string("homepage", "unknown"),
        download=top.string("homepage", "unknown"),
        licence=top.string("licence"),
        image_licence=top.string("image_licence"),
        citation=top.string("citation", "none given"),
        files=(),
        counts={},
        objects={item.key: item for item in objects},
        renames=_renames(objects),
        by_name=by_name(objects),
    )
    return Description(splits, link, link_key, described_groups(top, manifest))


def _splits(entry: Entry) -> dict[str, SplitPlace]:
    entry.only(*SPLITS)
    places = {}
    for split, place in entry.items():
        place.only("annotations", "images")
        places[split] = SplitPlace(_path(place, "annotations"), _path(place, "images"))
    if not places:
        entry.fault("no split is named")
    return {split: places[split] for split in SPLITS if split in places}


def _path(entry: Entry, key: str) -> str:
    path = safe_name(entry.string(key))
    if path is None:
        entry.at(key).fault(f"'{key}' must be a path below the folder of this file")
    return str(PurePosixPath(FOLDER) / path)


def _link(top: Entry) -> tuple[Link, str]:
    entry = top.at("link")
    if isinstance(entry.value, dict):
        entry.only("key")
        key = entry.string("key")
        if key in ("id", "image_id", "category_id", "segmentation"):
            entry.at("key").fault(f"'{key}' means something else in a COCO file")
        return Link.KEY, key
    if entry.value not in (Link.OVERLAP, Link.UNION):
        entry.fault("link is {key: NAME}, overlap or union")
    return Link(entry.value), "obj_ann_id"


def _listed(entry: Entry) -> list[ObjectClass]:
    """Read `objects`: category name -> canonical name, and category names of its parts."""
    objects = []
    for position, (key, item) in enumerate(entry.items()):
        item.only("name", "parts")
        parts = [
            PartClass(number, native, item.at("parts").string(native))
            for number, (native, _) in enumerate(item.at("parts").items())
        ]
        name = item.string("name", plain_name(key))
        objects.append(ObjectClass(key, position, key, name, "", tuple(parts)))
    if not objects:
        entry.fault("no class is named")
    return objects


def _separated(top: Entry, names: list[str]) -> list[ObjectClass]:
    """Take category names apart: `dog:head` is the head of a dog."""
    separator = top.at("separator").value  # a blank is one too: `Fish Head`
    if not isinstance(separator, str) or not separator:
        top.at("separator").fault(f"'separator' must be text, not {separator!r}")
    parts: dict[str, list[PartClass]] = {n: [] for n in names if separator not in n}
    for native in (n for n in names if separator in n):
        key, _, part = native.partition(separator)
        mine = parts.setdefault(key, [])
        mine.append(PartClass(len(mine), native, plain_name(part)))
    if not any(parts.values()):
        top.at("separator").fault(f"no category of the files holds '{separator}'")
    return [
        ObjectClass(key, position, key, plain_name(key), "", tuple(mine))
        for position, (key, mine) in enumerate(parts.items())
    ]


def _check(top: Entry, objects: list[ObjectClass], link: Link) -> None:
    owners: dict[str, list[str]] = {}
    for item in objects:
        for part in item.parts:
            owners.setdefault(part.native, []).append(item.key)
    keys = {item.key for item in objects}
    for native, mine in owners.items():
        if native in keys:
            top.fault(f"category '{native}' cannot be an object and a part")
        if link is Link.UNION and len(mine) > 1:
            top.fault(f"with link: union, '{native}' cannot be a part of {' and '.join(mine)}")


def _renames(objects: list[ObjectClass]) -> tuple[Rename, ...]:
    changed = []
    for item in objects:
        if item.name != plain_name(item.native):
            changed.append(Rename(NAME, "object", item.key, item.native, item.name, _NAMED_THERE))
        changed += [
            Rename(NAME, "part", item.key, part.native, part.name, _NAMED_THERE)
            for part in item.parts
            if part.name != plain_name(part.native)
        ]
    return tuple(changed)
