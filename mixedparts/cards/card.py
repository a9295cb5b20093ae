"""The dataset card (README.md of a build): YAML from the schema, then text for its users."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

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

Nothing here can be loaded yet. Run the same `mixedparts build` command again: it goes on where it
stopped.
"""

_BIBTEX = """\
@inproceedings{nguyen2025calico,
  title     = {CALICO: Part-Focused Semantic Co-Segmentation with Large Vision-Language Models},
  author    = {Nguyen and Juvekar and Yu and Wahed and Lourentzou},
  booktitle = {CVPR},
  year      = {2025},
  eprint    = {2412.19331}
}"""

_TASKS = ("common_object", "common_parts", "unique_parts")


def unfinished_card() -> str:
    """Return the card of an unfinished build.

    Its YAML names a data file that never exists, so `datasets` loads nothing from the folder.
    """
    return _UNFINISHED


def card(manifest: Mapping[str, Any]) -> str:
    """Return the card of a finished build; all its numbers come from the manifest."""
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


def _size_category(rows: int) -> str:
    """Return the Hub's size category of a number of rows, such as `10K<n<100K`."""
    # The n-th bound is 10 ** (3 + n).
    bounds = ("1K", "10K", "100K", "1M", "10M", "100M")
    at = sum(rows >= 10 ** (3 + n) for n in range(len(bounds)))
    if at == 0:
        return "n<1K"
    return f"{bounds[at - 1]}<n<{bounds[at]}" if at < len(bounds) else "n>100M"


def _about(manifest: Mapping[str, Any]) -> str:
    """Return the first section: what the data is, and warnings for special builds."""
    synthetic = [name for name, source in manifest["sources"].items() if source["synthetic"]]
    text = (
        "Pairs of images for part-focused semantic co-segmentation: find the common object, the"
        " common parts and the unique parts (CALICO, CVPR 2025, arXiv 2412.19331). Built from"
        f" {', '.join(manifest['sources'])} by mixedparts {manifest['code_version']}, build"
        f" `{manifest['build_id']}`. It follows the description in the paper; it is not the bundle"
        " that the authors published, and its pairs are other pairs."
    )
    # Only a copy that `mixedparts push` made has this value.
    if manifest["configuration"]["images"] == "omit":
        text += (
            "\n\n**Without pixels.** The images belong to their owners. This copy names them (image"
            " id, SHA-256) and leaves them and the preview out;"
            " `mixedparts.load_dataset(..., pixels=False)` and plain `datasets` load the rest, and"
            " `mixedparts build` makes the whole from the sources."
        )
    if synthetic:
        text += (
            f"\n\n**Synthetic data.** The images and masks of {', '.join(synthetic)} were drawn by"
            " a program in the upstream file formats. They are for trying out and testing; results"
            " on them say nothing about real images."
        )
    return text


def _use() -> str:
    """Return the section on loading; "PATH" stands for the build folder or the Hub id."""
    return (
        "## Use\n\n```python\nimport mixedparts\n\n"
        'pairs = mixedparts.load_dataset("PATH", split="train")  # pixels joined lazily\n'
        "```\n\nPlain `datasets.load_dataset(PATH)` gives the same rows without pixels; the"
        " configurations `images` and `preview` contain the images, `entities` every class of every"
        " image with its parts. Masks are COCO RLE on the stored pixel grid. The n-th `[SEG]` of"
        " `answer` means the region that `seg[n]` points to."
    )


