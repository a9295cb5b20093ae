"""The preset for one ordinary GPU, as a command, from folders in the published layouts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from calico.checkpoints.save_load import load_checkpoint
from calico.cli import merge, predict, train
from calico.config.calico import CalicoConfig
from calico.config.presets import preset
from calico.config.yaml_io import dump_config, read_config
from calico.dataset.pairs import BuiltDataset
from calico.model.quantized import QuantizedLinear, quantizable
from tests.factories.published_folders import PublishedFolders

SOURCES = "blip2-opt-2.7b Qwen2.5-1.5B-Instruct dinov2-with-registers-base sam-vit-base"


def small(published: PublishedFolders, quantization: str) -> CalicoConfig:
    """Return the preset with the sizes of the tiny published models, and all else of its own."""
    config, sizes = preset("2b"), published.qwen_config
    shape = ("hidden_size", "layers", "heads", "kv_heads", "mlp_size", "vocabulary")
    language = {name: getattr(sizes.language, name) for name in shape}
    run = ("steps", "batch_size", "save_every", "warmup_steps", "log_every", "keep")
    training = {name: getattr(sizes.training, name) for name in run}
    return replace(
        config,
        vision=sizes.vision,
        semantic=sizes.semantic,
        qformer=sizes.qformer,
        sam=sizes.sam,
        language=replace(config.language, **language),
        correspondence=replace(config.correspondence, layers=(1, 3), heads=2),
        training=replace(config.training, loader_workers=0, **training),
        generation=sizes.generation,
        execution=replace(config.execution, quantization=quantization),  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_it_trains_stops_resumes_merges_and_answers(
    quantization: str,
    dataset: BuiltDataset,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    published = PublishedFolders(tmp_path)
    settings = tmp_path / "small.yaml"
    settings.write_text(dump_config(small(published, quantization)))
    words = ["--dataset", str(dataset.path), "--preset", "2b", "--config", str(settings)]
    words += ["--init", *map(str, published.paths(SOURCES))]
    words += ["--device", "cpu", "--processes", "1", "--threads", "1", "--quiet"]
    run, whole = tmp_path / "run", tmp_path / "whole"
    assert train.main([*words, "--output-dir", str(run), "--max-steps", "2"]) == 0
    # On a CPU "auto" is no limit, and the run keeps what was chosen.
    assert read_config(run / "config.yaml").training.micro_batch == 0
    resume = ["--output-dir", str(run), "--max-steps", "4", "--resume", "auto"]
    assert train.main([*words, *resume]) == 0
    assert train.main([*words, "--output-dir", str(whole), "--max-steps", "4"]) == 0
    saved, straight = (
        load_file(place / "checkpoint-000004" / "model.safetensors") for place in (run, whole)
    )
    assert saved.keys() == straight.keys()
    assert all(torch.equal(saved[name], straight[name]) for name in saved)

    model, config, _ = load_checkpoint(run)
    assert not (run / "checkpoint-000004" / "frozen.safetensors").exists()
    layers = [one for one in model.modules() if isinstance(one, QuantizedLinear)]
    linears = quantizable(model.language)
    assert len(linears) == 7 * config.language.layers
    assert len(layers) == (0 if quantization == "none" else len(linears))
    # What was put in tensor by tensor is what the published file has, quantised.
    if layers:
        qwen = load_file(published.path("Qwen2.5-1.5B-Instruct") / "model.safetensors")
        theirs = qwen["model.layers.1.mlp.up_proj.weight"]
        own = model.get_submodule("language.model.layers.1.mlp.up_proj")
        expected = QuantizedLinear(torch.nn.Linear(*theirs.T.shape), theirs, own.kind)
        assert torch.equal(own.weight, expected.weight)

    out = tmp_path / "merged"
    assert merge.main([str(run), "--out", str(out)]) == 0
    assert read_config(out / "config.yaml").execution.quantization == "none"
    noise = np.random.default_rng(0)
    for name in ("a", "b"):
        pixels = noise.integers(0, 255, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    for place in (run, out):
        asked = [str(tmp_path / "a.png"), str(tmp_path / "b.png"), "--device", "cpu"]
        asked += ["--checkpoint", str(place), "--out", str(place) + "-answer"]
        assert predict.main(asked) == 0
        assert json.loads(Path(f"{place}-answer", "prediction.json").read_text())["question"]
    capsys.readouterr()
