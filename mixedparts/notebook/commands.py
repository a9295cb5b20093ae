"""The commands as functions, for scripts and notebooks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mixedparts.errors import UsageError, near_names
from mixedparts.pipeline.build import build as run_build
from mixedparts.pipeline.config import BuildConfig, config_values
from mixedparts.progress import terminal_progress
from mixedparts.settings.local_paths import address_of
from mixedparts.storage.copies import name_of
from mixedparts.storage.locate import local_build, remember_build
from mixedparts.synthetic import make_sources
from mixedparts.verification.at_address import verify_at
from mixedparts.verification.findings import Findings
from mixedparts.verification.verify import verify as run_verify
from mixedparts.viewer.build_page import PageRequest, write_build_page
from mixedparts.viewer.selection import Query
from mixedparts.viewer.selection.query import words_of

Place = str | os.PathLike[str]


def sample(out: Place = "sources", *, images: int = 300, seed: int = 0, workers: int = 1) -> Path:
    """Draw synthetic sources in the layouts of all three readers, as `mixedparts sample`.

    Args:
        out: folder to write to, the `root` of `build`.
        images: images a source.
        seed: of the drawing.
        workers: processes.

    Returns:
        The folder.

    Raises:
        UsageError: a number is out of range, or the folder has other files.
        EnvironmentFault: the folder cannot be written.
    """
    make_sources(Path(out), images, seed, workers, lambda done, every: None)
    return Path(out)


def build(
    sources: Sequence[str],
    out: Place = "data/mixedparts",
    *,
    root: Place = "sources",
    overwrite: bool = False,
    quiet: bool = False,
    **options: Any,
) -> Path:
    """Build the dataset, or continue an interrupted build.

    With more than one worker, a script needs `if __name__ == "__main__":` around the call.

    Args:
        sources: names of registered source readers, such as `paco`.
        out: the build folder.
        root: folder of the sources.
        overwrite: replace what an earlier build left in `out`.
        quiet: show no progress.
        **options: further fields of `mixedparts.pipeline.config.BuildConfig`, such as `samples`,
            `seed` or `workers`.

    Returns:
        The build folder, for `load_dataset`.

    Raises:
        UsageError: options are out of range or unknown, or `out` has another build.
        InputError: a source is missing or unreadable, or there is no admissible sample.
        EnvironmentFault: another process writes `out`, or the disk is full.
    """
    given = {"sources": list(sources), "root": str(root), "out": str(out), **options}
    config = BuildConfig(**config_values(given, "these options"))
    run_build(config, terminal_progress(quiet), overwrite)
    remember_build(config.out)
    return config.out


def verify(
    folder: Place | None = None,
    level: str = "full",
    *,
    workers: int | None = 1,
    quiet: bool = False,
) -> Findings:
    """Check a build without its sources, as `mixedparts verify`.

    Args:
        folder: path or address of the build; None: the one that `load_dataset("mixedparts")` finds.
        level: `quick`, `full` or `deep`.
        workers: processes; None: all cores for a large build.
        quiet: show no progress.

    Returns:
        The problems; `total` is 0 if the build is whole.

    Raises:
        InputError: there is no finished build.
        UsageError: there is no such level.
    """
    build, progress = local_build(folder, "this function"), terminal_progress(quiet)
    # Of a build at an address, the objects themselves are checked, not the copy here.
    if (address := address_of(name_of(build))) is not None:
        return verify_at(address, level, workers, progress)
    return run_verify(build, level, workers, progress)


def view(
    folder: Place | None = None,
    out: Place = "view.html",
    *,
    limit: int = 120,
    max_side: int = 1024,
    search: str = "",
    predictions: Place | None = None,
    quiet: bool = False,
    **filters: str | Sequence[str],
) -> Path:
    """Write rows of a build as one page, as `mixedparts view`.

    Args:
        folder: of the build; None: the one that `load_dataset("mixedparts")` finds.
        out: the HTML file.
        limit: most rows.
        max_side: pixels of the longer side of an image; masks stay exact.
        search: words, all of which a row must have in question, answer or ids.
        predictions: a file with predictions, shown beside the ground truth.
        quiet: show no progress.
        **filters: `splits`, `sources`, `tasks`, `classes`, `parts` or `ids`: one name or several.

    Returns:
        The file.

    Raises:
        UsageError: a filter is unknown, names what the build does not have, or leaves no row; or a
            number is too small.
        InputError: there is no finished build, or the predictions cannot be read.
    """
    names: dict[str, Any] = {name: _names(value) for name, value in _known(filters).items()}
    request = PageRequest(
        query=Query(**names, words=words_of(search)),
        limit=limit,
        most_side=max_side,
        predictions=None if predictions is None else Path(predictions),
    )
    write_build_page(
        local_build(folder, "this function"), Path(out), request, terminal_progress(quiet)
    )
    return Path(out)


def _known(filters: dict[str, Any]) -> dict[str, Any]:
    known = ("splits", "sources", "tasks", "classes", "parts", "ids")
    for name in filters:
        if name not in known:
            raise UsageError(
                f"there is no filter '{name}'.{near_names(name, known)}",
                f"Filters: {', '.join(known)}",
            )
    return filters


def _names(value: str | Sequence[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)
