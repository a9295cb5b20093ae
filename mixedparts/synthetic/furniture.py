"""Draw functions of furniture, most in a parallel view from slightly above.

Each function returns shapes from back to front: blocks with larger z, which are farther away, come
before nearer ones. The frame is the plane of `Oblique`, about one unit wide, y down. The order of
the calls of `rng` is part of the output.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from mixedparts.synthetic.overlay import union
from mixedparts.synthetic.shapes import Oblique, Shape, ellipse, limb, polygon, rectangle, smooth


def _view(rng: Generator) -> Oblique:
    """Return a random view from above and from the right, so that right sides are visible."""
    return Oblique(float(rng.uniform(0.3, 0.5)), float(rng.uniform(0.3, 0.45)))


def chair(rng: Generator) -> list[Shape]:
    """Draw a chair: four legs, seat, a slatted or solid back behind it, arms."""
    # Heights are y values: the seat at 0.5, the floor below it, the top of the back above it.
    view = _view(rng)
    width, depth = rng.uniform(0.42, 0.5), rng.uniform(0.4, 0.5)
    seat, floor, thick = 0.5, rng.uniform(0.86, 0.98), rng.uniform(0.05, 0.07)
    post = rng.uniform(0.055, 0.07)
    parts: list[Shape] = []
    # Rear legs, darker, then front legs.
    for z in (depth - post, 0.0):
        shade = 0.85 if z else 1.0
        for x in (0.0, width - post):
            parts += view.block("leg", (x, x + post), (seat, floor), (z, z + post), "wood", shade)
    top = rng.uniform(-0.08, 0.02)
    solid = rng.random() < 0.5
    behind = (depth - 0.05, depth)
    # A solid back in the main colour, or three posts of wood under a rail.
    if solid:
        parts += view.block("back", (0.0, width), (top, seat), behind, "main")
    else:
        for x in (0.0, (width - post) / 2, width - post):
            parts += view.block("back", (x, x + post), (top + 0.05, seat), behind, "wood")
        parts += view.block("back", (0.0, width), (top, top + 0.12), behind, "main")
    parts += view.block("seat", (0.0, width), (seat, seat + thick), (0.0, depth), "second")
    # Each arm is a post at the front edge and a rest from front to back.
    rest = seat - rng.uniform(0.17, 0.2)
    for x in (0.0, width - post):
        parts += view.block("arm", (x, x + post), (rest, seat), (0.03, 0.03 + post), "wood")
        level = (rest, rest + 0.05)
        parts += view.block("arm", (x, x + post), level, (0.0, depth - 0.05), "wood", 1.1)
    return parts


def bench(rng: Generator) -> list[Shape]:
    """Draw a park bench: wide planks for seat and back, leg frames at both ends, arms."""
    view = Oblique(float(rng.uniform(0.25, 0.4)), float(rng.uniform(0.3, 0.4)))
    width, depth = rng.uniform(1.0, 1.15), rng.uniform(0.3, 0.38)
    seat, floor = 0.42, rng.uniform(0.66, 0.74)
    post = 0.065
    parts: list[Shape] = []
    for z in (depth - post, 0.0):
        for x in (0.06, width - post - 0.06):
            shade = 0.85 if z else 1.0
            parts += view.block("leg", (x, x + post), (seat, floor), (z, z + post), "dark", shade)
    top = rng.uniform(0.0, 0.07)
    # Planks of the back lie one above the other, with narrow gaps between them.
    planks = int(rng.integers(2, 4))
    step = (seat - 0.05 - top) / planks
    for row in range(planks):
        y = top + row * step
        behind = (depth - 0.04, depth)
        parts += view.block("back", (0.0, width), (y, y + step * 0.74), behind, "main")
    planks = 3
    step = depth / planks
    # Planks of the seat lie one before the other; the rear one is drawn first.
    for row in reversed(range(planks)):
        across = (row * step, row * step + step * 0.86)
        parts += view.block("seat", (0.0, width), (seat, seat + 0.05), across, "second")
    rest = seat - 0.15
    for x in (0.0, width - post):
        parts += view.block("arm", (x, x + post), (rest, seat), (0.02, 0.02 + post), "dark")
        parts += view.block("arm", (x, x + post), (rest, rest + 0.05), (0.0, depth), "dark", 1.1)
    return parts


def table(rng: Generator) -> list[Shape]:
    """Draw a table: a broad top, four legs, a drawer with a knob under the front edge."""
    view = Oblique(float(rng.uniform(0.25, 0.45)), float(rng.uniform(0.35, 0.5)))
    width, depth = rng.uniform(0.9, 1.1), rng.uniform(0.45, 0.6)
    top, floor = 0.3, rng.uniform(0.72, 0.9)
    post = rng.uniform(0.06, 0.085)
    inset = 0.03
    parts: list[Shape] = []
    for z in (depth - post - inset, inset):
        for x in (inset, width - post - inset):
            shade = 0.8 if z > inset else 1.0
            parts += view.block("leg", (x, x + post), (top, floor), (z, z + post), "main", shade)
    # The drawer is a block under the top, which covers its upper edge; the knob is on its front.
    wide = rng.uniform(0.36, 0.5)
    middle = width / 2 + rng.uniform(-0.05, 0.05)
    across = (middle - wide / 2, middle + wide / 2)
    front = (top + 0.04, top + 0.04 + rng.uniform(0.12, 0.16))
    parts += view.block("drawer", across, front, (0.02, 0.2), "second")
    kx, ky = view.at(middle, (front[0] + front[1]) / 2 + 0.02, 0.02)
    parts.append(Shape("drawer", ellipse(kx, ky, 0.022, 0.022), "metal", 1.0, True))
    thick = rng.uniform(0.05, 0.07)
    parts += view.block("top", (0.0, width), (top, top + thick), (0.0, depth), "main", 1.05)
    return parts


def stool(rng: Generator) -> list[Shape]:
    """Draw a tall stool: a round seat, splayed legs, a foot bar between them."""
    height = rng.uniform(0.8, 1.0)
    rx, ry = rng.uniform(0.23, 0.28), rng.uniform(0.075, 0.1)
    splay = rng.uniform(0.06, 0.14)
    width = rng.uniform(0.05, 0.065)
    feet = []
    parts: list[Shape] = []
    # Two far legs closer together, then two near ones that reach farther down.
    for side, near in ((-0.55, 0), (0.55, 0), (-0.8, 1), (0.8, 1)):
        start = (side * rx, 0.1)
        end = (side * rx + np.sign(side) * splay, height - (0.09 if not near else 0.0))
        feet.append((start, end))
        stroke = limb([start, end], width)
        parts.append(Shape("leg", stroke, "wood", 1.0 if near else 0.75))
    low = rng.uniform(0.6, 0.7)
    # The points of all legs at one share of their length: bars join the far and the near two.
    rung = [tuple(np.add(start, np.subtract(end, start) * low)) for start, end in feet]
    parts.append(Shape("footrest", limb([rung[0], rung[1]], 0.045), "second", 0.75))
    parts.append(Shape("footrest", limb([rung[2], rung[3]], 0.055), "second"))
    # The seat is a flat drum: its side, then a lighter top.
    top = ellipse(0, 0.03, rx, ry)
    drum = union(union(ellipse(0, 0.1, rx, ry), rectangle(-rx, 0.03, rx, 0.1)), top)
    parts.append(Shape("seat", drum, "main", 0.85))
    parts.append(Shape("seat", top, "main", 1.15, True))
    return parts


def lamp(rng: Generator) -> list[Shape]:
    """Draw a standing lamp: base, a thin or bellied column, a wide shade on top."""
    height = rng.uniform(0.85, 1.1)
    upper, lower = rng.uniform(0.12, 0.17), rng.uniform(0.25, 0.31)
    drop = rng.uniform(0.3, 0.38)
    foot = rng.uniform(0.17, 0.22)
    belly = rng.uniform(0.045, 0.1)
    parts: list[Shape] = []
    column = smooth(
        [(-0.03, drop - 0.1), (0.03, drop - 0.1), (0.03, drop + 0.08), (belly, 0.7 * height),
         (0.035, height), (-0.035, height), (-belly, 0.7 * height), (-0.03, drop + 0.08)], 2
    )  # fmt: skip
    parts.append(Shape("column", column, "metal"))
    cone = polygon([(-0.07, height - 0.1), (0.07, height - 0.1), (foot, height), (-foot, height)])
    parts.append(Shape("base", union(ellipse(0, height, foot, 0.06), cone), "second"))
    # The shade is a trapezoid with an elliptic lower edge, and a darker opening on top.
    shade = polygon([(-upper, 0.0), (upper, 0.0), (lower, drop), (-lower, drop)])
    parts.append(Shape("shade", union(shade, ellipse(0, drop, lower, 0.035)), "main", 1.1))
    parts.append(Shape("shade", ellipse(0, 0.0, upper, 0.025), "main", 0.75))
    return parts
