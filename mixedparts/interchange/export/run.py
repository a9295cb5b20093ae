"""One export from start to end.

Check the build and the target, write into a temporary folder, record what the format cannot
represent, and rename the folder to its final name.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from mixedparts.interchange.bundle_import.layout import MARK
from mixedparts.interchange.export.folder import atomic_folder, check_target, stored_identity
from mixedparts.interchange.export.request import ExportRequest, Format, Job, Outcome, Writer
from mixedparts.interchange.export.rows import chosen_splits
from mixedparts.progress import Progress
from mixedparts.storage.build_folder import BuildFolder
from mixedparts.storage.shards import write_json, write_text
from mixedparts.storage.writer_lock import writing

README = "README.md"


@dataclass(frozen=True, slots=True)
class ExportReport:
    """The report of a finished export: `text` for people, `values` as JSON for programs."""

    text: str
    values: dict[str, Any]


def export(request: ExportRequest, progress: Progress, overwrite: bool = False) -> ExportReport:
    """Write a build in another format.

    The folder `request.out` appears when everything is written, and not before.

    Args:
        request: options of the export.
        progress: receives the progress of writing.
        overwrite: whether to replace an export of another build or with other options.

    Returns:
        The report.

    Raises:
        UsageError: the build has no such split, `request.out` contains other files, or no row fits
            the format.
        InputError: there is no finished build of this schema version, or it is damaged.
        EnvironmentFault: the format needs a package that is not installed, or another process
            writes to the folder.
    """
    with writing(request.out, progress.log):
        return _export(request, progress, overwrite)


def _export(request: ExportRequest, progress: Progress, overwrite: bool) -> ExportReport:
    build = BuildFolder.open(request.build)
    splits = chosen_splits(request, build)
    identity = {"build_id": build.build_id, **request.identity()}
    # An equal export may be replaced without --overwrite: the result is the same.
    check_target(request.out, overwrite or stored_identity(request.out) == identity)
    with atomic_folder(request.out) as folder:
        outcome = _writer(request.format)(Job(request, build, splits, folder, progress))
        # The folder becomes the export as it is, so no working file may stay in it.
        shutil.rmtree(folder / ".work", ignore_errors=True)
        summary = {
            "rows": dict(sorted(outcome.rows.items())),
            "left_out": dict(sorted(outcome.left_out.items())),
            "notes": outcome.notes,
        }
        write_text(folder / README, _readme(request, build.manifest, outcome))
        # An import reads these back: the names of classes and parts depend on the profile, the
        # parts of an entity on the least area. Those of an imported build depend on its records.
        origin: dict[str, Any] = {"synthetic": build.synthetic, "profile": build.profile}
        if "imported" not in build.configuration:
            origin["min_part_area"] = build.configuration["min_part_area"]
        write_json(folder / MARK, {"identity": identity, **origin, **summary})
    return ExportReport(_text(request, outcome), {"out": str(request.out), **identity, **summary})


def _writer(name: Format) -> Writer:
    """Return the writer of a format, importing only what that format needs."""
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


def _readme(request: ExportRequest, manifest: Mapping[str, Any], outcome: Outcome) -> str:
    front = f"---\n{yaml.safe_dump(outcome.front, sort_keys=False)}---\n" if outcome.front else ""
    synthetic = " Its images and masks are synthetic." if manifest["synthetic"] else ""
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


def _licences(manifest: Mapping[str, Any]) -> str:
    return "\n".join(
        f"- {source.get('title', name)}: annotations {source.get('licence', 'unknown')};"
        f" images {source.get('image_licence', 'unknown')}"
        for name, source in manifest["sources"].items()
    )
