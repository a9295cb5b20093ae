"""Writers of tiny sources in the native layouts of PACO, PartImageNet and ADE20K-Part-234.

Names, ids, file layouts and mask encodings are the real ones; pictures are plain gradients. Each
writer returns what it wrote, with dense masks. Everything is a function of the arguments: the same
call writes the same bytes.
"""

from __future__ import annotations

from tests.factories.ade20k import ade_categories, write_ade20k
from tests.factories.paco import paco_categories, write_paco
from tests.factories.partimagenet import partimagenet_categories, write_partimagenet
from tests.factories.scenes import COUNTS, NativeImage, NativeObject, NativePart

__all__ = [
    "COUNTS",
    "NativeImage",
    "NativeObject",
    "NativePart",
    "ade_categories",
    "paco_categories",
    "partimagenet_categories",
    "write_ade20k",
    "write_paco",
    "write_partimagenet",
]
