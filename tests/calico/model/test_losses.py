"""The objective against plain loops over cells and points."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from calico.config.calico import LossConfig
from calico.model.losses import Counts, mask_losses
from calico.model.points import sample_points, uncertain_points
from mixedparts.errors import UsageError
from tests.factories.micro_batches import training_batch
from tests.factories.micro_model import micro_model
from tests.oracles.mask_losses import between, by_hand

SIZE = 12
EXTENTS = torch.tensor([[12, 9], [5, 12], [12, 12], [1, 3]])
IMAGE = torch.tensor([0, 2, 2, 1])
COUNTS = Counts(0, len(torch.unique(IMAGE)), len(IMAGE))


def masks(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return logits and soft targets (4, 12, 12)."""
    noise = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(len(EXTENTS), SIZE, SIZE, generator=noise)
    return logits, torch.rand(len(EXTENTS), SIZE, SIZE, generator=noise)


@pytest.mark.parametrize("kind", ["bce", "focal"])
@pytest.mark.parametrize("normalise", ["image", "batch"])
class TestAgainstLoops:
    def test_every_cell_of_the_picture_counts_and_no_other(self, kind: str, normalise: str) -> None:
        config = LossConfig(mask_kind=kind, normalise=normalise)  # type: ignore[arg-type]
        logits, targets = masks()
        pairs = [
            [
                (float(logits[number, y, x]), float(targets[number, y, x]))
                for y in range(rows)
                for x in range(columns)
            ]
            for number, (rows, columns) in enumerate(EXTENTS.tolist())
        ]
        found = mask_losses(logits, targets, EXTENTS, IMAGE, config, COUNTS)
        assert [one.item() for one in found] == pytest.approx(
            by_hand(pairs, IMAGE.tolist(), config), rel=1e-4
        )

    def test_points_are_chosen_and_read_as_they_should_be(self, kind: str, normalise: str) -> None:
        config = LossConfig(
            mask_kind=kind,  # type: ignore[arg-type]
            normalise=normalise,  # type: ignore[arg-type]
            resolution="points",
            points=40,
            oversample=2.5,
            importance=0.7,
        )
        logits, targets = masks()
        torch.manual_seed(5)
        first, second = torch.rand(len(EXTENTS), 100, 2), torch.rand(len(EXTENTS), 12, 2)

        def placed(drawn: list[list[float]], extent: tuple[int, int]) -> list[tuple[float, float]]:
            rows, columns = extent
            return [
                (
                    min(max(x * columns, 0.5), columns - 0.5),
                    min(max(y * rows, 0.5), rows - 0.5),
                )
                for x, y in drawn
            ]

        pairs = []
        for number, extent in enumerate(EXTENTS.tolist()):
            candidates = placed(first[number].tolist(), extent)
            candidates.sort(key=lambda place: abs(between(logits[number], *place)))
            points = candidates[:28] + placed(second[number].tolist(), extent)
            pairs.append(
                [(between(logits[number], *p), between(targets[number], *p)) for p in points]
            )
        torch.manual_seed(5)
        found = mask_losses(logits, targets, EXTENTS, IMAGE, config, COUNTS)
        assert [one.item() for one in found] == pytest.approx(
            by_hand(pairs, IMAGE.tolist(), config), rel=1e-3
        )


class TestPoints:
    def test_at_the_centres_of_all_cells_they_are_the_cells(self) -> None:
        logits, targets = masks()
        steps = torch.arange(SIZE) + 0.5
        y, x = torch.meshgrid(steps, steps, indexing="ij")
        centres = torch.stack([x, y], -1).reshape(1, -1, 2).expand(len(EXTENTS), -1, -1)
        for values in (logits, targets):
            torch.testing.assert_close(sample_points(values, centres), values.flatten(1))

    def test_none_lies_beside_the_picture_or_takes_padding_in(self) -> None:
        logits, _ = masks()
        torch.manual_seed(0)
        points = uncertain_points(logits, EXTENTS, 500, 3.0, 0.75)
        assert points.shape == (4, 500, 2)
        far = EXTENTS.flip(-1)[:, None] - 0.5
        assert (points >= 0.5).all()
        assert (points <= far).all()
        padded = logits.clone()
        for number, (rows, columns) in enumerate(EXTENTS.tolist()):
            padded[number, rows:] = 1e9
            padded[number, :, columns:] = 1e9
        torch.testing.assert_close(sample_points(padded, points), sample_points(logits, points))

    def test_most_are_where_the_mask_is_uncertain(self) -> None:
        logits, _ = masks()
        torch.manual_seed(0)
        chosen = (
            sample_points(logits, uncertain_points(logits, EXTENTS, 400, 3.0, 1.0)).abs().mean(1)
        )
        even = sample_points(logits, uncertain_points(logits, EXTENTS, 400, 3.0, 0.0)).abs().mean(1)
        assert (chosen < 0.6 * even).all()

    def test_the_seed_decides_and_draws_are_fresh(self) -> None:
        logits, _ = masks()
        torch.manual_seed(3)
        first, other = (uncertain_points(logits, EXTENTS, 20, 3.0, 0.5) for _ in range(2))
        torch.manual_seed(3)
        assert torch.equal(first, uncertain_points(logits, EXTENTS, 20, 3.0, 0.5))
        assert not torch.equal(first, other)

    def test_a_model_learns_from_them(self) -> None:
        model, config = micro_model(loss={"text": 0, "resolution": "points", "points": 64})
        batch = training_batch(config)
        batch = replace(batch, masks=torch.ones_like(batch.masks))
        optimizer = torch.optim.AdamW([w for w in model.parameters() if w.requires_grad], lr=5e-3)
        model.train()
        torch.manual_seed(0)
        found = []
        for _ in range(40):
            optimizer.zero_grad()
            losses = model(batch)
            losses.total.backward()
            optimizer.step()
            found.append((losses.mask + losses.dice).item())
        assert found[-1] < 0.7 * found[0]

    @pytest.mark.parametrize(
        ("name", "value"), [("points", 0), ("oversample", 0.5), ("importance", 1.5)]
    )
    def test_shares_that_cannot_be_are_refused(self, name: str, value: float) -> None:
        model_config = micro_model()[1]
        with pytest.raises(UsageError, match=rf"loss\.{name}"):
            replace(model_config, loss=replace(LossConfig(), **{name: value}))  # type: ignore[arg-type]
