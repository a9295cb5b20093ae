"""Colours of regions, which people with any kind of colour vision tell apart.

They are those of Okabe and Ito (2008, "Color Universal Design") without black, then those of Paul
Tol's schemes (2021) that are farthest from all before them for the nearest kind of vision: any two
of them differ by 13 or more (CIE 1976). Colour is never the only sign: kinds differ in fill and
outline too.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from mixedparts.viewer.samples import Kind

OBJECTS = ("#0072B2", "#56B4E9", "#332288")
PARTS = ("#E69F00", "#009E73", "#CC79A7", "#F0E442", "#D55E00", "#CCEEFF", "#663333", "#666633",
         "#AA3377", "#CCDDAA", "#FFAABB", "#999933")  # fmt: skip
KINDS: Mapping[Kind, str] = MappingProxyType(
    {
        Kind.OBJECT: "#0072B2",
        Kind.COMMON: "#F0E442",
        Kind.UNIQUE: "#D55E00",
        Kind.PART: "#E69F00",
    }
)
