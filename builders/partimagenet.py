"""PartImageNet (Seg): polygons of parts, one object an image, its class in the file name.

Source of the format: the loaders of PartImageNet_Seg in VLPart, WPS-SAM and pdiscoformer.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from builders.bases.coco_source import SplitFiles
from builders.bases.synsets import SHORT, SynsetSource
from builders.formats.paths import Places

_BASE = "PartImageNet"


class PartImageNetSource(SynsetSource):
    """Reader of `annotations/{split}/{split}.json` and the `{split}_whole` PNGs."""

    name = "partimagenet"
    version = "1"

    def layout(self, root: Path) -> str:
        """Return the tree of files that the reader expects, as lines of text."""
        return (
            f"{root}/\n"
            "  PartImageNet/images/{train,val,test}/*.JPEG\n"
            "  PartImageNet/annotations/{train,val,test}/{train,val,test}.json\n"
            "  PartImageNet/annotations/{train,val,test}_whole/*.png   (optional)"
        )

    def files(self, root: Path, split: str) -> SplitFiles:
        """Return the files and folders of a split; the `whole` PNGs are optional."""
        # Some downloads do not have them: the objects are then the unions of their parts.
        short = SHORT[split]
        return SplitFiles(
            f"{_BASE}/annotations/{short}/{short}.json",
            (f"{_BASE}/images/{short}",),
            (self.whole_folder(split),),
        )

    def whole_folder(self, split: str) -> str:
        """Return the folder of the `whole` PNGs of a split, relative to the root."""
        return f"{_BASE}/annotations/{SHORT[split]}_whole"

    def picture_places(self, split: str, name: PurePosixPath) -> Places:
        """Return the places where an image may be, relative to the root."""
        folder = f"{_BASE}/images/{SHORT[split]}"
        return Places(f"{folder}/{name}", tuple(self.paths_below(folder, SHORT[split], name)))
