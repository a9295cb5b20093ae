"""Rules between configuration values: each check yields one sentence for every fault.

The range of a single value is in the type of its field, see `mixedparts.settings.fields`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def weights(value: Any, name: str) -> Iterator[str]:
    """Yield a fault if there are weights and all of them are 0."""
    chosen: Mapping[str, float] = getattr(value, name)
    if chosen and not any(chosen.values()):
        yield f"{name}: all weights are 0, nothing would be sampled"


def multiple(name: str, value: int, of: str, step: int) -> Iterator[str]:
    """Yield a fault unless a value is a positive multiple of another one.

    Args:
        name: of the value.
        value: the multiple.
        of: name of the other value.
        step: the other value.

    Yields:
        A sentence with both names and values.
    """
    if step < 1 or value < 1 or value % step:
        yield f"{name}: {value} is not a positive multiple of {of} ({step})"


def encoder_faults(image_size: int, patch_size: int, hidden_size: int, heads: int) -> Iterator[str]:
    """Yield the faults in the sizes of a vision transformer.

    Args:
        image_size: side of its input in pixels.
        patch_size: side of a patch in pixels.
        hidden_size: width of its states.
        heads: number of its attention heads.

    Yields:
        A sentence for every fault.
    """
    yield from multiple("image_size", image_size, "patch_size", patch_size)
    yield from multiple("hidden_size", hidden_size, "heads", heads)


def stem_faults(stem: str, patch_size: int) -> Iterator[str]:
    """Yield a fault if a convolutional stem cannot make patches of a size."""
    # Each of its layers halves the sides: two, three or four of them.
    if stem == "conv" and patch_size not in (4, 8, 16):
        yield f"stem: a convolutional stem needs patch_size 4, 8 or 16, not {patch_size}"
