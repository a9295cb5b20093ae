"""Changes builds as a forger would: rows are changed, then every record of them is made to fit."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mixedparts import masks
from mixedparts.cards.croissant import croissant_text
from mixedparts.masks import Rle
from mixedparts.pairing.samples import entity_key, id_texts, sample_ids
from mixedparts.records import Task
from mixedparts.storage.digest_list import write_digest_list
from mixedparts.storage.parquet import write_parquet
from mixedparts.storage.schema import CONFIGS
from mixedparts.storage.shards import WrittenFile, sha256_of
from mixedparts.text import answers as wording

Row = dict[str, Any]


def rewrite(
    build: Path, change: Callable[[list[Row]], None], table: str = "pairs", split: str = "train"
) -> None:
    """Change the rows of a shard and stamp its records again."""
    path = build / table / f"{split}-00000-of-00001.parquet"
    rows = pq.read_table(path).to_pylist()
    change(rows)
    schema = CONFIGS[table]
    write_parquet(path, schema, [pa.RecordBatch.from_pylist(rows, schema=schema)])
    stamp(build)


def stamp(build: Path) -> None:
    """Write sizes, digests, rows and counts anew, in all records that hold them."""
    manifest = json.loads((build / "manifest.json").read_text())
    for shard in manifest["shards"]:
        path = build / shard["path"]
        rows = pq.read_metadata(path).num_rows
        shard |= asdict(WrittenFile(shard["path"], rows, path.stat().st_size, sha256_of(path)))
    stamped = {shard["path"]: shard for shard in manifest["shards"]}
    for file in (build / "_build" / "commits").glob("*.json"):
        record = json.loads(file.read_text())
        record["files"] = [stamped.get(item["path"], item) for item in record["files"]]
        file.write_text(json.dumps(record))
    _count(build, manifest)
    (build / "manifest.json").write_text(json.dumps(manifest))
    (build / "croissant.json").write_text(croissant_text(manifest))
    stamp_digests(build)


def stamp_digests(build: Path) -> None:
    """Write the list of digests anew, for the files as they are."""
    write_digest_list(build, [], (build / "README.md").read_text(encoding="utf-8"))


def damage(build: Path, shard: str, column: str) -> None:
    """Destroy the pages of one column and record the new digest; footer and sizes stay."""
    path = build / shard
    data = bytearray(path.read_bytes())
    group = pq.read_metadata(path).row_group(0)
    chunks = {c.path_in_schema: c for c in map(group.column, range(group.num_columns))}
    chunk = chunks[column]
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    data[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    path.write_bytes(data)
    record_digest(build, shard)


def record_digest(build: Path, shard: str) -> None:
    """Write the digest of one file anew, in the manifest and in its commit record."""
    for file in [build / "manifest.json", *(build / "_build" / "commits").glob("*.json")]:
        value = json.loads(file.read_text())
        for item in value.get("shards", value.get("files")):
            if item["path"] == shard:
                item["sha256"] = sha256_of(build / shard)
        file.write_text(json.dumps(value))
    manifest = json.loads((build / "manifest.json").read_text())
    (build / "croissant.json").write_text(croissant_text(manifest))
    stamp_digests(build)


def _count(build: Path, manifest: dict[str, Any]) -> None:
    counted: dict[tuple[str, str], Counter[str]] = {}
    benchmark: dict[str, Counter[str]] = {}
    for table in ("pairs", "images", "entities"):
        for path in sorted((build / table).glob("*.parquet")):
            split = path.name.split("-")[0]
            for row in pq.read_table(path).to_pylist():
                source = str(row["source"])
                mine = benchmark.setdefault(source, Counter())
                if split != "benchmark":
                    mine = counted.setdefault((source, split), Counter())
                mine[str(row["task"]) if table == "pairs" else table] += 1
    for (source, split), found in counted.items():
        manifest["counts"].setdefault(source, {})[split] = dict(found)
    manifest["benchmark"]["counts"] = {source: dict(found) for source, found in benchmark.items()}


def forge_row(task: Task, split: str, entities: Sequence[Row]) -> Row:
    """Return a row of `pairs` that is right in everything that follows from two entities."""
    shown = [{part["name"]: part for part in entity["parts"]} for entity in entities]
    common = sorted(set(shown[0]) & set(shown[1]))
    names = [(name, (0, 1)) for name in common]
    if task is Task.UNIQUE_PARTS:
        names = [
            (name, (side,)) for side in (0, 1) for name in sorted(shown[side]) if name not in common
        ]
    if task is Task.COMMON_OBJECT:
        names = []
    parts = [
        {"image": side, "kind": "common" if len(sides) == 2 else "unique", **shown[side][name]}
        for name, sides in names
        for side in sides
    ]
    categories = entities[0]["category"], entities[1]["category"]
    answer = wording.common_object_answer(categories[0])
    if names:
        answer = wording.part_answer(task, categories, names)
    keys = [[entity_key(e["source"], e["image_id"], e["category"]) for e in entities]]
    ids = sample_ids(split, [task], np.array(keys, np.uint64), np.ones((1, 2), np.bool_))
    seg = [{"kind": "object", "index": n} for n in (0, 1)]
    return {
        "id": id_texts(ids)[0],
        "source": entities[0]["source"],
        "split": split,
        "task": str(task),
        "images": [
            {k: e[k] for k in ("image_id", "row", "file_name", "width", "height")} for e in entities
        ],
        "objects": [
            {"image": n, **{k: e[k] for k in ("category", "mask", "bbox", "area")}}
            for n, e in enumerate(entities)
        ],
        "parts": parts,
        "question": wording.question(task, int(ids[0])),
        "answer": answer,
        "seg": seg + [{"kind": "part", "index": n} for n in range(len(parts))],
    }


def flip_bit(region: Row, measured: bool) -> None:
    """Flip one pixel of a region's mask; with `measured`, area and box are made to fit."""
    height, width = region["mask"]["size"]
    dense = masks.decode(Rle(height, width, region["mask"]["counts"].encode()))
    dense[height // 2, width // 2] ^= 1
    put_mask(region, masks.from_dense(dense), measured)


def put_mask(region: Row, mask: Rle, measured: bool) -> None:
    """Give a region another mask."""
    region["mask"]["counts"] = mask.counts.decode()
    if measured:
        region["area"], region["bbox"] = masks.area(mask), list(masks.bbox(mask))


def change_area(rows: list[Row]) -> str:
    """Make the area of the first object wrong; return the id of its row."""
    rows[0]["objects"][0]["area"] += 1
    return str(rows[0]["id"])
