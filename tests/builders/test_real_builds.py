"""Builds of real slices."""

from __future__ import annotations

from pathlib import Path

from mixedparts.pipeline.build import build
from mixedparts.pipeline.config import BuildConfig
from mixedparts.progress import Silent
from mixedparts.records import Reason, Task
from mixedparts.verification.verify import verify
from tests.factories.real_samples import ADE, FULL, PARTIMAGENET, SPIN, needs


@needs(PARTIMAGENET, SPIN / "images_224", ADE, FULL)
def test_all_real_slices_build_and_verify(tmp_path: Path) -> None:
    root = tmp_path / "sources"
    for folder, target in (
        ("PartImageNet", PARTIMAGENET),
        ("PartInventory/images/val", SPIN / "images_224"),
        ("PartInventory/annotations/spin2_val_parts.json", SPIN / "DERIVED/val_slice_224.json"),
        ("ADE20KPart234", ADE),
        ("ADE20K_2021_17_01", FULL),
    ):
        (root / folder).parent.mkdir(parents=True, exist_ok=True)
        (root / folder).symlink_to(target)
    names = ("ade20k", "ade20k_full", "partimagenet", "partinventory")
    config = BuildConfig(
        sources=names,
        root=root,
        out=tmp_path / "out",
        min_object_area=0.001,  # the street scenes show small objects
        min_part_area=0.00001,
    )
    manifest = build(config, Silent())
    rows = {
        name: sum(
            count.get(str(task), 0) for count in manifest["counts"][name].values() for task in Task
        )
        for name in names
    }
    assert all(rows.values()), rows
    assert set(manifest["rejects"]) == {str(Reason.OUTSIDE_VOCABULARY)}
    assert verify(config.out, "deep").listed == []
