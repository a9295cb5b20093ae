"""What the entries of a row's `seg` may point at; the one check of all readers of `pairs`."""

from __future__ import annotations


def seg_fault(kind: str, index: int | None, objects: int, parts: int) -> str | None:
    """Check one entry of `seg`: the mask that a [SEG] of the answer means.

    Args:
        kind: `object` or `part`, the list that it points into.
        index: position in that list; negative positions are refused.
        objects: number of objects of the row.
        parts: number of parts of the row.

    Returns:
        A sentence about what is wrong, None where the mask is there.
    """
    sizes = {"object": objects, "part": parts}
    if index is not None and 0 <= index < sizes.get(kind, 0):
        return None
    return f"a [SEG] means {kind} {index}, which is not there"
