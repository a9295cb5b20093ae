"""The dataset card: YAML from the schema, then what a person should know before using the data."""

from __future__ import annotations

from typing import Any

import yaml

from mixedparts.schema import CONFIGS, card_features

_UNFINISHED = """\
---
configs:
- config_name: unfinished
  data_files: THIS-BUILD-IS-NOT-FINISHED-run-mixedparts-build-again
---
# A build that is not finished

Nothing here can be loaded yet. Run the same `mixedparts build` command again: it goes on where it
stopped.
"""

_SPLITS = ("train", "validation", "test", "benchmark")
_TASKS = ("common_object", "common_parts", "unique_parts")


def unfinished_card() -> str:
    """Return the card of a build under way; its configuration names a file that never exists."""
    return _UNFINISHED


def card(manifest: dict[str, Any]) -> str:
    """Return the card of a whole build, all its numbers out of the manifest."""
    head = yaml.safe_dump(_front(manifest), sort_keys=False, allow_unicode=True, width=100)
    sections = [
        "# MixedParts" + (" (synthetic)" if manifest["synthetic"] else ""),
        _about(manifest),
        _use(),
        "## Counts\n\n" + _count_table(manifest),
        "## Names\n\n" + _names(manifest),
        "## Sources and licences\n\n" + _licence_table(manifest),
        _limits(manifest),
        "## Citation\n\n" + _citations(manifest),
    ]
    return f"---\n{head}---\n" + "\n\n".join(sections) + "\n"


def split_rows(manifest: dict[str, Any], table: str) -> dict[str, int]:
    """Return {split: rows} of a table, splits in their usual order."""
    rows: dict[str, int] = {}
    for split in (*_SPLITS, "preview"):
        mine = [s["rows"] for s in manifest["shards"] if s["path"].startswith(f"{table}/{split}-")]
        if mine:
            rows[split] = sum(mine)
    return rows


def loading_configs(manifest: dict[str, Any], prefix: str = "") -> list[dict[str, Any]]:
    """Return the `configs` that tell `datasets` which files make which split.

    The description carries the build id because `datasets` names its cache by these values alone:
    without it an older build of the same shape would be served.

    Args:
        prefix: put before every path, where the YAML does not lie in the build folder.
    """
    configs = []
    for table in CONFIGS:
        files = [
            {"split": split, "path": f"{prefix}{table}/{split}-*.parquet"}
            for split in split_rows(manifest, table)
        ]
        entry: dict[str, Any] = {"config_name": table, "data_files": files}
        entry["description"] = f"{table} of build {manifest['build_id']}"
        if table == "pairs":
            entry["default"] = True
        configs.append(entry)
    return configs


