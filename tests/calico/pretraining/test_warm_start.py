"""Encoders that start as copies of the global one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from calico.config.calico import CalicoConfig
from calico.model.assembly import build_image_parts
from calico.pretraining.warm_start import carry_to_sam, carry_to_semantic
from mixedparts.errors import UsageError
from tests.factories.micro_model import micro_config


class TestCarryOver:
    """The other encoders can start as copies of the global one."""

    def config(self) -> CalicoConfig:
        return micro_config(
            semantic={"hidden_size": 32},
            pretraining={"carry_over": True},
            vision={"mlp_size": 32},
        )

    def test_the_semantic_encoder_computes_the_same(self) -> None:
        parts = build_image_parts(self.config())
        encoders = parts.encoders.eval()
        carry_to_semantic(encoders.vision, encoders.semantic)
        pixels = torch.randn(2, 3, 32, 32)
        with torch.no_grad():
            torch.testing.assert_close(
                encoders.semantic(pixels).last_hidden_state,
                encoders.vision(pixels).last_hidden_state,
                atol=1e-5,
                rtol=1e-5,
            )

    def test_sams_layers_are_the_same(self) -> None:
        parts = build_image_parts(self.config())
        encoders = parts.encoders.eval()
        carry_to_sam(encoders.vision, encoders.sam)
        states = torch.randn(1, 16, 32)
        with torch.no_grad():
            for source, target in zip(
                encoders.vision.encoder.layers, encoders.sam.layers, strict=True
            ):
                torch.testing.assert_close(
                    target(states.view(1, 4, 4, 32)).view(1, 16, 32),
                    source(states),
                    atol=1e-5,
                    rtol=1e-5,
                )
            pixels = torch.randn(1, 3, 32, 32)
            stem = encoders.vision.embeddings.patch_embedding(pixels)
            torch.testing.assert_close(encoders.sam.patch_embed(pixels).permute(0, 3, 1, 2), stem)

    def test_sams_positions_are_resized_where_it_sees_a_larger_picture(self) -> None:
        config = self.config()
        config = replace(config, sam=replace(config.sam, image_size=64))
        encoders = build_image_parts(config).encoders
        with torch.no_grad():
            known = encoders.vision.embeddings.position_embedding
            ramp = torch.arange(4.0)
            known[0, 1:] = (ramp[:, None] + 10 * ramp).reshape(16, 1)  # 1 a row, 10 a column
        carry_to_sam(encoders.vision, encoders.sam)
        positions = encoders.sam.pos_embed[0, 2:6, 2:6, 0]  # away from the border
        torch.testing.assert_close(positions.diff(dim=0), torch.full((3, 4), 0.5))
        torch.testing.assert_close(positions.diff(dim=1), torch.full((4, 3), 5.0))

    def test_shapes_that_differ_are_refused(self) -> None:
        with pytest.raises(UsageError, match=r"semantic\.hidden_size is 16, vision\.hidden_size"):
            micro_config(pretraining={"carry_over": True})
