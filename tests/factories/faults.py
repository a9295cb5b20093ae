"""Records as broken files hold them, and the reason each is refused for.

A case takes a good record (a dict) and returns what stands in its place. `Literal` puts a number
into the file that Python's json does not write.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixedparts.records import Reason

Record = dict[str, Any]
Change = Callable[[Record], Any]
_QUOTED = '"<literal %s>"'


def literal(number: str) -> str:
    """Return a text that `edit_json` writes as this number."""
    return _QUOTED[1:-1] % number


def edit_json(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the content of a JSON file in place; a returned value replaces it."""
    content = json.loads(path.read_text(encoding="utf-8"))
    replaced = change(content)
    text = json.dumps(content if replaced is None else replaced)
    for number in ("1e999", "-1e999"):
        text = text.replace(_QUOTED % number, number)
    path.write_text(text, encoding="utf-8")


@dataclass(frozen=True)
class Case:
    """A way to break a record.

    Attributes:
        polygons: reasons of the polygons that are dropped on the way.
        has_id: whether the id can still be read; else the record is named by its position.
    """

    name: str
    change: Change
    reason: Reason
    polygons: tuple[Reason, ...] = ()
    has_id: bool = True


def _set(**values: Any) -> Change:
    return lambda record: record | values


def _without(key: str) -> Change:
    return lambda record: {k: v for k, v in record.items() if k != key}


def _replaced(value: Any) -> Change:
    return lambda record: value


def _no_record(reason: Reason) -> list[Case]:
    values: list[Any] = [None, [], [1, 2], {}, 7, 1.5, "text", True, [[[]]]]
    cases = [Case(f"is {value!r}", _replaced(value), reason, has_id=False) for value in values]
    ids: list[Any] = [
        None,
        True,
        [1],
        {"a": 1},
        1.5,
        "",
        float("nan"),
        float("inf"),
        literal("1e999"),
    ]
    cases += [Case(f"id {value!r}", _set(id=value), reason, has_id=False) for value in ids]
    return [*cases, Case("no id", _without("id"), reason, has_id=False)]


