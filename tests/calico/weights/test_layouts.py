"""Every layout at full scale: all names and shapes, without memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from calico.config.calico import CalicoConfig
from calico.config.presets import seven_b, seven_b_with
from calico.config.yaml_io import override
from calico.model.inputs import TokenIds
from calico.model.segments import SegVocabulary
from calico.weights.initial import on_meta, weight_shapes
from calico.weights.matching import WeightSource, match, reconcile
from mixedparts.errors import InputError
from tests.factories import published_weights as published

IDS = TokenIds(0, 2, 3, SegVocabulary(4, ((5,), (6,))))
ROWS = 32007
State = dict[str, Tensor]


def full(name: str, config: CalicoConfig) -> list[State]:
    """Return the sources of a named start, on the meta device."""
    with torch.device("meta"):
        makers: dict[str, Callable[[], State]] = {
            "instructblip": lambda: dict(published.instructblip(config, ROWS).state_dict()),
            "instructblip of vicuna": lambda: dict(
                published.instructblip(seven_b(), ROWS).state_dict()
            ),
            "dinov2": lambda: dict(published.dinov2(config).state_dict()),
            "hub": lambda: published.dinov2_hub(published.dinov2(config), config),
            "sam": lambda: dict(published.sam(config).state_dict()),
            "native sam": lambda: dict(published.segment_anything(config.sam).state_dict()),
            "glamm": lambda: published.glamm(config, ROWS),
            "calico": lambda: published.calico(config, ROWS),
            "lavis": lambda: published.lavis(config),
            "lavis of blip2": lambda: {
                **published.lavis(config),
                "opt_proj.weight": torch.empty(2560, 768),
                "opt_proj.bias": torch.empty(2560),
                "temp": torch.empty(()),
                "itm_head.weight": torch.empty(2, 768),
            },
            "lavis with text": lambda: published.lavis(config, text=True),
            "llama": lambda: dict(published.llama(config, ROWS).state_dict()),
            "blip2 with opt": lambda: dict(published.blip2(config).state_dict()),
            "blip2 with t5": lambda: dict(published.blip2(config, "t5").state_dict()),
            "qwen": lambda: published.qwen2(config, ROWS),
            "projection": lambda: {
                name: value
                for name, value in published.instructblip(config, ROWS).state_dict().items()
                if name.startswith(("qformer.", "language_projection.", "query_tokens"))
            },
        }
        return [makers[part]() for part in name.split(" + ")]


@pytest.mark.parametrize(
    ("sources", "trained_projection"),
    [
        ("instructblip + dinov2 + sam", True),
        ("instructblip + hub + native sam", True),
        ("instructblip + dinov2 + glamm", False),
        ("projection + lavis + llama + dinov2 + native sam", True),
        ("calico", False),
    ],
)
def test_every_name_and_shape_of_the_7b_model_is_matched(
    sources: str, trained_projection: bool
) -> None:
    config = seven_b()
    config = replace(
        config,
        trained=replace(config.trained, seg_projection=trained_projection),
        language=replace(config.language, vocabulary=ROWS),
    )
    states = full(sources, config)
    matching = match(WeightSource(str(n), state) for n, state in enumerate(states))
    fresh = reconcile(matching, weight_shapes(on_meta(config, IDS)), config)
    expected = {"grounding.projection"} if trained_projection else set()
    if sources != "calico":
        expected |= {"correspondence.extraction", "correspondence.adaptive"}
    assert {".".join(name.split(".")[:2]) for name in fresh} == expected
    for number, state in enumerate(states):
        ignored = {name for names in matching.ignored[number].values() for name in names}
        assert matching.used[number] | ignored == set(state)
        assert not matching.used[number] & ignored


@pytest.mark.parametrize(
    "sources",
    [
        "instructblip + dinov2 + glamm",
        "instructblip + lavis with text + dinov2 + glamm",
    ],
)
def test_the_text_path_of_the_qformer_is_filled_where_it_sees_the_question(sources: str) -> None:
    config = seven_b()
    config = replace(
        config,
        qformer=replace(config.qformer, sees_question=True),
        language=replace(config.language, vocabulary=ROWS),
    )
    states = full(sources, config)
    found = match(WeightSource(str(n), state) for n, state in enumerate(states))
    wanted = weight_shapes(on_meta(config, IDS))
    fresh = reconcile(found, wanted, config)
    assert {name.split(".")[0] for name in fresh} == {"correspondence"}
    text = [n for n in wanted if n.startswith("bridge.qformer.")]
    assert (
        len(text)
        == 14
        + 12 * 6
        + len(
            [n for n in weight_shapes(on_meta(seven_b(), IDS)) if n.startswith("bridge.qformer.")]
        )
        - 12
    )
    gives = 1 if "lavis" in sources else 0
    assert {part.source for name in text for part in found.recipes[name]} == {gives}
    for number, state in enumerate(states):
        ignored = {name for names in found.ignored[number].values() for name in names}
        assert found.used[number] | ignored == set(state)
        assert not any("text path" in reason for reason in found.ignored[number])


def test_a_qformer_that_cannot_read_is_refused_by_the_names_that_it_lacks() -> None:
    config = seven_b()
    config = replace(
        config,
        qformer=replace(config.qformer, sees_question=True),
        language=replace(config.language, vocabulary=ROWS),
    )
    states = full("lavis + projection + llama + dinov2 + native sam", config)
    states[1] = {n: v for n, v in states[1].items() if n.startswith("language_projection.")}
    states[1]["qformer.layernorm.weight"] = states[0]["Qformer.bert.embeddings.LayerNorm.weight"]
    found = match(WeightSource(str(n), state) for n, state in enumerate(states))
    wanted = weight_shapes(on_meta(config, IDS))
    with pytest.raises(InputError, match=r"missing: .*bridge\.qformer\.word_embeddings\.weight"):
        reconcile(found, wanted, config)


@pytest.mark.parametrize(
    "sources",
    [
        "blip2 with opt + qwen + dinov2 + sam",
        "qwen + native sam + hub + blip2 with t5",
        "instructblip of vicuna + dinov2 + native sam + qwen",
        "lavis of blip2 + qwen + dinov2 + sam",
    ],
)
def test_a_smaller_model_of_a_blip2_and_a_qwen_is_matched(sources: str) -> None:
    """EVA-CLIP-g and Q-Former as in the 7B model; Qwen2.5-1.5B; SAM ViT-B."""
    config = override(
        seven_b(),
        {
            "language": {
                "family": "qwen2",
                "hidden_size": 1536,
                "layers": 28,
                "heads": 12,
                "kv_heads": 2,
                "mlp_size": 8960,
                "tie_embeddings": True,
                "vocabulary": ROWS,
            },
            "sam": {
                "hidden_size": 768,
                "layers": 12,
                "heads": 12,
                "mlp_size": 3072,
                "global_layers": [2, 5, 8, 11],
            },
            "trained": {"projection": True, "seg_projection": True},
        },
        "test",
    )
    states = full(sources, config)
    found = match(WeightSource(str(n), state) for n, state in enumerate(states))
    wanted = weight_shapes(on_meta(config, IDS))
    fresh = reconcile(found, wanted, config)
    parts = {".".join(name.split(".")[:2]) for name in fresh}
    # The projection of each of these leads to its own language model.
    trained = {"bridge.projection", "grounding.projection"}
    assert parts == trained | {"correspondence.extraction", "correspondence.adaptive"}
    for number, state in enumerate(states):
        ignored = {name for names in found.ignored[number].values() for name in names}
        assert found.used[number] | ignored == set(state)
    language = [name for name in wanted if name.startswith("language.")]
    assert sum(name.endswith("_proj.bias") for name in language) == 3 * 28
    assert "language.lm_head.weight" not in language
    frozen = replace(config, trained=replace(config.trained, projection=False))
    with pytest.raises(InputError, match=r"bridge\.projection"):
        reconcile(found, wanted, frozen)


@pytest.mark.parametrize("size", ["large", "giant"])
def test_other_sizes_of_dinov2_match_by_both_names(size: str) -> None:
    config = seven_b_with(size)
    with torch.device("meta"):
        model = published.dinov2(config)
        states = [dict(model.state_dict()), published.dinov2_hub(model, config)]
    for state in states:
        found = match([WeightSource("dinov2", state)])
        with torch.device("meta"):
            wanted = weight_shapes(on_meta(config, IDS))
        own = {n: shape for n, shape in wanted.items() if n.startswith("encoders.semantic.")}
        assert {name: found.shape(name) for name in found.recipes} == own
