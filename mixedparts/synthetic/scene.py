"""Compose scenes: which objects, where, in front of what, and which parts are missing.

Frame of coordinates: image pixels, x to the right, y down. A side has 128 to 192 pixels.

All functions that take `rng` share the stream of one image. The order of its calls is part of the
output: another order, or a call more, changes every image.
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

from mixedparts.synthetic.overlay import union_all
from mixedparts.synthetic.raster import stamp
from mixedparts.synthetic.shapes import Shape, bar, ellipse, smooth
from mixedparts.synthetic.vocabulary import CARRIER, SOURCES, Subject, subjects

SIDES = (128, 192)
# A part is either clearly visible or not drawn at all. Whether an image shows it is then never a
# matter of a few pixels.
SMALLEST_PART = 0.003  # least share of the image
PART_SHARE = 0.55  # least share of what the object's own shapes leave visible of the part
Picked = TypeVar("Picked")


@dataclass(frozen=True, slots=True)
class Actor:
    """One drawn thing: an annotated object, or clutter, which is not annotated.

    Attributes:
        subject: class and draw function, None for clutter.
        key: upstream class, empty for clutter.
        shapes: in pixels, from back to front.
        outline: union of the shapes.
        pixels: number of pixels of each value of its map (see `_stamp`), with nothing in front.
    """

    subject: Subject | None
    key: str
    shapes: tuple[Shape, ...]
    outline: BaseGeometry
    pixels: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Scene:
    """A composed image, its size in pixels and its actors from back to front."""

    width: int
    height: int
    actors: tuple[Actor, ...]


def generator(seed: int, source: str, index: int, purpose: int = 0) -> Generator:
    """Return the random stream of one image: Philox keyed by seed, source and image index.

    Args:
        seed: of the run, 0 to 2**64 - 1.
        source: name of the source.
        index: of the image, or of a block of images, in its source.
        purpose: another number gives a stream that is independent of the image's own.

    Returns:
        A stream that depends on the arguments alone, so that workers can draw in any order.

    Raises:
        ValueError: a seed or index outside 64 or 40 bits.
    """
    if not 0 <= seed < 1 << 64 or not 0 <= index < 1 << 40:
        raise ValueError(f"seed {seed} or index {index} is out of range")
    # The 128-bit key has a field for each number, so no two images of a run share a stream.
    low = (purpose << 48) | (SOURCES.index(source) << 40) | index
    return Generator(Philox(key=np.array([seed, low], dtype=np.uint64)))


def main_subject(seed: int, source: str, index: int) -> Subject:
    """Return the class of an image's main object.

    Args:
        seed: of the run.
        source: name of the source, which has n classes.
        index: of the image in its source.

    Returns:
        A class; every block of n images has each class once, in random order.
    """
    choice = subjects(source)
    block, place = divmod(index, len(choice))
    order = generator(seed, source, block, purpose=1).permutation(len(choice))
    return choice[int(order[place])]


def compose(seed: int, source: str, index: int) -> tuple[Scene, Generator]:
    """Compose one image of a source.

    Args:
        seed: of the run, 0 to 2**64 - 1.
        source: name of the source.
        index: of the image in its source, from 0.

    Returns:
        The scene, and the image's random stream, which painting continues.
    """
    rng = generator(seed, source, index)
    width, height = (int(side) for side in rng.integers(SIDES[0], SIDES[1] + 1, size=2))
    subject = main_subject(seed, source, index)
    actors = [_main(rng, subject, (width, height))]
    for _ in range(_extras(rng, source)):
        actors = _add(rng, source, actors, (width, height))
    actors = _occlude(rng, actors, (width, height))
    # Clutter behind all objects hides nothing, so it needs no check.
    behind = [_clutter(rng, (width, height)) for _ in range(int(rng.integers(0, 4)))]
    return Scene(width, height, (*behind, *actors)), rng


def _pick(rng: Generator, choice: Sequence[Picked]) -> Picked:
    return choice[int(rng.integers(len(choice)))]


def _extras(rng: Generator, source: str) -> int:
    """Return how many objects to try to add; PartImageNet shows mostly one object an image."""
    chances = (0.8, 0.2) if source == "partimagenet" else (0.5, 0.35, 0.15)
    return int(rng.choice(len(chances), p=chances))


def _main(rng: Generator, subject: Subject, frame: tuple[int, int]) -> Actor:
    """Draw the main object of the image, large and at a random place."""
    width, height = frame
    size = float(rng.uniform(0.62, 0.88))
    key = _pick(rng, subject.keys)
    actor = _draw(rng, subject, key, size, frame)
    # Thin drawings cover little of their box. They are drawn larger, because a build drops objects
    # below 2 % of the image by default.
    while actor.outline.area < 0.05 * width * height and size < 0.95:
        size += 0.08
        actor = _draw(rng, subject, key, size, frame)
    _, _, wide, tall = actor.outline.bounds
    across, down = rng.uniform(0.15, 0.85, size=2)
    x, y = across * (width - wide), down * (height - tall)
    if rng.random() < 0.12:  # cut off by the border of the image
        out = rng.uniform(0.1, 0.25) * wide
        cut = _move(actor, width - wide + out if across > 0.5 else -out, y)
        if _well_visible([cut], frame, 0.6, 0.04):
            return cut
    return _move(actor, x, y)


def _draw(rng: Generator, subject: Subject, key: str, size: float, frame: tuple[int, int]) -> Actor:
    """Draw a subject, leave parts out, turn and mirror it, scale it to `size` of the image side.

    The upper left corner of its box is at (0, 0).
    """
    shapes = subject.draw(rng)
    gone = {part for part, chance in subject.absent.items() if rng.random() < chance}
    gone |= {part for part, carrier in CARRIER.items() if carrier in gone}
    turn = np.deg2rad(rng.uniform(-subject.turn, subject.turn))
    stretch = rng.uniform(0.9, 1.12) * (-1 if rng.random() < 0.5 else 1)
    linear = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    linear[0] *= stretch
    actor = _placed(subject, key, _without(shapes, subject, gone), linear, size, frame)
    # Parts that came out too small are left out, and the object is placed again without them. No
    # random numbers are used, so the rest of the drawing stays the same.
    least = SMALLEST_PART * frame[0] * frame[1]
    own = zip(_names(actor), actor.pixels[2:], strict=True)
    small = {name for name, pixels in own if pixels < least}
    if small:
        gone |= {key for key, name in subject.parts.items() if name in small}
        gone |= {part for part, carrier in CARRIER.items() if carrier in gone}
        actor = _placed(subject, key, _without(shapes, subject, gone), linear, size, frame)
    return actor


def _without(shapes: list[Shape], subject: Subject, gone: set[str]) -> list[Shape]:
    """Return the shapes whose part is not gone, or all shapes if no named part would be left."""
    left = [shape for shape in shapes if shape.key not in gone]
    return left if any(shape.key in subject.parts for shape in left) else shapes


def _placed(
    subject: Subject,
    key: str,
    shapes: list[Shape],
    linear: NDArray[np.float64],
    size: float,
    frame: tuple[int, int],
) -> Actor:
    """Transform shapes by a 2 x 2 matrix and scale them to `size` of the image side."""
    areas = np.array([shape.geometry for shape in shapes], dtype=object)
    areas = shapely.transform(areas, lambda points: points @ linear)
    left, top, right, bottom = shapely.total_bounds(areas)
    scale = size * min(frame[0] / (right - left), frame[1] / (bottom - top))
    corner = np.array([left, top])
    # On a grid of 1024ths of a pixel: last digits, which products and sines of another version of
    # NumPy may change, do not decide anything from here on.
    areas = shapely.transform(areas, lambda points: _gridded((points - corner) * scale))
    placed = tuple(shape._replace(geometry=area) for shape, area in zip(shapes, areas, strict=True))
    solid = [shape.geometry for shape in placed if not shape.detail]
    actor = Actor(subject, key, placed, union_all(solid))
    # The actor fits into the frame at (0, 0), so its map there counts all of its pixels.
    alone = np.bincount(_stamp(actor, frame).ravel(), minlength=2 + len(_names(actor)))
    return replace(actor, pixels=tuple(alone.tolist()))


def _gridded(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return coordinates in pixels, rounded to the nearest 1024th."""
    return np.asarray(np.rint(points * 1024) / 1024)


