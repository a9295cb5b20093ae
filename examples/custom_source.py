"""Read a format of your own: a source in about sixty lines.

The format here is an image and a label map beside it: `cups/train/mug-3.png` and
`mug-3.labels.png`, where pixels of 1 are the body and pixels of 2 the handle. The script writes
such a folder, one map missing, and shows what the reader yields and what a build would keep of it.
`mixedparts build` finds a source by its entry point: docs/example_source is a whole package to
copy, docs/add-a-source.md explains it.

    python examples/custom_source.py --out runs/examples/cups
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from builders.bases.sharded_source import ShardedSource
from builders.formats.file_listing import annotation_files
from builders.formats.segmentation_maps import EIGHT_BIT, UnusableMap, read_label_map
from mixedparts import masks
from mixedparts.entities.normalise import FilterCounts, Filters, Names, entities_of
from mixedparts.exit_codes import run_command
from mixedparts.images.opening import UnreadableImage, decodable_size
from mixedparts.records import ImageRecord, Level, ObjectInstance, PartInstance, Reason, Reject
from mixedparts.sources.contract import SPLITS, ReadShard

PARTS = {1: "body", 2: "handle"}
MAP = ".labels.png"


class CupsSource(ShardedSource):
    """Reader of `cups/{split}/*.png` with label maps beside them."""

    name = "cups"
    version = "1"

    def layout(self, root: Path) -> str:
        return f"{root}/\n  cups/{{train,validation,test}}/CLASS-NUMBER.png and .labels.png"

    def splits(self, root: Path) -> tuple[str, ...]:
        return tuple(split for split in SPLITS if (root / "cups" / split).is_dir())

    def required_files(self, root: Path, split: str) -> tuple[str, ...]:
        return (f"cups/{split}",)

    def entries(self, root: Path, split: str) -> tuple[str, int]:
        return f"cups/{split}", len(self._images(root, split))

    def read(self, shard: ReadShard) -> Iterator[ImageRecord | Reject]:
        for file in self._images(Path(shard.root), shard.split)[shard.start : shard.stop]:
            yield self._record(shard, file)

    def _images(self, root: Path, split: str) -> list[str]:
        files = annotation_files(root, f"cups/{split}", ".png")
        return [file for file in files if not file.endswith(MAP)]

    def _record(self, shard: ReadShard, file: str) -> ImageRecord | Reject:
        path = Path(shard.root, file)
        refused = (shard.source, shard.split, file, path.stem, Level.IMAGE)
        try:
            width, height = decodable_size(path.read_bytes())
            labels = read_label_map(path.with_suffix(MAP), width, height, EIGHT_BIT)
        except (OSError, UnreadableImage) as error:
            return Reject(*refused, Reason.UNREADABLE_IMAGE, str(error))
        except UnusableMap as error:
            return Reject(*refused, Reason.MISSING_ANNOTATION, str(error))
        found = masks.from_labels(labels, PARTS)
        if not found:
            return Reject(*refused, Reason.EMPTY_MASK, "no pixel has a label")
        kind = path.stem.rpartition("-")[0]
        whole = ObjectInstance("0", kind, masks.union(list(found.values())))
        parts = tuple(PartInstance(str(n), "0", PARTS[n], mask) for n, mask in found.items())
        return ImageRecord(
            shard.source, shard.split, path.stem, path.name, file, width, height, (whole,), parts
        )


def write_cups(root: Path) -> None:
    """Draw four images with label maps, and lose one map."""
    folder = root / "cups" / "train"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(4):
        labels = np.zeros((60, 80), np.uint8)
        labels[10:50, 10:50] = 1
        labels[20:24, 50 : 51 + 5 * number] = 2  # the first handle has 4 pixels: too small
        Image.fromarray(labels * 100).convert("RGB").save(folder / f"mug-{number}.png")
        Image.fromarray(labels).save(folder / f"mug-{number}{MAP}")
    (folder / f"mug-3{MAP}").unlink()


def main() -> int:
    """Print what the reader yields, and the entities that a build would make of it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs/examples/cups"))
    root = parser.parse_args().out
    write_cups(root)
    source, dropped = CupsSource(), FilterCounts()
    for shard in source.plan(root, "train", shard_images=2, variant=""):
        for outcome in source.read(shard):
            if isinstance(outcome, Reject):
                print(f"{outcome.record_id}: refused, {outcome.reason}: {outcome.detail}")
                continue
            for entity in entities_of(outcome, Names(None), Filters(), dropped):
                parts = [f"{part.name} ({part.area} pixels)" for part in entity.parts]
                print(f"{outcome.image_id}: {entity.region.name} with {', '.join(parts)}")
    print(f"too small: {dropped.objects} objects, {dropped.parts} parts")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
