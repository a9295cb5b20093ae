"""PartInventory (SPIN2): part instances on PartImageNet's images, refined from SPIN.

Source of the format: the annotation files in the repository of PartInventory, final and working
copies. Pictures are those of PartImageNet, wherever that lies; SPIN's splits need not be those of
PartImageNet_Seg, so every split's folder is searched.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from builders.bases.coco_source import SplitFiles
from builders.bases.synsets import SHORT, SynsetSource

_BASE = "PartInventory"
_PICTURES = (f"{_BASE}/images", "PartImageNet/images")
_SUFFIX = ".JPEG"


class PartInventorySource(SynsetSource):
    """Reader of `spin2_{train,val,test}_parts.json`."""

    name = "partinventory"
    version = "1"

    def layout(self, root: Path) -> str:
        """Return the tree of files that the source is looked for in."""
        return (
            f"{root}/\n"
            "  PartInventory/annotations/spin2_{train,val,test}_parts.json\n"
            "  PartInventory/images/{train,val,test}/*.JPEG   (or those of PartImageNet:)\n"
            "  PartImageNet/images/{train,val,test}/*.JPEG\n"
            "  PartImageNet/annotations/{train,val,test}_whole/*.png   (optional)"
        )

    def files(self, root: Path, split: str) -> SplitFiles:
        """Say where a split lies; its pictures are in one folder or the other."""
        there = tuple(folder for folder in _PICTURES if (root / folder).is_dir())
        return SplitFiles(
            f"{_BASE}/annotations/spin2_{SHORT[split]}_parts.json",
            there or _PICTURES[:1],
            (self.whole_folder(split),),
        )

    def whole_folder(self, split: str) -> str:
        """Return the folder of the PNGs with the object's pixels, relative to the root."""
        return f"PartImageNet/annotations/{SHORT[split]}_whole"

    def picture_paths(self, split: str, name: PurePosixPath) -> Iterator[str]:
        """Yield where the picture may lie, relative to the root, likeliest first.

        The working copies write neither folder nor extension.
        """
        if name.suffix.lower() not in (".jpeg", ".jpg", ".png"):
            name = name.with_name(name.name + _SUFFIX)
        own, shared = _PICTURES
        first = SHORT[split]
        yield f"{own}/{name}"
        yield f"{own}/{name.name}"
        for short in (first, *(other for other in SHORT.values() if other != first)):
            yield from self.below(f"{own}/{short}", short, name)
            yield from self.below(f"{shared}/{short}", short, name)
