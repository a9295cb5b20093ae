"""Parameters of every part, counted without weights."""

from __future__ import annotations

from dataclasses import replace

import pytest

from calico.config.presets import seven_b, seven_b_with, tiny
from calico.cost.skeleton import parts, skeleton
from tests.factories.micro_model import micro_config

CORRESPONDENCE = {"base": 6_133_248, "large": 6_854_144, "giant": 8_295_936}
# Without registers, and four of them.
DINO = {
    "base": 86_580_480 + 4 * 768,
    "large": 304_368_640 + 4 * 1024,
    "giant": 1_136_480_768 + 4 * 1536,
}


@pytest.mark.parametrize("size", DINO)
def test_every_part_of_the_7b_model_has_its_size(size: str) -> None:
    listed = {part.name: (part.count, part.trained) for part in parts(skeleton(seven_b_with(size)))}
    assert listed == {
        "global encoder (EVA-CLIP)": (985_952_256, 0),
        "semantic encoder (DINOv2)": (DINO[size], 0),
        "SAM image encoder": (637_026_048, 0),
        "Q-Former": (105_137_664, 0),
        "queries": (24_576, 24_576),
        "projection to the language model": (3_149_824, 0),
        "language model": (6_738_415_616, 0),
        "language model's adapters": (4_194_304, 4_194_304),
        "CEM": (CORRESPONDENCE[size],) * 2,
        "CAMs": (12_592_640, 12_592_640),
        "[SEG] projection": (17_830_144, 0),
        "SAM prompt encoder": (6_476, 0),
        "SAM mask decoder": (4_058_340, 4_058_340),
    }
    total = sum(count for count, _ in listed.values())
    trained = sum(count for _, count in listed.values())
    assert round(trained / 1e6, 1) == {"base": 27.0, "large": 27.7, "giant": 29.2}[size]
    assert f"{trained / total:.1%}" == "0.3%"


@pytest.mark.parametrize(("layers", "share"), [(0, 0.2), (1, 0.2), (2, 0.3), (3, 0.4)])
def test_only_two_cams_give_the_papers_share(layers: int, share: float) -> None:
    base = seven_b_with("giant")
    chosen = replace(base.correspondence, layers=tuple(range(layers)))
    listed = parts(skeleton(replace(base, correspondence=chosen)))
    trained, total = sum(p.trained for p in listed), sum(p.count for p in listed)
    assert round(100 * trained / total, 1) == (share if layers else 0.1)


@pytest.mark.parametrize(
    "config",
    [tiny(), micro_config(), micro_config(name="presence", loss={"presence": 1.0}), seven_b()],
    ids=lambda c: c.name,
)
def test_every_weight_is_in_exactly_one_part(config) -> None:
    model = skeleton(config)
    names = [name for part in parts(model) for name in part.weights]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())
