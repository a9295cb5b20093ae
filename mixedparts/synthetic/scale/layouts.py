"""What the writers of the three sources share: blocks of images, sizes, objects and their parts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from mixedparts.sources.manifests import ObjectClass, load_manifest
from mixedparts.synthetic.native import Fragment, NativeLayout, encode
from mixedparts.synthetic.scale.outlines import Places, object_places
from mixedparts.synthetic.scale.pictures import POOL, Size, link_picture
from mixedparts.synthetic.scale.plan import SplitPlan
from mixedparts.synthetic.scale.random_numbers import generator


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive images of a split, written together.

    Attributes:
        out: folder of the sources.
        seed: of the run.
        split: the layout's own name of the split.
        first_image: index of the first image in its source.
        first_id: id of the first annotation.
        plan: objects of the images.
        variants: pictures of each size in the pool.
    """

    out: Path
    seed: int
    split: str
    first_image: int
    first_id: int
    plan: SplitPlan
    variants: int


@dataclass(frozen=True, slots=True)
class Drawn:
    """The random values of a block.

    Attributes:
        rng: for all further values.
        sizes: width and height of each image.
        image_of: (objects,) int64, the image of each object, from 0 in the block.
        places: of the objects.
        owner_of: (parts,) int64, the object of each part, from 0 in the block.
        chosen: (parts,) int64, each part's index in the parts of the class of its object.
    """

    rng: Generator
    sizes: Sequence[Size]
    image_of: NDArray[np.int64]
    places: Places
    owner_of: NDArray[np.int64]
    chosen: NDArray[np.int64]


class ScaleLayout(ABC):
    """Writes images and annotations of one source in numbers.

    Attributes:
        native: names the files of the layout.
        root: folder with the pool of pictures, relative to the output folder.
        sizes: width and height of images, each with its share of all images.
        area: median area of objects as a share of the image, and the spread of its logarithm.
        most_images: share of the images that show a class at most.
    """

    native: ClassVar[NativeLayout]
    root: ClassVar[str]
    sizes: ClassVar[Sequence[tuple[Size, float]]]
    area: ClassVar[tuple[float, float]]
    most_images: ClassVar[float] = 1.0

    @cached_property
    def classes(self) -> Sequence[ObjectClass]:
        """The object classes; their order gives the indices in a plan."""
        return tuple(load_manifest(self.native.source).objects.values())

    @abstractmethod
    def weights(self) -> NDArray[np.float64]:
        """Return (classes,) how frequent the objects of each class are."""

    @abstractmethod
    def images(self, block: Block, drawn: Drawn) -> Iterator[Fragment]:
        """Write the files of the images of a block except the pictures, and yield their records.

        Args:
            block: the images.
            drawn: their random values.

        Yields:
            One fragment an image, in order.
        """

    @abstractmethod
    def picture(self, block: Block, image: int) -> str:
        """Return the path of the picture of an image of a block, relative to the output folder."""

    def most_parts(self) -> NDArray[np.int64]:
        """Return (classes,) the number of parts of each class."""
        return np.array([len(item.parts) for item in self.classes], np.int64)

    def write(self, block: Block) -> list[Fragment]:
        """Write the files of a block and return its records, one fragment an image."""
        drawn = self._draw(block)
        for image, size in enumerate(drawn.sizes):
            variant = (block.first_image + image) % block.variants
            target = block.out / self.picture(block, image)
            link_picture(block.out / self.root / POOL, size, variant, target)
        return list(self.images(block, drawn))

    def _draw(self, block: Block) -> Drawn:
        plan = block.plan
        rng = generator(block.seed, f"{self.native.source}/{block.split}", block.first_image)
        count = len(plan.starts) - 1
        shares = np.array([share for _, share in self.sizes])
        numbers = rng.choice(len(self.sizes), count, p=shares / shares.sum()).tolist()
        sizes = [self.sizes[number][0] for number in numbers]
        image_of = np.arange(count).repeat(np.diff(plan.starts))
        pixels = np.array(sizes, np.int64)[image_of]
        median, spread = self.area
        share = rng.lognormal(np.log(median), spread, len(image_of)).clip(0.0003, 0.6)
        places = object_places(pixels[:, 0], pixels[:, 1], share, rng)
        owner_of = np.arange(len(image_of)).repeat(plan.parts)
        return Drawn(rng, sizes, image_of, places, owner_of, self._chosen_parts(plan, rng))

    def _chosen_parts(self, plan: SplitPlan, rng: Generator) -> NDArray[np.int64]:
        """Return (parts,) int64, which parts of its class each object has; ascending an object."""
        most = self.most_parts()[plan.classes]
        columns = np.arange(int(self.most_parts().max()))
        # The smallest of exponential numbers with rates 1, 1/2, 1/3 …: a draw without replacement
        # in which the first parts of a class are the frequent ones.
        waits = rng.exponential(size=(len(most), len(columns))) * (columns + 1)
        waits[columns >= most[:, None]] = np.inf
        ranks = waits.argsort(1).argsort(1)
        return np.asarray(np.nonzero(ranks < plan.parts[:, None])[1], np.int64)


def fragment(split: str, image: dict[str, Any], annotations: list[dict[str, Any]]) -> Fragment:
    """Return the records of an image.

    Args:
        split: the layout's own name of the split.
        image: its image record.
        annotations: its annotations, each with a `category_id`.

    Returns:
        The records as JSON.
    """
    return Fragment(
        split,
        encode(image),
        tuple(encode(annotation) for annotation in annotations),
        tuple(annotation["category_id"] for annotation in annotations),
    )


def box_of_polygons(polygons: list[list[float]]) -> tuple[list[float], float]:
    """Return the box x, y, w, h of polygons, and the sum of their areas, in pixels."""
    area = 0.0
    corners = [np.array(polygon).reshape(-1, 2) for polygon in polygons]
    for points in corners:
        x, y = points[:, 0], points[:, 1]
        area += abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
    points = np.concatenate(corners)
    low, high = points.min(0), points.max(0)
    box = [round(float(value), 2) for value in (*low, *(high - low))]
    return box, round(area, 2)


def grouped(
    owners: NDArray[np.int64], outlines: list[list[float]], count: int
) -> list[list[list[float]]]:
    """Return the polygons of each of `count` masks.

    Args:
        owners: (n,) int64, the mask of each outline.
        outlines: n outlines.
        count: number of masks.

    Returns:
        A list of outlines for each mask.
    """
    found: list[list[list[float]]] = [[] for _ in range(count)]
    for owner, outline in zip(owners.tolist(), outlines, strict=True):
        found[owner].append(outline)
    return found
