#!/usr/bin/env bash
# torch.set_flush_denormal(True) changes half of a tensor if torch has already used two threads.
#
# Expected: the setting holds for the process, or for the thread that calls it. Either way, equal
# elements of one tensor give equal results of one element-wise product.
#
# What happens: it sets a bit of the CPU in the calling thread. Threads that start later inherit it,
# and those that torch's pool has already do not. So after any operation that was shared by two
# threads, the calling thread's half of a tensor of denormal numbers becomes 0 and the other half does
# not. The call returns True. Nothing is said in another library either: Hypothesis then refuses to
# draw any float of a range, and its message names compilers and -ffast-math.
#
# Why it matters: where small gradients or averages become denormal, results depend on how elements
# are divided among threads, and on whether something large was computed before the setting. The
# time that the setting should save is saved in one thread only. Call it before the first operation,
# in each process, and not from a library that may be imported late.
#
# Needs: bash, python3.11, pip, two cores. Prints version, behaviour and output; ends with 1 if that
# changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check 'torch==2.13.0' 'numpy==2.4.6' \
	'hypothesis==6.170.17'
cat >"$work/share.py" <<'PYTHON'
import sys

import numpy as np
import torch

torch.set_num_threads(2)
tiny = torch.from_numpy(np.full(1 << 20, 1e-40, np.float32))  # without a thread of torch's pool
if sys.argv[1] == "used":
    torch.ones(1 << 20) * 2  # two threads share it
done = torch.set_flush_denormal(True)
left = (tiny * 2 != 0).float().mean().item()
print(f"{done} {left:.2f}")
PYTHON
cat >"$work/draw.py" <<'PYTHON'
import hypothesis.strategies as st
import torch

torch.set_flush_denormal(True)
try:
    st.floats(-6, 36).validate()
    print("drawn")
except FloatingPointError as error:
    print("refused", "-ffast-math" in str(error), "torch" in str(error))
PYTHON
python="$work/venv/bin/python"
"$python" -c 'import hypothesis, torch; print("torch", torch.__version__, "hypothesis", hypothesis.__version__)'
early=$("$python" "$work/share.py" fresh)
late=$("$python" "$work/share.py" used)
draw=$("$python" -W ignore "$work/draw.py")
echo "set before any operation: returned, share of the tensor that is not flushed: $early"
echo "set after an operation of two threads: $late"
echo "Hypothesis, floats of -6 to 36: $draw (message names -ffast-math, torch)"
if [ "$early|$late|$draw" = "True 0.00|True 0.50|refused True False" ]; then
	echo "as described"
else
	echo CHANGED
	exit 1
fi
