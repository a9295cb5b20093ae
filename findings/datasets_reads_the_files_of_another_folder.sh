#!/usr/bin/env bash
# datasets looks at one folder and reads the files of another one if a name in the path has a `$`.
#
# Expected: `load_dataset(folder)` loads the Parquet files in the folder. A `$` is an ordinary
# character of a file name; the shell has its own rules for it, and a path that comes from a program
# (`sys.argv`, `Path.iterdir`) has been through them already.
#
# What happens: the data files are looked for in the folder as it is named, and found. Then each path
# goes through `os.path.expandvars`, so that `run $STAGE` becomes `run test` where the variable STAGE
# is `test`. If a folder of that name has files of the same names, their rows are loaded without a
# word, under the name of the first folder. If there is none, a FileNotFoundError names a path that
# nobody gave. With streaming=True the same call reads the right files.
#
# Why it matters: two folders that differ in such a name give the same rows, and which ones depends
# on the environment. The documentation does not mention variables in paths.
#
# Needs: bash, python3.11, pip. Prints version, behaviour and output; ends with 1 if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check 'datasets==5.2.0' 'pyarrow==26.0.1'
cd "$work"
HF_HOME=$work/cache HF_HUB_OFFLINE=1 HF_DATASETS_DISABLE_PROGRESS_BARS=1 STAGE=test \
    "$work/venv/bin/python" -W ignore - <<'PYTHON'
import sys
from importlib.metadata import version
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

ASKED, OTHER, ALONE = Path("run $STAGE"), Path("run test"), Path("only $STAGE")
for folder in (ASKED, OTHER, ALONE):
    folder.mkdir()
    pq.write_table(pa.table({"from": [folder.name]}), folder / "train.parquet")


def rows(folder, streaming=False):
    try:
        loaded = datasets.load_dataset(str(folder), split="train", streaming=streaming)
        return [row["from"] for row in loaded]
    except FileNotFoundError as error:
        return f"FileNotFoundError: {str(error).split(str(Path.cwd()))[1].split('(')[0].strip()}"


found = {
    "load_dataset('run $STAGE')": rows(ASKED),
    "the same, streaming=True": rows(ASKED, streaming=True),
    "load_dataset('only $STAGE')": rows(ALONE),
}
print(f"datasets {version('datasets')}, STAGE=test")
for call, what in found.items():
    print(f"{call}: {what}")
expected = [["run test"], ["run $STAGE"], "FileNotFoundError: /only test/train.parquet"]
if list(found.values()) != expected:
    sys.exit("the behaviour has changed")
print("rows of 'run test' were loaded for 'run $STAGE'")
PYTHON
