"""The readers of this package are registered under their names."""

from __future__ import annotations

from builders.ade20k import Ade20kPartSource
from builders.ade20k_full import Ade20kFullSource
from builders.paco import PacoSource
from builders.partimagenet import PartImageNetSource
from builders.partinventory import PartInventorySource
from builders.pascal_part import PascalPartSource
from mixedparts.sources.contract import available, get_source


def test_the_built_in_readers_are_registered() -> None:
    assert available() == (
        "ade20k",
        "ade20k_full",
        "coco_parts",
        "paco",
        "partimagenet",
        "partinventory",
        "pascal_part",
    )
    assert isinstance(get_source("paco"), PacoSource)
    assert isinstance(get_source("partimagenet"), PartImageNetSource)
    assert isinstance(get_source("ade20k"), Ade20kPartSource)
    assert isinstance(get_source("ade20k_full"), Ade20kFullSource)
    assert isinstance(get_source("partinventory"), PartInventorySource)
    assert isinstance(get_source("pascal_part"), PascalPartSource)
