"""Tables of a build through `datasets`, in memory maps or as streams, with its errors in words."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets

from mixedparts.errors import InputError, UsageError
from mixedparts.storage.build_folder import BuildFolder
from mixedparts.storage.copies import fetch
from mixedparts.storage.locate import BUILD_HINT
from mixedparts.storage.schema import CONFIGS
from mixedparts.storage.shards import WrittenFile

ALL = str(datasets.Split.ALL)


def load_table(
    place: Path | str, config: str, split: str | None, streaming: bool = False
) -> (
    datasets.Dataset
    | datasets.DatasetDict
    | datasets.IterableDataset
    | datasets.IterableDatasetDict
):
    """Load a table of a build.

    Args:
        place: a build folder or a Hub id.
        config: `pairs`, `images`, `entities` or `preview`.
        split: one split, or an expression of `datasets`; None for all splits.
        streaming: read rows from the files, without preparing a copy of them.

    Returns:
        What `datasets` loads.

    Raises:
        InputError: the dataset cannot be loaded, or a file of it is damaged.
        UsageError: there is no such split, or the expression cannot be read.
    """
    if isinstance(place, Path) and not streaming:
        _check_dollar(place)
    if isinstance(place, Path):
        fetch(place, _to_fetch(place, config))
    if streaming and isinstance(place, Path):
        _check_footers(place, config)
        if split is not None and ("[" in split or split == ALL):
            return _stream_of(place, config, split)
    try:
        return datasets.load_dataset(str(place), config, split=split, streaming=streaming)
    except ValueError as error:
        # `datasets` has no error class of its own for a wrong split, only these texts.
        if split is not None and "instruction" in str(error).lower():
            raise _expression_fault(split, error) from error
        if split is not None and "split" in str(error).lower():
            _check_splits(place, config, split)
            _read_all(place, config)
            raise UsageError(f"{place} has no split '{split}' in '{config}': {error}") from error
        raise InputError(f"{place} cannot be loaded: {error}") from error
    except datasets.exceptions.DatasetGenerationError as error:
        _read_all(place, config)
        # Its own text is the same for every cause.
        reason = error.__cause__ or error
        raise InputError(
            f"{place} cannot be loaded: {reason}", f"Check the build: mixedparts verify {place}"
        ) from error
    except (OSError, datasets.exceptions.DatasetsError) as error:
        _read_all(place, config)
        raise InputError(f"{place} cannot be loaded: {error}", BUILD_HINT) from error


def _check_dollar(place: Path) -> None:
    """Check that `datasets` reads the files of a folder, and not those of another one.

    Raises:
        InputError: the path has the name of a variable, in whose place `datasets` reads its value.
    """
    text = str(place.absolute())
    read = os.path.expandvars(text)
    if read != text:
        raise InputError(
            f"{place} cannot be loaded: `datasets` takes the $ in its name for a variable, and"
            f" would read {read}",
            "Rename the folder, or read it with streaming=True.",
        )


def _to_fetch(place: Path, config: str) -> list[WrittenFile]:
    """Return the files of a table, and one of every other table and split.

    `datasets` looks for the files of all tables before it reads one of them.
    """
    build = BuildFolder.open(place)
    files = {file.path: file for file in build.table_shards(config)}
    for table in CONFIGS:
        for split in build.splits(table) if table != config else ():
            first = build.table_shards(table, split)[0]
            files[first.path] = first
    return list(files.values())


def split_names(expression: str) -> list[str]:
    """Return the splits in an expression of `datasets`, such as `train[:10%]+test`."""
    return re.findall(r"[\w-]+(?=\[|\+|$)", expression)


def _check_splits(place: Path | str, config: str, split: str) -> None:
    """Check that a build has the splits in an expression; the message has a suggestion."""
    if isinstance(place, Path):
        for name in split_names(split):
            BuildFolder.open(place).check_split(name, config)


def _expression_fault(split: str, error: Exception) -> UsageError:
    return UsageError(f"the expression of splits '{split}' cannot be used: {error}")


def _check_footers(place: Path, config: str) -> None:
    """Check that the files of a table can be opened; a stream would show it in its midst."""
    build = BuildFolder.open(place)
    for shard in build.table_shards(config):
        with build.open_shard(shard.path):
            pass


def _read_all(place: Path | str, config: str) -> None:
    """Read a table of a build on disk, which names the file that is missing or damaged."""
    for _ in BuildFolder.open(place).batches(config) if isinstance(place, Path) else ():
        pass


def _stream_of(place: Path, config: str, split: str) -> Any:
    """Return the stream of an expression of splits, which `datasets` has for memory maps only."""
    build = BuildFolder.open(place)
    lengths = {name: build.count(config, name) for name in build.splits(config)}
    expression = "+".join(lengths) if split == ALL else split
    _check_splits(place, config, expression)
    try:
        pieces = datasets.ReadInstruction.from_spec(expression).to_absolute(lengths)
    except (AssertionError, ValueError) as error:
        raise _expression_fault(split, error) from error
    return _joined(
        [
            load_table(place, config, piece.splitname, streaming=True)
            .skip(piece.from_)
            .take(piece.to - piece.from_)
            for piece in pieces
        ]
    )


def _joined(streams: Sequence[Any]) -> Any:
    return streams[0] if len(streams) == 1 else datasets.concatenate_datasets(list(streams))
