"""The contract of source readers, and the manifests: classes, names, comparable groups."""

from __future__ import annotations

from mixedparts.sources.contract import (
    ENTRY_POINT_GROUP,
    SPLITS,
    ReadShard,
    SelfDescribed,
    Source,
    available,
    get_source,
)

__all__ = [
    "ENTRY_POINT_GROUP",
    "SPLITS",
    "ReadShard",
    "SelfDescribed",
    "Source",
    "available",
    "get_source",
]
