"""Single images with class and part labels, gathered from the pairs of a split.

A pair lists only what its question is about, so the labels of an image are the union over all its
pairs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from calico.data import BuiltDataset, Sample
from calico.processing import ImageProcessor, Pixels, open_picture
from mixedparts.errors import InputError
from mixedparts.masks import Rle, decode
from mixedparts.progress import Progress

BACKGROUND = 0
BARE = 1  # on an object, on none of its known parts
_FIRST_PART = 2
_FIRST_CLASS = 1


@dataclass(frozen=True, slots=True)
class LabelSet:
    """What pretraining tells apart.

    Attributes:
        classes: names of object classes; class map value 1 + index, 0 is background.
        parts: names of parts; part map value 2 + index, 0 background, 1 object without part.
        pairs: (class index, part index) that occur together, -1 as part for the whole object.
    """

    classes: tuple[str, ...]
    parts: tuple[str, ...]
    pairs: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Entities:
    """One image's labelled masks: by class name the object, and by part name its parts."""

    objects: dict[str, Rle]
    parts: dict[tuple[str, str], Rle]


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One image ready for pretraining.

    Attributes:
        pixels: resized for the encoders.
        direct: (2, H_e, H_e) uint8, class map and part map, direct resize.
        square: (2, S, S) uint8, the same on SAM's padded square.
        present: indices into `LabelSet.pairs`.
    """

    pixels: Pixels
    direct: NDArray[np.uint8]
    square: NDArray[np.uint8]
    present: tuple[int, ...]


def gather_entities(samples: Iterable[Sample]) -> dict[int, Entities]:
    """Return the labelled masks of every image of some samples, by row of the images table."""
    found: dict[int, Entities] = {}
    for sample in samples:
        names = {one.image: one.label for one in sample.regions if not one.is_part}
        for one in sample.regions:
            entities = found.setdefault(sample.images[one.image].row, Entities({}, {}))
            if one.is_part:
                entities.parts[names[one.image], one.label] = one.mask
            else:
                entities.objects[one.label] = one.mask
    return found


def label_set(entities: Iterable[Entities]) -> LabelSet:
    """Return all labels of some images, in alphabetical order.

    Raises:
        InputError: more labels than the maps can hold.
    """
    everything = list(entities)
    classes = sorted({name for one in everything for name in one.objects})
    pairs = sorted({pair for one in everything for pair in one.parts})
    parts = sorted({part for _, part in pairs})
    if max(len(classes) + _FIRST_CLASS, len(parts) + _FIRST_PART) > 256:
        raise InputError(
            f"pretraining tells at most 254 parts and 255 classes apart, the dataset has "
            f"{len(parts)} and {len(classes)}: use pretrained encoders"
        )
    class_index = {name: index for index, name in enumerate(classes)}
    part_index = {name: index for index, name in enumerate(parts)}
    numbered = [(class_index[name], -1) for name in classes]
    numbered += [(class_index[name], part_index[part]) for name, part in pairs]
    return LabelSet(tuple(classes), tuple(parts), tuple(numbered))


def labelled_images(
    dataset: BuiltDataset,
    split: str,
    entities: dict[int, Entities],
    labels: LabelSet,
    processor: ImageProcessor,
    progress: Progress,
) -> list[LabelledImage]:
    """Read, resize and label the images of a split, in the order of their rows."""
    table = dataset.images(split)
    images = []
    progress.start("reading images", len(entities), "images")
    for row in sorted(entities):
        picture = open_picture(table.read(row), f"in row {row} of images/{split}")
        pixels = processor.pixels(picture)
        images.append(_labelled(pixels, entities[row], labels, processor))
        progress.advance()
    progress.finish()
    return images


def _labelled(
    pixels: Pixels, entities: Entities, labels: LabelSet, processor: ImageProcessor
) -> LabelledImage:
    """Paint the maps from large regions to small ones, so that small parts stay on top."""
    maps = np.zeros((2, *pixels.size), np.uint8)
    objects = [(decode(mask), name, None) for name, mask in entities.objects.items()]
    parts = [(decode(mask), name, part) for (name, part), mask in entities.parts.items()]
    for mask, name, _ in sorted(objects, key=_area):
        maps[0][mask > 0] = _FIRST_CLASS + labels.classes.index(name)
        maps[1][mask > 0] = BARE
    for mask, _, part in sorted(parts, key=_area):
        maps[1][mask > 0] = _FIRST_PART + labels.parts.index(str(part))
    side = processor.vision_size
    rows, columns = pixels.inner
    square = np.zeros((2, processor.square_size, processor.square_size), np.uint8)
    direct = np.zeros((2, side, side), np.uint8)
    for plane in range(2):
        square[plane, :rows, :columns] = _nearest(maps[plane], (columns, rows))
        direct[plane] = _nearest(maps[plane], (side, side))
    numbers = {pair: index for index, pair in enumerate(labels.pairs)}
    named = [(name, None) for name in entities.objects] + list(entities.parts)
    present = sorted(numbers[_numbered(labels, name, part)] for name, part in named)
    return LabelledImage(pixels, direct, square, tuple(present))


def _numbered(labels: LabelSet, name: str, part: str | None) -> tuple[int, int]:
    return labels.classes.index(name), -1 if part is None else labels.parts.index(part)


def _area(item: tuple[NDArray[np.uint8], str, str | None]) -> int:
    return -int(np.count_nonzero(item[0]))


def _nearest(plane: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)


def augmented(image: LabelledImage, draws: NDArray[np.float64]) -> LabelledImage:
    """Return a mirrored, scaled and shifted copy; labels move with the pixels.

    Args:
        image: as it was read.
        draws: four numbers in [0, 1): mirror, scale, shift along x and y.
    """
    mirror = -1.0 if draws[0] < 0.5 else 1.0
    scale = 0.85 + 0.3 * draws[1]
    shift = (0.16 * (draws[2] - 0.5), 0.16 * (draws[3] - 0.5))
    one = image.pixels
    height, width = one.vision.shape[:2]
    direct = _affine(mirror * scale, scale, shift, (height, width))
    square = _affine(mirror * scale, scale, shift, one.inner)
    vision = _warped(one.vision, direct, cv2.INTER_LINEAR)
    semantic = vision
    if one.semantic is not one.vision:
        side = one.semantic.shape[0]
        matrix = _affine(mirror * scale, scale, shift, (side, side))
        semantic = _warped(one.semantic, matrix, cv2.INTER_LINEAR)
    rows, columns = one.inner
    whole = np.zeros_like(one.square)
    whole[:rows, :columns] = _warped(one.square[:rows, :columns], square, cv2.INTER_LINEAR)
    square_maps = np.zeros_like(image.square)
    inner = image.square[:, :rows, :columns]
    square_maps[:, :rows, :columns] = [_warped(m, square, cv2.INTER_NEAREST) for m in inner]
    direct_maps = np.stack([_warped(m, direct, cv2.INTER_NEAREST) for m in image.direct])
    pixels = Pixels(vision, semantic, whole, one.inner, one.size)
    return LabelledImage(pixels, direct_maps, square_maps, image.present)


def _affine(
    scale_x: float, scale_y: float, shift: tuple[float, float], size: tuple[int, int]
) -> NDArray[np.float64]:
    """Return the matrix that scales about the centre and shifts by shares of the size."""
    height, width = size
    x, y = (width - 1) / 2, (height - 1) / 2
    return np.array(
        [
            [scale_x, 0.0, x - scale_x * x + shift[0] * width],
            [0.0, scale_y, y - scale_y * y + shift[1] * height],
        ]
    )


def _warped(plane: NDArray[np.uint8], matrix: NDArray[np.float64], how: int) -> NDArray[np.uint8]:
    """Warp pixels (three channels, border mirrored) or one map (border background)."""
    size = (plane.shape[1], plane.shape[0])
    border = cv2.BORDER_REFLECT if plane.ndim == 3 else cv2.BORDER_CONSTANT
    source = np.ascontiguousarray(plane)
    warped = cv2.warpAffine(source, matrix, size, flags=how, borderMode=border)
    return np.asarray(warped, np.uint8)
