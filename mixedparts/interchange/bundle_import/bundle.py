"""A bundle on disk: its splits, its sources, and the paths of their files."""

from __future__ import annotations

import filecmp
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from mixedparts.errors import InputError
from mixedparts.files.opening import is_there
from mixedparts.files.text import read_json
from mixedparts.interchange.bundle_import.contract import (
    Place,
    RecordEntry,
    RecordFile,
    bundle_format,
)
from mixedparts.interchange.bundle_import.layout import (
    ADE_FOLDERS,
    DATASETS,
    MARK,
    SHORT,
    objects_file,
    part_maps_folder,
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
  SOURCES/coco/{train2017,val2017}, PartImageNet/images, ADE20KPart234/images   images"""


class _Mark(msgspec.Struct):
    """The fields of `export.json` that an import uses."""

    identity: dict[str, object]
    synthetic: bool = False
    profile: str = FULL
    min_part_area: float | None = None


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle and the upstream files that it needs.

    Attributes:
        root: folder of the bundle.
        sources: folder of the upstream files that the bundle does not contain.
        files: split -> records, for each split of the bundle that is imported.
        used: split -> sources that the split's records name, in alphabetical order.
        whole: whether the annotation files contain exactly the entities of a build. The import then
            also takes the entities that no record names.
        synthetic: whether `mixedparts export` marked the bundle as synthetic.
        profile: profile of the exported build; it decides the names of classes and parts.
        min_part_area: least share of the image of the parts of the exported build. The parts of an
            entity are then those of the annotation files that are large enough. None for a bundle
            of other origin, whose records alone state the parts.
    """

    root: Path
    sources: Path
    files: dict[str, RecordFile]
    used: dict[str, tuple[str, ...]]
    whole: bool
    synthetic: bool
    profile: str
    min_part_area: float | None

    def place(self, source: str, split: str) -> Place:
        """Return the paths of the files of one source and split.

        Raises:
            InputError: a file or folder is missing; the message shows the expected tree.
        """
        objects = objects_file(source, split)
        if source == "paco":
            upstream = f"paco/annotations/paco_lvis_v1_{SHORT[split]}.json"
            candidates = (self.root / objects, self.sources / upstream)
            objects_path = self._first(source, split, candidates)
            # The authors' bundle has no PACO file; an export with `--annotations own` has one with
            # other ids than upstream's. In any other bundle it is not known which one is meant.
            if not self.whole and objects_path == candidates[0]:
                self._check_equal(*candidates)
            return self._with_images(source, split, objects_path, objects, None)
        objects_path = self._first(source, split, (self.root / objects,))
        if source == "partimagenet":
            name = parts_file(split)
            parts = self._first(source, split, (self.root / name,))
            return self._with_images(source, split, objects_path, objects, parts, name)
        maps = part_maps_folder(split)
        maps_path = self._first(source, split, (self.root / maps, self.sources / maps))
        return self._with_images(source, split, objects_path, objects, maps_path)

    def _with_images(
        self,
        source: str,
        split: str,
        objects: Path,
        name: str,
        parts: Path | None,
        parts_name: str | None = None,
    ) -> Place:
        # Rejects show the layout's file names, so that they do not depend on where a file lies.
        layout_names = {str(objects): name}
        if parts is not None and parts_name is not None:
            layout_names[str(parts)] = parts_name
        return Place(objects, parts, self._image_root(source, split), layout_names)

    def image_root(self, source: str) -> Path:
        """Return the folder that the image paths of a source are relative to, in every split.

        Raises:
            InputError: a file or folder is missing, or the images are below several folders.
        """
        roots = {
            split: self.place(source, split).image_root
            for split, used in self.used.items()
            if source in used
        }
        (first, root), *others = roots.items()
        for split, other in others:
            # A row of a build has a path below one folder for each source.
            if other != root:
                raise InputError(
                    f"the {first} images of {DATASETS[source]} are below {root}, those of {split}"
                    f" below {other}",
                    "Put them below one folder, or link them there, and name it with --root.",
                )
        return root

    def _image_root(self, source: str, split: str) -> Path:
        """Return `sources` if it has the source's images, else the bundle or its parent.

        Raises:
            InputError: none of them has the images, or both the bundle and its parent.
        """
        folders = {
            "paco": ("coco", "coco_2017"),
            "partimagenet": (f"PartImageNet/images/{SHORT[split]}",),
            "ade20k": (f"ADE20KPart234/images/{ADE_FOLDERS[split]}",),
        }[source]
        # A user can also put the images into the bundle or beside it.
        places = {
            base: [base / folder for folder in folders if (base / folder).is_dir()]
            for base in (self.sources, self.root, self.root.parent)
        }
        present = [base for base, found in places.items() if found]
        if not present:
            raise self._missing(source, split, [self.sources / folder for folder in folders])
        if present[0] != self.sources and len(present) > 1:
            one, two = (places[base][0] for base in present)
            if not one.samefile(two):
                raise InputError(
                    f"the {split} images of {DATASETS[source]} can be those of {one} or of {two}",
                    "Name the folder that has the right ones with --root.",
                )
        return present[0]

    def _first(self, source: str, split: str, candidates: tuple[Path, ...]) -> Path:
        for path in candidates:
            if is_there(path):
                return path
        raise self._missing(source, split, list(candidates))

    def _check_equal(self, one: Path, two: Path) -> None:
        """Raise InputError if both files are there with different contents."""
        if is_there(two) and not filecmp.cmp(one, two, shallow=False):
            raise InputError(
                f"the ids of the records can be those of {one} or of {two}, and the two differ",
                "Move away the one that the bundle was not made from.",
            )

    def _missing(self, source: str, split: str, paths: list[Path]) -> InputError:
        looked = "\n".join(f"  {path}" for path in paths)
        return InputError(
            f"the bundle's {split} records name {DATASETS[source]}, but none of these is there:\n"
            f"{looked}\nThe whole tree:\n{_TREE}",
            "Name the folder of the upstream files with --root; `mixedparts sources show"
            f" {source}` prints where they come from.",
        )

    def inputs(self) -> Iterator[tuple[str, str, Path]]:
        """Yield (source, name in the layout, path) of every file and folder that is read."""
        for split, sources in self.used.items():
            for source in sources:
                place = self.place(source, split)
                yield source, records_file(split), self.root / records_file(split)
                yield source, objects_file(source, split), place.objects
                if place.parts is not None:
                    name = (
                        parts_file(split) if source == "partimagenet" else part_maps_folder(split)
                    )
                    yield source, name, place.parts


def open_bundle(root: Path, sources: Path, splits: tuple[str, ...]) -> Bundle:
    """Open a bundle and find out which sources its records use.

    Args:
        root: folder of the bundle.
        sources: folder of the upstream files that the bundle does not contain.
        splits: splits to import; empty: all that the bundle has.

    Returns:
        The bundle.

    Raises:
        InputError: there is no records file, a records file is unreadable, or no record is usable.
    """
    # The readers join annotation paths to the root of the images, so all paths must be absolute.
    root, sources = root.resolve(), sources.resolve()
    wanted = splits or SPLITS
    files = {
        split: bundle_format().open_records(root / records_file(split))
        for split in wanted
        # A split that the user names must exist: `RecordFile` raises where its file is missing.
        if splits or is_there(root / records_file(split))
    }
    if not files:
        raise InputError(
            f"{root} contains none of mixed_parts_train.json, mixed_parts_val.json,"
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
        return Bundle(root, sources, files, used, False, False, FULL, None)
    # An export with `--annotations original` leaves out PACO's file and ADE20K's maps. Those of
    # upstream contain entities that the build does not have.
    whole = mark.identity.get("annotations") == "own"
    # The exported parts are in its own files, whatever their size.
    least = 0.0 if whole else mark.min_part_area
    return Bundle(root, sources, files, used, whole, mark.synthetic, mark.profile, least)


def _mark(root: Path) -> _Mark | None:
    """Return the content of the bundle's `export.json`; None for a bundle of other origin.

    Raises:
        InputError: the file is there but cannot be read.
    """
    if not is_there(root / MARK):
        return None
    # A damaged file is an error: without it, the import would take other entities.
    content = read_json(root / MARK)
    try:
        return msgspec.convert(content, _Mark)
    except msgspec.ValidationError:
        return None
