"""SAM's own files at full scale, without memory: held against segment_anything's registry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from segment_anything import sam_model_registry
from torch import Tensor

from calico.config.calico import SamConfig
from calico.weights.matching import Matching, WeightSource, match
from calico.weights.published.segment_anything import check_native_sams
from mixedparts.errors import InputError

SIZES = {
    "vit_b": SamConfig(hidden_size=768, layers=12, heads=12, mlp_size=3072,
                       global_layers=(2, 5, 8, 11)),
    "vit_l": SamConfig(hidden_size=1024, layers=24, mlp_size=4096, global_layers=(5, 11, 17, 23)),
    "vit_h": SamConfig(),
}  # fmt: skip


def weights(variant: str) -> dict[str, Tensor]:
    with torch.device("meta"):
        return dict(sam_model_registry[variant]().state_dict())


def matched(state: Mapping[str, Tensor]) -> Matching:
    return match([WeightSource("sam.pth", state)])


@pytest.mark.parametrize("variant", SIZES)
def test_each_variant_is_told_by_its_shapes(variant: str) -> None:
    state = weights(variant)
    (line,) = check_native_sams(matched(state), SIZES[variant])
    assert line.startswith(f"sam.pth: SAM {variant} of segment_anything")
    assert f"all {len(state)} keys and shapes" in line


@pytest.mark.parametrize("variant", ["vit_b", "vit_l"])
def test_another_variant_than_the_configurations_is_named(variant: str) -> None:
    with pytest.raises(InputError, match=rf"sam\.pth is SAM {variant}") as raised:
        check_native_sams(matched(weights(variant)), SIZES["vit_h"])
    assert f"sam.hidden_size: {SIZES[variant].hidden_size} in {variant}, 1280 here" in str(
        raised.value
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"heads": 8}, "sam.heads: 12 in vit_b, 8 here"),
        ({"global_layers": (2, 5, 8)}, r"sam.global_layers: \(2, 5, 8, 11\) in vit_b"),
        ({"window": 7}, "sam.window: 14 in vit_b, 7 here"),
    ],
)
def test_what_shapes_do_not_show_is_compared_with_the_registry(
    changes: dict[str, object], said: str
) -> None:
    config = replace(SIZES["vit_b"], **changes)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=said):
        check_native_sams(matched(weights("vit_b")), config)


def test_keys_and_shapes_that_are_not_the_modules_are_named() -> None:
    state = weights("vit_b")
    state["mask_decoder.iou_token.wieght"] = state.pop("mask_decoder.iou_token.weight")
    name = "image_encoder.blocks.3.attn.rel_pos_h"
    state[name] = state[name][:-1]
    with pytest.raises(InputError) as raised:
        check_native_sams(matched(state), SIZES["vit_b"])
    said = str(raised.value)
    assert "missing: mask_decoder.iou_token.weight" in said
    assert "unexpected: mask_decoder.iou_token.wieght" in said
    assert f"of another shape: {name} is (26, 64), not (27, 64)" in said


def test_a_file_that_a_later_source_replaces_need_not_be_the_configurations() -> None:
    found = match(
        [WeightSource("b.pth", weights("vit_b")), WeightSource("h.pth", weights("vit_h"))]
    )
    lines = check_native_sams(found, SIZES["vit_h"])
    assert [line.split(" of ")[0] for line in lines] == ["b.pth: SAM vit_b", "h.pth: SAM vit_h"]
