"""The COCO export as pycocotools, supervision and datumaro read it, compared with the build.

datumaro allows only older versions of numpy, pandas and pyarrow, so it is not an extra of this
project: `make test-readers` installs it into an environment of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from mixedparts.interchange.export.request import ExportRequest, Format
from mixedparts.interchange.export.run import export
from mixedparts.progress import Silent
from tests.oracles.build_tables import iter_rows

SPLITS = ("train", "validation", "test", "benchmark")


@dataclass(frozen=True)
class Seen:
    """A mask as a reader returns it."""

    split: str
    file: str
    name: str
    mask: NDArray[np.bool_]

    @property
    def key(self) -> tuple[str, str, str, bytes]:
        return self.split, self.file, self.name, np.packbits(self.mask).tobytes()


@pytest.fixture(scope="module")
def coco(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All splits and the benchmark of `built` as COCO; do not write here."""
    out = tmp_path_factory.mktemp("readers") / "coco"
    export(ExportRequest(built, Format.COCO, out, splits=SPLITS), Silent())
    return out


@pytest.fixture(scope="module")
def wanted(built: Path) -> Counter[tuple[str, str, str, bytes]]:
    """Every mask of the build's entities whose image a row shows, by split."""
    found: Counter[tuple[str, str, str, bytes]] = Counter()
    for split in SPLITS:
        shown = {ref["row"] for row in iter_rows(built, "pairs", split) for ref in row["images"]}
        for entity in iter_rows(built, "entities", "test" if split == "benchmark" else split):
            if entity["row"] not in shown:
                continue
            file = f"{entity['source']}/{Path(entity['file_name']).name}"
            category = entity["category"]
            regions = [(category, entity["mask"])]
            regions += [(f"{category}:{part['name']}", part["mask"]) for part in entity["parts"]]
            for name, mask in regions:
                dense = coco_mask.decode(mask | {"counts": mask["counts"].encode()}).astype(bool)
                found[Seen(split, file, name, dense).key] += 1
    return found


def seen_by_pycocotools(folder: Path) -> Iterator[Seen]:
    names = COCO(str(folder / "annotations" / "instances_train.json")).cats
    for split in SPLITS:
        coco = COCO(str(folder / "annotations" / f"instances_{split}.json"))
        for item in coco.anns.values():
            file = coco.imgs[item["image_id"]]["file_name"]
            assert (folder / "images" / split / file).is_file()
            # The names are those of the train file: an id means the same in every file.
            name = names[item["category_id"]]["name"]
            yield Seen(split, file, name, coco.annToMask(item).astype(bool))


def seen_by_supervision(folder: Path) -> Iterator[Seen]:
    supervision = pytest.importorskip("supervision")
    classes: list[str] = []
    for split in SPLITS:
        images = folder / "images" / split
        file = folder / "annotations" / f"instances_{split}.json"
        dataset = supervision.DetectionDataset.from_coco(str(images), str(file))
        # `class_id` is a position in this list, so it must be the same in every split.
        classes = classes or dataset.classes
        for path, pixels, found in dataset:
            name = str(Path(path).relative_to(images.resolve()))
            for mask, number in zip(found.mask, found.class_id, strict=True):
                assert mask.shape == pixels.shape[:2]
                yield Seen(split, name, classes[number], mask)


def seen_by_datumaro(folder: Path) -> Iterator[Seen]:
    datumaro = pytest.importorskip("datumaro")
    dataset = datumaro.Dataset.import_from(str(folder), "coco")
    labels = dataset.categories()[datumaro.AnnotationType.label]
    assert set(dataset.subsets()) == set(SPLITS)
    for item in dataset:
        assert item.media.data.shape[:2] == item.media.size
        file = Path(item.media.path).relative_to(folder / "images" / item.subset)
        for annotation in item.annotations:
            if annotation.type == datumaro.AnnotationType.mask:
                name = labels[annotation.label].name
                yield Seen(item.subset, str(file), name, annotation.image.astype(bool))


READERS: dict[str, Any] = {
    "pycocotools": seen_by_pycocotools,
    "supervision": seen_by_supervision,
    "datumaro": seen_by_datumaro,
}


@pytest.mark.parametrize("reader", READERS)
def test_a_reader_sees_every_mask_under_its_name(
    coco: Path, wanted: Counter[tuple[str, str, str, bytes]], reader: str
) -> None:
    found = Counter(seen.key for seen in READERS[reader](coco))
    assert found.total() == wanted.total() > 500
    assert found == wanted
