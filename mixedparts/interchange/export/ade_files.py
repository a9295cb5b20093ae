"""ADE20K-Part-234's files of a bundle: objects as COCO annotations, parts as segmentation maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mixedparts import masks
from mixedparts.images.opening import decode, opened
from mixedparts.interchange.export.annotation_files import (
    AnnotatedEntity,
    CocoFile,
    Ids,
    class_of,
    digests_of,
    part_ids,
)
from mixedparts.interchange.export.rows import Row
from mixedparts.interchange.export.safe_paths import inside
from mixedparts.sources.manifest_types import Manifest

UNLABELLED = 65535  # value of a pixel without a part in the 16-bit maps


class AdeWriter:
    """Writes ADE20K-Part-234's object file and its part segmentation maps.

    Args:
        target: path of the object file.
        maps: folder of the maps; None if the bundle refers to upstream's maps.
        work: folder of working files.
        manifest: the source's manifest, under the build's profile.
    """

    def __init__(self, target: Path, maps: Path | None, work: Path, manifest: Manifest) -> None:
        self._file = CocoFile(target, work)
        self._maps = maps
        self._manifest = manifest
        self._known: dict[tuple[str, str, bytes], int] = {}
        self._inexact = 0

    def add(self, entity: Row, number: int) -> AnnotatedEntity | None:
        """Add one object annotation, and paint the entity's parts into the map of its image."""
        upstream_class = class_of(self._manifest, entity)
        if upstream_class is None:
            return None
        image = self._file.add_image(entity, entity["image_id"])
        parts: dict[str, Ids] = {
            part["name"]: part_ids(upstream_class, part["name"]) for part in entity["parts"]
        }
        digests = digests_of(entity)
        key = entity["image_id"], entity["category"], digests[""]
        # One file serves validation and test, which may share an image.
        if key not in self._known:
            self._known[key] = number
            ids = [value for values in parts.values() for value in values]
            self._file.annotate(
                self._known[key], image, upstream_class.id, entity, part_category_id=ids
            )
        if self._maps is not None and entity["parts_known"]:
            name = f"{Path(entity['file_name']).stem}.png"
            self._paint(inside(self._maps, name), entity, parts)
        return AnnotatedEntity(image, (self._known[key],), parts, digests)

    def _paint(self, path: Path, entity: Row, parts: dict[str, Ids]) -> None:
        """Paint an entity's parts into the map of its image, and count those that do not fit.

        A map has one value a pixel, so of two overlapping parts the first one wins.
        """
        shape = entity["height"], entity["width"]
        # The entities of an image come one by one, so its map is read back for each of them.
        if path.exists():
            with opened(path.read_bytes(), ("PNG",)) as image:
                decode(image)
                labels = np.array(image, np.uint16)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            labels = np.full(shape, UNLABELLED, np.uint16)
        painted = labels.copy()
        # Dense masks, (H, W) bool each; only those of one entity are in memory.
        dense = {part["name"]: _dense(part) for part in entity["parts"]}
        # Unlabelled pixels only: a part never overwrites an earlier one.
        for name, mask in dense.items():
            painted[mask & (painted == UNLABELLED)] = parts[name][0]
        # Read each part back as an import does: the map's values inside the object. A part that
        # overlaps another or leaves its object comes back smaller.
        whole = _dense(entity)
        for name, mask in dense.items():
            read_back = np.isin(painted, parts[name]) & whole
            self._inexact += not np.array_equal(read_back, mask)
        if not path.exists() or not np.array_equal(labels, painted):
            Image.fromarray(painted).save(path)

    def close(self) -> None:
        """Write the object file, with all categories that the source has."""
        objects = self._manifest.objects.values()
        self._file.close([{"id": item.id, "name": item.key} for item in objects])

    def notes(self) -> list[str]:
        """Return a note on the part masks that a map cannot represent, if there are any."""
        if not self._inexact:
            return []
        return [
            f"ade20k: {self._inexact} part masks overlap others or leave their object, which a map"
            " with one value a pixel cannot represent; an import reads them smaller."
        ]


def _dense(region: Row) -> NDArray[np.bool_]:
    """Return a region's mask as (H, W) bool on the stored pixel grid."""
    height, width = region["mask"]["size"]
    rle = masks.Rle(height, width, region["mask"]["counts"].encode())
    return masks.decode(rle).astype(np.bool_)
