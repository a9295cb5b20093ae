"""One export from beginning to end: look, write beside, say what was lost, put into place."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import yaml

from mixedparts.errors import InputError
from mixedparts.interchange.export.folder import MARK, appearing, check_target, stored_identity
from mixedparts.interchange.export.request import ExportRequest, Format, Job, Outcome, Writer
from mixedparts.interchange.export.rows import chosen_splits
from mixedparts.pipeline.build_manifest import MANIFEST, read_manifest
from mixedparts.progress import Progress
from mixedparts.sources.manifests import FULL
from mixedparts.storage.schema import SCHEMA_VERSION
from mixedparts.storage.shards import write_json, write_text

README = "README.md"


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export says at its end, for people and for programs."""

    text: str
    values: dict[str, Any]


def export(request: ExportRequest, progress: Progress, overwrite: bool = False) -> ExportReport:
    """Write a build in another format.

    Nothing stands under `request.out` before everything is written.

    Raises:
        UsageError: the build has no such split, or the folder holds something else.
        InputError: there is no finished build of this schema version, or it is damaged.
        EnvironmentFault: the format needs a package that is not installed.
    """
    manifest = read_manifest(request.build)
    if manifest is None:
        raise InputError(
            f"{request.build} holds no finished build (no readable {MANIFEST})",
            "Run the `mixedparts build` command again: it goes on where it stopped.",
        )
    if manifest.get("schema_version") != SCHEMA_VERSION:
        raise InputError(
            f"{request.build} has schema version {manifest.get('schema_version')}, this program"
            f" knows {SCHEMA_VERSION}",
            "Build it again with this version.",
        )
    try:
        return _export(request, manifest, progress, overwrite)
    except pa.ArrowInvalid as error:  # a damaged table; other faults of reading are OSErrors
        raise InputError(
            f"{request.build}: a table cannot be read: {error}",
            f"Look at what `mixedparts verify {request.build}` says.",
        ) from error


def _export(
    request: ExportRequest, manifest: dict[str, Any], progress: Progress, overwrite: bool
) -> ExportReport:
    splits = chosen_splits(request)
    identity = {"build_id": manifest["build_id"], **request.identity()}
    check_target(request.out, overwrite or stored_identity(request.out) == identity)
    with appearing(request.out) as folder:
        outcome = _writer(request.format)(Job(request, splits, folder, manifest, progress))
        shutil.rmtree(folder / ".work", ignore_errors=True)
        summary = {
            "rows": dict(sorted(outcome.rows.items())),
            "left_out": dict(sorted(outcome.left_out.items())),
            "notes": outcome.notes,
        }
        write_text(folder / README, _readme(request, manifest, outcome))
        profile = manifest["configuration"].get("profile", FULL)
        facts = {"synthetic": manifest["synthetic"], "profile": profile}
        write_json(folder / MARK, {"identity": identity, **facts, **summary})
    return ExportReport(_text(request, outcome), {"out": str(request.out), **identity, **summary})


def _writer(name: Format) -> Writer:
    if name is Format.COCO:
        from mixedparts.interchange.export.coco import write_coco

        return write_coco
    if name is Format.WEBDATASET:
        from mixedparts.interchange.export.webdataset import write_webdataset

        return write_webdataset
    if name is Format.PARQUET:
        from mixedparts.interchange.export.self_contained import write_parquet_rows

        return write_parquet_rows
    from mixedparts.interchange.export.bundle import write_bundle

    return write_bundle


def _text(request: ExportRequest, outcome: Outcome) -> str:
    rows = ", ".join(f"{number} {split}" for split, number in outcome.rows.items())
    lines = [f"{request.out}: {request.format}, {rows} rows"]
    lines += [f"left out, {reason}: {n} rows" for reason, n in sorted(outcome.left_out.items())]
    lines += [f"note: {note}" for note in outcome.notes]
    return "\n".join(lines)


def _readme(request: ExportRequest, manifest: dict[str, Any], outcome: Outcome) -> str:
    front = f"---\n{yaml.safe_dump(outcome.front, sort_keys=False)}---\n" if outcome.front else ""
    synthetic = " Its pictures and masks are synthetic." if manifest["synthetic"] else ""
    rows = "\n".join(f"| {split} | {number} |" for split, number in outcome.rows.items())
    sections = [
        f"# MixedParts as {request.format}",
        f"Written by `mixedparts export` from build `{manifest['build_id']}`.{synthetic}",
        f"| split | rows |\n|---|---:|\n{rows}",
        f"## Use\n\n{outcome.use.strip()}",
        f"## What this format does not hold\n\n{_losses(outcome)}",
        f"## Licences\n\n{_licences(manifest)}",
    ]
    return front + "\n\n".join(sections) + "\n"


def _losses(outcome: Outcome) -> str:
    lines = [f"- {note}" for note in outcome.notes]
    lines += [f"- {n} rows left out: {reason}" for reason, n in sorted(outcome.left_out.items())]
    return "\n".join(lines)


def _licences(manifest: dict[str, Any]) -> str:
    return "\n".join(
        f"- {facts.get('title', name)}: annotations {facts.get('licence', 'unknown')};"
        f" images {facts.get('image_licence', 'unknown')}"
        for name, facts in manifest["sources"].items()
    )
