"""Position tables of DINOv2 at another input size, against the algorithm of its own code.

`facebookresearch/dinov2` resizes its table in `interpolate_pos_encoding`: hub models without
registers with an offset of 0.1 and without antialiasing, those with registers with an offset of 0
and with antialiasing. The oracle here is written in NumPy from the definitions of both filters.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import Dinov2Model

from calico.config.calico import SemanticEncoderConfig
from calico.config.open_values import open_value
from calico.config.presets import DINOV2
from calico.model.vision import build_semantic_encoder
from calico.processing.feature_encoder import weights_digest

Matrix = NDArray[np.float64]


def cubic(distance: Matrix, sharpness: float) -> Matrix:
    """The kernel of Keys (1981); `sharpness` is its free parameter a."""
    x = np.abs(distance)
    near = (sharpness + 2) * x**3 - (sharpness + 3) * x**2 + 1
    far = sharpness * (x**3 - 5 * x**2 + 8 * x - 4)
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def with_offset(side: int, cells: int) -> Matrix:
    """Weights (cells, side) of four neighbours around places that the offset of 0.1 shifts."""
    scale = (cells + 0.1) / side
    weights = np.zeros((cells, side))
    for cell in range(cells):
        place = (cell + 0.5) / scale - 0.5
        for neighbour in range(int(np.floor(place)) - 1, int(np.floor(place)) + 3):
            share = cubic(np.array(place - neighbour), -0.75)
            weights[cell, min(max(neighbour, 0), side - 1)] += share
    return weights


def antialiased(side: int, cells: int) -> Matrix:
    """Weights (cells, side) of a kernel as wide as the step between two cells; they add up to 1."""
    step = side / cells
    width = max(1.0, step)
    centres = (np.arange(cells) + 0.5) * step
    weights = cubic((np.arange(side) + 0.5 - centres[:, None]) / width, -0.5)
    return weights / weights.sum(1, keepdims=True)


def table_of(config: SemanticEncoderConfig, height: int, width: int) -> tuple[Matrix, Matrix]:
    """The random position table of an encoder, and what it makes of it for an input."""
    torch.manual_seed(5)
    embeddings = build_semantic_encoder(config).embeddings
    torch.nn.init.normal_(embeddings.position_embeddings)
    cells = (height // config.patch_size) * (width // config.patch_size)
    tokens = torch.zeros(1, 1 + cells, config.hidden_size)
    with torch.no_grad():
        resized = embeddings.interpolate_pos_encoding(tokens, height, width)
    table = embeddings.position_embeddings.detach()
    return table[0].double().numpy(), resized.detach()[0].double().numpy()


def expected(table: Matrix, down: Matrix, right: Matrix) -> Matrix:
    side = down.shape[1]
    grid = table[1:].reshape(side, side, -1)
    resized = np.einsum("iy,jx,yxc->ijc", down, right, grid)
    return np.concatenate([table[:1], resized.reshape(len(down) * len(right), -1)])


@pytest.mark.parametrize(("registers", "weights"), [(0, with_offset), (4, antialiased)])
@pytest.mark.parametrize("size", [(224, 224), (518, 224), (98, 308), (700, 560)])
def test_the_table_is_resized_as_the_original_does(
    registers: int, weights: object, size: tuple[int, int]
) -> None:
    config = SemanticEncoderConfig(224, 518, 14, 16, 1, 2, registers=registers)
    table, found = table_of(config, *size)
    down, right = (weights(37, pixels // 14) for pixels in size)  # type: ignore[operator]
    np.testing.assert_allclose(found, expected(table, down, right), atol=2e-5)


def test_the_offset_matters() -> None:
    """Without it, as transformers resizes, a table of noise is 30 % off at 224 pixels."""
    config = SemanticEncoderConfig(224, 518, 14, 16, 1, 2, registers=0)
    table, found = table_of(config, 224, 224)
    step = 37 / 16
    places = (np.arange(16) + 0.5) * step - 0.5
    plain = np.zeros((16, 37))
    for cell, place in enumerate(places):
        for neighbour in range(int(np.floor(place)) - 1, int(np.floor(place)) + 3):
            plain[cell, min(max(neighbour, 0), 36)] += cubic(np.array(place - neighbour), -0.75)
    away = found - expected(table, plain, plain)
    assert 0.2 < np.sqrt((away**2).mean() / (found**2).mean()) < 0.4


def test_a_table_of_the_right_size_is_taken_as_it_is() -> None:
    for registers in (0, 4):
        config = SemanticEncoderConfig(224, 518, 14, 16, 1, 2, registers=registers)
        table, found = table_of(config, 518, 518)
        np.testing.assert_array_equal(found, table)


def test_registers_are_the_default_of_every_size() -> None:
    sizes = (SemanticEncoderConfig(), *DINOV2.values())
    assert {open_value(config, "registers") for config in sizes} == {4}


def test_features_stored_without_the_offset_are_not_taken_for_those_with_it() -> None:
    config = SemanticEncoderConfig(224, 518, 14, 16, 1, 2, registers=0)
    torch.manual_seed(0)
    ours = build_semantic_encoder(config)
    plain = Dinov2Model(ours.config)
    plain.load_state_dict(ours.state_dict())
    assert weights_digest(ours) != weights_digest(plain)
