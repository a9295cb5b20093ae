"""Where the files of the published bundle lie, relative to its root; POSIX separators.

Source of the layout: the card of the published dataset and the authors' loaders. The bundle holds
annotations; pictures, PACO's own file and ADE's part maps are laid beside it by its user.
"""

from __future__ import annotations

SHORT = {"train": "train", "validation": "val", "test": "test"}
DATASETS = {"paco": "paco_lvis", "partimagenet": "part_image_net", "ade20k": "ade20k_part234"}
"""Source name here -> `dataset_name` in a record."""

# ADE has no test split: the bundle's test records name the val file and its images.
ADE_FILES = {"train": "train", "validation": "val", "test": "val"}
ADE_FOLDERS = {"train": "training", "validation": "validation", "test": "validation"}
MARK = "export.json"  # of a bundle that `mixedparts export` wrote


def records_file(split: str) -> str:
    """Return the file that lists a split's records."""
    return f"mixed_parts_{SHORT[split]}.json"


def objects_file(source: str, split: str) -> str:
    """Return the annotation file that a record's `ann_ids` refer to."""
    short = SHORT[split]
    return {
        "paco": f"paco_lvis/annotations/paco_lvis_v1_{short}.json",
        "partimagenet": f"PartImageNet/annotations/{short}_whole/{short}_mixed_parts.json",
        "ade20k": f"ADE20KPart234/ade20k_instance_{ADE_FILES[split]}_mixed_parts.json",
    }[source]


def parts_file(split: str) -> str:
    """Return the file that `part_ann_ids` of PartImageNet refer to; PACO's are with its objects."""
    return f"PartImageNet/annotations/{SHORT[split]}/{SHORT[split]}_mixed_parts.json"


def maps_folder(split: str) -> str:
    """Return the folder of ADE's part maps."""
    return f"ADE20KPart234/annotations_detectron2_part/{ADE_FOLDERS[split]}"
