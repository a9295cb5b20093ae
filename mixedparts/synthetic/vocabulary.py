"""The classes that each source shows, and the source's names for their parts.

One draw function serves all sources; a source only names its parts. A part that a source does not
name is painted too and belongs to the object alone. All classes, parts and ids exist upstream and
come from the manifests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache

from numpy.random import Generator

from mixedparts.sources.manifests import ObjectClass, load_manifest
from mixedparts.synthetic import animals, furniture, vehicles
from mixedparts.synthetic.shapes import Shape

DrawFunction = Callable[[Generator], list[Shape]]


@dataclass(frozen=True, slots=True)
class Subject:
    """One class of one source and how it is drawn.

    Attributes:
        keys: upstream classes it is annotated as (LVIS name, synsets, ADE name); one an object.
        draw: the draw function, shared between sources.
        parts: native part name of each `Shape.key`; a missing key is a part without a name.
        absent: probability that a part is left out of the drawing, by `Shape.key`.
        hue: a typical hue in [0, 1), or None for any.
        turn: largest rotation in degrees.
        typical: probability of the typical hue.
    """

    keys: tuple[str, ...]
    draw: DrawFunction
    parts: Mapping[str, str]
    absent: Mapping[str, float] = field(default_factory=dict)
    hue: float | None = None
    turn: float = 10.0
    typical: float = 0.6


def _same(*names: str) -> dict[str, str]:
    return {name: name for name in names}


# Probabilities of absence. A source has samples of unique parts only if images of a class differ in
# the parts that they show.
_DOG = {"tail": 0.2, "foot": 0.15, "leg": 0.1, "head": 0.06}
_BUS = {"wheel": 0.12, "window": 0.15, "headlight": 0.3}
_CAR = {**_BUS, "mirror": 0.3}
_CHAIR = {"arm": 0.4, "leg": 0.15, "back": 0.1, "seat": 0.05}
_BENCH = {"arm": 0.35, "leg": 0.15, "back": 0.15, "seat": 0.05}
_TABLE = {"drawer": 0.4, "leg": 0.06}
_STOOL = {"footrest": 0.35, "leg": 0.04}
_LAMP = {"base": 0.2, "column": 0.15, "shade": 0.1}
_BICYCLE = {"saddle": 0.25, "handlebar": 0.2, "wheel": 0.1}
_FISH = {"fin": 0.25, "tail": 0.2, "head": 0.06}
_BIRD = {"wing": 0.2, "tail": 0.25, "foot": 0.25, "head": 0.06}
_CARS = _same("wheel", "window", "headlight")

# Some classes are in two sources (dog, car, chair, bench, table, stool, lamp), so that samples
# across sources exist.
_SUBJECTS: dict[str, tuple[Subject, ...]] = {
    "paco": (
        Subject(("dog",), animals.dog, _same("body", "head", "leg", "foot", "tail"), _DOG, 0.08),
        Subject(("bicycle",), vehicles.bicycle, _same("wheel", "saddle", "handlebar"), _BICYCLE),
        Subject(("car_(automobile)",), vehicles.car, _CARS, _CAR),
        Subject(("chair",), furniture.chair, _same("leg", "seat", "back", "arm"), _CHAIR, turn=6),
        Subject(("bench",), furniture.bench, _same("leg", "seat", "back", "arm"), _BENCH, turn=6),
        Subject(("table",), furniture.table, _same("leg", "top", "drawer"), _TABLE, turn=6),
        Subject(("stool",), furniture.stool, _same("leg", "seat", "footrest"), _STOOL, turn=6),
        Subject(("lamp",), furniture.lamp, {**_same("base", "shade"), "column": "pipe"}, _LAMP),
    ),
    "partimagenet": (
        Subject(
            ("n02089867", "n02099601", "n02100583", "n02109525"),
            animals.dog,
            # Native names are coarser than the drawing: several shapes make one part.
            {
                "head": "Head", "body": "Body", "neck": "Body", "leg": "Foot", "foot": "Foot",
                "tail": "Tail",
            },
            _DOG,
            hue=0.08,
        ),
        Subject(
            ("n01824575", "n01828970", "n01843065"),
            animals.bird,
            {"head": "Head", "body": "Body", "wing": "Wing", "foot": "Foot", "tail": "Tail"},
            _BIRD,
        ),
        Subject(
            ("n01440764", "n02514041"),
            animals.fish,
            {"head": "Head", "body": "Body", "fin": "Fin", "tail": "Tail"},
            _FISH,
            turn=12,
        ),
        Subject(
            ("n01729977", "n01734418", "n01735189"),
            animals.snake,
            {"head": "Head", "body": "Body"},
            {"head": 0.12},
            hue=0.28,
            turn=12,
        ),
        Subject(
            ("n01667114", "n01669191"),
            animals.turtle,
            {"head": "Head", "body": "Body", "foot": "Foot", "tail": "Tail"},
            {"tail": 0.25, "foot": 0.15, "head": 0.1},
            hue=0.3,
        ),
        Subject(
            ("n04147183", "n04483307", "n04612504"),
            vehicles.boat,
            {"hull": "Body", "sail": "Sail"},
            {"sail": 0.15},
            turn=12,
        ),
        Subject(
            ("n02930766",),
            vehicles.taxi,
            {
                "body": "Body", "window": "Body", "headlight": "Body", "wheel": "Tier",
                "mirror": "Side Mirror",
            },
            {"mirror": 0.3, "wheel": 0.15},
            hue=0.14,
            typical=0.9,
        ),
        Subject(
            ("n04465501",),
            vehicles.tractor,
            {"body": "Body", "wheel": "Tier", "mirror": "Side Mirror"},
            {"mirror": 0.3, "wheel": 0.12},
        ),
    ),
    "ade20k": (
        Subject(("car",), vehicles.car, _CARS, _CAR),
        Subject(("bus",), vehicles.bus, _CARS, _BUS),
        Subject(("truck",), vehicles.truck, _CARS, _BUS),
        Subject(("chair",), furniture.chair, _same("leg", "seat", "back", "arm"), _CHAIR, turn=6),
        Subject(("bench",), furniture.bench, _same("leg", "seat", "back", "arm"), _BENCH, turn=6),
        Subject(("table",), furniture.table, _same("leg", "top", "drawer"), _TABLE, turn=6),
        Subject(("stool",), furniture.stool, _same("leg", "seat"), _STOOL, turn=6),
        Subject(("lamp",), furniture.lamp, _same("base", "shade", "column"), _LAMP, turn=6),
    ),
}  # fmt: skip

# A part is left out together with the one that carries it; it would hang in the air.
CARRIER = {"foot": "leg", "footrest": "leg", "neck": "head"}

SOURCES = tuple(_SUBJECTS)


@cache
def subjects(source: str) -> tuple[Subject, ...]:
    """Return the classes that a source shows, in a fixed order."""
    return _SUBJECTS[source]


@cache
def object_class(source: str, key: str) -> ObjectClass:
    """Return the manifest's entry of an upstream class."""
    return load_manifest(source).objects[key]


@cache
def part_id(source: str, key: str, native: str) -> int:
    """Return the upstream id of a part of a class.

    Args:
        source: name of the source.
        key: upstream class.
        native: the source's name of the part.

    Returns:
        The id in the annotation files.

    Raises:
        KeyError: the class has no part of that name.
    """
    for part in object_class(source, key).parts:
        if part.native == native:
            return part.id
    raise KeyError(f"{source}: class {key} has no part {native}")
