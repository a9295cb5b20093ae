"""Samples of the page with masks of any shape."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mixedparts.masks import from_dense
from mixedparts.viewer import Answer, Kind, Region, Sample, ShownImage

Dense = NDArray[np.uint8]


def png(width: int, height: int, colour: int = 90) -> bytes:
    """An image of one grey, as a file."""
    stream = io.BytesIO()
    Image.new("RGB", (width, height), (colour, colour, colour)).save(stream, "PNG")
    return stream.getvalue()


def sample(name: str, masks: Sequence[Dense], label: str = "spot #", **texts: str) -> Sample:
    """A sample with one image for each mask, and one common part in each of them.

    Args:
        name: id of the sample.
        masks: (H, W) arrays of 0 and 1, one an image.
        label: of the parts; # stands for the number of the image.
        **texts: other values of the sample's texts: source, split, task, question.
    """
    images = tuple(
        ShownImage(
            f"{name}-{n}",
            f"image {n}",
            mask.shape[1],
            mask.shape[0],
            partial(png, mask.shape[1], mask.shape[0]),
        )
        for n, mask in enumerate(masks)
    )
    names = [label.replace("#", str(n)) for n in range(len(masks))]
    regions = tuple(
        Region(n, name, Kind.COMMON, from_dense(mask))
        for n, (name, mask) in enumerate(zip(names, masks, strict=True))
    )
    text = " and ".join(f"<p> the {name} </p> [SEG] (IMAGE{n + 1})" for n, name in enumerate(names))
    given = {"source": "paco", "split": "test", "task": "common_parts", "question": "Which?"}
    return Sample(
        id=name,
        images=images,
        answers=(Answer("Ground truth", f"They share {text}.", regions, tuple(range(len(masks)))),),
        **{**given, **texts},
    )
