"""Every documented start from published weights: train, stop, resume, merge and predict."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from calico.checkpoints.save_load import load_checkpoint
from calico.cli import merge, predict, train
from calico.config.yaml_io import dump_config, override, read_config
from calico.dataset.pairs import BuiltDataset
from tests.conftest import command
from tests.factories.published_folders import PublishedFolders
from tests.factories.sentencepieces import PIECES

_INHERITED = {"trained": {"seg_projection": False}, "language": {"new_token_rows": "inherited"}}


@dataclass(frozen=True)
class Start:
    """A combination of docs/weights.md.

    Attributes:
        init: names of `PublishedFolders`, as --init has them.
        values: what config.yaml must hold, by dotted name.
        begin: id of the begin token, None without one.
        pad: id of the padding token.
        said: what the report of the start contains.
        changes: of the configuration.
        qwen: whether the language model is Qwen2's.
    """

    init: str
    values: dict[str, Any]
    begin: int | None
    pad: int
    said: tuple[str, ...] = ()
    changes: dict[str, Any] = field(default_factory=dict)
    qwen: bool = False


STARTS = {
    "GLaMM": Start(
        "instructblip-vicuna-7b dinov2-base GLaMM",
        {"language.norm_eps": 1e-5, "language.rope_theta": 10000.0, "semantic.registers": 0},
        begin=1,
        pad=0,
        said=("a later --init holds it as well", "language.norm_eps 1e-05 (GLaMM)"),
        changes=_INHERITED,
    ),
    "Vicuna v1.5 and SAM's file": Start(
        "instructblip-vicuna-7b dinov2-with-registers-base vicuna-7b-v1.5 sam_vit_h_4b8939.pth",
        {"language.norm_eps": 1e-5, "semantic.registers": 4},
        begin=1,
        pad=0,
        said=("all 160 keys and shapes", "language.norm_eps 1e-05 (vicuna-7b-v1.5)"),
    ),
    "InstructBLIP's Vicuna": Start(
        "instructblip-vicuna-7b dinov2-with-registers-base sam_vit_h_4b8939.pth",
        {"language.norm_eps": 1e-6},
        begin=2,  # every mark is </s> there
        pad=PIECES,
        said=("language.norm_eps 1e-06 (instructblip-vicuna-7b)",),
    ),
    "files of LAVIS, DINOv2 and a compiled SAM": Start(
        "eva_vit_g.pth instruct_blip_vicuna7b_trimmed.pth vicuna-7b-v1.1"
        " dinov2_vitb14_reg4_pretrain.pth sam_compiled.pth",
        {"language.norm_eps": 1e-6, "semantic.registers": 4},
        begin=1,
        pad=0,
        said=(
            "the container 'model'",
            "the container 'state_dict', without epoch, lr beside it",
            "'_orig_mod.' in 160 names",
            "'module.' in 160 names",
        ),
    ),
    "LISA and a training checkpoint of DINOv2": Start(
        "instructblip-vicuna-7b dinov2_training.pth LISA",
        {"language.norm_eps": 1e-6, "semantic.registers": 4},
        begin=1,
        pad=PIECES,
        said=("the container 'teacher', without student, iteration", "heads of DINOv2's own"),
        changes={"trained": {"seg_projection": False}},
    ),
    "CALICO": Start("CALICO", {"language.norm_eps": 1e-5}, begin=1, pad=0, changes=_INHERITED),
    "BLIP-2, Qwen and SAM": Start(
        "blip2-opt-2.7b Qwen2.5-1.5B-Instruct dinov2-with-registers-base sam-vit-base",
        {
            "language.norm_eps": 1e-6,
            "language.rope_theta": 1e6,
            "language.tie_embeddings": True,
            "semantic.registers": 4,
        },
        begin=None,
        pad=400,
        said=("its language model is OPT or T5", "weights start anew: bridge.projection"),
        qwen=True,
    ),
    "Qwen and InstructBLIP's EVA-CLIP, in another order": Start(
        "sam_vit_h_4b8939.pth Qwen2.5-1.5B-Instruct dinov2-base blip2-opt-2.7b",
        {"language.rope_theta": 1e6, "semantic.registers": 0},
        begin=None,
        pad=400,
        qwen=True,
    ),
}


@dataclass(frozen=True)
class Place:
    """Folders and files that all starts share; each start writes to its own folder."""

    root: Path
    build: Path
    published: PublishedFolders
    images: tuple[Path, Path]

    def settings(self, name: str, start: Start) -> Path:
        config = self.published.qwen_config if start.qwen else self.published.config
        path = self.root / f"{name}.yaml"
        path.write_text(dump_config(override(config, start.changes, "test")))
        return path

    def train(self, name: str, start: Start) -> list[str]:
        init = map(str, self.published.paths(start.init))
        words = ["--dataset", str(self.build), "--config", str(self.settings(name, start))]
        words += ["--init", *init, "--output-dir", str(self.root / name)]
        return [*words, "--device", "cpu", "--processes", "1", "--threads", "1"]

    def predict(self, checkpoint: Path, out: Path) -> list[str]:
        words = [*map(str, self.images), "--task", "common_parts", "--device", "cpu"]
        return [*words, "--checkpoint", str(checkpoint), "--out", str(out)]


@pytest.fixture(scope="module")
def place(dataset: BuiltDataset, tmp_path_factory: pytest.TempPathFactory) -> Place:
    root = tmp_path_factory.mktemp("starts")
    (root / "published").mkdir()
    noise = np.random.default_rng(0)
    images = (root / "a.png", root / "b.png")
    for path in images:
        Image.fromarray(noise.integers(0, 255, (40, 48, 3), dtype=np.uint8)).save(path)
    return Place(root, dataset.path, PublishedFolders(root / "published"), images)


def answer(folder: Path) -> Any:
    """Return what was predicted, without paths."""
    found = json.loads((folder / "prediction.json").read_text())
    return {name: found[name] for name in ("question", "answer")}


@pytest.mark.parametrize("name", STARTS)
def test_a_documented_start_goes_on_to_an_answer(
    name: str, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    start = STARTS[name]
    run = place.root / name
    words = place.train(name, start)
    assert train.main([*words, "--max-steps", "2"]) == 0
    said = capsys.readouterr().err
    assert all(text in said for text in start.said), said
    saved = read_config(run / "config.yaml")
    for dotted, value in start.values.items():
        section, key = dotted.split(".")
        assert getattr(getattr(saved, section), key) == value, dotted
    # The second command has neither the values of the weights nor the size of the vocabulary.
    assert train.main([*words, "--max-steps", "4", "--resume", "auto"]) == 0
    assert (run / "checkpoint-000004").is_dir()
    model, config, tokenizer = load_checkpoint(run)
    assert config.language == saved.language
    assert (tokenizer.bos_token_id, tokenizer.pad_token_id) == (start.begin, start.pad)
    assert model.language.config.rms_norm_eps == config.language.norm_eps
    merged = place.root / f"{name}-merged"
    assert merge.main([str(run), "--out", str(merged)]) == 0
    alone, _, _ = load_checkpoint(merged)
    tokens = torch.arange(len(tokenizer))[None]
    with torch.no_grad():
        before, after = (one.language(tokens).logits for one in (model, alone))
    torch.testing.assert_close(before, after, atol=1e-5, rtol=1e-4)
    for folder in (run, merged):
        out = place.root / f"{folder.name}-answer"
        assert predict.main(place.predict(folder, out)) == 0
    assert answer(place.root / f"{name}-answer") == answer(place.root / f"{name}-merged-answer")


def test_the_installed_commands_start_from_published_weights(place: Place) -> None:
    start = STARTS["GLaMM"]
    words = place.train("installed", start)
    merged = place.root / "installed-merged"
    for line in (
        [command("calico-train"), *words, "--max-steps", "2"],
        [command("calico-train"), *words, "--max-steps", "3", "--resume", "auto"],
        [command("calico-merge"), place.root / "installed", "--out", merged],
        [command("calico-predict"), *place.predict(merged, place.root / "installed-answer")],
    ):
        done = subprocess.run([str(word) for word in line], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert answer(place.root / "installed-answer")["answer"] is not None


def test_the_dry_run_checks_the_weights_and_writes_nothing(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    start = STARTS["Vicuna v1.5 and SAM's file"]
    words = [*place.train("planned", start), "--dry-run"]
    assert train.main(words) == 0
    said = capsys.readouterr().out
    assert all(f"{text}" in said for text in start.said)
    assert all(line.startswith("#") for line in said.splitlines() if "norm_eps 1e-05" in line)
    assert not (place.root / "planned").exists()
    sam = words.index(str(place.published.path("sam_vit_h_4b8939.pth")))
    assert train.main([*words[:sam], *words[sam + 1 :]]) == 3
    assert "missing: encoders.sam." in capsys.readouterr().err


def test_trained_rows_of_a_tied_model_are_the_same_rows_at_both_ends(place: Place) -> None:
    name = "BLIP-2, Qwen and SAM"
    run = place.root / "tied"
    assert train.main([*place.train("tied", STARTS[name]), "--max-steps", "1", "--quiet"]) == 0
    saved = load_file(run / "checkpoint-000001" / "model.safetensors")
    rows = [key for key in saved if "trainable_tokens" in key]
    assert rows == ["language.model.embed_tokens.token_adapter.trainable_tokens_delta.default"]
    model, _, _ = load_checkpoint(run)
    ends = (model.language.get_input_embeddings(), model.language.get_output_embeddings())
    seg = model.ids.segments.seg
    with torch.no_grad():
        delta = dict(model.named_parameters())[rows[0]]
        delta += 1.0
        states = torch.eye(model.language.config.hidden_size)
        torch.testing.assert_close(ends[0](torch.tensor([seg]))[0], ends[1](states)[:, seg])


class TestRefusals:
    def refused(self, place: Place, tmp_path: Path, init: list[str | Path], **changes: Any) -> int:
        paths = [one if isinstance(one, Path) else place.published.path(one) for one in init]
        config = override(place.published.config, changes, "test")
        (tmp_path / "start.yaml").write_text(dump_config(config))
        words = ["--dataset", str(place.build), "--config", str(tmp_path / "start.yaml")]
        words += ["--init", *map(str, paths), "--output-dir", str(tmp_path / "run")]
        code = train.main([*words, "--device", "cpu", "--processes", "1", "--threads", "1"])
        assert not (tmp_path / "run" / "config.yaml").exists()
        return code

    def test_a_value_that_the_configuration_insists_on(
        self, place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        sources: list[str | Path] = ["instructblip-vicuna-7b", "dinov2-base", "GLaMM"]
        for value, code in ((1e-6, 2), (1e-5, 0)):
            language = {**_INHERITED["language"], "norm_eps": value}
            trained = {"seg_projection": False}
            if code == 0:
                changes = {"language": language, "trained": trained}
                start = Start(STARTS["GLaMM"].init, {}, 1, 0, changes=changes)
                assert train.main([*place.train("insisted", start), "--max-steps", "1"]) == 0
                continue
            found = self.refused(place, tmp_path, sources, language=language, trained=trained)
            said = capsys.readouterr().err
            assert found == code
            assert "GLaMM are of another architecture" in said
            assert "language.norm_eps: 1e-05 there, 1e-06 here" in said
            assert "instructblip" not in said

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"num_attention_heads": 4}, "language.heads: 4 there, 2 here"),
            (
                {"rope_scaling": {"type": "linear", "factor": 4.0}},
                "language.rope_scaling: 'linear'",
            ),
            ({"model_type": "gemma"}, "language.family: 'gemma' there, 'llama' here"),
            ({"hidden_act": "gelu"}, "language.activation: 'gelu' there, 'silu' here"),
        ],
    )
    def test_a_value_that_cannot_be_taken(
        self,
        place: Place,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        change: dict[str, Any],
        said: str,
    ) -> None:
        vicuna = copied(place.published.path("vicuna-7b-v1.5"), tmp_path / "vicuna")
        config = json.loads((vicuna / "config.json").read_text()) | change
        (vicuna / "config.json").write_text(json.dumps(config))
        sources: list[str | Path] = ["instructblip-vicuna-7b", "dinov2-base", vicuna]
        code = self.refused(place, tmp_path, [*sources, "sam_vit_h_4b8939.pth"])
        assert code == 2
        assert said in capsys.readouterr().err

    def test_a_renamed_key_and_a_missing_shard(
        self, place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        sam = torch.load(place.published.path("sam_vit_h_4b8939.pth"))
        sam["image_encoder.blocks.0.norm1.wieght"] = sam.pop("image_encoder.blocks.0.norm1.weight")
        torch.save(sam, tmp_path / "sam.pth")
        first: list[str | Path] = ["instructblip-vicuna-7b", "dinov2-base"]
        code = self.refused(place, tmp_path, [*first, tmp_path / "sam.pth"])
        said = capsys.readouterr().err
        assert code == 3
        assert "missing: image_encoder.blocks.0.norm1.weight" in said
        assert "unexpected: image_encoder.blocks.0.norm1.wieght" in said
        glamm = copied(place.published.path("GLaMM"), tmp_path / "glamm")
        (glamm / "pytorch_model-00002-of-00002.bin").unlink()
        code = self.refused(place, tmp_path, [*first, glamm])
        assert code == 3
        assert "lacks pytorch_model-00002-of-00002.bin" in capsys.readouterr().err

    @pytest.mark.parametrize("absent", ["sentencepiece", "protobuf"])
    def test_without_the_reader_of_its_tokenizer_the_extra_is_named(
        self,
        place: Place,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        absent: str,
    ) -> None:
        module = "google.protobuf" if absent == "protobuf" else absent
        monkeypatch.setitem(sys.modules, module, None)
        sources: list[str | Path] = ["instructblip-vicuna-7b", "dinov2-base", "vicuna-7b-v1.5"]
        code = self.refused(place, tmp_path, [*sources, "sam_vit_h_4b8939.pth"])
        said = capsys.readouterr().err
        assert code == 3
        assert f"needs the package {absent}" in said
        assert "[train]" in said
        assert "tiktoken" not in said


def copied(folder: Path, target: Path) -> Path:
    """Return a folder with links to the files of another one."""
    target.mkdir()
    for path in folder.iterdir():
        if path.suffix == ".json":
            (target / path.name).write_bytes(path.read_bytes())
        else:
            (target / path.name).symlink_to(path)
    return target
