"""Normalised pixels are those of the arithmetic, bit for bit, and zero on the padding."""

from __future__ import annotations

import pytest
import torch

from calico.processing import normalisation
from calico.processing.normalisation import STATISTICS, normalised


def every_level() -> torch.Tensor:
    """Return (2, 16, 16, 3) uint8 with all 256 levels in every channel."""
    levels = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1).expand(2, 16, 16, 3).clone()
    levels[1] = levels[1].flip(0)
    return levels


@pytest.mark.parametrize("part", list(STATISTICS))
def test_every_level_of_every_channel_is_as_computed(part: str) -> None:
    pixels = every_level()
    mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in STATISTICS[part])
    expected = pixels.permute(0, 3, 1, 2).float().div_(255).sub_(mean).div_(deviation)
    assert torch.equal(normalised(part, pixels, [(16, 16)] * 2), expected)


def test_other_devices_look_the_same_numbers_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the CPU the look-up is OpenCV's; every other device indexes the table."""
    pixels = every_level()
    expected = normalised("sam", pixels, [(16, 16), (9, 4)])
    table = normalisation._table("sam", torch.device("cpu"))

    class Elsewhere(torch.Tensor):
        device = torch.device("meta")

    monkeypatch.setattr(normalisation, "_table", lambda *_: table)
    arange = torch.arange
    monkeypatch.setattr(torch, "arange", lambda *given, device=None, **more: arange(*given, **more))
    found = normalised("sam", pixels.as_subclass(Elsewhere), [(16, 16), (9, 4)])
    assert torch.equal(found.as_subclass(torch.Tensor), expected)


def test_the_padding_is_zero_after_normalisation() -> None:
    pixels = torch.zeros(1, 4, 6, 3, dtype=torch.uint8)
    values = normalised("sam", pixels, [(3, 5)])
    assert (values[:, :, :3, :5] < 0).all()
    assert (values[:, :, 3:] == 0).all()
    assert (values[:, :, :, 5:] == 0).all()
