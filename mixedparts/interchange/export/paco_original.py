"""Annotation ids of upstream's PACO file, for a bundle with `--annotations original`.

Such a bundle contains no PACO file; its records refer to the file that the build was read from.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from mixedparts import masks
from mixedparts.entities.normalise import Names
from mixedparts.errors import InputError
from mixedparts.interchange.export.annotation_files import (
    AnnotatedEntity,
    ImageId,
    digest,
    digests_of,
)
from mixedparts.interchange.export.rows import Row
from mixedparts.masks import Rle
from mixedparts.pipeline.plan import missing_source
from mixedparts.records import ImageRecord
from mixedparts.sources.contract import get_source
from mixedparts.sources.manifest_types import Manifest

_SHARD_IMAGES = 256
_Masks = dict[str, list[tuple[ImageId, Rle]]]  # part name (object: empty) -> ids and masks


class PacoOriginal:
    """Finds the annotations of upstream's file whose union is an entity, and checks their masks.

    Args:
        root: folder of the sources, laid out as for a build.
        split: split of the file to read.
        manifest: PACO's manifest, under the build's profile.

    Raises:
        InputError: PACO's file is not there.
    """

    def __init__(self, root: Path, split: str, manifest: Manifest) -> None:
        source = get_source("paco")
        if split not in source.splits(root):
            raise missing_source(source, root)
        names = Names(manifest)
        self._known: dict[tuple[str, str], AnnotatedEntity] = {}
        for shard in source.plan(root, split, _SHARD_IMAGES, ""):
            # A rejected image or annotation is no part of the build either.
            for record in source.read(shard):
                if isinstance(record, ImageRecord):
                    self._add_image(record, names)
        self._file = f"{root}/paco"

    def _add_image(self, record: ImageRecord, names: Names) -> None:
        """Note the ids and mask digests of an image's entities.

        Instances and parts are united by canonical name, as in `entities.normalise`.
        """
        by_class: dict[str, _Masks] = defaultdict(lambda: defaultdict(list))
        classes = {item.id: item.category for item in record.objects}
        for item in record.objects:
            by_class[names.category(item.category)][""].append((_id(item.id), item.mask))
        for part in record.parts:
            key = classes[part.object_id]
            instances = by_class[names.category(key)][names.part(key, part.name)]
            instances.append((_id(part.id), part.mask))
        for category, regions in by_class.items():
            ids = {name: tuple(number for number, _ in items) for name, items in regions.items()}
            # Digests instead of masks: the masks of a full split do not fit into memory.
            digests = {
                name: digest(masks.union([mask for _, mask in items]).counts.decode())
                for name, items in regions.items()
            }
            objects = ids.pop("")
            image = _id(record.image_id)
            self._known[record.image_id, category] = AnnotatedEntity(image, objects, ids, digests)

    def add(self, entity: Row, number: int) -> AnnotatedEntity | None:
        """Return upstream's ids of an entity.

        Args:
            entity: a row of `entities`.
            number: unused; the ids are those of upstream's file.

        Returns:
            The ids.

        Raises:
            InputError: upstream's file has no such entity, or another mask of it.
        """
        upstream = self._known.get((entity["image_id"], entity["category"]))
        # A subset: the build's filters may have dropped small parts that upstream has.
        if upstream is None or not digests_of(entity).items() <= upstream.digests.items():
            raise InputError(
                f"image {entity['image_id']}, {entity['category']}: {self._file} has other masks"
                " than the build, which was read from another file",
                "Name the sources of this build with --root, or use --annotations own.",
            )
        return upstream

    def close(self) -> None:
        """Do nothing: upstream's file stays as it is."""

    def notes(self) -> list[str]:
        """Return no notes: the file represents every entity."""
        return []


def _id(text: str) -> ImageId:
    """Return an id as in upstream's file: as a number if its text is decimal."""
    return int(text) if text.isdecimal() else text
