"""Views: boxes that cut no mask, masks and pixels that agree to the pixel."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from calico.dataset.views import Tint, View


class TestColours:
    def test_factors_of_one_change_nothing(self) -> None:
        pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
        picture = Image.fromarray(pixels)
        assert np.array_equal(View(tint=Tint(1, 1, 1)).crop_and_tint(picture), pixels)

    def test_each_factor_does_what_its_name_says(self) -> None:
        pixels = np.random.default_rng(0).integers(60, 160, (20, 30, 3), dtype=np.uint8)
        picture = Image.fromarray(pixels)
        bright, flat, grey = (
            np.asarray(View(tint=tint).crop_and_tint(picture), np.float64)
            for tint in (Tint(1.3, 1, 1), Tint(1, 0.5, 1), Tint(1, 1, 0))
        )
        assert bright.mean() == pytest.approx(1.3 * pixels.mean(), rel=0.01)
        assert flat.std() == pytest.approx(0.5 * pixels.std(), rel=0.05)
        assert np.ptp(grey, 2).max() == 0
