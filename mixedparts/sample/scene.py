"""Composes pictures: which objects, where, in front of what, and which parts are missing.

Frame of coordinates: image pixels, x to the right, y down. Sizes vary between 128 and 192 a side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.random import Generator, Philox
from shapely.geometry.base import BaseGeometry

from mixedparts.sample.shapes import Shape, bar, ellipse, smooth
from mixedparts.sample.vocabulary import SOURCES, Subject, subjects

SIDES = (128, 192)


@dataclass(frozen=True, slots=True)
class Actor:
    """One drawn thing: an annotated object, or clutter that nothing is said about.

    Attributes:
        subject: None for clutter.
        key: upstream class, empty for clutter.
        shapes: in pixels, from back to front.
        outline: union of the shapes.
    """

    subject: Subject | None
    key: str
    shapes: tuple[Shape, ...]
    outline: BaseGeometry


@dataclass(frozen=True, slots=True)
class Scene:
    """A composed picture; actors stand from back to front."""

    width: int
    height: int
    actors: tuple[Actor, ...]


def generator(seed: int, source: str, index: int, purpose: int = 0) -> Generator:
    """Return the random numbers of one image: Philox keyed by seed, source and image index.

    Raises:
        ValueError: a seed or index outside 64 or 40 bits.
    """
    if not 0 <= seed < 1 << 64 or not 0 <= index < 1 << 40:
        raise ValueError(f"seed {seed} or index {index} is out of range")
    low = (purpose << 48) | (SOURCES.index(source) << 40) | index
    return Generator(Philox(key=np.array([seed, low], dtype=np.uint64)))


def main_subject(seed: int, source: str, index: int) -> Subject:
    """Return the class that image `index` is about: each block of n images shows all n classes."""
    choice = subjects(source)
    block, place = divmod(index, len(choice))
    order = generator(seed, source, block, purpose=1).permutation(len(choice))
    return choice[order[place]]


def compose(seed: int, source: str, index: int) -> tuple[Scene, Generator]:
    """Compose image `index` of a source.

    Returns:
        the scene and the generator to go on with, for painting.
    """
    rng = generator(seed, source, index)
    width, height = (int(side) for side in rng.integers(SIDES[0], SIDES[1] + 1, size=2))
    subject = main_subject(seed, source, index)
    key = subject.keys[int(rng.integers(len(subject.keys)))]
    size = float(rng.uniform(0.55, 0.85))
    main = _place(rng, subject, key, size, (width, height), central=True)
    while main.outline.area < 0.05 * width * height and size < 0.95:
        size += 0.1
        main = _place(rng, subject, key, size, (width, height), central=True)
    actors = [main]
    for _ in range(_extras(rng, source)):
        actors = _add(rng, source, actors, (width, height))
    actors = _occlude(rng, actors, (width, height))
    behind = [_clutter(rng, (width, height)) for _ in range(int(rng.integers(0, 4)))]
    return Scene(width, height, (*behind, *actors)), rng


def _extras(rng: Generator, source: str) -> int:
    chances = (0.8, 0.2) if source == "partimagenet" else (0.5, 0.35, 0.15)
    return int(rng.choice(len(chances), p=chances))


def _place(
    rng: Generator,
    subject: Subject,
    key: str,
    size: float,
    frame: tuple[int, int],
    central: bool,
) -> Actor:
    """Draw a subject, leave parts out, turn, mirror and scale it to `size` of the image side."""
    shapes = subject.draw(rng)
    gone = {part for part, chance in subject.absent.items() if rng.random() < chance}
    kept = [shape for shape in shapes if shape.key not in gone] or shapes
    if "head" in gone:
        kept = [shape for shape in kept if shape.key != "neck"] or shapes
    turn = np.deg2rad(rng.uniform(-subject.turn, subject.turn))
    sx = rng.uniform(0.9, 1.12) * (-1 if rng.random() < 0.5 else 1)
    linear = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    linear = linear * np.array([[sx, 1.0]])
    areas = np.array([shape.geometry for shape in kept], dtype=object)
    areas = shapely.transform(areas, lambda points: points @ linear.T)
    left, top, right, bottom = shapely.total_bounds(areas)
    width, height = frame
    scale = size * min(width / (right - left), height / (bottom - top))
    slack_x, slack_y = width - scale * (right - left), height - scale * (bottom - top)
    if central:
        ux, uy = rng.uniform(0.15, 0.85, size=2)
    else:
        ux, uy = rng.uniform(0.0, 1.0), rng.uniform(0.0, 1.0)
    offset = np.array([ux * slack_x - scale * left, uy * slack_y - scale * top])
    if central and rng.random() < 0.12:  # cut off by the picture's border
        share = rng.uniform(0.1, 0.25) * scale * (right - left)
        offset[0] += slack_x * (1 - ux) + share if ux > 0.5 else -slack_x * ux - share
    areas = shapely.transform(areas, lambda points: points * scale + offset)
    placed = tuple(shape._replace(geometry=area) for shape, area in zip(kept, areas, strict=True))
    return Actor(subject, key, placed, shapely.union_all(areas))


def _add(rng: Generator, source: str, actors: list[Actor], frame: tuple[int, int]) -> list[Actor]:
    """Try to add one more object, so that all stay well visible; else return what was there."""
    main = actors[-1]
    for _ in range(6):
        if source == "partimagenet" or rng.random() < 0.4:
            subject, key = main.subject, main.key
        else:
            choice = subjects(source)
            subject = choice[int(rng.integers(len(choice)))]
            key = subject.keys[int(rng.integers(len(subject.keys)))]
        assert subject is not None
        new = _place(rng, subject, key, float(rng.uniform(0.3, 0.5)), frame, central=False)
        at = int(rng.integers(len(actors) + 1))
        trial = [*actors[:at], new, *actors[at:]]
        if _well_visible(trial, frame, 0.7, 0.04):
            return trial
    return actors


def _well_visible(
    actors: list[Actor], frame: tuple[int, int], share: float, smallest: float
) -> bool:
    canvas = shapely.box(0, 0, *frame)
    covered: BaseGeometry = shapely.Polygon()
    for actor in reversed(actors):
        if actor.subject is not None:
            seen = actor.outline.intersection(canvas).difference(covered).area
            if seen < share * actor.outline.area or seen < smallest * canvas.area:
                return False
        covered = covered.union(actor.outline)
    return True


def _occlude(rng: Generator, actors: list[Actor], frame: tuple[int, int]) -> list[Actor]:
    """With some chance put a piece of clutter in front of an object."""
    if rng.random() > 0.35:
        return actors
    target = actors[int(rng.integers(len(actors)))]
    left, top, right, bottom = target.outline.bounds
    for _ in range(3):
        spot = (rng.uniform(left, right), rng.uniform(top, bottom))
        reach = rng.uniform(0.1, 0.2) * max(right - left, bottom - top)
        trial = [*actors, _clutter(rng, frame, spot, reach)]
        if _well_visible(trial, frame, 0.6, 0.03):
            return trial
    return actors


def _clutter(
    rng: Generator,
    frame: tuple[int, int],
    spot: tuple[float, float] | None = None,
    reach: float = 0.0,
) -> Actor:
    width, height = frame
    x, y = spot or (rng.uniform(0, width), rng.uniform(0, height))
    reach = reach or rng.uniform(0.06, 0.2) * max(frame)
    kind = int(rng.integers(3))
    area: BaseGeometry
    if kind == 0:
        angle = np.sort(rng.uniform(0, 2 * np.pi, size=7))
        radius = reach * rng.uniform(0.6, 1.1, size=7)
        area = smooth(
            list(zip(x + radius * np.cos(angle), y + radius * np.sin(angle), strict=True))
        )
    elif kind == 1:
        dx, dy = rng.uniform(-1, 1, size=2) * reach
        area = bar((x - dx, y - dy), (x + dx, y + dy), reach * 0.5)
    else:
        area = ellipse(x, y, reach, reach * rng.uniform(0.4, 1.0), rng.uniform(0, np.pi))
    return Actor(None, "", (Shape("", area, "clutter"),), area)
