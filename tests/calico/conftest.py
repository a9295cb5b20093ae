"""Settings of the process that the commands make are undone after every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def _denormals_stay() -> Iterator[None]:
    """Training flushes denormal numbers to zero; other tests in this process must not."""
    yield
    torch.set_flush_denormal(False)