def _segmentations() -> list[Case]:
    triangle = [1.0, 1.0, 30.0, 1.0, 30.0, 30.0]
    lost = Reason.MISSING_MASK
    short, invalid = (Reason.SHORT_POLYGON,), (Reason.INVALID_POLYGON,)
    cases = [
        Case("no segmentation", _without("segmentation"), lost),
        Case("segmentation null", _set(segmentation=None), lost),
        Case("segmentation []", _set(segmentation=[]), lost),
        *(
            Case(f"polygon of {n}", _set(segmentation=[triangle[:n]]), lost, short)
            for n in (0, 1, 2, 4, 5)
        ),
        Case("two short", _set(segmentation=[[1, 2], [1, 2, 3, 4]]), lost, short * 2),
    ]
    strange: list[Any] = [
        float("nan"), float("inf"), float("-inf"), literal("1e999"), literal("-1e999"), None, "5",
        True, [1.0], {}, 10**400, -(10**400), 1.1e5, -1.1e5, 1e300,
    ]  # fmt: skip
    cases += [
        Case(f"coordinate {str(v)[:12]!r}", _set(segmentation=[[*triangle, v]]), lost, invalid)
        for v in strange
    ]
    comb = [float(n // 2 % 2) * 9e4 for n in range(4000)]  # back and forth across a large field
    cases += [
        Case("nested once more", _set(segmentation=[[triangle]]), lost, invalid),
        Case("an outline without end", _set(segmentation=[comb]), lost, invalid),
        Case("number among polygons", _set(segmentation=[5, [1, 2]]), lost, invalid + short),
        Case("outside", _set(segmentation=[[x + 900 for x in triangle]]), Reason.EMPTY_MASK),
    ]
    malformed: list[Any] = [
        "text", 5, True, triangle, {}, [{}], {"size": [9, 9]}, {"counts": "abc"},
        {"size": "64", "counts": "abc"}, {"size": [9, 9], "counts": {}},
        {"size": [9, None], "counts": "abc"}, {"size": [9, 9], "counts": None},
        {"size": [9, 9], "counts": [1.5, "a"]}, {"size": [9, True], "counts": [1]},
        {"size": [9, 1e400], "counts": "0"},
    ]  # fmt: skip
    cases += [
        Case(f"segmentation {v!r}", _set(segmentation=v), Reason.MALFORMED_RECORD)
        for v in malformed
    ]
    return cases


def run_length_cases(width: int, height: int) -> list[Case]:
    """Return broken run lengths for an image of this size in pixels."""
    pixels, size = width * height, [height, width]
    wrong: list[Any] = [
        "", "p", "é", "\x00", "0", "P", "T4T", "O1", "o" * 13 + "0", " 0",
        [], [pixels - 1], [pixels + 1], [-1, pixels + 1], [pixels, 1, -1], [2**63, 1], [2**64 + 5],
    ]  # fmt: skip
    sizes: list[Any] = [
        [width + 1, height],
        [width, height],
        [height],
        [],
        [0, 0],
        [-1, -1],
        size * 2,
    ]
    cases = [
        Case(f"counts {v!r}", _set(segmentation={"size": size, "counts": v}), Reason.INVALID_MASK)
        for v in wrong
    ]
    cases += [
        Case(
            f"size {v!r}",
            _set(segmentation={"size": v, "counts": [pixels]}),
            Reason.MASK_SIZE_MISMATCH,
        )
        for v in sizes
        if v != size
    ]
    empty = {"size": size, "counts": [pixels]}
    return [*cases, Case("all background", _set(segmentation=empty), Reason.EMPTY_MASK)]


def _references() -> list[Case]:
    malformed = Reason.MALFORMED_RECORD
    cases = []
    for key in ("image_id", "category_id"):
        none: list[Any] = [None, [1], {}, True, 1.5, ""]
        cases += [Case(f"{key} {v!r}", _set(**{key: v}), malformed) for v in none]
        cases.append(Case(f"no {key}", _without(key), malformed))
    for value in (987654, "987654", "nothing", -1, 10**30):
        cases += [
            Case(f"image_id {value!r}", _set(image_id=value), Reason.UNKNOWN_IMAGE),
            Case(f"category_id {value!r}", _set(category_id=value), Reason.UNKNOWN_CATEGORY),
        ]
    return cases


ANNOTATION_CASES = [*_no_record(Reason.MALFORMED_RECORD), *_references(), *_segmentations()]


def _images() -> list[Case]:
    malformed = Reason.MALFORMED_RECORD
    cases = _no_record(malformed)
    for key in ("width", "height"):
        cases.append(Case(f"no {key}", _without(key), malformed))
        wrong = [
            None,
            "64",
            [64],
            True,
            0,
            -64,
            64.5,
            10**9,
            10**30,
            float("nan"),
            literal("1e999"),
        ]
        cases += [Case(f"{key} {value!r}", _set(**{key: value}), malformed) for value in wrong]
    cases.append(Case("no file_name", _without("file_name"), malformed))
    empty: list[Any] = [None, 5, ["a"], "", True]
    cases += [Case(f"file_name {v!r}", _set(file_name=v), malformed) for v in empty]
    unsafe = [
        "/etc/passwd", "../x.jpg", "a/../../x.jpg", "..", "C:/x.jpg", "c:x.jpg", "a\\..\\x.jpg",
        "\\\\host\\x.jpg", "a\x00.jpg", "a\n.jpg", "/", ".",
    ]  # fmt: skip
    cases += [Case(f"file_name {v!r}", _set(file_name=v), Reason.UNSAFE_PATH) for v in unsafe]
    missing = ["absent.jpg", "x" * 300 + ".jpg", "https://host/x.jpg", "a/b/c/d.jpg", "~/x.jpg"]
    cases += [
        Case(f"file_name {v[:9]!r}…", _set(file_name=v), Reason.MISSING_IMAGE) for v in missing
    ]
    larger = _set(width=333, height=222)
    return [*cases, Case("another size", larger, Reason.SIZE_MISMATCH)]


IMAGE_CASES = _images()
