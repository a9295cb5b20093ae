"""Renders one image of a source: its pixels, and the masks exactly as painted."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from mixedparts.synthetic.painting import paint
from mixedparts.synthetic.raster import Cut, Mask, cut_visible, label_shapes
from mixedparts.synthetic.scene import Actor, Scene, compose


@dataclass(frozen=True, slots=True)
class PaintedPart:
    """The visible pixels of one named part of one object; same-named shapes are one part."""

    native: str
    cut: Cut


@dataclass(frozen=True, slots=True)
class PaintedObject:
    """The visible pixels of one annotated object.

    Attributes:
        key: upstream class.
        parts: named parts with at least one visible pixel, in the order of their first shape.
    """

    key: str
    cut: Cut
    parts: tuple[PaintedPart, ...]


@dataclass(frozen=True, slots=True)
class Rendered:
    """One image with its truth.

    Attributes:
        pixels: (H, W, 3) uint8 RGB.
        labels: (H, W) int16, 0 or 1 + index of the shape that was painted there.
        objects: annotated objects from back to front; their masks are disjoint.
    """

    scene: Scene
    pixels: NDArray[np.uint8]
    labels: NDArray[np.int16]
    objects: tuple[PaintedObject, ...]


def render(seed: int, source: str, index: int) -> Rendered:
    """Render image `index` of a source; the result depends on nothing else."""
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
    """Say for every shape who owns its pixels, where objects are written as polygons."""
    owners = []
    for number, actor in enumerate(actors):
        owners += [number if actor.subject else -1] * len(actor.shapes)
    return owners


def _part_owners(actors: tuple[Actor, ...]) -> list[int]:
    """Say for every shape who owns its pixels, where parts are written as polygons."""
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
    """Unite neighbouring shapes of one owner into one layer; details add no area."""
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
        if len({owner for owner, _ in solid}) == 1:
            layers.append((solid[0][0], actor.outline))
            continue
        for owner, run in groupby(solid, key=lambda item: item[0]):
            layers.append((owner, shapely.union_all([area for _, area in run])))
    return layers


def _objects(
    actors: tuple[Actor, ...],
    owners: list[int],
    cuts: dict[int, Cut],
    labels: NDArray[np.int16],
    by_part: bool,
) -> tuple[PaintedObject, ...]:
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
            if mask.any():
                polygons = cuts[owners[indices[0]]].polygons if by_part else []
                parts.append(PaintedPart(native, Cut(mask, polygons)))
        polygons = [] if by_part else cuts[owners[span.start]].polygons
        objects.append(
            PaintedObject(actor.key, Cut(_shown(labels, list(span)), polygons), tuple(parts))
        )
    return tuple(objects)


def _shown(labels: NDArray[np.int16], indices: list[int]) -> Mask:
    chosen = np.zeros(int(labels.max()) + 2, dtype=bool)
    wanted = np.asarray(indices) + 1
    chosen[wanted[wanted < chosen.size]] = True
    return np.asarray(chosen[labels])
