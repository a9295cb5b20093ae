"""Composes pictures: which objects, where, in front of what, and which parts are missing.

Frame of coordinates: image pixels, x to the right, y down. Sizes vary between 128 and 192 a side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import shapely
from numpy.random import Generator, Philox
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from mixedparts.synthetic.raster import stamp
from mixedparts.synthetic.shapes import Shape, bar, ellipse, smooth
from mixedparts.synthetic.vocabulary import CARRIER, SOURCES, Subject, subjects

SIDES = (128, 192)
# A part is either plain to see or not drawn at all: what a picture shows is then not a matter of
# a few pixels. Shares of the picture, and of what the object's own shapes leave visible of a part.
SMALLEST_PART = 0.003
PART_SHARE = 0.55
Picked = TypeVar("Picked")


@dataclass(frozen=True, slots=True)
class Actor:
    """One drawn thing: an annotated object, or clutter that nothing is said about.

    Attributes:
        subject: None for clutter.
        key: upstream class, empty for clutter.
        shapes: in pixels, from back to front.
        outline: union of the shapes.
        pixels: by value of its map (see `_stamp`), where nothing else hides it.
    """

    subject: Subject | None
    key: str
    shapes: tuple[Shape, ...]
    outline: BaseGeometry
    pixels: tuple[int, ...] = ()


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
    return choice[int(order[place])]


def compose(seed: int, source: str, index: int) -> tuple[Scene, Generator]:
    """Compose image `index` of a source.

    Returns:
        the scene and the generator to go on with, for painting.
    """
    rng = generator(seed, source, index)
    width, height = (int(side) for side in rng.integers(SIDES[0], SIDES[1] + 1, size=2))
    subject = main_subject(seed, source, index)
    actors = [_main(rng, subject, (width, height))]
    for _ in range(_extras(rng, source)):
        actors = _add(rng, source, actors, (width, height))
    actors = _occlude(rng, actors, (width, height))
    behind = [_clutter(rng, (width, height)) for _ in range(int(rng.integers(0, 4)))]
    return Scene(width, height, (*behind, *actors)), rng


def _pick(rng: Generator, choice: Sequence[Picked]) -> Picked:
    return choice[int(rng.integers(len(choice)))]


def _extras(rng: Generator, source: str) -> int:
    chances = (0.8, 0.2) if source == "partimagenet" else (0.5, 0.35, 0.15)
    return int(rng.choice(len(chances), p=chances))


def _main(rng: Generator, subject: Subject, frame: tuple[int, int]) -> Actor:
    """Draw the object that the picture is about, large and near the middle."""
    width, height = frame
    size = float(rng.uniform(0.62, 0.88))
    key = _pick(rng, subject.keys)
    actor = _draw(rng, subject, key, size, frame)
    while actor.outline.area < 0.05 * width * height and size < 0.95:
        size += 0.08
        actor = _draw(rng, subject, key, size, frame)
    _, _, wide, tall = actor.outline.bounds
    across, down = rng.uniform(0.15, 0.85, size=2)
    x, y = across * (width - wide), down * (height - tall)
    if rng.random() < 0.12:  # cut off by the picture's border
        out = rng.uniform(0.1, 0.25) * wide
        cut = _move(actor, width - wide + out if across > 0.5 else -out, y)
        if _well_visible([cut], frame, 0.6, 0.04):
            return cut
    return _move(actor, x, y)


def _draw(rng: Generator, subject: Subject, key: str, size: float, frame: tuple[int, int]) -> Actor:
    """Draw a subject, leave parts out, turn and mirror it, scale it to `size` of the image side.

    Its box begins at (0, 0).
    """
    shapes = subject.draw(rng)
    gone = {part for part, chance in subject.absent.items() if rng.random() < chance}
    gone |= {part for part, carrier in CARRIER.items() if carrier in gone}
    turn = np.deg2rad(rng.uniform(-subject.turn, subject.turn))
    stretch = rng.uniform(0.9, 1.12) * (-1 if rng.random() < 0.5 else 1)
    linear = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    linear[0] *= stretch
    actor = _placed(subject, key, _without(shapes, subject, gone), linear, size, frame)
    least = SMALLEST_PART * frame[0] * frame[1]
    own = zip(_names(actor), actor.pixels[2:], strict=True)
    small = {name for name, pixels in own if pixels < least}
    if small:
        gone |= {key for key, name in subject.parts.items() if name in small}
        gone |= {part for part, carrier in CARRIER.items() if carrier in gone}
        actor = _placed(subject, key, _without(shapes, subject, gone), linear, size, frame)
    return actor


def _without(shapes: list[Shape], subject: Subject, gone: set[str]) -> list[Shape]:
    """Return the shapes that stay; all of them where no named part would."""
    kept = [shape for shape in shapes if shape.key not in gone]
    return kept if any(shape.key in subject.parts for shape in kept) else shapes


def _placed(
    subject: Subject,
    key: str,
    kept: list[Shape],
    linear: NDArray[np.float64],
    size: float,
    frame: tuple[int, int],
) -> Actor:
    """Turn shapes by a 2 x 2 matrix and scale them to `size` of the image side."""
    areas = np.array([shape.geometry for shape in kept], dtype=object)
    areas = shapely.transform(areas, lambda points: points @ linear)
    left, top, right, bottom = shapely.total_bounds(areas)
    scale = size * min(frame[0] / (right - left), frame[1] / (bottom - top))
    corner = np.array([left, top])
    areas = shapely.transform(areas, lambda points: (points - corner) * scale)
    placed = tuple(shape._replace(geometry=area) for shape, area in zip(kept, areas, strict=True))
    solid = [shape.geometry for shape in placed if not shape.detail]
    actor = Actor(subject, key, placed, shapely.union_all(solid))
    alone = np.bincount(_stamp(actor, frame).ravel(), minlength=2 + len(_names(actor)))
    return replace(actor, pixels=tuple(alone.tolist()))


def _names(actor: Actor) -> list[str]:
    """Return the native names of the actor's parts, from back to front."""
    assert actor.subject is not None
    found = (actor.subject.parts.get(shape.key) for shape in actor.shapes if not shape.detail)
    return list(dict.fromkeys(name for name in found if name is not None))


