"""The dataset card (README.md of a build): YAML from the schema, then text for its users."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from mixedparts.cards.templates import render
from mixedparts.records import Task
from mixedparts.storage.build_folder import MANIFEST, REJECTS_FILE, SPLIT_ORDER, shard_pattern
from mixedparts.storage.schema import CONFIGS, card_features

# Never change this text: `is_unfinished` compares a folder's README with it byte by byte, and must
# recognise an interrupted build of an older version.
_UNFINISHED = """\
---
configs:
- config_name: unfinished
  data_files: THIS-BUILD-IS-NOT-FINISHED-run-mixedparts-build-again
---
# A build that is not finished

Nothing here can be loaded yet. Run the same `mixedparts build` command again: it continues where it
stopped.
"""

_TASKS = tuple(str(task) for task in Task)


def unfinished_card() -> str:
    """Return the card of an unfinished build.

    Its YAML names a data file that never exists, so `datasets` loads nothing from the folder.
    """
    return _UNFINISHED


def card(manifest: Mapping[str, Any]) -> str:
    """Return the card of a finished build; all its numbers come from the manifest."""
    head = yaml.safe_dump(_front(manifest), sort_keys=False, allow_unicode=True, width=100)
    body = render(
        "mixedparts.cards",
        "card.md.jinja",
        manifest=manifest,
        synthetic=[name for name, source in manifest["sources"].items() if source.get("synthetic")],
        tasks=_TASKS,
        counts=_counts(manifest),
        benchmark=sum(
            sum(tasks.values()) for tasks in manifest["benchmark"].get("counts", {}).values()
        ),
        small=_filtered(manifest),
        rejected=sum(manifest["rejects"].values()),
        rejects_file=REJECTS_FILE,
        manifest_file=MANIFEST,
        contrast=_percent(manifest["configuration"].get("contrast", 0)),
    )
    return f"---\n{head}---\n{body}"


def split_rows(manifest: Mapping[str, Any], table: str) -> dict[str, int]:
    """Return {split: rows} of a table, in the usual order of splits, without absent ones."""
    rows: dict[str, int] = {}
    for split in SPLIT_ORDER:
        prefix = f"{table}/{split}-"
        of_shards = [s["rows"] for s in manifest["shards"] if s["path"].startswith(prefix)]
        if of_shards:
            rows[split] = sum(of_shards)
    return rows


def loading_configs(manifest: Mapping[str, Any], prefix: str = "") -> list[dict[str, Any]]:
    """Return the `configs` of the card, from which `datasets` learns the files of each split.

    Args:
        manifest: manifest of the build.
        prefix: put before every path if the YAML is not in the build folder.
    """
    configs = []
    for table in CONFIGS:
        files = [
            {"split": split, "path": prefix + shard_pattern(table, split)}
            for split in split_rows(manifest, table)
        ]
        entry: dict[str, Any] = {"config_name": table, "data_files": files}
        # `datasets` names its cache after these values only. Without the build id it would load
        # the cached rows of an older build with the same files.
        entry["description"] = f"{table} of build {manifest['build_id']}"
        # The configuration that `datasets.load_dataset(path)` loads without a name.
        if table == "pairs":
            entry["default"] = True
        configs.append(entry)
    return configs


def in_split_order(splits: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return the items of {split: value}, train first and the benchmark last."""
    return [(split, splits[split]) for split in SPLIT_ORDER if split in splits]


def _front(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of the card's YAML header, with the keys of the Hub's metadata."""
    infos = [
        {"config_name": table, "features": card_features(schema)}
        for table, schema in CONFIGS.items()
    ]
    tags = ["part-segmentation", "co-segmentation", "multi-image"]
    return {
        "pretty_name": "MixedParts" + (" (synthetic)" if manifest["synthetic"] else ""),
        "license": "other",
        "language": ["en"],
        "task_categories": ["image-segmentation", "image-text-to-text"],
        "size_categories": [_size_category(sum(split_rows(manifest, "pairs").values()))],
        "tags": tags + (["synthetic"] if manifest["synthetic"] else []),
        "configs": loading_configs(manifest),
        "dataset_info": infos,
    }


def _percent(share: float) -> str:
    """Return a share as a text, empty for 0."""
    return f"{100 * share:g} %" if share else ""


def _size_category(rows: int) -> str:
    """Return the Hub's size category of a number of rows, such as `10K<n<100K`."""
    # The n-th bound is 10 ** (3 + n).
    bounds = ("1K", "10K", "100K", "1M", "10M", "100M")
    at = sum(rows >= 10 ** (3 + n) for n in range(len(bounds)))
    if at == 0:
        return "n<1K"
    return f"{bounds[at - 1]}<n<{bounds[at]}" if at < len(bounds) else "n>100M"


def _counts(manifest: Mapping[str, Any]) -> list[tuple[str, str, list[int]]]:
    """Return (source, split, numbers) of every row of the table of counts."""
    return [
        (source, split, [counts.get(key, 0) for key in ("images", "entities", *_TASKS)])
        for source, splits in sorted(manifest["counts"].items())
        for split, counts in in_split_order(splits)
    ]


def _filtered(manifest: Mapping[str, Any]) -> dict[str, int]:
    """Return how many objects and parts of all sources and splits the filters left out."""
    filtered = manifest.get("filtered", {})
    dropped = [counts for splits in filtered.values() for counts in splits.values()]
    return {kind: sum(counts.get(kind, 0) for counts in dropped) for kind in ("objects", "parts")}
