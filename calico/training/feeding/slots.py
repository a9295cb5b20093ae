"""Shared memory that worker processes write prepared images to, again and again.

New shared memory for every piece would be mapped, filled with zeros and given back page by page:
a third of the time that an image takes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from calico.processing.prepared import Allocate, PreparedImages


@dataclass(frozen=True, slots=True)
class PackedImages:
    """A piece whose pixels are in a slot.

    Attributes:
        images: the piece without its pixels.
        slot: number of the slot.
        places: offset in the slot and shape of the pixels of each encoder that has some.
    """

    images: PreparedImages
    slot: int
    places: Mapping[str, tuple[int, tuple[int, ...]]]


class Slots:
    """Slots of one size, which this process shares with those that it starts.

    Args:
        count: of slots.
        size: of a slot in bytes.
    """

    def __init__(self, count: int, size: int) -> None:
        # Not `share_memory_`, which copies, and so takes all of it at once.
        storage = torch.UntypedStorage._new_shared(count * size)  # type: ignore[no-untyped-call]
        self._memory = torch.empty(0, dtype=torch.uint8).set_(storage, 0, (count, size), (size, 1))

    def __len__(self) -> int:
        return len(self._memory)

    def allocator(self, slot: int) -> Allocate:
        """Return a function that divides a slot."""
        used = 0

        def allocate(shape: tuple[int, ...]) -> Tensor:
            nonlocal used
            begin, used = used, used + math.prod(shape)
            return self._memory[slot, begin:used].view(shape)

        return allocate

    def packed(self, images: PreparedImages, slot: int) -> PackedImages:
        """Return a piece whose pixels were allocated in a slot, without them."""
        start = self._memory[slot].data_ptr()
        places = {
            name: (part.pixels.data_ptr() - start, tuple(part.pixels.shape))
            for name, part in images.parts.items()
            if part.pixels is not None
        }
        parts = {name: replace(part, pixels=None) for name, part in images.parts.items()}
        return PackedImages(replace(images, parts=parts), slot, places)

    def unpacked(self, packed: PackedImages) -> PreparedImages:
        """Return a piece with its pixels, which are those of the slot until it is used again."""
        views: dict[int, Tensor] = {}
        parts = dict(packed.images.parts)
        for name, (begin, shape) in packed.places.items():
            if begin not in views:
                end = begin + math.prod(shape)
                views[begin] = self._memory[packed.slot, begin:end].view(shape)
            parts[name] = replace(parts[name], pixels=views[begin])
        return replace(packed.images, parts=parts)
