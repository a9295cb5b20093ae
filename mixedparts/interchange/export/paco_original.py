"""PACO ids of upstream's own file, for a bundle that leaves that file where it is."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from mixedparts import masks
from mixedparts.entities.normalise import Names
from mixedparts.errors import InputError
from mixedparts.interchange.export.annotation_files import ImageId, Named, digest, digests_of
from mixedparts.interchange.export.rows import Row
from mixedparts.masks import Rle
from mixedparts.pipeline.plan import missing_source
from mixedparts.records import ImageRecord
from mixedparts.sources.contract import get_source
from mixedparts.sources.manifest_types import Manifest

_SHARD_IMAGES = 256
_Masks = dict[str, list[tuple[ImageId, Rle]]]  # part name, or empty for the object -> id and mask


class PacoOriginal:
    """Finds the annotations that make an entity in upstream's file, and proves that they do.

    Args:
        root: folder of the sources, laid out as for a build.

    Raises:
        InputError: PACO's file is not there.
    """

    def __init__(self, root: Path, split: str, manifest: Manifest) -> None:
        source = get_source("paco")
        if split not in source.splits(root):
            raise missing_source(source, root)
        names = Names(manifest)
        self._known: dict[tuple[str, str], Named] = {}
        for shard in source.plan(root, split, _SHARD_IMAGES, ""):
            for record in source.read(shard):
                if isinstance(record, ImageRecord):
                    self._note(record, names)
        self._file = f"{root}/paco"

    def _note(self, record: ImageRecord, names: Names) -> None:
        found: dict[str, _Masks] = defaultdict(lambda: defaultdict(list))
        classes = {item.id: item.category for item in record.objects}
        for item in record.objects:
            found[names.category(item.category)][""].append((_id(item.id), item.mask))
        for part in record.parts:
            key = classes[part.object_id]
            mine = found[names.category(key)][names.part(key, part.name)]
            mine.append((_id(part.id), part.mask))
        for category, regions in found.items():
            ids = {name: tuple(number for number, _ in mine) for name, mine in regions.items()}
            digests = {
                name: digest(masks.union([mask for _, mask in mine]).counts.decode())
                for name, mine in regions.items()
            }
            objects = ids.pop("")
            image = _id(record.image_id)
            self._known[record.image_id, category] = Named(image, objects, ids, digests)

    def add(self, entity: Row) -> Named | None:
        """Return upstream's ids of an entity.

        Raises:
            InputError: upstream's file holds no such entity, or another mask.
        """
        named = self._known.get((entity["image_id"], entity["category"]))
        if named is None or not digests_of(entity).items() <= named.digests.items():
            raise InputError(
                f"image {entity['image_id']}, {entity['category']}: {self._file} holds other masks"
                " than the build, which was read from another file",
                "Name the sources of this build with --root, or use --annotations own.",
            )
        return named

    def close(self) -> None:
        """Do nothing: upstream's file stays as it is."""

    def notes(self) -> list[str]:
        """Return nothing: everything is kept."""
        return []


def _id(text: str) -> ImageId:
    """Return an id as upstream's file writes it: a number where it reads as one."""
    return int(text) if text.isdecimal() else text
