"""Masks of synthetic images, from the painted map of shapes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixedparts.synthetic.render import Rendered

Bitmap = NDArray[np.bool_]


def painted(rendered: Rendered) -> list[tuple[str, Bitmap, dict[str, Bitmap]]]:
    """Return (class, object mask, mask of each named part) from what was painted, back to front."""
    found = []
    label = 0
    for actor in rendered.scene.actors:
        whole = np.zeros(rendered.labels.shape, dtype=bool)
        parts: dict[str, Bitmap] = {}
        for shape in actor.shapes:
            label += 1
            here = rendered.labels == label
            whole |= here
            native = actor.subject.parts.get(shape.key) if actor.subject else None
            if native is not None:
                parts[native] = parts.get(native, np.zeros_like(whole)) | here
        if actor.subject is not None:
            found.append((actor.key, whole, {name: m for name, m in parts.items() if m.any()}))
    return found
