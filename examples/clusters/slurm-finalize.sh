#!/bin/bash
#SBATCH --job-name=mixedparts-finalize
#SBATCH --cpus-per-task=8
#SBATCH --mem=16G
#SBATCH --time=08:00:00
#SBATCH --requeue
# What the shares of a build have left, submitted by slurm-submit.sh. The folder knows all choices.
set -euo pipefail
mixedparts status "$OUT"
exec mixedparts finalize "$OUT" --quiet --workers "${SLURM_CPUS_PER_TASK:-1}"
