"""Render one image of a source: its pixels, and the masks exactly as painted.

A source writes polygons either of objects (PACO; ADE20K writes RLE of objects) or of parts
(PartImageNet). The polygons must rasterise to disjoint masks, so these objects or parts are the
owners among which `raster.cut_visible` divides the pixels. The other level follows from the map of
shapes.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from mixedparts.synthetic.overlay import union_all
from mixedparts.synthetic.painting import paint
from mixedparts.synthetic.raster import Cut, Mask, cut_visible, label_shapes
from mixedparts.synthetic.scene import Actor, Scene, compose


@dataclass(frozen=True, slots=True)
class PaintedPart:
    """The visible pixels of one named part of one object; shapes of one name are one part."""

    native: str
    cut: Cut


@dataclass(frozen=True, slots=True)
class PaintedObject:
    """The visible pixels of one annotated object.

    Attributes:
        key: upstream class.
        cut: its mask; its polygons are empty where the source writes polygons of parts.
        parts: named parts with at least one visible pixel, in the order of their first shape.
    """

    key: str
    cut: Cut
    parts: tuple[PaintedPart, ...]


@dataclass(frozen=True, slots=True)
class Rendered:
    """One image with its ground truth.

    Attributes:
        scene: what was composed.
        pixels: `(H, W, 3)` uint8 RGB.
        labels: `(H, W)` int16, 0 or 1 + index of the shape that was painted there.
        objects: annotated objects from back to front; their masks are disjoint.
    """

    scene: Scene
    pixels: NDArray[np.uint8]
    labels: NDArray[np.int16]
    objects: tuple[PaintedObject, ...]


def render(seed: int, source: str, index: int) -> Rendered:
    """Render one image of a source; the result depends on the arguments alone.

    Args:
        seed: of the run, 0 to 2**64 - 1.
        source: name of the source.
        index: of the image in its source, from 0.

    Returns:
        The image and its masks.
    """
    scene, rng = compose(seed, source, index)
    owners = _part_owners if source == "partimagenet" else _object_owners
    layers = owners(scene.actors)
    shapes = [shape.geometry for actor in scene.actors for shape in actor.shapes]
    cuts = cut_visible(_runs(layers, scene.actors), scene.height, scene.width)
    inside = {owner: cut.mask for owner, cut in cuts.items()}
    pairs = list(zip(layers, shapes, strict=True))
    labels = label_shapes(pairs, inside, scene.height, scene.width)
    pixels = paint(labels, scene.actors, rng)
    objects = _objects(scene.actors, layers, cuts, labels, source == "partimagenet")
    return Rendered(scene, pixels, labels, objects)


def _object_owners(actors: tuple[Actor, ...]) -> list[int]:
    """Return the owner of every shape: its object's number, or -1 for clutter."""
    owners = []
    for number, actor in enumerate(actors):
        owners += [number if actor.subject else -1] * len(actor.shapes)
    return owners


def _part_owners(actors: tuple[Actor, ...]) -> list[int]:
    """Return the owner of every shape: a number for each named part, or -1 for clutter."""
    owners = []
    numbers: dict[tuple[int, str], int] = {}
    for number, actor in enumerate(actors):
        for shape in actor.shapes:
            if actor.subject is None:
                owners.append(-1)
                continue
            part = number, actor.subject.parts[shape.key]
            owners.append(numbers.setdefault(part, len(numbers)))
    return owners


def _runs(owners: list[int], actors: tuple[Actor, ...]) -> list[tuple[int, BaseGeometry]]:
    """Return one layer for each run of neighbouring shapes of one owner; details add no area."""
    # Fewer layers mean fewer geometric overlays in `cut_visible`.
    layers: list[tuple[int, BaseGeometry]] = []
    first = 0
    for actor in actors:
        span = range(first, first + len(actor.shapes))
        first = span.stop
        solid = [
            (owners[index], shape.geometry)
            for index, shape in zip(span, actor.shapes, strict=True)
            if not shape.detail
        ]
        # The outline is the union of these shapes, computed when the scene was composed.
        if len({owner for owner, _ in solid}) == 1:
            layers.append((solid[0][0], actor.outline))
            continue
        for owner, run in groupby(solid, key=lambda item: item[0]):
            layers.append((owner, union_all([area for _, area in run])))
    return layers


def _objects(
    actors: tuple[Actor, ...],
    owners: list[int],
    cuts: dict[int, Cut],
    labels: NDArray[np.int16],
    by_part: bool,
) -> tuple[PaintedObject, ...]:
    """Return the annotated objects with their masks; `owners` and `labels` count all shapes."""
    objects = []
    first = 0
    for actor in actors:
        count = len(actor.shapes)
        span = range(first, first + count)
        first += count
        if actor.subject is None:
            continue
        members: dict[str, list[int]] = {}
        for index, shape in zip(span, actor.shapes, strict=True):
            native = actor.subject.parts.get(shape.key)
            if native is not None:
                members.setdefault(native, []).append(index)
        parts = []
        for native, indices in members.items():
            mask = _shown(labels, indices)
            # Other objects may hide a part completely.
            if mask.any():
                polygons = cuts[owners[indices[0]]].polygons if by_part else []
                parts.append(PaintedPart(native, Cut(mask, polygons)))
        polygons = [] if by_part else cuts[owners[span.start]].polygons
        objects.append(
            PaintedObject(actor.key, Cut(_shown(labels, list(span)), polygons), tuple(parts))
        )
    return tuple(objects)


def _shown(labels: NDArray[np.int16], indices: list[int]) -> Mask:
    """Return `(H, W)` bool, the pixels of some shapes."""
    # A table from label to bool is one gather, whatever the number of shapes. Shapes above the
    # highest label are hidden completely.
    chosen = np.zeros(int(labels.max()) + 2, dtype=bool)
    wanted = np.asarray(indices) + 1
    chosen[wanted[wanted < chosen.size]] = True
    return np.asarray(chosen[labels])
