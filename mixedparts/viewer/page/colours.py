"""Colours of regions, which people with any kind of colour vision tell apart.

They are those of Okabe and Ito (2008, "Color Universal Design") without black, then some of Paul
Tol's muted scheme (2021). Colour is never the only sign: kinds differ in fill and outline too.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from mixedparts.viewer.samples import Kind

OBJECTS = ("#0072B2", "#56B4E9", "#332288")
PARTS = ("#E69F00", "#009E73", "#CC79A7", "#F0E442", "#D55E00", "#44AA99", "#882255", "#DDCC77",
         "#999933", "#AA4499")  # fmt: skip
KINDS: Mapping[Kind, str] = MappingProxyType(
    {
        Kind.OBJECT: "#0072B2",
        Kind.COMMON: "#F0E442",
        Kind.UNIQUE: "#D55E00",
        Kind.PART: "#E69F00",
    }
)
