"""Images in batches: equal features at any place, fixed sizes, keys that name the arithmetic."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from calico.config.calico import CalicoConfig
from calico.config.presets import preset
from calico.config.yaml_io import override
from calico.cost.skeleton import skeleton
from calico.dataset.views import Box
from calico.model.vision import ImageEncoders, ImageInputs
from calico.processing.encoding_batches import batch_sizes
from calico.processing.feature_cache import FeatureCache
from calico.processing.feature_encoder import PARTS, FeatureEncoder, image_request
from calico.processing.images import ImageProcessor
from calico.processing.prepared import ImagePreparer
from mixedparts.errors import UsageError
from tests.factories.micro_model import micro_config, micro_model
from tests.factories.noise import noise_image


def encoder_of(
    batch: dict[str, int], cache: FeatureCache | None = None, **changes: Any
) -> FeatureEncoder:
    model, config = micro_model(execution={"encode_batch": batch, **changes})
    return FeatureEncoder(model.encoders, ImageProcessor(config), config.execution, cache)


class TestSizes:
    def test_defaults_are_one_on_a_cpu_and_many_patches_elsewhere(self) -> None:
        config = preset("7b")
        encoders, processor = skeleton(config).encoders, ImageProcessor(config)
        sizes = batch_sizes(encoders, processor, config.execution, torch.device("cpu"))
        assert sizes == {"vision": 1, "semantic": 1, "sam": 1}
        sizes = batch_sizes(encoders, processor, config.execution, torch.device("cuda"))
        assert sizes == {"vision": 32, "semantic": 32, "sam": 4}

    def test_the_configuration_decides_by_encoder(self) -> None:
        assert encoder_of({"sam": 3}).batches == {"vision": 1, "semantic": 1, "sam": 3}

    @pytest.mark.parametrize(
        ("batch", "message"),
        [({"eva": 2}, "encode_batch.eva: choose from vision, semantic, sam"), ({"sam": -1}, "-1")],
    )
    def test_values_that_cannot_work(self, batch: dict[str, int], message: str) -> None:
        with pytest.raises(UsageError, match=message):
            override(preset("tiny"), {"execution": {"encode_batch": batch}}, "test")


class TestFeatures:
    @pytest.mark.parametrize("precision", ["fp32", "bf16"])
    def test_an_image_has_the_same_features_among_any_others(self, precision: str) -> None:
        encoder = encoder_of(dict.fromkeys(PARTS, 4), precision=precision)
        assert set(encoder.batches.values()) == {4}
        requests = [image_request(noise_image(seed)) for seed in range(7)]
        every = encoder.encode(requests)
        for chosen in ([5], [6, 5, 4], [5, 5, 5, 5, 0]):
            some = encoder.encode([requests[number] for number in chosen])
            for part in PARTS:
                assert torch.equal(getattr(some, part), getattr(every, part)[chosen]), part

    def test_every_batch_has_the_same_size(self, monkeypatch: pytest.MonkeyPatch) -> None:
        encoder = encoder_of({"sam": 3})
        seen = []
        encode_part = ImageEncoders.encode_part

        def noted(self: ImageEncoders, part: str, inputs: ImageInputs) -> torch.Tensor:
            seen.append((part, len(inputs.sam)))
            return encode_part(self, part, inputs)

        monkeypatch.setattr(ImageEncoders, "encode_part", noted)
        encoder.encode([image_request(noise_image(seed)) for seed in range(10)])
        assert {count for part, count in seen if part == "sam"} == {3}
        assert sum(part == "sam" for part, _ in seen) == 4
        assert [count for part, count in seen if part == "vision"] == [1] * 10

    def test_an_encoder_that_depends_on_the_place_takes_one_at_a_time(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        encode_part = ImageEncoders.encode_part

        def placed(self: ImageEncoders, part: str, inputs: ImageInputs) -> torch.Tensor:
            features = encode_part(self, part, inputs)
            if part == "vision":
                features = features + torch.arange(len(features)).view(-1, 1, 1) * 1e-6
            return features

        monkeypatch.setattr(ImageEncoders, "encode_part", placed)
        assert encoder_of(dict.fromkeys(PARTS, 4)).batches == {
            "vision": 1,
            "semantic": 4,
            "sam": 4,
        }

    def test_one_at_a_time_is_what_the_encoder_says(self) -> None:
        encoder = encoder_of({})
        image = noise_image(3)
        inputs = encoder.processor.inputs([encoder.processor.pixels(image)])
        with torch.no_grad():
            direct = encoder.encoders(inputs)
        found = encoder.encode([image_request(noise_image(1)), image_request(image)])
        for part in PARTS:
            assert torch.equal(getattr(found, part)[1:], getattr(direct, part))


class TestKeys:
    def keys(self, folder: Path, config: CalicoConfig, batch: dict[str, int]) -> list[str]:
        encoder = encoder_of(batch, FeatureCache(folder, 1 << 30))
        return [encoder.key(part, image_request(noise_image())) for part in PARTS]

    def test_the_size_of_batches_is_a_part_of_the_key(self, tmp_path: Path) -> None:
        config = micro_config()
        one = self.keys(tmp_path, config, {})
        assert self.keys(tmp_path, config, {"vision": 1}) == one
        four = self.keys(tmp_path, config, {"sam": 4})
        assert [a == b for a, b in zip(one, four, strict=True)] == [True, True, False]
        assert self.keys(tmp_path, config, {"sam": 2})[2] != four[2]

    def test_batches_come_back_from_the_cache_bit_for_bit(self, tmp_path: Path) -> None:
        cache = FeatureCache(tmp_path, 1 << 30)
        encoder = encoder_of(dict.fromkeys(PARTS, 4), cache)
        requests = [image_request(noise_image(seed)) for seed in range(5)]
        encoder.encode(requests[:2])
        mixed, plain = encoder.encode(requests), encoder_of(dict.fromkeys(PARTS, 4))
        expected = plain.encode(requests)
        assert (cache.hits, cache.misses) == (6, 15)
        for part in PARTS:
            assert torch.equal(getattr(mixed, part), getattr(expected, part))


def test_only_the_encoders_that_lack_features_get_pixels(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, 1 << 30)
    encoder = encoder_of({}, cache)
    whole = image_request(noise_image())
    encoder.encode([whole])
    # A crop for the global encoder alone: the other two are stored.
    cut = replace(whole, global_box=Box(1, 2, 20, 18), cached=("semantic", "sam"))
    piece = encoder.preparer.prepare([cut])
    assert [piece.parts[part].pixels is None for part in PARTS] == [False, True, True]
    assert piece.parts["vision"].keys == (None,)


def test_two_encoders_that_see_the_same_share_a_tensor() -> None:
    _, config = micro_model()
    preparer = ImagePreparer(ImageProcessor(config))
    piece = preparer.prepare([image_request(noise_image(seed)) for seed in range(3)])
    assert piece.parts["vision"].pixels is piece.parts["semantic"].pixels
    moved = piece.to(torch.device("cpu"))
    assert moved.parts["vision"].pixels is moved.parts["semantic"].pixels
    assert len(piece.tensors()) == 2
