#!/bin/bash
#SBATCH --job-name=mixedparts-share
#SBATCH --cpus-per-task=8
#SBATCH --mem=16G
#SBATCH --time=02:00:00
#SBATCH --requeue
#SBATCH --signal=B:USR1@120
# One share of a build, submitted by slurm-submit.sh. SHARES is the number of all shares, also where
# some of them are submitted again: sbatch --array=3,7 with the same SHARES.
set -uo pipefail
index=$SLURM_ARRAY_TASK_ID
shares=${SHARES:-$SLURM_ARRAY_TASK_COUNT}

# Two minutes before the time limit, or before a preemption: stop, and go back into the queue. The
# next run of this share goes on where this one has stopped.
requeue() {
    kill -TERM "$build" 2>/dev/null
    wait "$build"
    scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
    exit 0
}
trap requeue USR1 TERM

# shellcheck disable=SC2086  # several names
mixedparts build --sources $SOURCES --root "$ROOT" --out "$OUT" --quiet \
    --workers "${SLURM_CPUS_PER_TASK:-1}" --shard-range "$index/$shares" "$@" &
build=$!
wait "$build"
code=$?
# 4: this share is done and others are not. For Slurm that is success.
[ "$code" -eq 4 ] && code=0
exit "$code"
