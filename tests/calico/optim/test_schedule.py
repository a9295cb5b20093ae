"""The learning rate over the steps of a run."""

from __future__ import annotations

from itertools import pairwise

import pytest

from calico.optim.schedule import rate_factor


class TestSchedule:
    @pytest.mark.parametrize("kind", ["linear", "cosine"])
    def test_the_rate_rises_and_falls_to_zero(self, kind: str) -> None:
        rates = [rate_factor(step, 100, 10, kind) for step in range(101)]
        assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
        assert rates[10] == pytest.approx(1.0)
        assert all(later <= earlier for earlier, later in pairwise(rates[10:]))
        assert rates[100] == pytest.approx(0.0, abs=1e-9)
