"""The folder of the two tables: writing, reading, and what binds it to an evaluation's JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from calico.evaluation.tables.collect import ScoreRows
from calico.evaluation.tables.columns import FORMAT, METADATA_KEY, REGIONS, SAMPLES
from mixedparts.errors import EnvironmentFault, InputError, UsageError, near_names
from mixedparts.files.folders import list_folder
from mixedparts.files.opening import open_file
from mixedparts.files.text import parse_json, read_json
from mixedparts.storage.shards import sha256_of, written_beside

FILES = {"samples": "samples.parquet", "regions": "regions.parquet"}
_SUFFIX = ".scores"
_AGAIN = (
    "Run calico-eval again on the same predictions with --json FILE: it writes the tables beside"
    " the JSON."
)
# pandas has no missing values in its plain whole numbers and truth values.
_NULLABLE = {
    pa.bool_(): pd.BooleanDtype(),
    pa.int8(): pd.Int8Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
}


class ScoreFrames(NamedTuple):
    """The scores of an evaluation; docs/evaluation.md describes the columns.

    Attributes:
        samples: one row a sample.
        regions: one row a pair of masks, missed mask or false positive.
    """

    samples: pd.DataFrame
    regions: pd.DataFrame


def default_folder(result: Path) -> Path:
    """Return the folder of the tables beside a JSON file: `result.scores` for `result.json`."""
    return result.with_name(result.stem + _SUFFIX)


def write_scores(
    folder: Path, rows: ScoreRows, metadata: Mapping[str, Any], baseline: str | None = None
) -> dict[str, str]:
    """Write both tables, each under a temporary name first.

    Args:
        folder: is created if it does not exist.
        rows: both tables.
        metadata: of the evaluation, as JSON values; both files contain it.
        baseline: name of the baseline that was scored; None for the predictions themselves.

    Returns:
        Table name to the SHA-256 of its file.

    Raises:
        EnvironmentFault: a file cannot be written.
    """
    content = json.dumps({"format": FORMAT, **metadata}, ensure_ascii=False, sort_keys=True)
    digests = {}
    for name, table in (("samples", rows.samples), ("regions", rows.regions)):
        path = _file(folder, name, baseline)
        try:
            # Not flushed to disk: the same command writes it again.
            with written_beside(path, flush=False) as temporary:
                stamped = table.replace_schema_metadata({METADATA_KEY: content.encode()})
                pq.write_table(stamped, temporary, compression="zstd")
                digests[name] = sha256_of(temporary)
        except OSError as error:
            reason = error.strerror or error
            raise EnvironmentFault(f"{path} cannot be written: {reason}") from error
    return digests


def scores(source: str | Path, baseline: str | None = None) -> ScoreFrames:
    """Read the scores of an evaluation as pandas frames.

    Args:
        source: the JSON file that `calico-eval --json` wrote, or the folder of its tables.
        baseline: name of a baseline of the evaluation, such as `most-frequent`; None: the
            predictions themselves.

    Returns:
        Two frames, `samples` and `regions`.

    Raises:
        InputError: there are no tables, they are damaged, or of another evaluation than the JSON.
        UsageError: the evaluation has no such baseline.
    """
    path = Path(source)
    content = None if path.is_dir() else read_result(path)
    folder, digests = (path, None) if content is None else tables_of(path, content)
    if baseline is None:
        return read_tables(folder, digests)[0]
    if content is None:
        there = baselines_of(folder)
    else:
        # An older calico-eval wrote none.
        named = content["scores"].get("baselines")
        kept = (
            {n: d for n, d in named.items() if isinstance(d, dict)}
            if isinstance(named, dict)
            else {}
        )
        there, digests = sorted(kept), kept.get(baseline)
    if baseline not in there:
        known = f"It has: {', '.join(there)}" if there else "Run calico-eval with --baselines NAME."
        near = near_names(baseline, there)
        raise UsageError(f"{path} has no scores of a baseline '{baseline}'.{near}", known)
    return read_tables(folder, digests, baseline)[0]


def remove_baselines(folder: Path) -> None:
    """Remove tables of baselines of an earlier evaluation.

    Raises:
        EnvironmentFault: a file cannot be removed.
    """
    for name in baselines_of(folder):
        for table in FILES:
            path = _file(folder, table, name)
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                reason = error.strerror or error
                raise EnvironmentFault(f"{path} cannot be removed: {reason}") from error


def baselines_of(folder: Path) -> list[str]:
    """Return the names of the baselines whose samples have a table in a folder."""
    if not folder.is_dir():
        return []
    first, last = _file(folder, "samples", "*").name.split("*")
    names = (entry.name for entry in list_folder(folder))
    return sorted(
        name.removeprefix(first).removesuffix(last)
        for name in names
        if name.startswith(first) and name.endswith(last)
    )


def _file(folder: Path, table: str, baseline: str | None = None) -> Path:
    """Return the path of a table: `samples.parquet`, `samples-oracle.parquet` of a baseline."""
    path = folder / FILES[table]
    return path if baseline is None else path.with_stem(f"{path.stem}-{baseline}")


def read_result(path: Path) -> dict[str, Any]:
    """Return the content of the JSON of an evaluation.

    Raises:
        InputError: it cannot be read, or is something else.
    """
    content = read_json(path, "the evaluation", _AGAIN)
    if not isinstance(content, dict) or not str(content.get("format")).startswith("calico-eval/"):
        raise InputError(f"{path} is not the JSON of an evaluation (calico-eval --json)", _AGAIN)
    return content


def tables_of(path: Path, content: Mapping[str, Any]) -> tuple[Path, dict[str, str]]:
    """Return the folder of the tables of an evaluation, and their digests.

    Args:
        path: the JSON file.
        content: what is in it.

    Returns:
        The folder; table name to SHA-256.

    Raises:
        InputError: the evaluation kept no tables.
    """
    kept = content.get("scores")
    if not isinstance(kept, dict) or not isinstance(kept.get("folder"), str):
        raise InputError(f"{path} names no tables of scores: an older calico-eval wrote it", _AGAIN)
    # Relative to the JSON, so that both can be moved together.
    digests = {name: str(kept.get(name)) for name in FILES}
    return path.parent / kept["folder"], digests


def read_tables(
    folder: Path, digests: Mapping[str, str] | None = None, baseline: str | None = None
) -> tuple[ScoreFrames, dict[str, Any]]:
    """Read both tables of a folder.

    Args:
        folder: the folder.
        digests: table name to the SHA-256 that its file must have; None: any.
        baseline: whose tables; None: those of the predictions themselves.

    Returns:
        Two frames; the metadata of the evaluation.

    Raises:
        InputError: a file is missing, damaged, or has another digest.
    """
    samples, metadata = _read(_file(folder, "samples", baseline), SAMPLES)
    regions, other = _read(_file(folder, "regions", baseline), REGIONS)
    if metadata != other:
        raise InputError(f"the tables in {folder} are of two different evaluations", _AGAIN)
    for name, digest in (digests or {}).items():
        path = _file(folder, name, baseline)
        if sha256_of(path) != digest:
            raise InputError(
                f"{path} is not the table of this evaluation: another one was written there later",
                _AGAIN,
            )
    return frames_of(ScoreRows(samples, regions)), metadata


def frames_of(rows: ScoreRows) -> ScoreFrames:
    """Return both tables as pandas frames."""
    return ScoreFrames(_frame(rows.samples), _frame(rows.regions))


def _frame(table: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = table.to_pandas(types_mapper=_NULLABLE.get)
    return frame


def _read(path: Path, schema: pa.Schema) -> tuple[pa.Table, dict[str, Any]]:
    """Return one table and the metadata in it.

    Raises:
        InputError: it is missing, damaged or has another format.
    """
    # What happens to the file while it is read is an error of Arrow like any other damage.
    with open_file(path, "the table of scores", _AGAIN) as file:
        try:
            table = pq.ParquetFile(file).read()
            table.validate(full=True)
        except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"the scores {path} cannot be read: {reason}", _AGAIN) from error
    try:
        metadata = parse_json((table.schema.metadata or {})[METADATA_KEY].decode())
        found = metadata["format"]
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{path} is not a table of scores of calico-eval", _AGAIN) from None
    if found != FORMAT or table.schema.remove_metadata() != schema:
        raise InputError(f"{path} has the format {found}, this version reads {FORMAT}", _AGAIN)
    return table, metadata
