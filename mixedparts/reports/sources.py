"""Reports of `mixedparts sources`: the list of sources, and the metadata of one source."""

from __future__ import annotations

from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from textwrap import wrap
from typing import Any

from mixedparts.cards.summary import Report, text_table
from mixedparts.errors import InputError
from mixedparts.pipeline.plan import is_synthetic
from mixedparts.sources.contract import SPLITS, SelfDescribed, Source, available, get_source
from mixedparts.sources.manifest_types import Manifest
from mixedparts.sources.manifests import FULL, manifest_of, profile_for
from mixedparts.storage.shards import sha256_of

_WIDTH = 100  # characters a line
_NUMBERS = ("images", "objects", "parts")


def source_list() -> Report:
    """Return the report with one line for each registered source."""
    lines, values = [], []
    for name in available():
        manifest = manifest_of(name)
        about = f"{manifest.title}, {manifest.version}" if manifest else ""
        # Such a source finds its manifest in its own files, and no folder is given here.
        if manifest is None and isinstance(get_source(name), SelfDescribed):
            about = "described by its own files (show it with --root DIR)"
        values.append({"name": name, "about": about})
        lines.append(f"{name:15} {about}".rstrip())
    return Report("\n".join([*lines, "", "show one with: mixedparts sources show NAME"]), values)


def source_report(name: str, root: Path, profile: str = FULL) -> Report:
    """Return the metadata of a source, and its files under a folder.

    Args:
        name: registered name of the source.
        root: folder of the sources; annotation files there are hashed.
        profile: profile that decides names and classes.

    Returns:
        The report.

    Raises:
        UsageError: there is no source or profile of this name.
        InputError: the source's own description below the root is broken.
    """
    source = get_source(name)
    try:
        manifest = manifest_of(name, root, profile)
    except InputError:
        # A self-described source reads its manifest below the root. Without its folder there is
        # nothing to read, and the report shows where the files are expected.
        if (root / name).is_dir():
            raise
        manifest = None
    here = _files_here(source, root, manifest)
    layout = source.layout(Path("DIR")).splitlines()
    if manifest is None:
        values: dict[str, Any] = {"name": name, "version": source.version}
        parts = [f"{name} {source.version}: no manifest; only the layout of its files is known"]
        parts += [_here_text(here), _layout_text(layout)]
        return Report("\n\n".join(parts), {**values, "layout": layout, "here": here})
    values = _values(manifest) | {"layout": layout, "here": here}
    values["profile"] = asdict(profile_for(name, profile))
    sections = (
        _identity_text(values),
        _profile_text(values["profile"]),
        _upstream_text(values),
        _here_text(here),
        *((_layout_text(layout),) if not here["splits"] else ()),
        _classes_text(values),
        _groups_text(values),
        _renames_text(values),
    )
    return Report("\n\n".join(filter(None, sections)), values)


def _values(manifest: Manifest) -> dict[str, Any]:
    """Return a manifest as JSON values, the sections of the report."""
    near = manifest.neighbours()
    # A group of one class only records why that class is compared with itself alone.
    groups = [group for group in manifest.groups if len(group.classes) > 1]
    texts = ("source", "title", "version", "homepage", "download", "licence", "image_licence")
    return {
        **{key: getattr(manifest, key) for key in (*texts, "citation")},
        "files": [asdict(item) for item in manifest.files],
        "counts": {split: dict(numbers) for split, numbers in manifest.counts.items()},
        "classes": {
            name: {
                "upstream": [item.key for item in manifest.by_name[name]],
                "parts": list(manifest.part_names(name)),
                "comparable": list(near[name]),
            }
            for name in sorted(manifest.by_name)
        },
        "groups": [
            {
                "name": group.name,
                "why": group.reason,
                "classes": list(manifest.members(group)),
                "elsewhere": sorted({*group.classes} - {*manifest.members(group)}),
            }
            for group in groups
        ],
        "alone": {g.classes[0]: g.reason for g in manifest.groups if len(g.classes) == 1},
        "renames": [asdict(rename) for rename in manifest.renames],
        "left_out": sorted(manifest.left_out),
    }


def _files_here(source: Source, root: Path, manifest: Manifest | None) -> dict[str, Any]:
    """Return the source's files under a root by split; files are hashed, folders only named."""
    files = manifest.files if manifest else ()
    published = {item.name: item.sha256 for item in files if item.sha256}
    here: dict[str, Any] = {"root": str(root), "splits": {}, "synthetic": False, "problem": ""}
    try:
        for split in source.splits(root):
            here["splits"][split] = [
                _file_here(root, path, published) for path in source.required_files(root, split)
            ]
    # An incomplete source is what this report helps with, so it continues and shows the message.
    except InputError as error:
        here["problem"] = str(error)
    paths = [item["path"] for items in here["splits"].values() for item in items]
    here["synthetic"] = is_synthetic(root, paths)
    return here


def _file_here(root: Path, path: str, published: dict[str, str]) -> dict[str, Any]:
    """Return one required file or folder, and how its digest compares with the published one."""
    place = root / path
    if not place.is_file():
        return {"path": path, "kind": "folder" if place.is_dir() else "absent"}
    digest, wanted = sha256_of(place), published.get(place.name)
    verdict = "unknown" if wanted is None else "equal" if digest == wanted else "different"
    size = place.stat().st_size
    return {"path": path, "kind": "file", "bytes": size, "sha256": digest, "published": verdict}


