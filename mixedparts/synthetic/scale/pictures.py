"""Pictures that many images share: one file on disk, linked under the name of each image."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from mixedparts.synthetic.painting import jpeg
from mixedparts.synthetic.scale.random_numbers import generator

Size = tuple[int, int]  # width, height
POOL = "synthetic_pool"
VARIANTS = 32  # pictures of each size at most; ext4 allows 65,000 links to one file


def write_pool(folder: Path, sizes: Sequence[Size], variants: int, seed: int) -> None:
    """Write the pictures of every size: a blurred random pattern, 20 to 60 kB as photographs have.

    Args:
        folder: where the pool is.
        sizes: width and height in pixels.
        variants: number of pictures of each size.
        seed: of the run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number, size in enumerate(sizes):
        rng = generator(seed, "pictures", number)
        for variant in range(variants):
            coarse = rng.integers(0, 256, (size[1] // 60, size[0] // 60, 3), np.uint8)
            pixels = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
            (folder / _name(size, variant)).write_bytes(jpeg(np.asarray(pixels, np.uint8)))


def link_picture(folder: Path, size: Size, variant: int, target: Path) -> None:
    """Put one of the pictures of a size under another name.

    Args:
        folder: where the pool is.
        size: width and height in pixels.
        variant: which of the pictures of this size.
        target: the path of the image.
    """
    picture = folder / _name(size, variant)
    try:
        os.link(picture, target)
    except FileExistsError:
        raise
    except OSError:
        # Some file systems have no hard links, others a limit to their number.
        shutil.copyfile(picture, target)


def _name(size: Size, variant: int) -> str:
    return f"{size[0]}x{size[1]}_{variant:02d}.jpg"