def _names(actor: Actor) -> list[str]:
    """Return the native names of the actor's parts, from back to front."""
    assert actor.subject is not None
    names = (actor.subject.parts.get(shape.key) for shape in actor.shapes if not shape.detail)
    return list(dict.fromkeys(name for name in names if name is not None))


def _stamp(actor: Actor, frame: tuple[int, int]) -> NDArray[np.uint8]:
    """Return an `(H, W)` map: 0 outside the actor, 1 on it, 2 + n on its n-th named part."""
    width, height = frame
    if actor.subject is None:
        return stamp([(1, actor.outline)], height, width)
    values = {name: 2 + number for number, name in enumerate(_names(actor))}
    parts = actor.subject.parts
    solid = [shape for shape in actor.shapes if not shape.detail]
    areas = [(values.get(parts.get(shape.key, ""), 1), shape.geometry) for shape in solid]
    return stamp(areas, height, width)


def _move(actor: Actor, x: float, y: float) -> Actor:
    """Return the actor moved by (x, y) pixels."""
    step = _gridded(np.array([x, y]))
    geometries = np.array([*(shape.geometry for shape in actor.shapes), actor.outline], object)
    *areas, outline = shapely.transform(geometries, lambda points: points + step)
    shapes = (
        shape._replace(geometry=area) for shape, area in zip(actor.shapes, areas, strict=True)
    )
    return Actor(actor.subject, actor.key, tuple(shapes), outline, actor.pixels)


