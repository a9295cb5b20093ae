"""ADE20K-Part-234's files of a published bundle: objects as COCO annotations, parts as maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mixedparts import masks
from mixedparts.interchange.export.annotation_files import (
    CocoFile,
    Ids,
    Named,
    class_of,
    digests_of,
    part_ids,
)
from mixedparts.interchange.export.rows import Row
from mixedparts.sources.manifest_types import Manifest

UNLABELLED = 65535


class AdeWriter:
    """Writes ADE20K-Part-234's object file, and its part maps unless upstream's are to serve."""

    def __init__(self, target: Path, maps: Path | None, work: Path, manifest: Manifest) -> None:
        self._file = CocoFile(target, work)
        self._maps = maps
        self._manifest = manifest
        self._known: dict[tuple[str, str, bytes], int] = {}
        self._inexact = 0

    def add(self, entity: Row) -> Named | None:
        """Take an entity: one object annotation; its parts are painted into its image's map."""
        known = class_of(self._manifest, entity)
        if known is None:
            return None
        image = self._file.image(entity, entity["image_id"])
        parts: dict[str, Ids] = {
            part["name"]: part_ids(known, part["name"]) for part in entity["parts"]
        }
        found = digests_of(entity)
        key = entity["image_id"], entity["category"], found[""]
        if key not in self._known:  # validation and test may share an image
            self._known[key] = self._file.annotations + 1
            ids = [number for numbers in parts.values() for number in numbers]
            self._file.annotate(self._known[key], image, known.id, entity, part_category_id=ids)
        if self._maps is not None and entity["parts_known"]:
            self._paint(self._maps / f"{Path(entity['file_name']).stem}.png", entity, parts)
        return Named(image, (self._known[key],), parts, found)

    def _paint(self, path: Path, entity: Row, parts: dict[str, Ids]) -> None:
        """Put an entity's parts into its image's map, and count those that do not fit there."""
        shape = entity["height"], entity["width"]
        if path.exists():
            with Image.open(path) as picture:
                labels = np.array(picture, np.uint16)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            labels = np.full(shape, UNLABELLED, np.uint16)
        painted = labels.copy()
        dense = {part["name"]: _dense(part) for part in entity["parts"]}
        for name, mask in dense.items():
            painted[mask & (painted == UNLABELLED)] = parts[name][0]
        whole = _dense(entity)
        for name, mask in dense.items():
            found = np.isin(painted, parts[name]) & whole
            self._inexact += not np.array_equal(found, mask)
        if not path.exists() or not np.array_equal(labels, painted):
            Image.fromarray(painted).save(path)

    def close(self) -> None:
        """Write the object file, with all categories that the source has."""
        objects = self._manifest.objects.values()
        self._file.close([{"id": item.id, "name": item.key} for item in objects])

    def notes(self) -> list[str]:
        """Say how many part masks a map could not keep."""
        if not self._inexact:
            return []
        return [
            f"ade20k: {self._inexact} part masks overlap others or leave their object, which a map"
            " of one value a pixel cannot hold; they come back smaller."
        ]


def _dense(region: Row) -> NDArray[np.bool_]:
    height, width = region["mask"]["size"]
    rle = masks.Rle(height, width, region["mask"]["counts"].encode())
    return masks.decode(rle).astype(np.bool_)
