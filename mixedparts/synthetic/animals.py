"""Draw functions of animals, all seen from the side and looking to the left.

Each function returns shapes from back to front in a plane about one unit wide, y down. What is on
the far side of the body is drawn first and darker. The random numbers vary pose and proportions,
and the order of their calls is part of the output.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from mixedparts.synthetic.overlay import difference, intersection, union
from mixedparts.synthetic.shapes import Shape, ellipse, limb, polygon, ribbon, smooth


def dog(rng: Generator) -> list[Shape]:
    """Draw a standing dog: body, neck, head with ear and snout, four legs with feet, tail."""
    # `thick` scales the outline about its middle line; (hx, hy) is the middle of the head.
    thick = rng.uniform(0.9, 1.2)
    leg = rng.uniform(0.27, 0.36)
    hx, hy = rng.uniform(0.12, 0.18), rng.uniform(0.14, 0.26)
    outline = [
        (0.28, 0.36), (0.45, 0.33), (0.62, 0.35), (0.80, 0.33), (0.89, 0.41), (0.87, 0.54),
        (0.74, 0.58), (0.58, 0.54), (0.44, 0.61), (0.31, 0.58), (0.24, 0.47),
    ]  # fmt: skip
    body = smooth([(x, 0.45 + (y - 0.45) * thick) for x, y in outline])
    # The far legs come before the body, the near ones after it.
    parts = [*_legs(rng, (0.42, 0.74), leg, 0.72)]
    wag = rng.uniform(-0.12, 0.1)
    parts.append(Shape("tail", limb([(0.85, 0.40), (0.97, 0.33), (1.03, 0.12 + wag)], 0.065)))
    # The neck follows the head; the body covers its lower end.
    neck = [(hx + 0.02, hy - 0.05), (hx + 0.12, hy - 0.07), (0.44, 0.36), (0.40, 0.54), (0.25, 0.5)]
    parts.append(Shape("neck", smooth(neck), "main", 0.93))
    parts.append(Shape("body", body))
    # Half of the dogs have a coat with a patch.
    if rng.random() < 0.5:
        patch = intersection(ellipse(rng.uniform(0.45, 0.7), 0.4, 0.12, 0.07, 0.2), body)
        parts.append(Shape("body", patch, "second", 1.0, True))
    parts.extend(_legs(rng, (0.33, 0.80), leg, 1.0))
    skull = ellipse(hx + 0.02, hy, 0.115, 0.1)
    snout = ellipse(hx - 0.1, hy + 0.035, 0.1, 0.058, -0.1)
    parts.append(Shape("head", union(skull, snout), "main", 1.08))
    drop = rng.uniform(0.3, 1.1)
    ear = ellipse(hx + 0.085, hy + 0.02, 0.05, 0.1, -drop * 0.4)
    # Some ears are pricked and do not hang.
    if rng.random() < 0.4:
        ear = polygon([(hx - 0.01, hy - 0.07), (hx + 0.05, hy - 0.2), (hx + 0.1, hy - 0.05)])
    # Ear, nose and eye belong to the head. The nose reaches beyond it, so it is no detail.
    parts.append(Shape("head", ear, "second", 0.8))
    parts.append(Shape("head", ellipse(hx - 0.185, hy + 0.02, 0.025, 0.022), "black"))
    parts.append(Shape("head", ellipse(hx - 0.03, hy - 0.02, 0.02, 0.02), "black", 1.0, True))
    return parts


def _legs(rng: Generator, places: tuple[float, float], length: float, shade: float) -> list[Shape]:
    """Return two legs with feet that begin at some x, each with a step of its own."""
    parts = []
    for x in places:
        foot = x + rng.uniform(-0.07, 0.07)
        knee = (x + foot) / 2 + rng.uniform(0.0, 0.03)
        end = 0.5 + length
        stroke = limb([(x, 0.48), (knee, 0.5 + length / 2), (foot, end)], 0.085)
        parts.append(Shape("leg", stroke, "main", shade))
        paw = smooth(
            [
                (foot - 0.1, end + 0.055), (foot - 0.08, end - 0.01), (foot + 0.0, end - 0.045),
                (foot + 0.07, end - 0.02), (foot + 0.06, end + 0.055),
            ]
        )  # fmt: skip
        parts.append(Shape("foot", paw, "second", shade))
    return parts


def bird(rng: Generator) -> list[Shape]:
    """Draw a standing bird: tail, feet, body, wing (folded or raised), head with beak."""
    lean = rng.uniform(-0.05, 0.08)
    stretch = rng.uniform(0.0, 0.16)  # how far the neck lifts the head
    parts = []
    tail = [(0.62, 0.5 + lean), (1.0, 0.5 + rng.uniform(0.0, 0.2)), (0.97, 0.68), (0.66, 0.64)]
    parts.append(Shape("tail", polygon(tail), "second", 0.85))
    for x in (0.44, 0.54):
        knee = x + rng.uniform(-0.02, 0.04)
        stroke = limb([(x, 0.66), (knee, 0.78), (x - 0.01, 0.92)], 0.04)
        toes = polygon([(x - 0.11, 0.97), (x - 0.02, 0.9), (x + 0.07, 0.97)])
        parts.append(Shape("foot", union(stroke, toes), "beak", 0.9))
    body = [
        (0.2, 0.36), (0.34, 0.3), (0.5, 0.38), (0.68, 0.48), (0.74, 0.58), (0.62, 0.7),
        (0.46, 0.75), (0.3, 0.68), (0.2, 0.52),
    ]  # fmt: skip
    hx, hy = 0.2, 0.24 - stretch
    neck = polygon([(hx - 0.06, hy), (hx + 0.1, hy - 0.02), (0.42, 0.42), (0.2, 0.5)])
    parts.append(Shape("body", union(smooth(body), neck)))
    # The wing is folded at the side, or raised above the back.
    if rng.random() < 0.55:
        wing = [(0.34, 0.44), (0.52, 0.42), (0.8, 0.58), (0.86, 0.66), (0.6, 0.66), (0.4, 0.6)]
    else:
        tip = rng.uniform(-0.12, 0.08)
        wing = [(0.34, 0.5), (0.5, 0.12), (0.78, tip), (0.86, 0.1), (0.74, 0.4), (0.58, 0.58)]
    parts.append(Shape("wing", smooth(wing), "second"))
    head = ellipse(hx, hy, 0.105, 0.095)
    parts.append(Shape("head", head, "third"))
    beak = polygon([(hx - 0.08, hy - 0.045), (hx - 0.27, hy + 0.02), (hx - 0.08, hy + 0.05)])
    parts.append(Shape("head", beak, "beak"))
    parts.append(Shape("head", ellipse(hx - 0.03, hy - 0.02, 0.02, 0.02), "black", 1.0, True))
    return parts


def fish(rng: Generator) -> list[Shape]:
    """Draw a fish: forked tail, fins above and below, body, head cut off by the gill line."""
    height = rng.uniform(0.16, 0.26)
    fork = rng.uniform(0.03, 0.12)
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    # An ellipse that is fuller towards the head.
    swell = 1 + 0.25 * np.cos(angle + np.pi)
    outline = np.stack([0.42 + 0.42 * np.cos(angle), 0.5 + height * swell * np.sin(angle)], axis=1)
    whole = polygon(outline)
    spread = height * rng.uniform(0.9, 1.3)
    lobes = polygon(
        [(0.76, 0.5), (1.03, 0.5 - spread), (1.03 - fork, 0.5), (1.03, 0.5 + spread), (0.76, 0.52)]
    )
    tail = union(lobes, ellipse(0.8, 0.5, 0.05, height * 0.3))
    rise = rng.uniform(0.12, 0.22)
    above = smooth(
        [(0.26, 0.52 - height), (0.38, 0.5 - height - rise), (0.6, 0.5 - height - rise * 0.6),
         (0.66, 0.5 - height * 0.5)]
    )  # fmt: skip
    below = smooth([(0.42, 0.5 + height * 0.9), (0.58, 0.5 + height + rise * 0.8), (0.66, 0.56)])
    # An ellipse beyond the mouth divides head and body along the gill, without a gap between them.
    gill = rng.uniform(0.2, 0.27)
    face = ellipse(gill - 0.22, 0.5, 0.25, 0.5)
    head = intersection(whole, face)
    parts = [
        Shape("fin", above, "second"),
        Shape("fin", below, "second", 0.9),
        Shape("tail", tail, "second", 1.05),
        Shape("body", difference(whole, face)),
    ]
    # Bands across the body; the head stays free of them.
    if rng.random() < 0.6:
        for x in (0.42, 0.58):
            band = difference(intersection(ellipse(x, 0.5, 0.035, 0.4), whole), face)
            parts.append(Shape("body", band, "third", 1.0, True))
    side_fin = smooth([(0.32, 0.53), (0.48, 0.52), (0.46, 0.64)])
    parts.append(Shape("fin", side_fin, "second", 0.8))
    parts.append(Shape("head", head, "third", 1.0))
    parts.append(Shape("head", ellipse(0.12, 0.46, 0.033, 0.033), "light", 1.0, True))
    parts.append(Shape("head", ellipse(0.115, 0.46, 0.018, 0.018), "black", 1.0, True))
    return parts


def snake(rng: Generator) -> list[Shape]:
    """Draw a winding snake: a tapering body with bands, a head with eye and tongue."""
    # A sine wave from the head on the left to the tail, which swings more towards the tail.
    steps = np.linspace(0.0, 1.0, 60)
    waves = rng.uniform(1.1, 1.7)
    swing = rng.uniform(0.14, 0.2) * (0.6 + 0.6 * steps)
    phase = rng.uniform(-0.4, 0.4)
    y = 0.5 + swing * np.sin(2 * np.pi * waves * steps + phase)
    line = np.stack([0.1 + 0.95 * steps, y], axis=1)
    thick = rng.uniform(0.11, 0.14)
    widths = thick * np.clip(1.25 * (1 - steps) ** 0.45, 0.12, 1.0)
    body = ribbon(line, widths)
    parts = [Shape("body", body)]
    # Bands are pieces of the same ribbon, so they follow its bends.
    for start in range(6, 52, 9):
        band = ribbon(line[start : start + 5], widths[start : start + 5])
        parts.append(Shape("body", intersection(band, body), "second", 1.0, True))
    # The head extends the line beyond its first point.
    (hx, hy), (nx, ny) = line[0], line[3]
    turn = float(np.arctan2(ny - hy, nx - hx))
    tip = (hx - 0.2 * np.cos(turn), hy - 0.2 * np.sin(turn))
    parts.append(Shape("head", limb([(hx, hy), tip], 0.02), "red"))
    head = ellipse(hx - 0.03 * np.cos(turn), hy - 0.03 * np.sin(turn), 0.115, thick * 0.68, turn)
    parts.append(Shape("head", head, "third", 0.95))
    eye = ellipse(hx - 0.06 * np.cos(turn), hy - 0.06 * np.sin(turn) - 0.03, 0.02, 0.02)
    parts.append(Shape("head", eye, "black", 1.0, True))
    return parts


def turtle(rng: Generator) -> list[Shape]:
    """Draw a turtle: domed shell with plates as body, stubby feet, tail, head on a short neck."""
    dome = rng.uniform(0.3, 0.42)
    base = 0.62
    parts = [Shape("tail", polygon([(0.78, base - 0.1), (1.1, base + 0.06), (0.76, base + 0.05)]))]
    # Two far feet, darker, then two near ones; the shell covers the upper end of all.
    for x, shade in ((0.38, 0.75), (0.66, 0.75), (0.28, 1.0), (0.72, 1.0)):
        tilt = rng.uniform(-0.05, 0.05)
        top, low = base - 0.08, base + 0.16
        outline = [(x - 0.08, top), (x + 0.08, top), (x + 0.09 + tilt, low), (x - 0.1 + tilt, low)]
        foot = smooth(outline)
        parts.append(Shape("foot", foot, "second", shade))
    lift = rng.uniform(-0.08, 0.06)
    neck = smooth([(0.3, base - 0.14), (0.3, base + 0.0), (0.08, base - 0.06 + lift),
                   (0.06, base - 0.16 + lift)])  # fmt: skip
    head = union(ellipse(0.04, base - 0.13 + lift, 0.12, 0.09), neck)
    parts.append(Shape("head", head, "second", 1.05))
    parts.append(
        Shape("head", ellipse(-0.01, base - 0.16 + lift, 0.022, 0.022), "black", 1.0, True)
    )
    shell = smooth(
        [(0.16, base), (0.18, base - dome * 0.55), (0.36, base - dome), (0.66, base - dome),
         (0.86, base - dome * 0.55), (0.9, base), (0.72, base + 0.04), (0.32, base + 0.04)]
    )  # fmt: skip
    parts.append(Shape("body", shell))
    for x, y, size in ((0.36, 0.42, 0.085), (0.53, 0.58, 0.1), (0.7, 0.42, 0.085)):
        plate = intersection(ellipse(x, base - dome * y, size, dome * 0.26), shell)
        parts.append(Shape("body", plate, "third", 1.0, True))
    # A darker rim along the lower edge of the shell.
    rim = intersection(shell, ellipse(0.53, base + 0.12, 0.6, 0.14))
    parts.append(Shape("body", rim, "main", 0.75, True))
    return parts
