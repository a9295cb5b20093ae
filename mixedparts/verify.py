"""Checks of a build by anyone, without its sources; every problem is named.

quick: the manifest and the sizes of all files. full: also digests, rows, schemas, counts.
deep: also every mask decoded, areas and boxes computed again, and every answer read back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from mixedparts import masks, wording
from mixedparts.build_manifest import CARD, MANIFEST, read_manifest
from mixedparts.errors import InputError
from mixedparts.parquet import iter_rows
from mixedparts.records import Task
from mixedparts.schema import CONFIGS, REJECTS
from mixedparts.shards import WrittenFile, intact

LEVELS = ("quick", "full", "deep")


def verify(build: Path, level: str = "full") -> list[str]:
    """Return a sentence for every problem of a build; none means it is whole.

    Raises:
        InputError: there is no build in this folder, or not a finished one.
    """
    manifest = read_manifest(build)
    if manifest is None:
        raise InputError(
            f"{build} holds no finished build (no readable {MANIFEST})",
            "Run the `mixedparts build` command again: it goes on where it stopped.",
        )
    problems = list(_quick(build, manifest))
    if level != "quick" and not problems:
        problems += _full(build, manifest)
    if level == "deep" and not problems:
        problems += _deep(build)
    return problems


def _quick(build: Path, manifest: dict[str, Any]) -> Iterator[str]:
    if not (build / CARD).is_file():
        yield f"{CARD} is missing"
    listed = {shard["path"] for shard in manifest["shards"]}
    for shard in manifest["shards"]:
        path = build / shard["path"]
        if not path.is_file():
            yield f"{shard['path']} is missing"
        elif path.stat().st_size != shard["bytes"]:
            yield f"{shard['path']} has {path.stat().st_size} bytes, recorded {shard['bytes']}"
    for table in CONFIGS:
        for path in sorted((build / table).glob("*.parquet")):
            if f"{table}/{path.name}" not in listed:
                yield f"{table}/{path.name} is not part of the build"


def _full(build: Path, manifest: dict[str, Any]) -> Iterator[str]:
    for shard in manifest["shards"]:
        if not intact(build, WrittenFile(**shard)):
            yield f"{shard['path']} does not match its recorded sha256"
            continue
        found = pq.ParquetFile(build / shard["path"])
        wanted = CONFIGS.get(shard["path"].split("/")[0], REJECTS)
        if found.schema_arrow.remove_metadata() != wanted.remove_metadata():
            yield f"{shard['path']} has other columns than the schema"
        if found.metadata.num_rows != shard["rows"]:
            yield f"{shard['path']} has {found.metadata.num_rows} rows, recorded {shard['rows']}"
    yield from _count_problems(build, manifest)


def _count_problems(build: Path, manifest: dict[str, Any]) -> Iterator[str]:
    found: Counter[tuple[str, str, str]] = Counter()
    for split in ("train", "validation", "test"):
        for row in iter_rows(build, "pairs", split, ["source", "task"]):
            found[row["source"], split, row["task"]] += 1
        for row in iter_rows(build, "images", split, ["source"]):
            found[row["source"], split, "images"] += 1
    for source, splits in manifest["counts"].items():
        for split, counts in splits.items():
            for key in ("images", *Task):
                if found[source, split, key] != counts.get(key, 0):
                    number = found[source, split, key]
                    yield f"{source} {split} {key}: {number}, recorded {counts.get(key, 0)}"


def _deep(build: Path) -> Iterator[str]:
    pictures = {
        (row["split"], row["row"]): (row["image_id"], row["width"], row["height"])
        for row in iter_rows(build, "images", None, ["split", "row", "image_id", "width", "height"])
    }
    seen: set[tuple[str, str]] = set()
    for table_split in ("train", "validation", "test", "benchmark"):
        for row in iter_rows(build, "pairs", table_split):
            if (table_split, row["id"]) in seen:
                yield f"{table_split} {row['id']}: the id occurs twice"
            seen.add((table_split, row["id"]))
            for problem in row_problems(row):
                yield f"{table_split} {row['id']}: {problem}"
            for ref in row["images"]:
                known = pictures.get((row["split"], ref["row"]))
                if known != (ref["image_id"], ref["width"], ref["height"]):
                    yield f"{table_split} {row['id']}: image {ref['image_id']} is not row"
                    f" {ref['row']} of images"


def row_problems(row: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong within one row of `pairs`."""
    for kind, regions in (("object", row["objects"]), ("part", row["parts"])):
        for number, region in enumerate(regions):
            size = row["images"][region["image"]]
            for problem in _region_problems(region, size["height"], size["width"]):
                yield f"{kind} {number} ({region.get('category') or region.get('name')}): {problem}"
    names = [[p["name"] for p in row["parts"] if p["image"] == side] for side in (0, 1)]
    kinds = {part["kind"] for part in row["parts"]}
    expected = {
        Task.COMMON_OBJECT: set(),
        Task.COMMON_PARTS: {"common"},
        Task.UNIQUE_PARTS: {"unique"},
    }[Task(row["task"])]
    if kinds != expected:
        yield f"parts of kind {sorted(kinds)} in a {row['task']} row"
    if kinds == {"common"} and names[0] != names[1]:
        yield "a common part is not in both images"
    if kinds == {"unique"} and set(names[0]) & set(names[1]):
        yield "a unique part is in both images"
    yield from _answer_problems(row)


def _region_problems(region: dict[str, Any], height: int, width: int) -> Iterator[str]:
    if region["mask"]["size"] != [height, width]:
        yield f"mask of size {region['mask']['size']}, image {[height, width]}"
        return
    try:
        mask = masks.from_string(region["mask"]["counts"], height, width)
    except masks.InvalidMask as error:
        yield f"mask does not decode: {error}"
        return
    if masks.area(mask) != region["area"]:
        yield f"area {region['area']}, mask has {masks.area(mask)} pixels"
    if list(masks.bbox(mask)) != region["bbox"]:
        yield f"box {region['bbox']}, mask has {list(masks.bbox(mask))}"


def _answer_problems(row: dict[str, Any]) -> Iterator[str]:
    """Yield a sentence for every [SEG] whose phrase and tag are not those of its region."""
    parsed = wording.parse_answer(row["answer"], len(row["images"]))
    said = [(phrase.label, image) for phrase in parsed.phrases for image in phrase.images]
    meant = []
    for seg in row["seg"]:
        regions = row["objects"] if seg["kind"] == "object" else row["parts"]
        if not 0 <= seg["index"] < len(regions):
            yield f"a [SEG] means {seg['kind']} {seg['index']}, which is not there"
            return
        region = regions[seg["index"]]
        meant.append((region.get("category") or region.get("name"), region["image"]))
    if said != meant:
        yield f"the answer says {said}, its masks are {meant}"
    if len(meant) != len(row["objects"]) + len(row["parts"]):
        yield "not every region has a [SEG]"
