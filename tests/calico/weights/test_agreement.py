"""Values that shapes do not show: compared for the source that supplies a part, else taken."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from calico.config.calico import CalicoConfig
from calico.config.open_values import open_values, settled, value_of
from calico.config.presets import seven_b
from calico.config.yaml_io import override
from calico.weights.agreement import Agreement, agree
from calico.weights.files import WeightFiles
from calico.weights.initial import initial_model
from calico.weights.matching import WeightSource, match
from mixedparts.errors import InputError, UsageError
from tests.factories.published_folders import PublishedFolders


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> PublishedFolders:
    return PublishedFolders(tmp_path_factory.mktemp("published"))


def agreed(config: CalicoConfig, paths: list[Path]) -> Agreement:
    files = [WeightFiles(path) for path in paths]
    return agree(config, match(WeightSource(str(one.place), one) for one in files), files)


class Described:
    """Published models whose config.json a test changes, without a copy of their weights."""

    def __init__(self, published: PublishedFolders, folder: Path) -> None:
        self.published = published
        self.folder = folder

    def path(self, name: str, section: str | None = None, **changes: Any) -> Path:
        source, target = self.published.path(name), self.folder / f"{name}-changed"
        target.mkdir()
        for path in source.iterdir():
            (target / path.name).symlink_to(path)
        config = json.loads((source / "config.json").read_text())
        (config if section is None else config[section]).update(changes)
        (target / "config.json").unlink()
        (target / "config.json").write_text(json.dumps(config))
        return target


@pytest.fixture
def described(published: PublishedFolders, tmp_path: Path) -> Described:
    return Described(published, tmp_path)


def test_the_later_language_model_alone_counts(published: PublishedFolders) -> None:
    names = {"instructblip-vicuna-7b": 1e-6, "GLaMM": 1e-5, "vicuna-7b-v1.5": 1e-5, "LISA": 1e-6}
    for first, second in itertools.permutations(names, 2):
        found = agreed(published.config, [published.path(first), published.path(second)])
        assert found.config.language.norm_eps == names[second], (first, second)
        (line,) = found.report
        assert f"language.norm_eps {names[second]} ({second})" in line


def test_the_published_7b_preset_leaves_open_what_weights_decide() -> None:
    assert all(value_of(seven_b(), name) is None for name, _ in open_values(seven_b()))
    closed = settled(seven_b())
    assert (closed.language.norm_eps, closed.language.rope_theta) == (1e-6, 10000.0)
    assert (closed.vision.norm_eps, closed.qformer.norm_eps) == (1e-6, 1e-12)


@pytest.mark.parametrize(
    ("name", "section", "key", "dotted"),
    [
        ("GLaMM", None, "rms_norm_eps", "language.norm_eps"),
        ("vicuna-7b-v1.5", None, "rope_theta", "language.rope_theta"),
        ("instructblip-vicuna-7b", "vision_config", "layer_norm_eps", "vision.norm_eps"),
        ("blip2-opt-2.7b", "vision_config", "layer_norm_eps", "vision.norm_eps"),
        ("blip2-opt-2.7b", "qformer_config", "layer_norm_eps", "qformer.norm_eps"),
        ("dinov2-base", None, "layer_norm_eps", "semantic.norm_eps"),
        ("sam-vit-base", "vision_config", "layer_norm_eps", "sam.norm_eps"),
    ],
)
def test_a_value_left_open_is_taken_and_reaches_the_model(
    published: PublishedFolders,
    described: Described,
    name: str,
    section: str | None,
    key: str,
    dotted: str,
) -> None:
    value = 5e-4 if "eps" in key else 123456
    path = described.path(name, section, **{key: value})
    found = agreed(published.config, [path])
    assert value_of(found.config, dotted) == value
    assert isinstance(value_of(found.config, dotted), float)
    part, _, field = dotted.partition(".")
    insisted = override(published.config, {part: {field: 0.25}}, "test")
    with pytest.raises(UsageError, match=rf"{dotted}: {value} there, 0\.25 here"):
        agreed(insisted, [path])
    assert agreed(override(published.config, {part: {field: value}}, "test"), [path]).config


@pytest.mark.parametrize(
    ("name", "section", "change", "said"),
    [
        ("GLaMM", None, {"num_attention_heads": 4}, "language.heads: 4 there, 2 here"),
        ("GLaMM", None, {"num_key_value_heads": 1}, "language.kv_heads: 1 there, 2 here"),
        ("GLaMM", None, {"head_dim": 8}, "language.head_size: 8 there, 16 here"),
        ("GLaMM", None, {"rope_scaling": {"type": "dynamic"}}, "language.rope_scaling: 'dynamic'"),
        (
            "vicuna-7b-v1.5",
            None,
            {"rope_parameters": {"rope_type": "llama3", "rope_theta": 10000.0}},
            "language.rope_scaling: 'llama3' there, 'default' here",
        ),
        ("vicuna-7b-v1.5", None, {"partial_rotary_factor": 0.5}, "language.rotary_share: 0.5"),
        ("vicuna-7b-v1.5", None, {"model_type": "mistral"}, "language.family: 'mistral' there"),
        (
            "Qwen2.5-1.5B-Instruct",
            None,
            {"use_sliding_window": True, "sliding_window": 64},
            "language.window: 64 there, 512 here",
        ),
        (
            "Qwen2.5-1.5B-Instruct",
            None,
            {"layer_types": ["full_attention", "sliding_attention"], "sliding_window": 64},
            "language.window: 64 there",
        ),
        (
            "instructblip-vicuna-7b",
            "vision_config",
            {"hidden_act": "quick_gelu"},
            "vision.activation: 'quick_gelu' there, 'gelu' here",
        ),
        (
            "blip2-opt-2.7b",
            "qformer_config",
            {"cross_attention_frequency": 1, "num_attention_heads": 4},
            "qformer.cross_attention_every: 1 there, 1 here",
        ),
        ("dinov2-base", None, {"num_attention_heads": 4}, "semantic.heads: 4 there, 2 here"),
        ("sam-vit-base", "vision_config", {"window_size": 14}, "sam.window: 14 there, 0 here"),
        (
            "sam-vit-base",
            "mask_decoder_config",
            {"num_attention_heads": 8},
            "sam.decoder_heads: 8 there, 2 here",
        ),
    ],
)
def test_a_value_that_decides_the_architecture_is_refused_by_name(
    published: PublishedFolders,
    described: Described,
    name: str,
    section: str | None,
    change: dict[str, Any],
    said: str,
) -> None:
    config = published.qwen_config if "Qwen" in name else published.config
    path = described.path(name, section, **change)
    if name.startswith("blip2"):
        said = "qformer.heads: 4 there, 2 here"
    with pytest.raises(UsageError) as raised:
        agreed(config, [path])
    assert f"the weights in {path} are of another architecture" in str(raised.value)
    assert said in str(raised.value)
    # Where a later source supplies the part, the same file says nothing about the model.
    if name in ("GLaMM", "vicuna-7b-v1.5"):
        assert agreed(config, [path, published.path("LISA")]).config.language.norm_eps == 1e-6


def test_a_window_that_is_switched_off_or_wider_than_the_prompts_changes_nothing(
    published: PublishedFolders, described: Described
) -> None:
    path = described.path("Qwen2.5-1.5B-Instruct", use_sliding_window=True, sliding_window=512)
    for one in (path, published.path("Qwen2.5-1.5B-Instruct")):
        assert agreed(published.qwen_config, [one]).config.language.tie_embeddings is True


def test_parts_of_two_models_are_not_mixed(published: PublishedFolders) -> None:
    """An output layer and registers of the first would fit the model of the second."""
    sources = ["dinov2-with-registers-base", "vicuna-7b-v1.5", "sam-vit-base"]
    later = ["Qwen2.5-1.5B-Instruct", "dinov2-base", "blip2-opt-2.7b"]
    start = initial_model(published.qwen_config, published.paths(" ".join([*sources, *later])))
    assert start.config.semantic.registers == 0
    assert start.config.language.tie_embeddings is True
    said = "\n".join(start.report)
    assert "dinov2-with-registers-base: DINOv2, 0 used" in said
    assert "vicuna-7b-v1.5: language model, 0 used" in said


def test_the_order_of_sources_of_different_parts_changes_nothing(
    published: PublishedFolders,
) -> None:
    names = ["instructblip-vicuna-7b", "dinov2-base", "GLaMM"]
    models = []
    for order in (names, ["dinov2-base", *names[::2]], [*names[::2], "dinov2-base"]):
        torch.manual_seed(0)
        start = initial_model(
            override(published.config, {"language": {"new_token_rows": "inherited"}}, "test"),
            published.paths(" ".join(order)),
        )
        models.append((start.config, start.model.state_dict()))
    for config, state in models[1:]:
        assert config == models[0][0]
        assert all(torch.equal(value, state[name]) for name, value in models[0][1].items())


def test_the_rows_of_new_tokens_are_those_of_the_language_model_that_is_used(
    published: PublishedFolders,
) -> None:
    sources = "instructblip-vicuna-7b dinov2-base {} sam_vit_h_4b8939.pth"
    for name, known in (("GLaMM", 7), ("LISA", 4), ("vicuna-7b-v1.5", 0)):
        start = initial_model(published.config, published.paths(sources.format(name)))
        weights = WeightFiles(published.path(name))["model.embed_tokens.weight"].float()
        rows = start.model.language.get_input_embeddings()(torch.arange(len(start.tokenizer)))
        tokens = 420 + known
        torch.testing.assert_close(rows[:tokens], weights[:tokens])
        mean = weights[:tokens].mean(0)
        for row in rows[tokens:]:
            torch.testing.assert_close(row, mean, atol=1e-3, rtol=1e-2)
        seg = start.model.ids.segments.seg
        assert seg == {"GLaMM": 424, "LISA": 421, "vicuna-7b-v1.5": 420}[name]


@pytest.mark.parametrize("value", ["1e-5", -1e-5, 0, float("nan"), True, [1e-5]])
def test_a_value_that_is_no_number_above_0_is_named(
    published: PublishedFolders, described: Described, value: Any
) -> None:
    path = described.path("vicuna-7b-v1.5", rms_norm_eps=value)
    with pytest.raises(InputError, match=r"v1\.5-changed: its config\.json gives .*norm_eps"):
        agreed(published.config, [path])


def test_registers_that_a_file_lacks_are_named(
    published: PublishedFolders, described: Described
) -> None:
    path = described.path("dinov2-base", num_register_tokens=4)
    with pytest.raises(UsageError, match=r"semantic\.registers: 4 there, 0 here"):
        agreed(published.config, [path])


def test_a_config_json_that_is_no_object_is_named(
    published: PublishedFolders, described: Described
) -> None:
    path = described.path("dinov2-base")
    (path / "config.json").write_text("[]")
    with pytest.raises(InputError, match=r"config\.json is not a JSON object"):
        agreed(published.config, [path])
