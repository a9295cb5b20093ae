#!/usr/bin/env bash
# `datasets` reads a Parquet file in batches of as many rows as the file's first row group has.
#
# Expected: the rows of a Parquet file do not depend on how its writer divided them. A file whose first
# row group is empty or short, as streaming writers leave it when they flush early, loads like any
# other: pyarrow, which `datasets` reads with, does so.
#
# What happens: with 50,000 rows in each file,
# - a first row group of 0 rows: `load_dataset` raises "An error occurred while generating the
#   dataset"; the cause below it is "BatchSize must be greater than 0, got 0". A stream fails too.
# - a first row group of 1 row: the file is read one row at a time, and takes many times as long.
# `batch_size=` given to `load_dataset` helps in both cases; nothing in the message leads to it.
#
# Why it matters: nobody looks at row groups. A writer that flushes one row early, or whose first batch
# was filtered away, makes a file that other readers open at once. `datasets` refuses it, or is slow
# with it on every machine, and nothing says why.
#
# Needs: bash, python3.11, pip. Prints version, behaviour and output; ends with 1 if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    'datasets==5.2.0' 'pyarrow==26.0.1'
cd "$work"
HF_HOME="$work/cache" HF_HUB_OFFLINE=1 "$work/venv/bin/python" -W ignore - <<'PYTHON' 2>/dev/null
import sys
import time
from importlib.metadata import version

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

datasets.disable_progress_bars()
ROWS = 50_000
TABLE = pa.table({"number": list(range(ROWS)), "text": [f"row {n}" for n in range(ROWS)]})


def write(path, first):
    """Write all rows, the first so many of them as a row group of their own."""
    with pq.ParquetWriter(path, TABLE.schema) as writer:
        for piece in (TABLE.slice(0, first), TABLE.slice(first)):
            writer.write_table(piece)


def load(path, **options):
    start = time.process_time()
    try:
        rows = datasets.load_dataset("parquet", data_files=path, split="train", **options)
        found = sum(1 for _ in rows) if options.get("streaming") else rows.num_rows
        return str(found), time.process_time() - start
    except Exception as error:
        return str(error.__cause__ or error), time.process_time() - start


print(*(f"{name} {version(name)}" for name in ("datasets", "pyarrow")), sep=", ")
seen, seconds = {}, {}
for first in (25_000, 1, 0):
    path = f"first-{first}.parquet"
    write(path, first)
    assert pq.read_table(path).num_rows == ROWS
    seen[first], seconds[first] = load(path)
    print(f"first row group of {first} rows: {seen[first]}; {seconds[first]:.2f} s of CPU")
seen["stream"], _ = load("first-0.parquet", streaming=True)
print(f"first row group of 0 rows, streamed: {seen['stream']}")
seen["batch_size"], _ = load("first-0.parquet", batch_size=1_000)
print(f"first row group of 0 rows, batch_size=1000: {seen['batch_size']}")
times = seconds[1] / seconds[25_000]
print(f"a first row group of 1 row takes {times:.0f} times as long as one of 25,000 rows")
refused = "BatchSize must be greater than 0, got 0"
expected = {25_000: str(ROWS), 1: str(ROWS), 0: refused, "stream": refused, "batch_size": str(ROWS)}
same = seen == expected and times > 5
print("as described" if same else f"CHANGED: expected {expected}, and more than 5 times")
sys.exit(not same)
PYTHON
