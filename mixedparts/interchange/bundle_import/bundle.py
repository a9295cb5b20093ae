"""A bundle as it lies on disk: which splits and sources it has, and where their files are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from builders.bundle_readers import Place
from builders.bundle_records import RecordEntry, RecordFile
from mixedparts.errors import InputError
from mixedparts.interchange.bundle_import.layout import (
    ADE_FOLDERS,
    DATASETS,
    MARK,
    SHORT,
    maps_folder,
    objects_file,
    parts_file,
    records_file,
)
from mixedparts.sources.contract import SPLITS
from mixedparts.sources.manifests import FULL

_TREE = """\
  BUNDLE/mixed_parts_{train,val,test}.json
  BUNDLE/ADE20KPart234/ade20k_instance_{train,val}_mixed_parts.json
  BUNDLE/PartImageNet/annotations/{m}_whole/{m}_mixed_parts.json   objects, m = train, val, test
  BUNDLE/PartImageNet/annotations/{m}/{m}_mixed_parts.json         parts
  BUNDLE/paco_lvis/annotations/paco_lvis_v1_{m}.json, or SOURCES/paco/annotations/…
  BUNDLE or SOURCES/ADE20KPart234/annotations_detectron2_part/{training,validation}/*.png
  SOURCES/coco/{train2017,val2017}, PartImageNet/images, ADE20KPart234/images   pictures"""


class _Mark(msgspec.Struct):
    identity: dict[str, object]
    synthetic: bool = False
    profile: str = FULL


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle and the sources beside it.

    Attributes:
        root: its folder.
        sources: folder of the upstream files that it does not hold.
        files: the records of each split that is there.
        used: sources that records of a split name, in alphabetical order.
        whole: whether the annotation files hold the entities of a build and nothing else, so that
            those that no record names are taken too.
        synthetic: whether `mixedparts export` marked it so.
        profile: of the build that it was exported from; it says what classes and parts are called.
    """

    root: Path
    sources: Path
    files: dict[str, RecordFile]
    used: dict[str, tuple[str, ...]]
    whole: bool
    synthetic: bool
    profile: str

    def place(self, source: str, split: str) -> Place:
        """Return where the files of one source and split lie.

        Raises:
            InputError: one of them is not there, with the tree that was looked for.
        """
        objects = objects_file(source, split)
        if source == "paco":
            upstream = f"paco/annotations/paco_lvis_v1_{SHORT[split]}.json"
            found = self._first(source, split, (self.root / objects, self.sources / upstream))
            return self._with_pictures(source, split, found, objects, None)
        own = self._first(source, split, (self.root / objects,))
        if source == "partimagenet":
            name = parts_file(split)
            parts = self._first(source, split, (self.root / name,))
            return self._with_pictures(source, split, own, objects, parts, name)
        maps = maps_folder(split)
        found = self._first(source, split, (self.root / maps, self.sources / maps))
        return self._with_pictures(source, split, own, objects, found)

    def _with_pictures(
        self,
        source: str,
        split: str,
        objects: Path,
        name: str,
        parts: Path | None,
        parts_name: str | None = None,
    ) -> Place:
        named = {str(objects): name}
        if parts is not None and parts_name is not None:
            named[str(parts)] = parts_name
        return Place(objects, parts, self._pictures(source, split), named)

    def _pictures(self, source: str, split: str) -> Path:
        """Return the first folder that has the source's pictures: SOURCES, or around the bundle."""
        folders = {
            "paco": ("coco", "coco_2017"),
            "partimagenet": (f"PartImageNet/images/{SHORT[split]}",),
            "ade20k": (f"ADE20KPart234/images/{ADE_FOLDERS[split]}",),
        }[source]
        for base in (self.sources, self.root, self.root.resolve().parent):
            if any((base / folder).is_dir() for folder in folders):
                return base
        raise self._missing(source, split, [self.sources / folder for folder in folders])

    def _first(self, source: str, split: str, candidates: tuple[Path, ...]) -> Path:
        for path in candidates:
            if path.exists():
                return path
        raise self._missing(source, split, list(candidates))

    def _missing(self, source: str, split: str, paths: list[Path]) -> InputError:
        looked = "\n".join(f"  {path}" for path in paths)
        return InputError(
            f"the bundle's {split} records name {DATASETS[source]}, but none of these is there:\n"
            f"{looked}\nThe whole tree:\n{_TREE}",
            "Name the folder of the upstream files with --root; `mixedparts sources show"
            f" {source}` says where they come from.",
        )

    def inputs(self) -> Iterator[tuple[str, str, Path]]:
        """Yield (source, name in the layout, file or folder) of everything that is read."""
        for split, sources in self.used.items():
            for source in sources:
                place = self.place(source, split)
                yield source, records_file(split), self.root / records_file(split)
                yield source, objects_file(source, split), place.objects
                if place.parts is not None:
                    name = parts_file(split) if source == "partimagenet" else maps_folder(split)
                    yield source, name, place.parts


def open_bundle(root: Path, sources: Path, splits: tuple[str, ...]) -> Bundle:
    """Look at a bundle's records.

    Args:
        splits: those to take; empty: all that are there.

    Raises:
        InputError: no records are there, or a file of them cannot be read as a whole.
    """
    root, sources = root.resolve(), sources.resolve()  # a reader joins them to another folder
    wanted = splits or SPLITS
    files = {
        split: RecordFile(root / records_file(split))
        for split in wanted
        if splits or (root / records_file(split)).exists()
    }
    if not files:
        raise InputError(
            f"{root} holds none of mixed_parts_train.json, mixed_parts_val.json,"
            f" mixed_parts_test.json. Looked for:\n{_TREE}",
            "Name the folder that the bundle was unpacked to; its own root corresponds to"
            " Part_Segm/ of the published layout.",
        )
    used = {
        split: tuple(sorted({item.source for item in records if isinstance(item, RecordEntry)}))
        for split, records in files.items()
    }
    if not any(used.values()):
        raise InputError(
            f"{root}: no record of {', '.join(map(records_file, files))} can be used",
            "Compare them with the record schema of the published bundle.",
        )
    mark = _mark(root)
    if mark is None:
        return Bundle(root, sources, files, used, False, False, FULL)
    own = mark.identity.get("annotations") == "own"
    return Bundle(root, sources, files, used, own, mark.synthetic, mark.profile)


def _mark(root: Path) -> _Mark | None:
    """Return what `mixedparts export` noted of a bundle; None for one of someone else's."""
    try:
        return msgspec.convert(json.loads((root / MARK).read_bytes()), _Mark)
    except (OSError, ValueError):
        return None
