"""Rows are found by filters and words; row groups that cannot have them are not read."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from mixedparts.errors import UsageError
from mixedparts.storage.build_folder import BuildFolder
from mixedparts.storage.parquet import write_parquet
from mixedparts.storage.schema import PAIRS
from mixedparts.viewer.selection import Query, find, row_groups
from mixedparts.viewer.selection.choose import choose
from mixedparts.viewer.selection.facets import count_facets
from mixedparts.viewer.selection.query import words_of
from mixedparts.viewer.selection.read import read_rows
from tests.factories.build_manifest import stamp_manifest
from tests.oracles.build_tables import iter_rows

Row = dict[str, Any]
Rows = list[tuple[str, Row]]
SPLITS = ("train", "validation", "test", "benchmark")


@pytest.fixture(scope="module")
def build(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rows of `built` in row groups of 50, so that there are many of them."""
    out = tmp_path_factory.mktemp("groups")
    for split in SPLITS:
        rows = list(iter_rows(built, "pairs", split))
        batches = [
            pa.RecordBatch.from_pylist(rows[at : at + 50], schema=PAIRS)
            for at in range(0, len(rows), 50)
        ]
        (out / "pairs").mkdir(exist_ok=True)
        write_parquet(out / f"pairs/{split}-00000-of-00001.parquet", PAIRS, batches)
    return stamp_manifest(out)


@pytest.fixture(scope="module")
def rows(build: Path) -> Rows:
    return [(split, row) for split in SPLITS for row in iter_rows(build, "pairs", split)]


def common(rows: Rows, values: Callable[[Row], set[str]]) -> str:
    return Counter(v for _, row in rows for v in values(row)).most_common()[0][0]


def classes(row: Row) -> set[str]:
    return {item["category"] for item in row["objects"]}


def parts(row: Row) -> set[str]:
    return {item["name"] for item in row["parts"]}


def searched(row: Row) -> str:
    """All that words are looked for in, by the documentation."""
    answer = row["answer"]
    for tag in ("<p>", "</p>", "[SEG]", "(IMAGE1)", "(IMAGE2)"):
        answer = answer.replace(tag, "")
    ids = [image["image_id"] for image in row["images"]]
    return "\n".join([row["id"], row["source"], row["question"], answer, *ids]).lower()


def passes(split: str, row: Row, query: Query) -> bool:
    return (
        (not query.splits or split in query.splits)
        and (not query.sources or row["source"] in query.sources)
        and (not query.tasks or row["task"] in query.tasks)
        and (not query.classes or bool(classes(row) & set(query.classes)))
        and (not query.parts or bool(parts(row) & set(query.parts)))
        and (not query.ids or row["id"] in query.ids)
        and all(word in searched(row) for word in query.words)
    )


def found(build: Path, query: Query) -> list[Row]:
    opened = BuildFolder.open(build)
    return list(read_rows(opened, find(opened, query)))


def some_class(rows: Rows) -> tuple[str, ...]:
    return (common(rows, classes),)


def some_part(rows: Rows) -> tuple[str, ...]:
    return (common(rows, parts),)


QUERIES: dict[str, Callable[[Rows], Query]] = {
    "all": lambda rows: Query(),
    "split": lambda rows: Query(splits=("test", "benchmark")),
    "source": lambda rows: Query(sources=("paco",), splits=("train",)),
    "tasks": lambda rows: Query(tasks=("common_parts", "unique_parts"), splits=("train",)),
    "class": lambda rows: Query(classes=some_class(rows), splits=("train", "test")),
    "part": lambda rows: Query(parts=some_part(rows), splits=("train", "test")),
    "both": lambda rows: Query(classes=some_class(rows), parts=some_part(rows)),
    "id": lambda rows: Query(ids=(rows[100][1]["id"],)),
    "words": lambda rows: Query(words=(*some_class(rows), rows[0][1]["source"])),
    "an image": lambda rows: Query(words=(rows[100][1]["images"][0]["image_id"].lower(),)),
    "in tags": lambda rows: Query(words=("seg",)),
    "also in tags": lambda rows: Query(words=("p", "image")),
    "any case": lambda rows: Query(words=words_of(f"  {rows[9][1]['question'][:9].upper()} ")),
    "nothing": lambda rows: Query(classes=("no such class",)),
    "an odd word": lambda rows: Query(words=("(.*",)),
}


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_finds_the_rows_that_a_loop_finds(build: Path, rows: Rows, name: str) -> None:
    query = QUERIES[name](rows)
    wanted = [row for split, row in rows if passes(split, row, query)]
    assert found(build, query) == wanted
    assert wanted or name in ("nothing", "in tags", "an odd word")


