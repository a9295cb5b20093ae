"""Checkpoints are read under any version of transformers, whatever it calls DINOv2's weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from calico.checkpoints.save_load import load_checkpoint, save_checkpoint
from calico.weights.key_names import published_dino_name
from mixedparts.errors import InputError
from tests.factories.micro_model import micro_model, micro_tokenizer
from tests.factories.published_weights import MOVED

State = dict[str, Tensor]
LAYER = "encoders.semantic.encoder.layer.0."
NAMES = {**MOVED, "mlp.weights_out": "mlp.down_proj"}


def published(state: State) -> State:
    """Return weights as files on the Hub and transformers 5.4 call them."""
    found = {}
    for name, value in state.items():
        if "semantic" in name:
            for old, new in NAMES.items():
                name = name.replace(new, old)
            if "gate_proj" in name:
                value = torch.cat([value, state[name.replace("gate_proj", "up_proj")]])
                name = name.replace("gate_proj", "weights_in")
            elif "up_proj" in name:
                continue
        found[name] = value.clone()
    return found


def newer(state: State) -> State:
    """Return weights as later versions call them."""
    found = {}
    for name, value in published(state).items():
        if "semantic" in name:
            for old, new in NAMES.items():
                name = name.replace(old, new)
            if "weights_in" in name:
                gate, up = value.chunk(2)
                found[name.replace("weights_in", "up_proj")] = up.clone()
                name, value = name.replace("weights_in", "gate_proj"), gate.clone()
        found[name] = value
    return found


@pytest.mark.parametrize("style", [published, newer])
@pytest.mark.parametrize("swiglu", [False, True], ids=["MLP", "SwiGLU"])
class TestCheckpoint:
    @pytest.fixture
    def place(self, tmp_path: Path, swiglu: bool) -> Path:
        model, config = micro_model(semantic={"swiglu": swiglu})
        save_checkpoint(tmp_path / "run", model, config, micro_tokenizer(), 1)
        # Earlier versions, which wrote other names, wrote no digests either.
        (tmp_path / "run" / "digests.json").unlink()
        return tmp_path / "run"

    def test_it_is_read_under_the_names_of_another_version(
        self, place: Path, style: object, swiglu: bool
    ) -> None:
        assert callable(style)
        before, _, _ = load_checkpoint(place)
        file = place / "frozen.safetensors"
        state = style(load_file(file))
        styles = {frozenset(published(state)), frozenset(newer(state))}
        assert frozenset(state) in styles
        assert len(styles) == 2
        save_file(state, file, metadata={"format": "pt"})
        after, _, _ = load_checkpoint(place)
        pixels = torch.randn(1, 3, 64, 64)
        size = after.encoders.semantic.config.image_size
        with torch.no_grad():
            for mine, its in zip(before.parameters(), after.parameters(), strict=True):
                assert torch.equal(mine, its)
            seen = [one.encoders.semantic(pixels[..., :size, :size]) for one in (before, after)]
        assert torch.equal(*(one.last_hidden_state for one in seen))

    def test_a_weight_that_is_gone_is_missed(self, place: Path, style: object) -> None:
        assert callable(style)
        file = place / "frozen.safetensors"
        state = style(load_file(file))
        for lost in [name for name in state if name.startswith(LAYER)]:
            short = {name: value for name, value in state.items() if name != lost}
            save_file(short, file, metadata={"format": "pt"})
            with pytest.raises(InputError, match="does not fit the model"):
                load_checkpoint(place)


def test_other_parts_keep_their_names() -> None:
    model, _ = micro_model()
    for name in model.state_dict():
        if not name.startswith("encoders.semantic."):
            assert published_dino_name(name) == name or "language" in name, name
