"""Single images with their labels as maps of pixels and as lists."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from calico.dataset.pairs import BuiltDataset
from calico.pretraining.image_entities import ImageEntities
from calico.processing.images import ImageProcessor, Pixels, open_image
from mixedparts.errors import InputError
from mixedparts.masks import area, decode
from mixedparts.progress import Progress

BACKGROUND = 0
BARE = 1  # on an object, on none of its parts
UNKNOWN = 255  # on an object, perhaps on a part that no pair lists
_FIRST_PART = 2
_FIRST_CLASS = 1


@dataclass(frozen=True, slots=True)
class LabelSet:
    """What pretraining tells apart.

    Attributes:
        classes: names of object classes; class map value 1 + index, 0 is background.
        parts: names of parts; part map value 2 + index, `BACKGROUND`, `BARE` or `UNKNOWN`.
        pairs: (class index, part index) that occur together, -1 as part for the whole object.
    """

    classes: tuple[str, ...]
    parts: tuple[str, ...]
    pairs: tuple[tuple[int, int], ...]

    def parts_of(self, name: str) -> tuple[str, ...]:
        """Return the parts that a class has anywhere."""
        number = self.classes.index(name)
        return tuple(self.parts[p] for c, p in self.pairs if c == number and p >= 0)


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One image ready for pretraining.

    Attributes:
        pixels: resized for the encoders.
        direct: (2, H_e, H_e) uint8, class map and part map, direct resize.
        square: (2, S, S) uint8, the same on SAM's padded square.
        masked: labels whose masks the maps hold, as indices into `LabelSet.pairs`.
        truth: (labels,) int8, 1 shown, 0 not shown, -1 not known.
    """

    pixels: Pixels
    direct: NDArray[np.uint8]
    square: NDArray[np.uint8]
    masked: tuple[int, ...]
    truth: NDArray[np.int8]


def label_set(images: Iterable[ImageEntities]) -> LabelSet:
    """Return all labels of some images, in alphabetical order.

    Raises:
        InputError: more labels than the maps can hold.
    """
    everything = [item for entities in images for item in entities.items()]
    classes = sorted({name for name, _ in everything})
    pairs = sorted({(name, part) for name, entity in everything for part in entity.parts})
    parts = sorted({part for _, part in pairs})
    if max(len(classes) + _FIRST_CLASS, len(parts) + _FIRST_PART) > UNKNOWN:
        raise InputError(
            f"pretraining tells at most 253 parts and 254 classes apart, the dataset has "
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
    entities: dict[int, ImageEntities],
    labels: LabelSet,
    processor: ImageProcessor,
    progress: Progress,
) -> list[LabelledImage]:
    """Read, resize and label the images of a split, in the order of their rows."""
    table = dataset.images(split)
    images = []
    progress.start("reading images", len(entities), "images")
    for row in sorted(entities):
        picture = open_image(table.read(row), f"in row {row} of images/{split}")
        pixels = processor.pixels(picture)
        direct, square = _maps(pixels, entities[row], labels, processor)
        masked, truth = _label_truth(entities[row], labels)
        images.append(LabelledImage(pixels, direct, square, masked, truth))
        progress.advance()
    progress.finish()
    return images


def _maps(
    pixels: Pixels, entities: ImageEntities, labels: LabelSet, processor: ImageProcessor
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Paint the maps from large regions to small ones, so that small parts stay on top."""
    maps = np.zeros((2, *pixels.size), np.uint8)
    for name, entity in sorted(entities.items(), key=lambda item: -area(item[1].mask)):
        inside = decode(entity.mask) > 0
        maps[0][inside] = _FIRST_CLASS + labels.classes.index(name)
        maps[1][inside] = BARE if entity.is_complete(labels.parts_of(name)) else UNKNOWN
    parts = [item for entity in entities.values() for item in entity.parts.items()]
    for part, mask in sorted(parts, key=lambda item: -area(item[1])):
        maps[1][decode(mask) > 0] = _FIRST_PART + labels.parts.index(part)
    side = processor.vision_size
    rows, columns = pixels.inner
    square = np.zeros((2, processor.square_size, processor.square_size), np.uint8)
    direct = np.zeros((2, side, side), np.uint8)
    for plane in range(2):
        square[plane, :rows, :columns] = _nearest(maps[plane], (columns, rows))
        direct[plane] = _nearest(maps[plane], (side, side))
    return direct, square


def _label_truth(
    entities: ImageEntities, labels: LabelSet
) -> tuple[tuple[int, ...], NDArray[np.int8]]:
    """Return which labels have a mask here, and for every label 1, 0, or -1 for not known."""
    masked: list[int] = []
    truth = np.zeros(len(labels.pairs), np.int8)
    for index, (class_index, part_index) in enumerate(labels.pairs):
        entity = entities.get(labels.classes[class_index])
        if entity is None:
            continue
        part = labels.parts[part_index] if part_index >= 0 else None
        if part is None or part in entity.parts:
            masked.append(index)
            truth[index] = 1
        elif part in entity.unmasked:
            truth[index] = 1
        elif part not in entity.absent:
            truth[index] = -1
    return tuple(masked), truth


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
    return LabelledImage(pixels, direct_maps, square_maps, image.masked, image.truth)


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
