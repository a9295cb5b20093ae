"""Rules of the files: the manifest's shape, plan and commit records, sizes, digests, counts.

Each check returns its problems. A check runs only after those that it relies on found none, so it
can read the values that they have checked without checking them again.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from mixedparts.cards.card import loading_configs
from mixedparts.cards.croissant import croissant_problems
from mixedparts.errors import InputError
from mixedparts.files.text import read_text
from mixedparts.records import BENCHMARK, SPLITS
from mixedparts.settings.yaml_file import YAML_FAULTS
from mixedparts.storage.build_folder import (
    CARD,
    CROISSANT,
    MANIFEST,
    PLAN,
    BuildFolder,
    DamagedShard,
)
from mixedparts.storage.digest_list import DIGEST_LIST, read_digest_list
from mixedparts.storage.manifest_shape import manifest_faults
from mixedparts.storage.schema import CONFIGS, REJECTS
from mixedparts.storage.shards import COMMITS, WrittenFile, intact, read_commit, sha256_of
from mixedparts.verification.findings import Findings, Rule

Cells = dict[tuple[str, str, str], int]  # source, split, task or table -> rows


def check_manifest(build: BuildFolder) -> Findings:
    """Check that the manifest can be used at all; if not, nothing else is checked."""
    found = Findings()
    for fault in manifest_faults(build.manifest):
        found.add(Rule.MANIFEST, MANIFEST, "", fault)
    return found


def check_quick(build: BuildFolder) -> Findings:
    """Check plan and commit records, and that the tables have exactly the recorded files."""
    found = Findings()
    folder = build.path
    if not (folder / CARD).is_file():
        found.add(Rule.FILE, CARD, "", "is missing")
    # Sizes only: a digest takes as long as reading the file, and belongs to level full.
    recorded = {shard.path: shard for shard in build.shards}
    for path, shard in recorded.items():
        if not (folder / path).is_file():
            found.add(Rule.FILE, path, "", "is missing")
        elif (size := (folder / path).stat().st_size) != shard.bytes:
            found.add(Rule.FILE, path, "", f"has {size} bytes, recorded {shard.bytes}")
    for table in CONFIGS:
        for file in sorted((folder / table).glob("*")):
            if f"{table}/{file.name}" not in recorded:
                found.add(Rule.FILE, f"{table}/{file.name}", "", "is not part of the build")
    # A copy of the dataset, as from a Hub, has no `_build` folder.
    if (folder / PLAN.parent).is_dir():
        _plan_problems(build, found)
        _commit_problems(folder, recorded, found)
    return found


def _plan_problems(build: BuildFolder, found: Findings) -> None:
    """Check that the build id is the hash of the plan's identity, and the manifest repeats both."""
    plan, manifest = build.plan, build.manifest
    if plan is None or not isinstance(plan.get("identity"), dict):
        found.add(Rule.PLAN, str(PLAN), "", "is missing or is not a plan")
        return
    # The id is a prefix of the hash, of whatever length the writer chose.
    text = json.dumps(plan["identity"], sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[: len(plan["build_id"])]
    if digest != plan["build_id"]:
        found.add(Rule.PLAN, str(PLAN), "", f"build id {plan['build_id']}, identity has {digest}")
    if manifest["build_id"] != plan["build_id"]:
        text = f"build id {manifest['build_id']}, the plan has {plan['build_id']}"
        found.add(Rule.PLAN, MANIFEST, "", text)
    for name in ("configuration", "schema_version", "code_version"):
        if manifest.get(name) != plan["identity"].get(name):
            found.add(Rule.PLAN, MANIFEST, "", f"{name} is not that of the plan")


def _commit_problems(build: Path, recorded: Mapping[str, WrittenFile], found: Findings) -> None:
    """Check that every shard of a table has a commit record that agrees with the manifest."""
    committed: dict[str, WrittenFile] = {}
    for file in sorted((build / COMMITS).glob("*.json")):
        record = read_commit(build, file.stem)
        if record is None:
            found.add(Rule.COMMIT, f"{COMMITS}/{file.name}", "", "is not a commit record")
            continue
        committed |= {item.path: item for item in record.files}
    for path, shard in recorded.items():
        # `rejects.parquet` is written by the last step of a build, which commits nothing.
        if path.split("/")[0] not in CONFIGS:
            continue
        if path not in committed:
            found.add(Rule.COMMIT, path, "", "has no commit record")
        elif committed[path] != shard:
            text = "its commit record differs from the manifest"
            found.add(Rule.COMMIT, path, "", text)


def check_shard(build: BuildFolder, shard: WrittenFile) -> tuple[Findings, Cells]:
    """Check digest, schema and rows of one file, and count its rows by source and task.

    Returns:
        The problems, and the counts; no counts if the file cannot be read.
    """
    found = Findings()
    if not intact(build.path, shard):
        found.add(Rule.DIGEST, shard.path, "", "does not match its recorded sha256")
        return found, {}
    table, _, name = shard.path.partition("/")
    wanted = CONFIGS.get(table, REJECTS)
    split = name.split("-")[0]
    # The columns that the manifest counts by; it does not count the preview.
    keys = {"pairs": ["source", "task"], "images": ["source"], "entities": ["source"]}
    counted = keys.get(table, ["reason"] if wanted is REJECTS else [])
    try:
        with build.open_shard(shard.path) as file:
            rows = file.metadata.num_rows
        if rows != shard.rows:
            found.add(Rule.COUNTS, shard.path, "", f"has {rows} rows, recorded {shard.rows}")
        if not counted:
            return found, {}
        cells = build.read_shard(shard.path, counted).group_by(counted)
        grouped = cells.aggregate([([], "count_all")]).to_pylist()
    except DamagedShard as error:
        found.add(Rule.COLUMNS, shard.path, "", f"cannot be read: {error.reason}")
        return found, {}
    if wanted is REJECTS:
        return found, {("", "rejects", str(row["reason"])): row["count_all"] for row in grouped}
    return found, {
        (str(row["source"]), split, str(row.get("task", table))): row["count_all"]
        for row in grouped
    }


def check_counts(manifest: Mapping[str, Any], cells: Cells) -> Findings:
    """Compare the counted rows of all files with the counts in the manifest."""
    found = Findings()
    recorded: Counter[tuple[str, str, str]] = Counter()
    for source, splits in manifest["counts"].items():
        for split, counts in splits.items():
            recorded.update({(source, split, key): number for key, number in counts.items()})
    for source, tasks in manifest["benchmark"].get("counts", {}).items():
        recorded.update({(source, BENCHMARK, task): number for task, number in tasks.items()})
    recorded.update({("", "rejects", reason): n for reason, n in manifest["rejects"].items()})
    checked = {*SPLITS, BENCHMARK, "rejects"}
    # A missing key counts as 0 on either side: the manifest lists cells without samples too.
    for key in sorted({*recorded, *cells}):
        if recorded[key] != cells.get(key, 0) and key[1] in checked:
            what = " ".join(filter(None, key))
            text = f"{what}: {cells.get(key, 0)} rows, recorded {recorded[key]}"
            found.add(Rule.COUNTS, MANIFEST, "", text)
    return found


def check_digest_list(build: BuildFolder) -> Findings:
    """Check every file against the list of digests; a build of an earlier version has no list.

    Shards are left out: the manifest has their digests, and the list has that of the manifest.
    """
    found = Findings()
    try:
        listed = read_digest_list(build.path)
    except (OSError, ValueError) as error:
        found.add(Rule.DIGEST, DIGEST_LIST, "", str(error))
        return found
    shards = {shard.path: shard.sha256 for shard in build.shards}
    copied = not (build.path / PLAN.parent).is_dir()
    for path, digest in (listed or {}).items():
        # A copy of the dataset, as from a Hub, has no `_build` folder.
        if copied and path.startswith(f"{PLAN.parent}/"):
            continue
        try:
            actual = shards.get(path) or sha256_of(build.path / path)
        except OSError as error:
            found.add(Rule.FILE, path, "", f"cannot be read: {error.strerror or error}")
            continue
        if actual != digest:
            found.add(Rule.DIGEST, path, "", f"does not match its sha256 in {DIGEST_LIST}")
    for path in sorted(shards.keys() - (listed or shards).keys()):
        found.add(Rule.DIGEST, path, "", f"is not listed in {DIGEST_LIST}")
    return found


def check_metadata(build: BuildFolder) -> Findings:
    """Check that the card and the Croissant file name the build's files, for those who load it."""
    found = Findings()
    # A damaged card is a problem of the build and must not end the verification.
    try:
        text = read_text(build.path / CARD)
        front = yaml.safe_load(text.split("---\n", 2)[1])
        same = front["configs"] == loading_configs(build.manifest)
    except (InputError, *YAML_FAULTS, IndexError, KeyError, TypeError):
        same = False
    if not same:
        found.add(Rule.CARD, CARD, "", "its YAML does not name the files of this build")
    for problem in croissant_problems(build.path, build.manifest):
        found.add(Rule.METADATA, CROISSANT, "", problem)
    return found
