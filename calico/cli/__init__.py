"""The commands of CALICO; heavy imports are inside the functions that run them."""

from __future__ import annotations

import os

# Threads that wait for each other must not take a core from others: by default OpenMP's spin. The
# library reads this once, when torch loads it; a value that the user set stays.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
