"""Sets of images that one question is about, from a folder of folders or a table of questions.

No image is opened here. A row or folder that cannot be used becomes an `Unusable` with its reason,
so that it does not stop the others.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mixedparts.errors import InputError, UsageError, near_names
from mixedparts.files.folders import is_folder, list_folder
from mixedparts.files.text import parse_json, read_lines, read_text
from mixedparts.images.formats import IMAGE_SUFFIXES
from mixedparts.records import Task

_TABLES = {".csv": ",", ".tsv": "\t"}
_NUMBERED = re.compile(r"image([1-9][0-9]?)")
_LONGEST_NAME = 150  # bytes; most file systems stop at 255
_SUBJECT = "the table"
_TEXT_HINT = "Tables are text in UTF-8."
TABLE_HINT = (
    "Columns: image1,image2 and, if wanted, image3 …, id, task, question; paths are relative to"
    " the table. JSON lines have the same keys."
)


@dataclass(frozen=True, slots=True)
class ImageSet:
    """One question about some images.

    Attributes:
        id: unique among the sets of one run.
        images: their files, in order.
        task: decides the question unless there is one.
        question: in words; None asks the task's question.
    """

    id: str
    images: tuple[Path, ...]
    task: Task
    question: str | None = None

    @property
    def folder(self) -> str:
        """Folder name of its answer: the id, with %XX for characters that file names forbid."""
        # A name that begins with a dot would be hidden, and `.` and `..` are no names at all.
        name = quote(self.id, safe=" ,;=@+()[]{}'!&")
        return f"%2E{name[1:]}" if name.startswith(".") else name


@dataclass(frozen=True, slots=True)
class Unusable:
    """A set that cannot be asked or answered.

    Attributes:
        id: of the set, or the number of its line.
        reason: for people.
    """

    id: str
    reason: str


def read_image_sets(place: Path, task: Task) -> list[ImageSet | Unusable]:
    """List the image sets of a folder or table, in their order.

    Args:
        place: a folder whose sub-folders hold two or more images each, or a .csv, .tsv or .jsonl
            file.
        task: of sets that name none.

    Raises:
        InputError: the place does not exist or cannot be read.
        UsageError: it is neither a folder nor a table, or holds no set.
    """
    if place.is_dir():
        sets = list(_from_folder(place, task))
    elif place.suffix.lower() in _TABLES:
        sets = list(_from_rows(_csv_rows(place), place.parent, task))
    elif place.suffix.lower() == ".jsonl":
        sets = list(_from_rows(_json_rows(place), place.parent, task))
    elif not place.exists():
        raise InputError(f"there is no {place}", "Give a folder, or a .csv, .tsv or .jsonl file.")
    else:
        raise UsageError(f"{place} is neither a folder nor a .csv, .tsv or .jsonl file", TABLE_HINT)
    if not sets:
        raise UsageError(f"{place} contains nothing to ask about", _nothing_hint(place))
    return _unique(sets)


def _nothing_hint(place: Path) -> str:
    if not place.is_dir():
        return TABLE_HINT
    return "Put two or more images each into sub-folders, or give a table: --pairs FILE.csv"


def _from_folder(place: Path, task: Task) -> Iterator[ImageSet | Unusable]:
    # Sorted by name: the order of images is part of the set.
    for folder in list_folder(place):
        if folder.name.startswith(".") or not is_folder(folder):
            continue
        images = [
            Path(entry.path)
            for entry in list_folder(folder.path)
            if Path(entry.name).suffix.lower() in IMAGE_SUFFIXES and not entry.name.startswith(".")
        ]
        if len(images) < 2:
            counted = "1 image" if images else "no image"
            yield Unusable(folder.name, f"the folder holds {counted}, two are needed")
        else:
            yield _checked(ImageSet(folder.name, tuple(images), task))


def _csv_rows(place: Path) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    """Yield line numbers with rows by column name, or the reason why a row cannot be read."""
    text = read_text(place, _SUBJECT, _TEXT_HINT, empty=True)
    reader = csv.reader(io.StringIO(text), delimiter=_TABLES[place.suffix.lower()])
    try:
        names = [name.strip().lower() for name in next(reader, [])]
        if not {"image1", "image2"} <= set(names):
            raise UsageError(
                f"{place} has no columns image1 and image2, but: {', '.join(names) or 'none'}",
                TABLE_HINT,
            )
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            # One comma too many moves cells under wrong columns; one too few leaves the last cells
            # empty, which is allowed.
            if len(cells) > len(names):
                yield reader.line_num, f"{len(cells)} cells under {len(names)} columns"
            else:
                yield reader.line_num, dict(zip(names, map(str.strip, cells), strict=False))
    except csv.Error as error:
        raise InputError(f"{_SUBJECT} {place} cannot be read: {error}", _TEXT_HINT) from error


def _json_rows(place: Path) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    for number, line in enumerate(read_lines(place, _SUBJECT, _TEXT_HINT, empty=True), 1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except ValueError as error:
            yield number, f"it is not JSON: {error}"
            continue
        yield number, row if isinstance(row, dict) else "it is not a JSON object"


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
    """Return the image set of one row.

    Raises:
        ValueError: the row cannot be used; the text says why.
    """
    numbered = {
        int(match[1]): value
        for key, value in row.items()
        if (match := _NUMBERED.fullmatch(key)) and value not in ("", None)
    }
    if len(numbered) < 2 or sorted(numbered) != list(range(1, len(numbered) + 1)):
        raise ValueError("it must name image1 and image2, and further images without a gap")
    for value in (*numbered.values(), row.get("question") or ""):
        # JSON allows numbers and zero bytes, which no path may hold.
        if not isinstance(value, str) or "\0" in value:
            raise ValueError("its images and its question must be text")
    named = row.get("task") or str(task)
    if named not in {*Task}:
        near = near_names(str(named), Task)
        raise ValueError(f"there is no task '{named}'{near and '.'}{near}")
    images = tuple(base / numbered[place] for place in sorted(numbered))
    return ImageSet(name, images, Task(named), row.get("question") or None)


def _checked(asked: ImageSet) -> ImageSet | Unusable:
    """Return the set if its id can name a folder."""
    # JSON can escape half a surrogate pair, which is not a character and cannot be encoded.
    try:
        length = len(asked.folder.encode())
    except UnicodeEncodeError:
        return Unusable(ascii(asked.id), "its id is not text in UTF-8")
    if length > _LONGEST_NAME:
        return Unusable(asked.id[:40] + "…", "its id is too long for the name of a folder")
    return asked


def _unique(sets: Sequence[ImageSet | Unusable]) -> list[ImageSet | Unusable]:
    """Replace every set whose folder name occurred before by an `Unusable`."""
    # In lower case, because some file systems do not tell the cases of a name apart.
    taken: set[str] = set()
    result: list[ImageSet | Unusable] = []
    for each in sets:
        if isinstance(each, ImageSet):
            if each.folder.lower() in taken:
                result.append(Unusable(each.id, "its id is that of an earlier set"))
                continue
            taken.add(each.folder.lower())
        result.append(each)
    return result
