"""The mask loss at the size of the images, against plain loops and SAM's own upsampling."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from calico.config.calico import LossConfig
from calico.model import losses
from calico.model.losses import Counts, original_mask_losses
from calico.model.original_masks import OriginalMasks, at_original_size
from mixedparts.errors import InputError
from tests.factories.micro_batches import training_batch
from tests.factories.micro_model import micro_model
from tests.oracles.mask_losses import by_hand

GRID, SQUARE = 8, 32
# Rows and columns of the image, and of the square that show it.
SIZES = ((20, 45), (20, 45), (51, 33), (7, 7))
INNER = ((14, 32), (14, 32), (32, 21), (32, 32))
IMAGE = torch.tensor([0, 0, 1, 3])
COUNTS = Counts(0, 3, 4)


def masks(seed: int = 0) -> tuple[Tensor, list[np.ndarray]]:
    """Return logits (4, 8, 8) and true masks of the sizes above."""
    noise = np.random.default_rng(seed)
    logits = torch.from_numpy(3 * noise.standard_normal((4, GRID, GRID)))
    return logits, [(noise.random(size) > 0.6).astype(np.uint8) for size in SIZES]


def truth(dense: list[np.ndarray]) -> OriginalMasks:
    return OriginalMasks.of(dense, INNER, SQUARE)


def linear(source: int, target: int) -> Tensor:
    """Weights (target, source) between the centres of cells; the outer ones go on to the edge."""
    weights = torch.zeros(target, source)
    for cell in range(target):
        place = min(max((cell + 0.5) * source / target - 0.5, 0), source - 1)
        low = min(int(place), max(0, source - 2))
        weights[cell, low] += 1 - (place - low)
        weights[cell, min(low + 1, source - 1)] += place - low
    return weights


def resized(logits: Tensor, inner: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Resize one mask to the square, and from its inner part to the image."""
    up = linear(GRID, SQUARE)
    shown = (up @ logits.float() @ up.T)[: inner[0], : inner[1]]
    return linear(inner[0], size[0]) @ shown @ linear(inner[1], size[1]).T


def test_masks_are_resized_as_sam_does() -> None:
    logits, _ = masks()
    for mask, inner, size in zip(logits, INNER, SIZES, strict=True):
        found = at_original_size(mask[None], SQUARE, inner, size)
        assert found.dtype is torch.float32
        torch.testing.assert_close(found[0], resized(mask, inner, size), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["bce", "focal"])
@pytest.mark.parametrize("normalise", ["image", "batch"])
def test_every_pixel_of_every_image_counts(kind: str, normalise: str) -> None:
    config = LossConfig(mask_kind=kind, normalise=normalise, resolution="original")  # type: ignore[arg-type]
    logits, dense = masks()
    pairs = [
        list(
            zip(resized(mask, inner, size).flatten().tolist(), true.flatten().tolist(), strict=True)
        )
        for mask, inner, size, true in zip(logits, INNER, SIZES, dense, strict=True)
    ]
    found = original_mask_losses(logits, truth(dense), IMAGE, config, COUNTS)
    assert [one.item() for one in found] == pytest.approx(
        by_hand(pairs, IMAGE.tolist(), config), rel=1e-4
    )


def test_portions_change_neither_losses_nor_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for pixels in (1, 2 * SQUARE**2, 1 << 23):
        monkeypatch.setattr(losses, "PORTION_PIXELS", pixels)
        logits, dense = masks()
        logits.requires_grad_()
        term, dice = original_mask_losses(logits, truth(dense), IMAGE, LossConfig(), COUNTS)
        (term + dice).backward()
        found.append((term.item(), dice.item(), logits.grad))
    for other in found[1:]:
        assert other[:2] == pytest.approx(found[0][:2], rel=1e-6)
        torch.testing.assert_close(other[2], found[0][2])
    assert found[0][2].abs().sum() > 0


def test_portions_hold_masks_of_one_frame() -> None:
    _, dense = masks()
    for pixels, cuts in ((1, [1, 1, 1, 1]), (1 << 23, [2, 1, 1])):
        portions = list(truth(dense).portions(pixels))
        assert [part.masks.stop - part.masks.start for part in portions] == cuts
        unpacked = [one for part in portions for one in part.targets()]
        for mask, expected in zip(unpacked, dense, strict=True):
            assert np.array_equal(mask.numpy(), expected)


def test_nothing_of_original_size_is_kept_for_the_backward_pass() -> None:
    """Kept are the decoder's masks and the bits of the true ones."""
    size, inner = (300, 400), (24, 32)
    logits = torch.zeros(2, GRID, GRID, requires_grad=True)
    dense = [np.ones(size, np.uint8)] * 2
    kept = 0

    def pack(value: Tensor) -> Tensor:
        nonlocal kept
        kept += value.numel() * value.element_size()
        return value

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        original_mask_losses(
            logits,
            OriginalMasks.of(dense, [inner] * 2, SQUARE),
            torch.tensor([0, 1]),
            LossConfig(),
            Counts(0, 2, 2),
        )
    assert kept < 2 * size[0] * size[1] / 4


def test_a_model_trains_on_them() -> None:
    model, config = micro_model(loss={"text": 0, "resolution": "original"})
    batch = training_batch(config)
    assert batch.originals is not None
    assert batch.masks.shape == (2, 0, 0)
    ones = [np.ones(size, np.uint8) for size in batch.originals.sizes]
    originals = OriginalMasks.of(ones, batch.originals.inner, batch.originals.square)
    batch = replace(batch, originals=originals)
    optimizer = torch.optim.AdamW([w for w in model.parameters() if w.requires_grad], lr=5e-3)
    model.train()
    found = []
    for _ in range(30):
        optimizer.zero_grad()
        computed = model(batch)
        computed.total.backward()
        optimizer.step()
        found.append((computed.mask + computed.dice).item())
    assert found[-1] < 0.7 * found[0]


def test_a_batch_without_them_is_one_message() -> None:
    model, config = micro_model(loss={"resolution": "original"})
    batch = replace(training_batch(config), originals=None)
    with pytest.raises(InputError, match="no masks at original size"):
        model(batch)
