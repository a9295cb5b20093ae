#!/bin/bash
# Build on Slurm: two arrays of shares, then one job that does whatever they have left.
#
#   SOURCES="paco partimagenet ade20k" ROOT=/data/sources OUT=/data/mixedparts SHARES=16 \
#       examples/clusters/slurm-submit.sh [more options of mixedparts build]
#
# ROOT and OUT are on a file system that all nodes mount, or addresses such as s3://bucket/folder.
set -euo pipefail
: "${SOURCES:?}" "${ROOT:?}" "${OUT:?}" "${SHARES:=16}"
export SOURCES ROOT OUT SHARES
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
array="0-$((SHARES - 1))"

# The first array reads; the last of its shares pairs and writes its part. The second array writes
# the rest. It starts when every share of the first one has ended well (afterok). The last job starts
# however the second array ends (afterany): it finds out from the folder what is left.
first=$(sbatch --parsable --array="$array" "$here/slurm-share.sh" "$@")
second=$(sbatch --parsable --array="$array" --dependency="afterok:${first%%;*}" "$here/slurm-share.sh" "$@")
last=$(sbatch --parsable --dependency="afterany:${second%%;*}" "$here/slurm-finalize.sh")
echo "submitted ${first%%;*} and ${second%%;*} ($SHARES shares each), then ${last%%;*}"
echo "look at it with: mixedparts status $OUT"
