"""The cache of frozen features: keys, damage, bound, several writers, equal results."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from calico.config.calico import CalicoConfig
from calico.model.calico import Calico
from calico.processing.feature_cache import FeatureCache, entry_key
from calico.processing.feature_encoder import PARTS, FeatureEncoder, image_request
from calico.processing.images import ImageProcessor
from mixedparts.errors import EnvironmentFault
from tests.factories.micro_model import micro_model
from tests.factories.noise import noise_image

ROOMY = 1 << 30


def keys(model: Calico, config: CalicoConfig, folder: Path, seed: int = 0) -> dict[str, str]:
    processor = ImageProcessor(config)
    encoder = FeatureEncoder(
        model.encoders, processor, config.execution, FeatureCache(folder, ROOMY)
    )
    return {part: encoder.key(part, image_request(noise_image(seed), processor)) for part in PARTS}


def stored(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.safetensors"))


class TestKeys:
    def test_pictures_weights_and_preprocessing_have_keys_of_their_own(
        self, tmp_path: Path
    ) -> None:
        model, config = micro_model()
        base = keys(model, config, tmp_path)
        assert len(set(base.values())) == 3
        assert keys(model, config, tmp_path) == base
        assert not set(keys(model, config, tmp_path, seed=1).values()) & set(base.values())
        bf16 = replace(config, execution=replace(config.execution, precision="bf16"))
        assert not set(keys(model, bf16, tmp_path).values()) & set(base.values())
        with torch.no_grad():
            next(model.encoders.sam.parameters()).flatten()[0] += 1e-3
        other = keys(model, config, tmp_path)
        assert [part for part in PARTS if other[part] != base[part]] == ["sam"]

    def test_another_size_or_other_tokens_give_another_key(self, tmp_path: Path) -> None:
        model, config = micro_model()
        base = keys(model, config, tmp_path)
        larger = replace(config, sam=replace(config.sam, image_size=64))
        changed = keys(model, larger, tmp_path)
        assert [part for part in PARTS if changed[part] != base[part]] == ["sam"]
        model.encoders.leading = slice(1, 1)
        changed = keys(model, config, tmp_path)
        assert [part for part in PARTS if changed[part] != base[part]] == ["semantic"]

    def test_a_mirrored_picture_has_its_own_entry(self, tmp_path: Path) -> None:
        model, config = micro_model()
        processor = ImageProcessor(config)
        cache = FeatureCache(tmp_path, ROOMY)
        encoder = FeatureEncoder(model.encoders, processor, config.execution, cache)
        wanted = image_request(noise_image(), processor)
        straight, mirrored = (
            encoder.encode([replace(wanted, mirrored=turned)]) for turned in (False, True)
        )
        assert not torch.equal(straight.vision, mirrored.vision)
        assert (cache.hits, cache.misses) == (0, 6)


class TestFiles:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_what_is_put_comes_back_bit_for_bit(self, tmp_path: Path, dtype: torch.dtype) -> None:
        values = torch.randn(3, 4).to(dtype)
        FeatureCache(tmp_path, ROOMY).put("ab" * 32, values)
        found = FeatureCache(tmp_path, ROOMY).get("ab" * 32)
        assert found is not None
        assert found.dtype == dtype
        assert torch.equal(found, values)

    @pytest.mark.parametrize("damage", ["cut", "empty", "zeros", "another", "text"])
    def test_a_damaged_entry_is_computed_again(self, tmp_path: Path, damage: str) -> None:
        model, config = micro_model()
        processor = ImageProcessor(config)
        cache = FeatureCache(tmp_path, ROOMY)
        encoder = FeatureEncoder(model.encoders, processor, config.execution, cache)
        wanted = image_request(noise_image(), processor)
        first = encoder.encode([wanted])
        path = tmp_path / encoder.key("sam", wanted)[:2]
        path = path / f"{encoder.key('sam', wanted)}.safetensors"
        data = path.read_bytes()
        header = 8 + int.from_bytes(data[:8], "little")
        others = [other for other in tmp_path.rglob("*.safetensors") if other != path]
        path.write_bytes(
            {
                "cut": data[:-5],
                "empty": b"",
                "zeros": data[:header] + bytes(len(data) - header),
                "another": others[0].read_bytes(),
                "text": b"not found" * 100,
            }[damage]
        )
        again = encoder.encode([wanted])
        assert torch.equal(first.sam, again.sam)
        mended = FeatureCache(tmp_path, ROOMY).get(encoder.key("sam", wanted))
        assert mended is not None
        assert torch.equal(mended, first.sam[0])
        assert cache.misses == 4

    def test_the_bound_is_kept_and_what_was_used_last_stays(self, tmp_path: Path) -> None:
        limit = 40_000
        cache = FeatureCache(tmp_path, limit)
        values = torch.randn(1000)  # 4 KB
        first = entry_key({"number": 0})
        for number in range(30):
            cache.put(entry_key({"number": number}), values)
            assert stored(tmp_path) <= limit
            assert cache.get(first) is not None, "it is used in every step"
        assert cache.get(entry_key({"number": 29})) is not None
        assert cache.get(entry_key({"number": 2})) is None

    def test_a_smaller_bound_clears_an_older_folder(self, tmp_path: Path) -> None:
        cache = FeatureCache(tmp_path, ROOMY)
        for number in range(10):
            cache.put(entry_key({"number": number}), torch.randn(1000))
        FeatureCache(tmp_path, 20_000)
        assert 0 < stored(tmp_path) <= 20_000

    def test_what_is_larger_than_the_bound_is_not_kept(self, tmp_path: Path) -> None:
        FeatureCache(tmp_path, 1000).put("cd" * 32, torch.randn(1000))
        assert stored(tmp_path) == 0

    def test_a_place_that_cannot_be_a_folder_is_one_message(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(EnvironmentFault, match="feature cache"):
            FeatureCache(tmp_path / "file" / "cache", ROOMY)

    def test_processes_share_a_folder(self, tmp_path: Path) -> None:
        """Two processes put and get the same keys in a folder that cannot hold all of them."""
        program = (
            "import sys, torch\nfrom pathlib import Path\n"
            "from calico.processing.feature_cache import FeatureCache, entry_key\n"
            f"cache = FeatureCache(Path({str(tmp_path)!r}), 200_000)\n"
            "for turn in range(6):\n"
            "    for number in range(40):\n"
            "        key, value = entry_key({'n': number}), torch.full((1500,), float(number))\n"
            "        found = cache.get(key)\n"
            "        assert found is None or torch.equal(found, value)\n"
            "        cache.put(key, value)\n"
        )
        running = [
            subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE)
            for _ in range(2)
        ]
        for process in running:
            _, errors = process.communicate(timeout=170)
            assert process.returncode == 0, errors.decode()
        assert 0 < stored(tmp_path) <= 200_000
        assert not list(tmp_path.rglob("*.tmp"))
        cache = FeatureCache(tmp_path, 200_000)
        found = [cache.get(entry_key({"n": number})) for number in range(40)]
        assert all(
            value is None or torch.equal(value, torch.full((1500,), float(number)))
            for number, value in enumerate(found)
        )
