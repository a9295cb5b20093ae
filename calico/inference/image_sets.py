"""Which pictures are asked about together: a folder of folders, or a table with a row a question.

Nothing here opens a picture. What cannot be asked becomes an `Unusable` with its reason, so that
one bad row or folder does not stop the others.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mixedparts.errors import InputError, UsageError
from mixedparts.records import Task

PICTURE_SUFFIXES = {".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff"}
_TABLES = {".csv": ",", ".tsv": "\t"}
_NUMBERED = re.compile(r"image([1-9][0-9]?)")
_LONGEST_NAME = 150  # bytes; most file systems stop at 255
TABLE_HINT = (
    "Columns: image1,image2 and, if wanted, image3 …, id, task, question; paths are relative to"
    " the table. JSON lines have the same keys."
)


@dataclass(frozen=True, slots=True)
class ImageSet:
    """One question about some pictures.

    Attributes:
        id: unique among those asked together.
        images: their files, in order.
        task: what is asked, unless there is a question.
        question: in words; None asks the task's question.
    """

    id: str
    images: tuple[Path, ...]
    task: Task
    question: str | None = None

    @property
    def folder(self) -> str:
        """Name of a folder for its answer: the id, with %XX for what no file name may hold."""
        name = quote(self.id, safe=" ,;=@+()[]{}'!&")
        return f"%2E{name[1:]}" if name.startswith(".") else name


@dataclass(frozen=True, slots=True)
class Unusable:
    """What cannot be asked or answered, and why."""

    id: str
    reason: str


def read_image_sets(place: Path, task: Task) -> list[ImageSet | Unusable]:
    """List the picture sets of a folder or table, in their order.

    Args:
        place: a folder whose sub-folders hold two or more pictures each, or a .csv, .tsv or .jsonl
            file.
        task: where none is named.

    Raises:
        InputError: it is not there or cannot be read.
        UsageError: it is neither, or holds nothing to ask.
    """
    if place.is_dir():
        found = list(_from_folder(place, task))
    elif place.suffix.lower() in _TABLES:
        found = list(_from_rows(_csv_rows(place), place.parent, task))
    elif place.suffix.lower() == ".jsonl":
        found = list(_from_rows(_json_rows(place), place.parent, task))
    elif not place.exists():
        raise InputError(f"there is no {place}", "Give a folder, or a .csv, .tsv or .jsonl file.")
    else:
        raise UsageError(f"{place} is neither a folder nor a .csv, .tsv or .jsonl file", TABLE_HINT)
    if not found:
        raise UsageError(f"{place} holds nothing to ask about", _nothing_hint(place))
    return _unique(found)


def _nothing_hint(place: Path) -> str:
    if not place.is_dir():
        return TABLE_HINT
    return "Put two or more pictures each into sub-folders, or give a table: --pairs FILE.csv"


def _from_folder(place: Path, task: Task) -> Iterator[ImageSet | Unusable]:
    for folder in sorted(one for one in place.iterdir() if one.is_dir()):
        if folder.name.startswith("."):
            continue
        images = sorted(
            one
            for one in folder.iterdir()
            if one.suffix.lower() in PICTURE_SUFFIXES and not one.name.startswith(".")
        )
        if len(images) < 2:
            counted = "1 picture" if images else "no picture"
            yield Unusable(folder.name, f"the folder holds {counted}, two are needed")
        else:
            yield _checked(ImageSet(folder.name, tuple(images), task))


def _csv_rows(place: Path) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    """Yield line numbers with rows by column name, or why a row cannot be read."""
    try:
        with place.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=_TABLES[place.suffix.lower()])
            names = [name.strip().lower() for name in next(reader, [])]
            if not {"image1", "image2"} <= set(names):
                raise UsageError(
                    f"{place} has no columns image1 and image2, but: {', '.join(names) or 'none'}",
                    TABLE_HINT,
                )
            for cells in reader:
                if not any(cell.strip() for cell in cells):
                    continue
                if len(cells) > len(names):
                    yield reader.line_num, f"{len(cells)} cells under {len(names)} columns"
                else:
                    yield reader.line_num, dict(zip(names, map(str.strip, cells), strict=False))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _unreadable(place, error) from error


def _json_rows(place: Path) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    try:
        with place.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError) as error:
                    yield number, f"it is no JSON: {error}"
                    continue
                yield number, row if isinstance(row, dict) else "it is no JSON object"
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(place, error) from error


def _unreadable(place: Path, error: Exception) -> InputError:
    reason = (isinstance(error, OSError) and error.strerror) or error
    return InputError(f"the table {place} cannot be read: {reason}", "Tables are text in UTF-8.")


def _from_rows(
    rows: Iterator[tuple[int, Mapping[str, Any] | str]], base: Path, task: Task
) -> Iterator[ImageSet | Unusable]:
    for number, row in rows:
        if isinstance(row, str):
            yield Unusable(f"line-{number}", row)
            continue
        name = str(row.get("id") or f"line-{number}")
        try:
            yield _checked(_from_row(name, row, base, task))
        except ValueError as error:
            yield Unusable(name, str(error))


def _from_row(name: str, row: Mapping[str, Any], base: Path, task: Task) -> ImageSet:
    """Return what one row asks.

    Raises:
        ValueError: it cannot be asked; the text says why.
    """
    numbered = {
        int(found[1]): value
        for key, value in row.items()
        if (found := _NUMBERED.fullmatch(key)) and value not in ("", None)
    }
    if len(numbered) < 2 or sorted(numbered) != list(range(1, len(numbered) + 1)):
        raise ValueError("it must name image1 and image2, and further images without a gap")
    for value in (*numbered.values(), row.get("question") or ""):
        if not isinstance(value, str) or "\0" in value:
            raise ValueError("its images and its question must be text")
    named = row.get("task") or str(task)
    if named not in {*Task}:
        raise ValueError(f"there is no task '{named}'")
    images = tuple(base / numbered[place] for place in sorted(numbered))
    return ImageSet(name, images, Task(named), row.get("question") or None)


def _checked(one: ImageSet) -> ImageSet | Unusable:
    try:
        length = len(one.folder.encode())
    except UnicodeEncodeError:
        return Unusable(ascii(one.id), "its id is no text in UTF-8")
    if length > _LONGEST_NAME:
        return Unusable(one.id[:40] + "…", "its id is too long for the name of a folder")
    return one


def _unique(found: Sequence[ImageSet | Unusable]) -> list[ImageSet | Unusable]:
    """Refuse what has the same folder as one before it, also where case makes no difference."""
    taken: set[str] = set()
    result: list[ImageSet | Unusable] = []
    for one in found:
        if isinstance(one, ImageSet):
            if one.folder.lower() in taken:
                result.append(Unusable(one.id, "its id is that of one before it"))
                continue
            taken.add(one.folder.lower())
        result.append(one)
    return result
