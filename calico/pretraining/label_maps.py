"""Single images with their labels, as segmentation maps and as lists."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from calico.dataset.images import ImageTable
from calico.dataset.pairs import BuiltDataset
from calico.pretraining.image_entities import ImageEntities
from calico.processing.images import ImageProcessor, Pixels, open_image
from calico.processing.resampling import Warp, nearest, warp_labels, warp_pixels
from calico.processing.workers import in_order, lost_workers_reported
from mixedparts.errors import InputError
from mixedparts.masks import area, decode
from mixedparts.progress import Progress

# Values of the maps. A class map has BACKGROUND and classes; a part map has BACKGROUND, BARE, parts
# and UNKNOWN.
BACKGROUND = 0
BARE = 1  # on an object, but on none of its parts
UNKNOWN = 255  # on an object, perhaps on a part that no pair lists
_FIRST_PART = 2
_FIRST_CLASS = 1


@dataclass(frozen=True, slots=True)
class LabelSet:
    """The labels that pretraining distinguishes.

    Attributes:
        classes: names of object classes; the value in a class map is 1 + index.
        parts: names of parts; the value in a part map is 2 + index.
        pairs: (class index, part index) that occur together; part index -1 is the whole object.
    """

    classes: tuple[str, ...]
    parts: tuple[str, ...]
    pairs: tuple[tuple[int, int], ...]

    def parts_of(self, name: str) -> tuple[str, ...]:
        """Return the parts that a class has in any image."""
        number = self.classes.index(name)
        return tuple(self.parts[p] for c, p in self.pairs if c == number and p >= 0)


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One image ready for pretraining.

    Attributes:
        pixels: resized for the encoders.
        direct: (2, H_e, H_e) uint8, class map and part map, resized without regard to the aspect
            ratio, as the input of the global encoder.
        square: (2, S, S) uint8, the same on SAM's padded square.
        masked: labels whose masks the maps contain, as indices into `LabelSet.pairs`.
        presence: (labels,) int8: 1 visible, 0 not visible, -1 unknown.
    """

    pixels: Pixels
    direct: NDArray[np.uint8]
    square: NDArray[np.uint8]
    masked: tuple[int, ...]
    presence: NDArray[np.int8]


def label_set(images: Iterable[ImageEntities]) -> LabelSet:
    """Return all labels of some images, in alphabetical order.

    Raises:
        InputError: there are more labels than 8-bit maps have values.
    """
    entries = [item for entities in images for item in entities.items()]
    classes = sorted({name for name, _ in entries})
    pairs = sorted({(name, part) for name, entity in entries for part in entity.parts})
    parts = sorted({part for _, part in pairs})
    if max(len(classes) + _FIRST_CLASS, len(parts) + _FIRST_PART) > UNKNOWN:
        raise InputError(
            f"pretraining can distinguish at most 253 parts and 254 classes, the dataset has "
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
    workers: int = 0,
) -> list[LabelledImage]:
    """Read, resize and label the images of a split.

    Args:
        dataset: the build.
        split: name of the split.
        entities: of each image, by row of the images table.
        labels: of the split.
        processor: resizes the images.
        progress: is advanced by one for each image.
        workers: processes that do so; 0: this one does.

    Returns:
        The images in the order of their rows.

    Raises:
        InputError: an image is missing or cannot be decoded.
        EnvironmentFault: a worker was killed.
    """
    table = dataset.images(split)
    labelled = partial(_labelled, table, split, entities, labels, processor)
    images = []
    progress.start("reading images", len(entities), "images")
    # In ascending order, so that a process reads each row group of the table once.
    with lost_workers_reported():
        for image in in_order(labelled, sorted(entities), workers, 4 * workers):
            images.append(image)
            progress.advance()
    progress.finish()
    return images


def _labelled(
    table: ImageTable,
    split: str,
    entities: dict[int, ImageEntities],
    labels: LabelSet,
    processor: ImageProcessor,
    row: int,
) -> LabelledImage:
    """Read, resize and label one image."""
    image = open_image(table.read(row), f"in row {row} of images/{split}")
    pixels = processor.pixels(image)
    direct, square = _maps(pixels, entities[row], labels, processor)
    masked, presence = _presence(entities[row], labels)
    return LabelledImage(pixels, direct, square, masked, presence)


