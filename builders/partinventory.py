"""PartInventory (SPIN2): part instances on PartImageNet's images, refined from SPIN.

Source of the format: the annotation files in the repository of PartInventory, final and working
copies. The images are those of PartImageNet; they can be in its folders or in those of this source.
The splits of SPIN differ from those of PartImageNet_Seg, so the folders of all splits are searched.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from builders.bases.coco_source import SplitFiles
from builders.bases.synsets import SHORT, SynsetSource
from builders.formats.paths import Places

_BASE = "PartInventory"
_IMAGE_FOLDERS = (f"{_BASE}/images", "PartImageNet/images")
_SUFFIX = ".JPEG"


class PartInventorySource(SynsetSource):
    """Reader of `spin2_{train,val,test}_parts.json`."""

    name = "partinventory"
    version = "1"

    def layout(self, root: Path) -> str:
        """Return the tree of files that the reader expects, as lines of text."""
        return (
            f"{root}/\n"
            "  PartInventory/annotations/spin2_{train,val,test}_parts.json\n"
            "  PartInventory/images/{train,val,test}/*.JPEG   (or those of PartImageNet:)\n"
            "  PartImageNet/images/{train,val,test}/*.JPEG\n"
            "  PartImageNet/annotations/{train,val,test}_whole/*.png   (optional)"
        )

    def files(self, root: Path, split: str) -> SplitFiles:
        """Return the files and folders of a split; its images can be in two folders."""
        present = tuple(folder for folder in _IMAGE_FOLDERS if (root / folder).is_dir())
        return SplitFiles(
            f"{_BASE}/annotations/spin2_{SHORT[split]}_parts.json",
            present or _IMAGE_FOLDERS[:1],
            (self.whole_folder(split),),
        )

    def whole_folder(self, split: str) -> str:
        """Return the folder of the `whole` PNGs of a split, relative to the root."""
        return f"PartImageNet/annotations/{SHORT[split]}_whole"

    def picture_places(self, split: str, name: PurePosixPath) -> Places:
        """Return the places where an image may be, relative to the root."""
        # The working copies write file names without folder and suffix. `with_suffix` would take
        # the end of a name with a dot for a suffix.
        if name.suffix.lower() not in (".jpeg", ".jpg", ".png"):
            name = name.with_name(name.name + _SUFFIX)
        own, shared = _IMAGE_FOLDERS
        first = SHORT[split]
        exact = f"{own}/{name}" if len(name.parts) > 1 else f"{own}/{first}/{name}"
        others = [f"{own}/{name.name}"]
        for short in (first, *(other for other in SHORT.values() if other != first)):
            others += self.paths_below(f"{own}/{short}", short, name)
            others += self.paths_below(f"{shared}/{short}", short, name)
        return Places(exact, tuple(others))