def _add(rng: Generator, source: str, actors: list[Actor], frame: tuple[int, int]) -> list[Actor]:
    """Return the actors with one more object if all stay well visible, else the same actors."""
    # PartImageNet repeats the class, because its file names give one class an image. Elsewhere a
    # repeated class is one entity of several instances.
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
    """Return whether every object and each of its parts shows enough of itself.

    Args:
        actors: from back to front; clutter only covers.
        frame: width and height of the image in pixels.
        share: least share of an object's own pixels.
        smallest: least share of the image.
    """
    size = frame[0] * frame[1]
    covered = np.zeros((frame[1], frame[0]), bool)
    for actor in reversed(actors):
        shown = _stamp(actor, frame)
        if actor.subject is not None:
            seen = np.bincount(shown[~covered], minlength=len(actor.pixels))
            if seen[1:].sum() < max(share * sum(actor.pixels[1:]), smallest * size):
                return False
            # One hidden part is enough to reject a scene: its mask would be a sliver.
            own = np.array(actor.pixels[2:])
            if (seen[2:] < np.maximum(PART_SHARE * own, SMALLEST_PART * size)).any():
                return False
        covered |= shown > 0
    return True


def _occlude(rng: Generator, actors: list[Actor], frame: tuple[int, int]) -> list[Actor]:
    """Try in about a third of the images to put a piece of clutter in front of an object."""
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
    """Return a blob, a bar or an ellipse; without a spot, at a random place and of random size."""
    width, height = frame
    x, y = spot or (rng.uniform(0, width), rng.uniform(0, height))
    reach = reach or rng.uniform(0.06, 0.2) * max(frame)
    kind = int(rng.integers(3))
    area: BaseGeometry
    if kind == 0:
        # Sorted angles give a line around the spot, so the blob is a simple area.
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