def _maps(
    pixels: Pixels, entities: ImageEntities, labels: LabelSet, processor: ImageProcessor
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the maps of an image, direct and square."""
    maps = np.zeros((2, *pixels.size), np.uint8)
    # Large regions before small ones, so that small ones stay visible; objects before parts.
    for name, entity in sorted(entities.items(), key=lambda item: -area(item[1].mask)):
        inside = decode(entity.mask) > 0
        maps[0][inside] = _FIRST_CLASS + labels.classes.index(name)
        # A pixel without a listed part belongs to no part only if all parts of the object are
        # listed. Otherwise its part is unknown, and training ignores it.
        maps[1][inside] = BARE if entity.is_complete(labels.parts_of(name)) else UNKNOWN
    parts = [item for entity in entities.values() for item in entity.parts.items()]
    for part, mask in sorted(parts, key=lambda item: -area(item[1])):
        maps[1][decode(mask) > 0] = _FIRST_PART + labels.parts.index(part)
    side = processor.vision_size
    rows, columns = pixels.inner
    square = np.zeros((2, processor.square_size, processor.square_size), np.uint8)
    direct = np.zeros((2, side, side), np.uint8)
    # By nearest neighbours: the mean of two labels would be a third one.
    for plane in range(2):
        square[plane, :rows, :columns] = nearest(maps[plane], rows, columns)
        direct[plane] = nearest(maps[plane], side, side)
    return direct, square


def _presence(
    entities: ImageEntities, labels: LabelSet
) -> tuple[tuple[int, ...], NDArray[np.int8]]:
    """Return the labels that have a mask in an image, and for every label 1, 0 or -1 (unknown)."""
    masked: list[int] = []
    presence = np.zeros(len(labels.pairs), np.int8)
    for index, (class_index, part_index) in enumerate(labels.pairs):
        entity = entities.get(labels.classes[class_index])
        # No pair shows the class in this image: taken for not visible.
        if entity is None:
            continue
        part = labels.parts[part_index] if part_index >= 0 else None
        if part is None or part in entity.parts:
            masked.append(index)
            presence[index] = 1
        elif part in entity.unmasked:
            presence[index] = 1
        elif part not in entity.absent:
            presence[index] = -1
    return tuple(masked), presence


def augmented(image: LabelledImage, numbers: NDArray[np.float64]) -> LabelledImage:
    """Return a mirrored, scaled and shifted copy; labels move with the pixels.

    Args:
        image: as it was read.
        numbers: (4,) random numbers in [0, 1): mirror, scale, shift along x and y.
    """
    mirror = -1.0 if numbers[0] < 0.5 else 1.0
    scale = 0.85 + 0.3 * numbers[1]
    shift = (0.16 * (numbers[2] - 0.5), 0.16 * (numbers[3] - 0.5))
    pixels = image.pixels
    # Shifts are shares of the size, so every frame shows the same part of the image.
    direct = _warps(mirror * scale, scale, shift, pixels.vision.shape[:2])
    square = _warps(mirror * scale, scale, shift, pixels.inner)
    vision = warp_pixels(pixels.vision, *direct)
    semantic = vision
    # The processor gives both encoders the same array if their sizes are equal.
    if pixels.semantic is not pixels.vision:
        moves = _warps(mirror * scale, scale, shift, pixels.semantic.shape[:2])
        semantic = warp_pixels(pixels.semantic, *moves)
    # Only the inside of SAM's square is warped: its padding stays where it is.
    rows, columns = pixels.inner
    padded = np.zeros_like(pixels.square)
    padded[:rows, :columns] = warp_pixels(pixels.square[:rows, :columns], *square)
    square_maps = np.zeros_like(image.square)
    inner = image.square[:, :rows, :columns]
    square_maps[:, :rows, :columns] = [warp_labels(plane, *square) for plane in inner]
    direct_maps = np.stack([warp_labels(plane, *direct) for plane in image.direct])
    moved = Pixels(vision, semantic, padded, pixels.inner, pixels.size)
    return LabelledImage(moved, direct_maps, square_maps, image.masked, image.presence)


def _warps(
    scale_x: float, scale_y: float, shift: tuple[float, float], size: tuple[int, ...]
) -> tuple[Warp, Warp]:
    """Return the warps, rows first, that scale about the centre and shift by shares of the size."""
    height, width = size
    x, y = (width - 1) / 2, (height - 1) / 2
    return (
        Warp(scale_y, y - scale_y * y + shift[1] * height),
        Warp(scale_x, x - scale_x * x + shift[0] * width),
    )
