"""Paths of the files in the authors' bundle, relative to its root, with POSIX separators.

Source of the layout: the card of the authors' dataset and their loaders. The bundle contains
annotations only; the user adds the images, PACO's annotation file and ADE's part segmentation maps.
"""

from __future__ import annotations

# Split name here -> split name in the bundle's file names.
SHORT = {"train": "train", "validation": "val", "test": "test"}
DATASETS = {"paco": "paco_lvis", "partimagenet": "part_image_net", "ade20k": "ade20k_part234"}
"""Source name here -> `dataset_name` in a record."""

# ADE20K has no test split: the bundle's test records refer to the val file and its images.
ADE_FILES = {"train": "train", "validation": "val", "test": "val"}
ADE_FOLDERS = {"train": "training", "validation": "validation", "test": "validation"}
MARK = "export.json"  # present in every export; the authors' bundle does not have it


def records_file(split: str) -> str:
    """Return the path of the file that lists a split's records."""
    return f"mixed_parts_{SHORT[split]}.json"


def objects_file(source: str, split: str) -> str:
    """Return the path of the annotation file that a record's `ann_ids` refer to."""
    short = SHORT[split]
    return {
        "paco": f"paco_lvis/annotations/paco_lvis_v1_{short}.json",
        "partimagenet": f"PartImageNet/annotations/{short}_whole/{short}_mixed_parts.json",
        "ade20k": f"ADE20KPart234/ade20k_instance_{ADE_FILES[split]}_mixed_parts.json",
    }[source]


def parts_file(split: str) -> str:
    """Return the path of the file that PartImageNet's `part_ann_ids` refer to.

    PACO keeps its parts in the file of its objects; ADE20K keeps them in segmentation maps.
    """
    return f"PartImageNet/annotations/{SHORT[split]}/{SHORT[split]}_mixed_parts.json"


def part_maps_folder(split: str) -> str:
    """Return the folder of ADE20K's part segmentation maps (16-bit PNG)."""
    return f"ADE20KPart234/annotations_detectron2_part/{ADE_FOLDERS[split]}"
