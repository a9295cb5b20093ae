#!/usr/bin/env bash
# torch.optim.Muon computes its update in bfloat16, whatever the weights are and wherever they lie.
#
# Expected: an optimiser works in the precision of the weights that it is given, as AdamW and SGD do.
# Weights in float64 then get updates that are exact to some 15 digits, and on a CPU without bf16
# instructions nothing is computed in bf16.
#
# What happens: the Newton-Schulz iteration casts the momentum to bfloat16 and stays there. The update
# of a float64 matrix has about 2 correct digits, and there is no setting for it. Only the final
# addition is in the dtype of the weights.
#
# Why it matters: (1) runs that should be reproducible to rounding, such as one process against two, or
# a small model checked in float64, differ by 1e-3 instead of 1e-6 or 1e-14. (2) A CPU with AVX2 but
# without AVX-512 bf16 multiplies bf16 matrices tens of times slower than float32 ones, so that the
# optimiser takes several times as long as the forward and backward pass of a small model; a machine
# with bf16 instructions hides that.
#
# Needs: bash, python3.11, pip. Prints version, behaviour and output; ends with 1 if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check 'torch==2.13.0' 'numpy==2.4.6'
"$work/venv/bin/python" - <<'PYTHON'
import sys

import torch
from torch.utils._python_dispatch import TorchDispatchMode

products = set()


class Watch(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if function in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default):
            products.add(result.dtype)
        return result


torch.manual_seed(0)
weight = torch.nn.Parameter(torch.zeros(64, 64, dtype=torch.float64))
gradient = torch.randn(64, 64, dtype=torch.float64)
optimizer = torch.optim.Muon([weight], lr=1.0, weight_decay=0.0, momentum=0.0, nesterov=False)
weight.grad = gradient.clone()
with Watch():
    optimizer.step()

# The same polynomial, applied to the singular values in float64.
a, b, c = 3.4445, -4.7750, 2.0315
u, values, v = torch.linalg.svd(gradient)
values = values / gradient.norm()
for _ in range(5):
    values = a * values + b * values**3 + c * values**5
exact = -(u * values) @ v
error = ((weight.detach() - exact).norm() / exact.norm()).item()
print(f"torch {torch.__version__}: weights float64 on {weight.device}")
print(f"matrix products of the update are in {sorted(map(str, products))}")
print(f"relative error of the update: {error:.1e}")
same = products == {torch.bfloat16} and 1e-4 < error < 1e-1
print("as described" if same else "CHANGED")
sys.exit(not same)
PYTHON
