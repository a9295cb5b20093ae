"""The YAML that describes COCO-style files: what their categories mean and how parts link.

See `docs/coco-parts.md` for an example. Every error names the file and the line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath

from builders.formats.paths import safe_name
from mixedparts.errors import InputError
from mixedparts.files.text import read_text
from mixedparts.sources.contract import SPLITS
from mixedparts.sources.manifest_parsing import described_groups
from mixedparts.sources.manifest_types import (
    Manifest,
    ObjectClass,
    PartClass,
    Rename,
    by_name,
    name_fault,
    plain_name,
)
from mixedparts.sources.yaml_entries import Entry, load_yaml

NAME = "coco_parts"
FOLDER = NAME
FILE = f"{FOLDER}/{NAME}.yaml"
_NAMED_THERE = f"named so in {NAME}.yaml"


class Link(StrEnum):
    """How a part annotation finds its object.

    KEY: the part has the id of the annotation of its object.
    OVERLAP: its object is the one of a fitting class that covers most of its pixels.
    UNION: objects are not annotated; the parts of a class in an image make one object.
    """

    KEY = "key"
    OVERLAP = "overlap"
    UNION = "union"


@dataclass(frozen=True, slots=True)
class SplitPlace:
    """The files of one split.

    Attributes:
        annotations: the annotation file, relative to the root.
        images: the image folder, relative to the root.
    """

    annotations: str
    images: str


@dataclass(frozen=True, slots=True)
class Description:
    """The content of the YAML.

    Attributes:
        splits: the files of each split in the YAML.
        link: how a part finds its object.
        link_key: for `Link.KEY`, the key of a part annotation that has the id of its object.
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
        root: folder that the source's layout starts from.
        categories: called only if the YAML has `separator` instead of `objects`.

    Returns:
        The description, with a complete manifest.

    Raises:
        InputError: the YAML is missing or broken.
    """
    hint = "It describes how parts and objects link: see docs/coco-parts.md for an example."
    text = read_text(root / FILE, hint=hint, empty=True)
    if not text.strip():
        raise InputError(f"{root / FILE}:1 is empty; keys and values are expected here", hint)
    top = load_yaml(text, str(root / FILE))
    identity = ("title", "version", "homepage", "licence", "image_licence", "citation")
    top.only(*identity, "splits", "link", "separator", "objects", "groups", "alone")
    splits = _splits(top.at("splits"))
    link, link_key = _link(top)
    if top.has("separator") == top.has("objects"):
        top.fault("either 'objects' or 'separator' must describe the categories")
    if top.has("objects"):
        objects = _listed(top.at("objects"))
    else:
        # A dict keeps the order of the files and drops names that several splits have.
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
    # In the order of `SPLITS`, whatever the order in the YAML.
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
        # The base reader decodes these keys as something else.
        if key in ("id", "image_id", "category_id", "segmentation"):
            entry.at("key").fault(f"'{key}' means something else in a COCO file")
        return Link.KEY, key
    if entry.value not in (Link.OVERLAP, Link.UNION):
        entry.fault("link is {key: NAME}, overlap or union")
    # The key of PACO; no annotation is linked by it here, but it still marks parts in rejects.
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
    """Split category names at the separator: `dog:head` is the head of a dog."""
    # Not `top.string`, which refuses a blank; a blank separates `Fish Head`.
    separator = top.at("separator").value
    if not isinstance(separator, str) or not separator:
        top.at("separator").fault(f"'separator' must be text, not {separator!r}")
    parts: dict[str, list[PartClass]] = {n: [] for n in names if separator not in n}
    for native in (n for n in names if separator in n):
        key, _, part = native.partition(separator)
        # Without a category of its own, the object exists only through its parts.
        parts_of_class = parts.setdefault(key, [])
        parts_of_class.append(PartClass(len(parts_of_class), native, plain_name(part)))
    if not any(parts.values()):
        top.at("separator").fault(f"no category of the files contains '{separator}'")
    return [
        ObjectClass(key, position, key, plain_name(key), "", tuple(parts_of_class))
        for position, (key, parts_of_class) in enumerate(parts.items())
    ]


def _check(top: Entry, objects: list[ObjectClass], link: Link) -> None:
    """Raise InputError for a category with two meanings, or a name that breaks answers."""
    for item in objects:
        for name in (item.name, *(part.name for part in item.parts)):
            if (fault := name_fault(name)) is not None:
                top.fault(f"the name {name!r} of class '{item.key}': {fault}")
    owners: dict[str, list[str]] = {}
    for item in objects:
        for part in item.parts:
            owners.setdefault(part.native, []).append(item.key)
    keys = {item.key for item in objects}
    for native, classes in owners.items():
        if native in keys:
            top.fault(f"category '{native}' cannot be an object and a part")
        # Key and overlap find the object first; with unions only the category shows the class.
        if link is Link.UNION and len(classes) > 1:
            top.fault(f"with link: union, '{native}' cannot be a part of {' and '.join(classes)}")


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
