"""Absolute paths in what a push sends: they name folders and people of the machine of the build.

Details of rejects quote names as annotation files write them, which can be paths of an annotator's
machine. They are shortened to their last part in the copy that is sent. A path in any other column
is part of the data, so it stops the push instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mixedparts.errors import ProblemsFound
from mixedparts.storage.build_folder import MANIFEST, BuildFolder

# A root (`/`, `~/`, `C:\`, `\\server\`) at the start of a word, then the folders. The word before a
# URL's slashes ends in a colon, and `1/2` starts with no root.
_ROOT = r"(?:~?/|[A-Za-z]:[\\/]|\\\\)"
_PATH = re.compile(rf"(?<![\w/:.~\\-]){_ROOT}(?:[^\s'\"<>|:*?]*[\\/])?([^\s'\"<>|:*?\\/]+)")
# The same for Arrow's engine, which has no look-behind: used to skip columns without any path.
_MAYBE = r"[\\/]"
_IDS = ("image_id", "file_name")


def without_folders(text: str) -> str:
    """Return a text in which every absolute path is shortened to `…/` and its last part."""
    return _PATH.sub(r"…/\1", text)


def shortened(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Return rows of text columns with every absolute path shortened."""
    columns = []
    for column in rows.columns:
        if pc.any(pc.match_substring_regex(column, _MAYBE)).as_py():
            texts = [None if text is None else without_folders(text) for text in column.to_pylist()]
            column = pa.array(texts, column.type)
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, schema=rows.schema)


def check_no_paths(copy: BuildFolder, described: Mapping[str, Any]) -> None:
    """Check that no name of an image and no value of the manifest is an absolute path.

    Args:
        copy: the copy that will be sent.
        described: its manifest.

    Raises:
        ProblemsFound: there is one; the message names the file and the value.
    """
    for file, value in (*_of_tables(copy), *_of_manifest(described)):
        raise ProblemsFound(
            f"{file} would send an absolute path: {value}",
            "Names of images are relative to the source; fix the reader of that source.",
        )


def _of_tables(copy: BuildFolder) -> Iterator[tuple[str, str]]:
    """Yield (file, value) for absolute paths among the names of images."""
    for table, columns in (("entities", _IDS), ("images", ("image_id",))):
        for shard in copy.table_shards(table):
            for batch in copy.shard_batches(shard.path, list(columns)):
                for column in batch.columns:
                    rooted = pc.match_substring_regex(column, f"^{_ROOT}")
                    for value in pc.filter(column, rooted)[:1].to_pylist():
                        yield shard.path, value


def _of_manifest(value: Any) -> Iterator[tuple[str, str]]:
    """Yield (file, value) for absolute paths among the texts of the manifest."""
    if isinstance(value, str):
        if re.match(_ROOT, value):
            yield MANIFEST, value
    elif isinstance(value, Mapping):
        yield from _of_manifest([*value, *value.values()])
    elif isinstance(value, Sequence):
        for item in value:
            yield from _of_manifest(item)