def test_groups_are_left_out_by_their_statistics(
    build: Path, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mixedparts.viewer.selection import scan

    read: list[Any] = []
    whole = scan.read_group
    monkeypatch.setattr(scan, "read_group", lambda *a: read.append(a) or whole(*a))
    opened = BuildFolder.open(build)
    row = rows[100][1]
    query = Query(splits=("train",), ids=(row["id"],))
    assert sum(match.rows.size for match in find(opened, query)) == 1
    # Rows are in the order of their ids, so that one group can have it.
    assert len(read) == 1
    assert read[0][2] == ["id"]
    assert len(row_groups.row_groups(opened)) > 10
    read.clear()
    assert sum(match.rows.size for match in find(opened, Query(splits=("train",)))) > 50
    assert not read


def test_counts_are_those_of_a_loop(build: Path, rows: Rows) -> None:
    opened = BuildFolder.open(build)
    name, part = common(rows, classes), common(rows, parts)
    values = {"split": None, "source": "source", "task": "task", "class": classes, "part": parts}
    fields = {"split": "splits", "source": "sources", "task": "tasks", "class": "classes",
              "part": "parts"}  # fmt: skip
    for query in (
        Query(),
        Query(classes=(name,), tasks=("common_parts",), splits=("train", "test")),
        Query(parts=(part,), words=(name,)),
    ):
        counted = count_facets(opened, query)
        for facet, of in values.items():
            wanted: Counter[str] = Counter()
            free = Query(**{f: getattr(query, f) for f in query.__slots__} | {fields[facet]: ()})
            for split, row in rows:
                every = {split} if of is None else of(row) if callable(of) else {row[of]}
                for value in every:
                    wanted[value] += passes(split, row, free)
            assert counted[facet] == dict(wanted), facet


def test_a_choice_is_even_over_splits_sources_and_tasks(built: Path) -> None:
    opened = BuildFolder.open(built)
    chosen = choose(opened, Query(), 60)
    rows = list(read_rows(opened, chosen.found))
    assert len(rows) == chosen.rows == 60
    assert chosen.total == opened.count("pairs") - opened.count("pairs", "benchmark")
    cells = Counter((row["split"], row["source"], row["task"]) for row in rows)
    every = Counter(
        (row["split"], row["source"], row["task"])
        for split in SPLITS[:3]
        for row in iter_rows(built, "pairs", split)
    )
    assert set(cells) == set(every)
    assert all(count == every[cell] or count >= 60 // len(every) for cell, count in cells.items())
    assert choose(opened, Query(splits=("benchmark",)), 5).rows == 5


def test_rows_that_are_named_are_all_there(built: Path) -> None:
    opened = BuildFolder.open(built)
    ids = [row["id"] for row in itertools.islice(iter_rows(built, "pairs", "train"), 7)]
    chosen = choose(opened, Query(ids=tuple(ids)), 2)
    assert [row["id"] for row in read_rows(opened, chosen.found)] == ids
    only = choose(opened, Query(among=frozenset({*ids, "unknown"})), 3)
    assert (only.rows, only.total) == (3, 7)


@pytest.mark.parametrize(
    ("query", "says"),
    [
        (Query(splits=("tset",)), r"has no split 'tset'\. Did you mean 'test'\?"),
        (Query(sources=("pcao",)), r"has no source 'pcao'\. Did you mean 'paco'\?"),
        (Query(tasks=("common_part",)), r"has no task .*Did you mean 'common_parts'"),
        (Query(classes=("DOGG",)), r"has no class 'DOGG'\. Did you mean 'dog"),
        (Query(parts=("haed",)), r"has no part 'haed'\. Did you mean .*'head'"),
        (Query(ids=("zz", "yy")), "has no row with the id zz, yy, or other filters exclude it"),
        (Query(words=("no such word",)), "no row of .* passes all of these filters"),
    ],
)
def test_what_a_build_does_not_have_is_named(built: Path, query: Query, says: str) -> None:
    if query.ids:
        first = next(iter_rows(built, "pairs", "train"))["id"]
        with pytest.raises(UsageError, match=says):  # whether another id is found or none
            choose(BuildFolder.open(built), query, 10)
        query = Query(ids=(first, *query.ids))
    with pytest.raises(UsageError, match=says):
        choose(BuildFolder.open(built), query, 10)


def test_words_that_are_no_text_are_refused() -> None:
    with pytest.raises(UsageError, match="not text in UTF-8"):
        words_of("a \udcff")
