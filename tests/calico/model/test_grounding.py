"""Masks from prompts: the position code, and what a batch without masks reaches."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from calico.model.precision import arithmetic, store
from tests.factories.micro_batches import ANSWER, training_batch
from tests.factories.micro_model import micro_model

BF16 = {"precision": "bf16"}


def exact_code(frequencies: Tensor, rows: int, columns: int) -> Tensor:
    """Return SAM's position code (C, rows, columns) in float64, by its definition."""
    code = []
    for row in range(rows):
        for column in range(columns):
            x, y = 2 * (column + 0.5) / columns - 1, 2 * (row + 0.5) / rows - 1
            angles = (
                2 * math.pi * (torch.tensor([x, y], dtype=torch.float64) @ frequencies.double())
            )
            code.append(torch.cat([angles.sin(), angles.cos()]))
    return torch.stack(code).T.view(-1, rows, columns)


class TestPositions:
    @pytest.mark.parametrize(("rows", "columns"), [(8, 8), (5, 9)])
    def test_autocast_rounds_no_coordinate(self, rows: int, columns: int) -> None:
        """A product of coordinates and frequencies in bf16 is up to 0.1 off."""
        model, config = micro_model(execution=BF16)
        grounding = store(model, config.execution).grounding
        frequencies = grounding.prompt_encoder.shared_embedding.positional_embedding
        assert frequencies.dtype == torch.float32
        with arithmetic(config.execution, torch.device("cpu")):
            assert torch.get_autocast_dtype("cpu") == torch.bfloat16
            code = grounding._positions(rows, columns)
        assert code.dtype == torch.float32
        expected = exact_code(frequencies, rows, columns)
        assert (code[0] - expected).abs().max() < 1e-5
        assert not code.requires_grad

    def test_the_decoder_is_given_the_exact_code(self, monkeypatch: pytest.MonkeyPatch) -> None:
        model, config = micro_model(execution=BF16)
        grounding = store(model, config.execution).grounding
        given = []
        decode = type(grounding.mask_decoder).forward

        def noted(decoder: object, **inputs: Tensor) -> object:
            given.append(inputs["image_positional_embeddings"])
            return decode(decoder, **inputs)

        monkeypatch.setattr(type(grounding.mask_decoder), "forward", noted)
        batch = training_batch(config)
        states = torch.randn(2, config.language.hidden_size)
        with arithmetic(config.execution, torch.device("cpu")):
            masks = grounding(states, batch.features.sam, torch.tensor([0, 1]))
        (code,) = given
        frequencies = grounding.prompt_encoder.shared_embedding.positional_embedding
        expected = exact_code(frequencies, *batch.features.sam.shape[-2:])
        assert (code[0] - expected).abs().max() < 1e-5
        assert masks.dtype == torch.float32


def test_a_batch_without_masks_reaches_the_weights_that_masks_reach() -> None:
    """Else processes would exchange gradients of different weights, or one would wait."""
    reached = []
    for answer in (ANSWER, "Both pictures contain <p> a mug </p>."):
        model, config = micro_model(seed=1)
        model(training_batch(config, (answer,))).total.backward()
        weights = dict(model.named_parameters())
        reached.append({name for name, weight in weights.items() if weight.grad is not None})
    assert reached[0] == reached[1]
    assert "grounding.mask_decoder.mask_tokens.weight" in reached[0]
    assert "grounding.mask_decoder.iou_prediction_head.proj_in.weight" not in reached[0]