def _count_table(manifest: Mapping[str, Any]) -> str:
    """Return the counts by source and split as a Markdown table, and what is left out."""
    lines = [
        "| source | split | images | entities | " + " | ".join(_TASKS) + " |",
        "|---|---|---:|---:|" + "---:|" * len(_TASKS),
    ]
    for source, splits in sorted(manifest["counts"].items()):
        for split, counts in in_split_order(splits):
            numbers = [counts.get(key, 0) for key in ("images", "entities", *_TASKS)]
            lines.append(f"| {source} | {split} | " + " | ".join(map(str, numbers)) + " |")
    subset = sum(sum(tasks.values()) for tasks in manifest["benchmark"]["counts"].values())
    lines.append(
        f"\n`benchmark` holds {subset} of the test rows, the same number of every source and task"
        " that has samples."
    )
    lines.append(_left_out(manifest))
    return "\n".join(lines)


def _left_out(manifest: Mapping[str, Any]) -> str:
    """Return the text on the sources' records that the build lacks: filtered and rejected ones."""
    dropped = [counts for splits in manifest["filtered"].values() for counts in splits.values()]
    small = {kind: sum(counts[kind] for counts in dropped) for kind in ("objects", "parts")}
    rejected = sum(manifest["rejects"].values())
    text = (
        f"The filters left out {small['objects']} entities, and {small['parts']} parts of the"
        f" others. Rejected records: {rejected}, each with its reason in `{REJECTS_FILE}`."
    )
    if rejected:
        text += "\n\n| reason | records |\n|---|---:|\n" + "\n".join(
            f"| `{reason}` | {number} |" for reason, number in manifest["rejects"].items()
        )
    return text


def _licence_table(manifest: Mapping[str, Any]) -> str:
    """Return the licences of annotations and images of each source as a Markdown table."""
    lines = ["| source | annotations | images | synthetic here |", "|---|---|---|---|"]
    for name, source in manifest["sources"].items():
        title, home = source.get("title", name), source.get("homepage")
        linked = f"[{title}]({home})" if home else title
        marks = source.get("licence", "unknown"), source.get("image_licence", "unknown")
        made = "yes" if source["synthetic"] else "no"
        lines.append(f"| {linked} | {marks[0]} | {marks[1]} | {made} |")
    lines.append(
        "\nImages and annotations belong to their owners; if you pass them on, these terms apply to"
        " you. Questions, answers and the choice of pairs are made by the program."
    )
    return "\n".join(lines)


def _names(manifest: Mapping[str, Any]) -> str:
    """Return the text on the profile of classes and names, with the evidence for each choice."""
    profile = manifest["profile"]
    text = (
        f"Profile `{profile['name']}`: {profile['about']}. {len(manifest['renames'])} classes and"
        f" parts have another name than upstream; `{MANIFEST}` lists each under `renames` with"
        " its reason."
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


def _limits(manifest: Mapping[str, Any]) -> str:
    """Return the section on what a user must not conclude from the data."""
    filters = manifest["configuration"]
    return (
        "## Limits\n\n"
        "- Absence of a label is not a statement about the world: the sources do not annotate every"
        " object or part.\n"
        f"- Entities under {filters['min_object_area']:.1%} and parts under"
        f" {filters['min_part_area']:.1%} of the image are left out and counted in"
        f" `{MANIFEST}` under `filtered`.\n"
        "- A mask is the union of all instances of a class in an image; single instances are not"
        " separated.\n"
        "- Common and unique parts are about labels: two sources, or two annotators, may have"
        " labelled different parts of the same kind of object.\n"
        "- Questions and answers come from templates; they are no measure of free language.\n"
        "- Names, boxes and errors are those of the sources; nothing was drawn or corrected by"
        " hand. What the sources show too often or too seldom stays so.\n"
        "- Which classes may form a pair is a curated choice; the groups and their reasons are in"
        " the project's `manifests/groups.yaml`."
    )


def _citations(manifest: Mapping[str, Any]) -> str:
    """Return the citations of the paper and of every source that has one."""
    lines = [f"```bibtex\n{_BIBTEX}\n```", "and the sources:\n"]
    lines += [
        f"- {source.get('title', name)}: {source['citation']}"
        for name, source in manifest["sources"].items()
        if source.get("citation")
    ]
    return "\n".join(lines)
