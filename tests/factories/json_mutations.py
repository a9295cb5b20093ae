"""Seeded changes of JSON files: any node of any file, and the masks in them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

# Texts that mean something in an answer, in a path, or to a reader of numbers.
TEXTS = (
    "", " ", "text", "[SEG]", "a [SEG] b", "<p>", "</p> [SEG] (IMAGE1)", "(IMAGE1)", "(IMAGE2) dog",
    "the <p> head </p> [SEG]", "_(x)", "a:b", "\x00", "\n", "é", "\u202e", "..", "../../x", "/",
    "1", "-1", "1e9", "null", "n" * 5_000,
)  # fmt: skip
NUMBERS = (
    0, -1, 1, 2, 0.5, -0.0, 2**31, 2**63, 2**64, 10**30, 1e300, float("nan"), float("inf"),
    float("-inf"), True, False,
)  # fmt: skip
VALUES: tuple[Any, ...] = (None, [], {}, [[]], [None], {"a": 1}, *TEXTS, *NUMBERS)
Node = tuple[Any, ...]  # keys and positions from the root of a JSON value to a node


@dataclass(frozen=True)
class Damage:
    """One change.

    Attributes:
        file: the changed file, relative to the folder.
        kind: what was done.
        where: the node of a JSON file, such as `annotations/3/bbox`.
        detail: the new value, shortened.
    """

    file: str
    kind: str
    where: str = ""
    detail: str = ""


def files_below(root: Path, suffixes: Sequence[str]) -> list[Path]:
    """Return the files of some suffixes below a folder, in the order of their paths."""
    return sorted(
        path for path in root.rglob("*") if path.suffix.lower() in suffixes and path.is_file()
    )


def change_json(root: Path, draw: random.Random) -> Damage | None:
    """Change one node of one JSON file."""
    if (read := _json_file(root, draw)) is None:
        return None
    path, content = read
    place = _node(content, draw)
    kind = draw.choice(sorted(_JSON_KINDS))
    new = _JSON_KINDS[kind](content, place, draw)
    if new is _UNCHANGED:
        return None
    _write(path, content)
    return Damage(str(path.relative_to(root)), kind, "/".join(map(str, place)), repr(new)[:80])


def _json_file(root: Path, draw: random.Random) -> tuple[Path, Any] | None:
    """Return a JSON file and its content; None if it is empty, or broken by an earlier change."""
    paths = files_below(root, (".json",))
    if not paths:
        return None
    path = draw.choice(paths)
    try:
        content = json.loads(path.read_bytes())
    except ValueError:
        return None
    return (path, content) if content and isinstance(content, (dict, list)) else None


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def _node(content: Any, draw: random.Random) -> Node:
    """Return the place of a node below the root: any depth, small lists as likely as large ones."""
    place: Node = ()
    inner = content
    while isinstance(inner, (dict, list)) and inner and (not place or draw.random() < 0.8):
        key = draw.choice(sorted(inner) if isinstance(inner, dict) else range(len(inner)))
        place, inner = (*place, key), inner[key]
    return place


def _at(content: Any, place: Node) -> Any:
    for key in place:
        content = content[key]
    return content


def _set(content: Any, place: Node, value: Any) -> Any:
    _at(content, place[:-1])[place[-1]] = value
    return value


_UNCHANGED = object()


def _replace(content: Any, place: Node, draw: random.Random) -> Any:
    return _set(content, place, draw.choice(VALUES))


def _near(content: Any, place: Node, draw: random.Random) -> Any:
    """Change a number or a text a little: another id, another class, another size."""
    value = _at(content, place)
    if isinstance(value, (bool, type(None), dict, list)):
        return _UNCHANGED
    if isinstance(value, str):
        changed = (value.upper(), value + " ", value[:-1], value + "x", f"{value} [SEG]", value * 2)
        return _set(content, place, draw.choice(changed))
    return _set(content, place, draw.choice((value + 1, value - 1, -value, value * 10, str(value))))


def _from_elsewhere(content: Any, place: Node, draw: random.Random) -> Any:
    """Put another value of the same key in place: an id, a class or a mask of another record."""
    # The last key and not the position: `annotations/3/bbox` and `annotations/7/bbox` are alike.
    shape = [key if isinstance(key, str) else None for key in place]
    others = [
        other
        for other in _places(content)
        if [key if isinstance(key, str) else None for key in other] == shape and other != place
    ]
    if not others:
        return _UNCHANGED
    return _set(content, place, json.loads(json.dumps(_at(content, draw.choice(others)))))


def _places(content: Any, place: Node = ()) -> Iterator[Node]:
    """Yield the places of all nodes below the root."""
    items: Any = ()
    if isinstance(content, dict):
        items = content.items()
    elif isinstance(content, list):
        items = enumerate(content)
    for key, value in items:
        yield (*place, key)
        yield from _places(value, (*place, key))


def _remove(content: Any, place: Node, draw: random.Random) -> Any:
    del _at(content, place[:-1])[place[-1]]
    return None


def _repeat(content: Any, place: Node, draw: random.Random) -> Any:
    """Repeat an item of the innermost list on the way to the node."""
    for depth in range(len(place), 0, -1):
        owner = _at(content, place[: depth - 1])
        if isinstance(owner, list):
            copy = json.loads(json.dumps(owner[place[depth - 1]]))
            owner.insert(draw.randint(0, len(owner)), copy)
            return copy
    return _UNCHANGED


def _reverse(content: Any, place: Node, draw: random.Random) -> Any:
    for depth in range(len(place), 0, -1):
        owner = _at(content, place[: depth - 1])
        if isinstance(owner, list) and len(owner) > 1 and owner != owner[::-1]:
            owner.reverse()
            return owner
    return _UNCHANGED


def _wrap(content: Any, place: Node, draw: random.Random) -> Any:
    """Put a value into a list, or take the first value out of one."""
    value = _at(content, place)
    inner = value[0] if isinstance(value, list) and value and draw.random() < 0.5 else [value]
    return _set(content, place, inner)


def _more(content: Any, place: Node, draw: random.Random) -> Any:
    """Add a key to the innermost object, or an item to the innermost list."""
    value = _at(content, place)
    owner = value if isinstance(value, (dict, list)) else _at(content, place[:-1])
    new = draw.choice(VALUES)
    if isinstance(owner, dict):
        owner[draw.choice(("extra", "id", "name", "split", "iscrowd"))] = new
    else:
        owner.insert(draw.randint(0, len(owner)), new)
    return new


_JSON_KINDS: dict[str, Callable[[Any, Node, random.Random], Any]] = {
    "replace": _replace,
    "near": _near,
    "from elsewhere": _from_elsewhere,
    "remove": _remove,
    "repeat": _repeat,
    "reverse": _reverse,
    "wrap": _wrap,
    "more": _more,
}


def change_mask(root: Path, draw: random.Random) -> Damage | None:
    """Write another mask in place of one: other runs, another size, or nothing in it."""
    if (read := _json_file(root, draw)) is None:
        return None
    path, content = read
    places = [place for place in _places(content) if place[-1] == "segmentation"]
    if not places:
        return None
    place = draw.choice(places)
    value = _at(content, place)
    dense = _dense(value)
    if dense is None:
        return None
    kind = draw.choice(sorted(_MASKS))
    _set(content, place, _MASKS[kind](dense, draw))
    _write(path, content)
    return Damage(str(path.relative_to(root)), f"mask {kind}", "/".join(map(str, place)))


def _dense(value: Any) -> Any:
    """Return the (H, W) uint8 pixels of a run-length mask; a small mask for polygons; else None."""
    if isinstance(value, list):
        return np.pad(np.ones((4, 4), np.uint8), ((2, 24), (3, 33)))
    try:
        height, width = value["size"]
        if isinstance(value["counts"], list):
            value = coco_mask.frPyObjects(value, height, width)
        return coco_mask.decode(value)
    except (KeyError, TypeError, ValueError, IndexError):
        return None


def _runs(dense: Any) -> list[int]:
    """Return the lengths of the runs of a mask, column by column, background first."""
    flat = np.concatenate(([0], dense.ravel(order="F"), [2]))
    edges = np.flatnonzero(np.diff(flat)) if flat[1] == 0 else np.flatnonzero(np.diff(flat[1:])) + 1
    bounds = [0, *(edge for edge in edges.tolist() if edge)]
    return ([0] if flat[1] else []) + np.diff(bounds).tolist()


def _listed(runs: list[int], dense: Any) -> dict[str, Any]:
    return {"size": list(dense.shape), "counts": runs}


def _split_runs(dense: Any, draw: random.Random) -> dict[str, Any]:
    """Split a run in two by one of length zero, as an encoder of short runs does."""
    runs = _runs(dense)
    place = draw.randrange(len(runs))
    if runs[place] > 1:
        runs[place : place + 1] = [1, 0, runs[place] - 1]
    return _listed(runs, dense)


def _encoded(dense: Any) -> dict[str, Any]:
    encoded = coco_mask.encode(np.asfortranarray(dense))
    return {"size": list(dense.shape), "counts": encoded["counts"].decode()}


_MASKS: dict[str, Callable[[Any, random.Random], Any]] = {
    "runs of zero": _split_runs,
    "zero at the end": lambda dense, draw: _listed([*_runs(dense), 0, 0], dense),
    "empty": lambda dense, draw: _encoded(np.zeros_like(dense)),
    "full": lambda dense, draw: _encoded(np.ones_like(dense)),
    "one pixel": lambda dense, draw: _encoded(_dot(dense)),
    "other size": lambda dense, draw: _encoded(np.pad(dense, ((0, 1), (0, 0)))),
    "transposed": lambda dense, draw: _encoded(dense.T),
    "moved": lambda dense, draw: _encoded(np.roll(dense, draw.randint(1, 9), draw.randint(0, 1))),
    "too long": lambda dense, draw: _listed([*_runs(dense), 5], dense),
    "too short": lambda dense, draw: _listed(_runs(dense)[:-1], dense),
    "negative run": lambda dense, draw: _listed([-1, *_runs(dense)], dense),
    "text": lambda dense, draw: _encoded(dense) | {"counts": draw.choice(TEXTS)},
}  # fmt: skip


def _dot(dense: Any) -> Any:
    dot = np.zeros_like(dense)
    dot[dense.shape[0] // 2, dense.shape[1] // 2] = 1
    return dot
