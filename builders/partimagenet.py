"""PartImageNet (Seg): polygons of parts, one object an image, its class in the file name.

Source of the format: the published loaders of PartImageNet_Seg (VLPart, WPS-SAM, pdiscoformer).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from builders.bases.coco_source import SplitFiles
from builders.bases.synsets import SHORT, SynsetSource

_BASE = "PartImageNet"


class PartImageNetSource(SynsetSource):
    """Reader of `annotations/{split}/{split}.json` and the `{split}_whole` PNGs."""

    name = "partimagenet"
    version = "1"

    def layout(self, root: Path) -> str:
        """Return the tree of files that the source is looked for in."""
        return (
            f"{root}/\n"
            "  PartImageNet/images/{train,val,test}/*.JPEG\n"
            "  PartImageNet/annotations/{train,val,test}/{train,val,test}.json\n"
            "  PartImageNet/annotations/{train,val,test}_whole/*.png   (optional)"
        )

    def files(self, root: Path, split: str) -> SplitFiles:
        """Say where a split lies; the whole PNGs are optional."""
        short = SHORT[split]
        return SplitFiles(
            f"{_BASE}/annotations/{short}/{short}.json",
            (f"{_BASE}/images/{short}",),
            (self.whole_folder(split),),
        )

    def whole_folder(self, split: str) -> str:
        """Return the folder of the PNGs with the object's pixels, relative to the root."""
        return f"{_BASE}/annotations/{SHORT[split]}_whole"

    def picture_paths(self, split: str, name: PurePosixPath) -> Iterator[str]:
        """Yield where the picture may lie, relative to the root, likeliest first."""
        return self.below(f"{_BASE}/images/{SHORT[split]}", SHORT[split], name)
