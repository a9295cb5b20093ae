"""Import paths and names that documents of earlier versions gave still work."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from mixedparts._renamed import MODULES, NAMES


@pytest.mark.parametrize("old", sorted(MODULES))
def test_an_earlier_path_leads_to_what_moved_and_says_so(old: str) -> None:
    code = (
        "import importlib, sys, warnings\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        f"    module = importlib.import_module({old!r})\n"
        f"print([str(w.message) for w in caught if {old!r} in str(w.message)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"['{old} is now {MODULES[old]}']"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_names_of_the_old_modules_are_those_of_the_new() -> None:
    from builders.coco_source import CocoSource
    from builders.segmentation import read_segmentations
    from calico.predictions_file import read_predictions
    from mixedparts.pixels import check_picture
    from mixedparts.taxonomy import Group, Manifest

    from mixedparts.sources import ReadShard

    assert CocoSource.__module__ == "builders.bases.coco_source"
    assert read_segmentations.__module__ == "builders.formats.segmentation"
    assert read_predictions.__module__ == "calico.predictions.files"
    assert check_picture.__module__ == "mixedparts.images.checks"
    assert Group.__name__ == "ComparableGroup"
    assert Manifest.__module__ == "mixedparts.sources.manifest_types"
    assert ReadShard.__module__ == "mixedparts.sources.contract"


def test_every_renamed_name_is_there() -> None:
    for (old, _), new in NAMES.items():
        assert hasattr(importlib.import_module(MODULES[old]), new)


def test_other_modules_are_still_missing() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"mixedparts\.nonsense"):
        importlib.import_module("mixedparts.nonsense")
