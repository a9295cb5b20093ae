"""Draw functions of vehicles, seen from the side with the front to the left.

Each function returns shapes from back to front in a plane about one unit wide, y down. Shapes of
one part may be separate areas: all windows of a bus are one part. The order of the calls of `rng`
is part of the output.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.random import Generator

from mixedparts.synthetic.overlay import difference, intersection, union
from mixedparts.synthetic.shapes import Shape, bar, ellipse, limb, polygon, rectangle, smooth


def _wheel(x: float, y: float, radius: float, hub: float = 0.5) -> list[Shape]:
    """Return a wheel about (x, y): a tyre, and a hub of some share of its radius."""
    # Hub and axle only change the colour: the mask of the wheel is the tyre's disc.
    return [
        Shape("wheel", ellipse(x, y, radius, radius), "tyre"),
        Shape("wheel", ellipse(x, y, radius * hub, radius * hub), "metal", 1.0, True),
        Shape("wheel", ellipse(x, y, radius * 0.14, radius * 0.14), "black", 1.0, True),
    ]


def car(rng: Generator) -> list[Shape]:
    """Draw a car: body with cabin, two windows, wheels, headlight, bumper line, mirror."""
    # The belt is the line below the windows, the sill the lower edge of the body.
    roof = rng.uniform(0.02, 0.1)
    front, back = rng.uniform(0.26, 0.34), rng.uniform(0.8, 0.9)
    belt = rng.uniform(0.27, 0.31)
    sill = 0.47
    lower = smooth(
        [(0.0, 0.33), (0.04, belt + 0.01), (0.24, belt - 0.02), (0.5, belt - 0.03), (0.95, belt),
         (1.0, 0.33), (1.0, sill), (0.0, sill)], 1
    )  # fmt: skip
    cabin = [(front - 0.08, belt + 0.03), (front + 0.06, roof), (back - 0.14, roof - 0.005)]
    cabin += [(back + 0.03, belt + 0.03)]
    # Cabin and lower body are one area, so no seam of the mask shows between them.
    parts = [Shape("body", union(smooth(cabin, 1), lower))]
    middle = rng.uniform(0.54, 0.58)
    top, bottom = roof + 0.035, belt - 0.005
    ahead, behind = middle - 0.015, middle + 0.015
    glass = [
        [(front - 0.02, bottom), (front + 0.075, top), (ahead, top), (ahead, bottom)],
        [(behind, bottom), (behind, top), (back - 0.16, top), (back - 0.05, bottom)],
    ]
    parts += [Shape("window", polygon(pane), "glass") for pane in glass]
    # The edge of the door, a bumper line, and a rear light: colours of the body.
    parts.append(
        Shape("body", bar((middle, bottom + 0.02), (middle, sill - 0.01), 0.012), "main", 0.7, True)
    )
    parts.append(Shape("body", rectangle(0.1, sill - 0.035, 0.95, sill, 0.01), "main", 0.65, True))
    parts.append(Shape("headlight", ellipse(0.065, 0.345, 0.066, 0.05), "lamp"))
    parts.append(Shape("body", ellipse(0.975, 0.345, 0.022, 0.03), "red", 1.0, True))
    radius = rng.uniform(0.09, 0.11)
    for x in (0.21, 0.79):
        parts += _wheel(x, sill, radius)
    mirror = smooth([(front - 0.09, belt - 0.06), (front + 0.01, belt - 0.08),
                     (front + 0.03, belt + 0.02), (front - 0.08, belt + 0.02)], 1)  # fmt: skip
    parts.append(Shape("mirror", mirror, "second"))
    return parts


def bus(rng: Generator) -> list[Shape]:
    """Draw a bus: a long box, a row of windows, wheels, headlight and a stripe."""
    top = rng.uniform(-0.02, 0.05)
    floor = 0.47
    parts = [Shape("body", rectangle(0.0, top, 1.05, floor, 0.035))]
    parts.append(
        Shape("body", rectangle(0.005, floor - 0.16, 1.045, floor - 0.11), "second", 1.0, True)
    )
    # A window for the driver, then four or five equal ones for passengers.
    count = int(rng.integers(4, 6))
    low, high = top + 0.05, top + 0.05 + rng.uniform(0.13, 0.16)
    edges = np.linspace(0.15, 1.02, count + 1)
    parts.append(Shape("window", rectangle(0.02, low, 0.13, high + 0.04, 0.015), "glass"))
    for x0, x1 in pairwise(edges.tolist()):
        parts.append(Shape("window", rectangle(x0, low, x1 - 0.025, high, 0.012), "glass"))
    parts.append(Shape("headlight", ellipse(0.055, floor - 0.075, 0.052, 0.05), "lamp"))
    for x in (0.22, 0.8):
        parts += _wheel(x, floor, rng.uniform(0.075, 0.085))
    return parts


def truck(rng: Generator) -> list[Shape]:
    """Draw a truck: a cab in front of a taller load box, window, headlight, three wheels."""
    load = rng.uniform(-0.06, 0.03)
    floor = 0.47
    cab_top = rng.uniform(0.1, 0.14)
    cab = polygon(
        [(0.0, 0.3), (0.07, cab_top), (0.29, cab_top), (0.29, floor), (0.0, floor)]
    ).buffer(0.012)
    # Frame, cab and load box are all body; they differ in colour only.
    parts = [
        Shape("body", rectangle(0.0, floor - 0.06, 1.0, floor), "dark"),
        Shape("body", cab),
        Shape("body", rectangle(0.32, load, 1.02, floor - 0.06), "second"),
    ]
    # Ribs of the load box.
    for x in (0.5, 0.68, 0.86):
        parts.append(Shape("body", bar((x, load), (x, floor - 0.06), 0.014), "second", 0.8, True))
    pane = [(0.05, 0.28), (0.1, cab_top + 0.03), (0.23, cab_top + 0.03), (0.23, 0.28)]
    parts.append(Shape("window", polygon(pane), "glass"))
    parts.append(Shape("headlight", ellipse(0.055, 0.375, 0.052, 0.05), "lamp"))
    radius = rng.uniform(0.08, 0.095)
    for x in (0.15, 0.66, 0.87):
        parts += _wheel(x, floor, radius, 0.45)
    return parts


def bicycle(rng: Generator) -> list[Shape]:
    """Draw a bicycle: two wheels, frame, fork with handlebar, saddle."""
    radius = rng.uniform(0.21, 0.235)
    front, back, axle = 0.22, 0.80, 0.62
    crank = (0.49, 0.62)
    post, head = (0.6, 0.3), (0.31, 0.27)
    # Most wheels are closed discs with spokes painted on them. A ring shows what is behind it, so
    # its mask has holes.
    ring = rng.random() < 0.3
    parts = []
    for x in (front, back):
        disc = ellipse(x, axle, radius, radius)
        inner = ellipse(x, axle, radius * 0.8, radius * 0.8)
        if ring:
            parts.append(Shape("wheel", difference(disc, inner), "tyre"))
            parts.append(Shape("wheel", bar((x - radius, axle), (x + radius, axle), 0.02), "metal"))
            parts.append(Shape("wheel", bar((x, axle - radius), (x, axle + radius), 0.02), "metal"))
            continue
        parts.append(Shape("wheel", disc, "tyre"))
        parts.append(Shape("wheel", inner, "spokes", 1.0, True))
        for angle in np.arange(4) * np.pi / 4:
            dx, dy = float(np.cos(angle)) * radius * 0.8, float(np.sin(angle)) * radius * 0.8
            spoke = bar((x - dx, axle - dy), (x + dx, axle + dy), 0.012)
            parts.append(Shape("wheel", spoke, "spokes", 0.75, True))
    width = rng.uniform(0.04, 0.05)
    # The tubes of a diamond frame, from joint to joint.
    for start, end in (
        (head, crank), (crank, post), (head, post), (crank, (back, axle)), (post, (back, axle)),
    ):  # fmt: skip
        parts.append(Shape("frame", limb([start, end], width)))
    parts.append(Shape("frame", ellipse(*crank, 0.05, 0.05), "metal"))
    parts.append(Shape("fork", limb([(0.30, 0.22), (0.27, 0.4), (front, axle)], width), "second"))
    reach = rng.uniform(0.1, 0.16)
    grip = limb([(0.42, 0.17), (0.3, 0.16), (0.3 - reach, 0.12), (0.3 - reach, 0.22)], 0.05)
    parts.append(Shape("handlebar", union(grip, limb([(0.3, 0.25), (0.3, 0.15)], 0.05)), "dark"))
    seat = smooth(
        [(0.49, 0.19), (0.6, 0.17), (0.74, 0.14), (0.76, 0.22), (0.64, 0.26), (0.5, 0.24)]
    )
    parts.append(Shape("saddle", union(seat, limb([(0.61, 0.32), (0.62, 0.22)], 0.035)), "dark"))
    return parts


def boat(rng: Generator) -> list[Shape]:
    """Draw a sailing boat: hull with a stripe, mast, one sail on each side of it."""
    deck = rng.uniform(0.68, 0.74)
    mast = rng.uniform(0.42, 0.55)
    hull = smooth(
        [(0.0, deck - 0.02), (0.3, deck + 0.02), (0.7, deck + 0.02), (1.02, deck - 0.03),
         (0.86, deck + 0.2), (0.5, deck + 0.23), (0.16, deck + 0.2)], 1
    )  # fmt: skip
    parts = [Shape("hull", bar((mast, 0.0), (mast, deck + 0.06), 0.03), "wood")]
    left = [
        (mast - 0.03, 0.06),
        (mast - 0.03, deck - 0.05),
        (mast - rng.uniform(0.3, 0.4), deck - 0.05),
    ]
    # A straight mainsail on one side of the mast, and a bellied one on the other.
    belly = (mast + rng.uniform(0.2, 0.3), deck * 0.45)
    right = [(mast + 0.03, 0.02), belly, (mast + rng.uniform(0.36, 0.45), deck - 0.07),
             (mast + 0.03, deck - 0.07)]  # fmt: skip
    parts.append(Shape("sail", polygon(left), "sail", 0.9))
    parts.append(Shape("sail", polygon(right), "sail"))
    # The hull covers the foot of the mast, which belongs to it.
    parts.append(Shape("hull", hull))
    stripe = intersection(rectangle(0.0, deck + 0.05, 1.05, deck + 0.09), hull)
    parts.append(Shape("hull", stripe, "second", 1.0, True))
    return parts


def taxi(rng: Generator) -> list[Shape]:
    """Draw a taxi: a car with a lit sign on the roof and a chequered band along its side."""
    parts = car(rng)
    roof = min(shape.geometry.bounds[1] for shape in parts)
    sign = rectangle(0.47, roof - 0.075, 0.67, roof + 0.012, 0.012)
    # At the back, so that the roof covers the lower edge of the sign.
    parts.insert(0, Shape("body", sign, "lamp"))
    # Squares that alternate between two rows.
    for index, x in enumerate(np.arange(0.31, 0.69, 0.048)):
        y = 0.36 + 0.026 * (index % 2)
        parts.append(Shape("body", rectangle(x, y, x + 0.048, y + 0.026), "black", 1.0, True))
    return parts


def tractor(rng: Generator) -> list[Shape]:
    """Draw a tractor: bonnet, cab with glass, chimney, a huge rear wheel and a small front one."""
    cab_top = rng.uniform(0.0, 0.06)
    bonnet = rng.uniform(0.3, 0.36)
    big, small = rng.uniform(0.23, 0.26), rng.uniform(0.12, 0.14)
    floor = 0.82
    parts = [
        Shape(
            "body", rectangle(0.2, bonnet - rng.uniform(0.16, 0.24), 0.235, bonnet + 0.05), "dark"
        )
    ]
    nose = smooth([(0.02, bonnet + 0.02), (0.1, bonnet - 0.02), (0.56, bonnet - 0.01), (0.56, 0.62),
                   (0.06, 0.62), (0.02, 0.5)], 1)  # fmt: skip
    parts.append(Shape("body", nose))
    parts.append(
        Shape("body", rectangle(0.06, bonnet + 0.09, 0.4, bonnet + 0.13), "main", 0.6, True)
    )
    # Cab and roof are one area. The pane is a detail of the body: no source has a part for it.
    cab = polygon([(0.46, 0.6), (0.52, cab_top), (0.92, cab_top), (0.94, 0.6)])
    roof = rectangle(0.47, cab_top - 0.03, 0.97, cab_top + 0.03, 0.01)
    parts.append(Shape("body", union(cab, roof)))
    pane = polygon([(0.53, 0.4), (0.575, cab_top + 0.06), (0.87, cab_top + 0.06), (0.885, 0.4)])
    parts.append(Shape("body", pane, "glass", 1.0, True))
    # Both wheels stand on the floor, whatever their size.
    parts += _wheel(0.2, floor - small, small, 0.45)
    parts += _wheel(0.78, floor - big, big, 0.45)
    # The mirror is held by an arm at the cab.
    mirror = rectangle(0.36, cab_top + 0.1, 0.45, cab_top + 0.24, 0.015)
    arm = bar((0.44, cab_top + 0.12), (0.53, cab_top + 0.1), 0.02)
    parts.append(Shape("mirror", union(mirror, arm), "second"))
    return parts