def in_order(splits: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return the items of {split: value} in the usual order of splits."""
    return [(split, splits[split]) for split in _SPLITS if split in splits]


def _front(manifest: dict[str, Any]) -> dict[str, Any]:
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
        "tags": tags + (["synthetic"] if manifest["synthetic"] else []),
        "configs": loading_configs(manifest),
        "dataset_info": infos,
    }


def _about(manifest: dict[str, Any]) -> str:
    made = [name for name, source in manifest["sources"].items() if source["synthetic"]]
    text = (
        "Pairs of images for part-focused semantic co-segmentation: find the common object, the"
        " common parts and the unique parts (CALICO, CVPR 2025, arXiv 2412.19331). Built from"
        f" {', '.join(manifest['sources'])} by mixedparts {manifest['code_version']}, build"
        f" `{manifest['build_id']}`."
    )
    if manifest["configuration"]["images"] == "omit":
        text += (
            "\n\n**Without pixels.** The pictures are their owners'. This copy names them (image"
            " id, SHA-256) and leaves them and the preview out;"
            " `mixedparts.load_dataset(..., pixels=False)` and plain `datasets` load the rest, and"
            " `mixedparts build` makes the whole from the sources."
        )
    if made:
        text += (
            f"\n\n**Synthetic data.** The images and masks of {', '.join(made)} were drawn by a"
            " program in the upstream file formats. They are for trying out and testing; results on"
            " them say nothing about real images."
        )
    return text


def _use() -> str:
    return (
        "## Use\n\n```python\nimport mixedparts\n\n"
        'pairs = mixedparts.load_dataset("PATH", split="train")  # pixels joined lazily\n'
        "```\n\nPlain `datasets.load_dataset(PATH)` gives the same rows without pixels; the"
        " configurations `images` and `preview` hold the pictures, `entities` every class of every"
        " image with its parts. Masks are COCO RLE on the stored pixel grid. The n-th `[SEG]` of"
        " `answer` means the region that `seg[n]` points to."
    )


def _count_table(manifest: dict[str, Any]) -> str:
    lines = [
        "| source | split | images | entities | " + " | ".join(_TASKS) + " |",
        "|---|---|---|---|" + "---|" * len(_TASKS),
    ]
    for source, splits in sorted(manifest["counts"].items()):
        for split, counts in in_order(splits):
            numbers = [counts.get(key, 0) for key in ("images", "entities", *_TASKS)]
            lines.append(f"| {source} | {split} | " + " | ".join(map(str, numbers)) + " |")
    subset = sum(sum(tasks.values()) for tasks in manifest["benchmark"]["counts"].values())
    lines.append(f"\n`benchmark` holds {subset} of the test rows, the same number a filled cell.")
    rejected = sum(manifest["rejects"].values())
    lines.append(f"Rejected records: {rejected}, with reasons in `rejects.parquet`.")
    return "\n".join(lines)


def _licence_table(manifest: dict[str, Any]) -> str:
    lines = ["| source | annotations | images | synthetic here |", "|---|---|---|---|"]
    for name, source in manifest["sources"].items():
        marks = source.get("licence", "unknown"), source.get("image_licence", "unknown")
        made = "yes" if source["synthetic"] else "no"
        lines.append(f"| {source.get('title', name)} | {marks[0]} | {marks[1]} | {made} |")
    return "\n".join(lines)


def _names(manifest: dict[str, Any]) -> str:
    """Say which profile the classes and names follow, and what of it is only inferred."""
    profile = manifest["profile"]
    text = (
        f"Profile `{profile['name']}`: {profile['about']}. {len(manifest['renames'])} classes and"
        " parts bear another name than upstream; each stands in `manifest.json` under `renames`"
        " with its reason."
    )
    lines = [
        f"- left out ({item['evidence']}): {item['source']} {', '.join(item['superclasses'])}."
        f" {item['reason']}."
        for item in profile["drop"]
    ]
    for item in profile["names"] or ():
        what = f"`{item['part']}`" if item["part"] else "all object names"
        of = f" of {', '.join(item['owners'])}" if item["owners"] else ""
        lines.append(
            f"- renamed ({item['evidence']}): {item['source']} {what}{of}: {item['reason']}."
        )
    lines += [f"- unknown: {what}." for what in profile["unknown"]]
    return text + "\n\n" * bool(lines) + "\n".join(lines)


def _limits(manifest: dict[str, Any]) -> str:
    filters = manifest["configuration"]
    return (
        "## Limits\n\n"
        "- Absence of a label is not a statement about the world: the sources do not annotate every"
        " object or part.\n"
        f"- Entities under {filters['min_object_area']:.1%} and parts under"
        f" {filters['min_part_area']:.1%} of the image are left out and counted in"
        " `manifest.json` under `filtered`.\n"
        "- Which classes may form a pair is a curated choice; the groups and their reasons are in"
        " the project's `manifests/groups.yaml`."
    )


def _citations(manifest: dict[str, Any]) -> str:
    lines = ["- CALICO: Nguyen et al., CVPR 2025, arXiv 2412.19331"]
    lines += [f"- {s['citation']}" for s in manifest["sources"].values() if s.get("citation")]
    return "\n".join(lines)