def _stamp(actor: Actor, frame: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a map (H, W): 0 beside the actor, 1 on it, 2 + n on its n-th named part."""
    width, height = frame
    if actor.subject is None:
        return stamp([(1, actor.outline)], height, width)
    values = {name: 2 + number for number, name in enumerate(_names(actor))}
    parts = actor.subject.parts
    solid = [shape for shape in actor.shapes if not shape.detail]
    areas = [(values.get(parts.get(one.key, ""), 1), one.geometry) for one in solid]
    return stamp(areas, height, width)


def _move(actor: Actor, x: float, y: float) -> Actor:
    """Return the actor moved by (x, y) pixels."""
    step = np.array([x, y])
    geometries = np.array([*(shape.geometry for shape in actor.shapes), actor.outline], object)
    *areas, outline = shapely.transform(geometries, lambda points: points + step)
    shapes = (
        shape._replace(geometry=area) for shape, area in zip(actor.shapes, areas, strict=True)
    )
    return Actor(actor.subject, actor.key, tuple(shapes), outline, actor.pixels)


def _add(rng: Generator, source: str, actors: list[Actor], frame: tuple[int, int]) -> list[Actor]:
    """Try to add one more object, so that all stay well visible; else return what was there."""
    subject, key = actors[-1].subject, actors[-1].key
    if subject is None or (source != "partimagenet" and rng.random() < 0.6):
        subject = _pick(rng, subjects(source))
        key = _pick(rng, subject.keys)
    actor = _draw(rng, subject, key, float(rng.uniform(0.4, 0.56)), frame)
    _, _, wide, tall = actor.outline.bounds
    for _ in range(8):
        spot = rng.uniform(0, 1, size=2) * (frame[0] - wide, frame[1] - tall)
        at = int(rng.integers(len(actors) + 1))
        moved = _move(actor, float(spot[0]), float(spot[1]))
        trial = [*actors[:at], moved, *actors[at:]]
        if _well_visible(trial, frame, 0.7, 0.04):
            return trial
    return actors


def _well_visible(
    actors: list[Actor], frame: tuple[int, int], share: float, smallest: float
) -> bool:
    size = frame[0] * frame[1]
    covered = np.zeros((frame[1], frame[0]), bool)
    for actor in reversed(actors):
        shown = _stamp(actor, frame)
        if actor.subject is not None:
            seen = np.bincount(shown[~covered], minlength=len(actor.pixels))
            if seen[1:].sum() < max(share * sum(actor.pixels[1:]), smallest * size):
                return False
            own = np.array(actor.pixels[2:])
            if (seen[2:] < np.maximum(PART_SHARE * own, SMALLEST_PART * size)).any():
                return False
        covered |= shown > 0
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