def _identity_text(values: dict[str, Any]) -> str:
    """Return title, version, links, licences and citation."""
    lines = [f"{values['title']}, {values['version']} ({values['source']})"]
    for label, key in (
        ("home", "homepage"),
        ("download", "download"),
        ("licence of annotations", "licence"),
        ("licence of images", "image_licence"),
        ("cite", "citation"),
    ):
        lines += _wrapped(f"{label}: {values[key]}", "  ", "    ")
    return "\n".join(lines)


def _profile_text(profile: dict[str, Any]) -> str:
    """Return what a profile other than the full one changes, with the evidence for each change."""
    if profile["name"] == FULL:
        return ""
    lines = _wrapped(f"profile {profile['name']}: {profile['about']}", "", "  ")
    for item in profile["drop"]:
        what = f"{item['source']} {', '.join(item['superclasses'])}"
        lines += _wrapped(f"leaves out {what} ({item['evidence']}): {item['reason']}", "  ", "    ")
    for item in profile["names"] or ():
        what = f"{item['source']} {item['part'] or 'objects'}"
        lines += _wrapped(f"renames {what} ({item['evidence']}): {item['reason']}", "  ", "    ")
    for text in profile["unknown"]:
        lines += _wrapped(f"unknown: {text}", "  ", "    ")
    return "\n".join(lines)


def _upstream_text(values: dict[str, Any]) -> str:
    """Return the files that upstream publishes, and its counts by split."""
    lines = ["upstream:"]
    for item in values["files"]:
        size = f"{item['bytes']:,} bytes" if item["bytes"] else ""
        digest = f"sha256 {item['sha256']}" if item["sha256"] else "checksum unknown"
        about = ", ".join(filter(None, (size, digest, item["evidence"])))
        lines += [f"  {item['name']}", f"    {about}"]
    rows = [
        [split, *(f"{numbers.get(key, '?'):>}" for key in _NUMBERS), str(numbers["evidence"])]
        for split, numbers in values["counts"].items()
    ]
    if rows:
        lines += text_table(("split", *_NUMBERS, "evidence"), rows).splitlines()
    # Only the heading: there is nothing to show, and the caller drops an empty section.
    return "\n".join(lines) if len(lines) > 1 else ""


def _here_text(here: dict[str, Any]) -> str:
    """Return the files under the root, with their digests and a verdict on each."""
    words = {
        "equal": "the published file",
        "different": "DIFFERS from the published file",
        "unknown": "no published checksum",
    }
    lines = [f"files under {here['root']}{' (synthetic)' * here['synthetic']}:"]
    for split in (split for split in SPLITS if split in here["splits"]):
        for item in here["splits"][split]:
            lines.append(f"  {split}: {item['path']}")
            if item["kind"] == "file":
                about = f"{item['bytes']:,} bytes, sha256 {item['sha256']}"
                lines.append(f"    {about}, {words[item['published']]}")
            else:
                lines[-1] += f" ({item['kind']})"
    if here["problem"]:
        lines += [f"  {line}" for line in here["problem"].splitlines()]
    elif not here["splits"]:
        lines.append("  none; another folder: --root DIR")
    return "\n".join(lines)


def _layout_text(layout: list[str]) -> str:
    """Return the tree of files that the reader expects."""
    return "\n".join(["layout:", *(f"  {line}" for line in layout)])


def _classes_text(values: dict[str, Any]) -> str:
    """Return every class under its canonical name, with its parts."""
    classes = values["classes"]
    upstream = sum(len(item["upstream"]) for item in classes.values())
    words = {part for item in classes.values() for part in item["parts"]}
    lines = [f"classes: {len(classes)} names for {upstream} upstream classes, {len(words)} parts"]
    if values["left_out"]:
        lines[0] += f"; {len(values['left_out'])} left out by profile {values['profile']['name']}"
    for name, item in classes.items():
        lines += _wrapped(f"{name}: {', '.join(item['parts']) or 'no parts'}", "  ", "    ")
    return "\n".join(lines)


def _groups_text(values: dict[str, Any]) -> str:
    """Return the groups of comparable classes with their reasons, and the classes alone in one."""
    lines = ["comparable groups:"]
    for group in values["groups"]:
        lines += _wrapped(f"{group['name']}: {group['why']}", "  ", "    ")
        lines += _wrapped(", ".join(group["classes"]), "    ", "    ")
        if group["elsewhere"]:
            lines += _wrapped(
                f"in other sources: {', '.join(group['elsewhere'])}", "    ", "      "
            )
    if values["alone"]:
        lines.append("alone:")
        for name, reason in values["alone"].items():
            lines += _wrapped(f"{name}: {reason}", "  ", "    ")
    return "\n".join(lines) if len(lines) > 1 else ""


def _renames_text(values: dict[str, Any]) -> str:
    """Return the renamed classes and parts, all native names of one name together."""
    lines = ["names that differ from upstream:"]
    # `groupby` only joins neighbours, so the renames are sorted by the same key first.
    ordered = sorted(values["renames"], key=lambda r: (r["level"], r["name"], r["reason"]))
    for (_, name, reason), same in groupby(ordered, lambda r: (r["level"], r["name"], r["reason"])):
        natives = dict.fromkeys(rename["native"] for rename in same)
        lines += _wrapped(f"{name}: {', '.join(natives)} ({reason})", "  ", "    ")
    return "\n".join(lines) if len(lines) > 1 else ""


def _wrapped(text: str, first: str, rest: str) -> list[str]:
    """Return the lines of a text, indented by `first` and then `rest`."""
    # Long words are mostly URLs and class names, which must stay whole to be copied.
    return wrap(
        text, _WIDTH, initial_indent=first, subsequent_indent=rest,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
