"""Micro models compute in one thread here, as in the tests of calico."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Micro models run faster in one thread than in several that wait for each other."""
    torch.set_num_threads(1)
