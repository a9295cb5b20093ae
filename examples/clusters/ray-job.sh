#!/bin/bash
# Build on a Ray cluster, as a job of it.
#
#   RAY_API_SERVER_ADDRESS=http://HEAD:8265 SOURCES="paco partimagenet ade20k" ROOT=s3://bucket/sources \
#       OUT=s3://bucket/mixedparts examples/clusters/ray-job.sh [more options of mixedparts build]
#
# The job runs on the head, which needs mixedparts with the extra ray; Ray sets RAY_ADDRESS for it. Its
# code goes to the other nodes by itself; their other packages must be installed.
set -euo pipefail
: "${SOURCES:?}" "${ROOT:?}" "${OUT:?}"
# shellcheck disable=SC2086  # several names
exec ray job submit -- \
    mixedparts build --sources $SOURCES --root "$ROOT" --out "$OUT" --engine ray "$@"
