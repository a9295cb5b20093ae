"""Python and YAML of README and docs run as they stand there, on tiny data."""

from __future__ import annotations

import json
import re
import shlex
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

import mixedparts
from tests.checkout import DOCS, ROOT
from tests.factories.object_store import ObjectStore
from tests.factories.scenes import write_picture
from tests.house.test_document_commands import COMMANDS

BLOCK = re.compile(r"^```(python|yaml)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def code(page: Path, language: str, holds: str = "") -> list[str]:
    """The blocks of a page in a language that contain a text."""
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    blocks = [text for name, text in found if name == language and holds in text]
    assert blocks, f"{page.name} has no {language} with {holds!r}"
    return blocks


def execute(blocks: list[str]) -> dict[str, Any]:
    """Run blocks one after the other, as cells of a notebook; return the names that they leave."""
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "<page>", "exec"), names)
    return names


@pytest.fixture
def beside_a_build(synthetic_build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder where `data/mixedparts` is a build."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/mixedparts").symlink_to(synthetic_build)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", [ROOT / "README.md", DOCS / "loading.md"], ids=lambda p: p.name)
def test_the_code_that_loads(page: Path, beside_a_build: Path) -> None:
    names = execute(code(page, "python"))
    row = names["row"]
    assert row["images"][0]["pixels"].size == (
        row["images"][0]["width"],
        row["images"][0]["height"],
    )
    if "mask" in names:
        decoded = names["mask"].decode(row["objects"][0]["mask"])
        assert decoded.shape == (row["images"][0]["height"], row["images"][0]["width"])
        assert decoded.sum() == row["objects"][0]["area"]


def test_the_code_that_shows(beside_a_build: Path) -> None:
    names = execute(code(DOCS / "viewing.md", "python"))
    assert len(names["rows"]) >= 5
    assert (beside_a_build / "view.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert (beside_a_build / "row.png").stat().st_size > 1_000


def test_the_code_for_supervision(beside_a_build: Path) -> None:
    pytest.importorskip("supervision")
    names = execute(code(DOCS / "interchange.md", "python", "to_supervision"))
    row = names["rows"][0]
    assert names["first"].mask.shape[1:] == (row["images"][0]["height"], row["images"][0]["width"])
    assert len(names["parts"]) == sum(part["image"] == 0 for part in row["parts"])


def test_the_code_that_reads_masks(beside_a_build: Path) -> None:
    names = execute(code(DOCS / "read-masks.md", "python"))
    item, array = names["item"], names["array"]
    assert array.shape == tuple(item["mask"]["size"])
    assert array.sum() == item["area"]
    with Image.open(beside_a_build / "region.png") as region:
        assert region.mode == "RGBA"
        assert region.size == tuple(map(int, item["bbox"][2:]))
    assert len(names["regions"]) == len(names["row"]["seg"])
    assert names["frame"].area.min() > 0


def test_the_guide_to_evaluation_from_its_first_block_to_its_last(
    beside_a_build: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (DOCS / "evaluate-predictions.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    for language, block in re.findall(r"^```(\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        if language == "python":
            exec(compile(block, "<page>", "exec"), names)
            continue
        words = shlex.split(block)
        assert import_module(COMMANDS[words[0]]).main(words[1:]) == 0, block
    rows = mixedparts.load_dataset("data/mixedparts", split="benchmark", pixels=False)
    assert len(names["predictions"]) == len(rows) == len(names["samples"])
    assert (beside_a_build / "report/index.html").is_file()
    oracle = json.loads((beside_a_build / "oracle.json").read_text())
    assert oracle["results"][0]["metrics"]["overall"]["miou_strict"]["value"] == 1.0


def test_the_code_that_reads_scores(beside_a_build: Path) -> None:
    from calico.cli import evaluate

    # The page compares with a baseline, whose tables are beside those of the result.
    words = "--dataset data/mixedparts --predictions boxes --json result.json"
    assert evaluate.main(words.split()) == 0
    names = execute(code(DOCS / "evaluation.md", "python"))
    share = names["sums"].sum_iou_strict / names["sums"].sum_units
    assert share.between(0.3, 1).all()
    assert set(share.index) == {"common_object", "common_parts", "unique_parts"}


def test_the_code_for_a_build_in_object_storage(
    object_store: ObjectStore, synthetic_build: Path
) -> None:
    object_store.files().put(str(synthetic_build), "bucket/mixedparts", recursive=True)
    (block,) = code(DOCS / "object-storage.md", "python")
    rows = eval(block, {"mixedparts": mixedparts})
    assert len(rows["train"]) == len(mixedparts.load_dataset(synthetic_build, split="train"))


def test_the_code_for_fiftyone(beside_a_build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Its database needs MongoDB; the module in its place has the same names.
    from tests.factories.fake_fiftyone import fake_fiftyone

    monkeypatch.setitem(sys.modules, "fiftyone", fake_fiftyone())
    names = execute(code(DOCS / "interchange.md", "python", "to_fiftyone"))
    assert names["dataset"].persistent
    assert len(list(names["dataset"].samples)) > 100
    assert any((beside_a_build / "fiftyone-images").rglob("*.*"))


def test_the_code_for_transformers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from calico.checkpoints.save_load import save_checkpoint
    from calico.cli import merge
    from tests.factories.micro_model import micro_model, micro_tokenizer

    monkeypatch.chdir(tmp_path)
    model, config = micro_model(seed=4)
    save_checkpoint(tmp_path / "runs/calico", model, config, micro_tokenizer(), 0)
    assert merge.main(["runs/calico", "--out", "calico-7b"]) == 0
    (block,) = code(DOCS / "weights.md", "python")
    names: dict[str, Any] = {name: Image.new("RGB", (40, 30)) for name in ("first", "second")}
    exec(compile(block, "<page>", "exec"), names)
    assert names["generated"].tokens.shape[0] == 1
    assert isinstance(names["prediction"].answer, str)


def test_the_class_that_checks_a_source_is_a_conformance_test() -> None:
    from tests.builders.conformance import SourceConformance

    names: dict[str, Any] = {"SourceConformance": SourceConformance}
    (block,) = code(DOCS / "add-a-source.md", "python")
    exec(compile(block, "<page>", "exec"), names)
    assert names["TestTeaware"].name == "teaware"
    assert SourceConformance.__abstractmethods__ <= vars(names["TestTeaware"]).keys()


def test_the_code_that_predicts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from calico.checkpoints.save_load import save_checkpoint
    from tests.factories.micro_model import micro_model, micro_tokenizer

    monkeypatch.chdir(tmp_path)
    model, config = micro_model(seed=4)
    save_checkpoint(tmp_path / "runs/tiny", model, config, micro_tokenizer(), 0)
    for seed, name in enumerate(("a.jpg", "b.jpg")):
        write_picture(tmp_path / name, 64, 48, seed)
    names = execute(code(DOCS / "prediction.md", "python", "calico.load"))
    assert isinstance(names["answer"].text, str)
    assert (tmp_path / "overlay.png").stat().st_size > 1_000


def test_every_block_of_python_is_run() -> None:
    # The page about prediction has two; the second one needs gradio: tests/calico/demo.
    tests = Path(__file__).read_text(encoding="utf-8")
    pages = [ROOT / "README.md", *DOCS.glob("*.md")]
    with_python = [page for page in pages if "```python" in page.read_text(encoding="utf-8")]
    assert len(with_python) > 8
    assert [page.name for page in with_python if f'"{page.name}"' not in tests] == []


def test_the_device_map_is_one() -> None:
    from calico.inference.device_map import _given
    from tests.factories.micro_model import micro_model

    (block,) = code(DOCS / "prediction.md", "yaml")
    model, _ = micro_model()
    # The micro model has fewer layers than the model of the page, and this machine no GPU.
    given = yaml.safe_load(block.replace("layers.31", "layers.1").replace("cuda:", "cpu #"))
    assert set(_given(model, given).values()) == {"cpu"}


@pytest.mark.parametrize(
    "page", ["training-data.md", "feeding.md", "fidelity.md", "weights.md", "train-on-one-gpu.md"]
)
def test_configurations_are_valid(page: str) -> None:
    from calico.config.presets import seven_b
    from calico.config.yaml_io import override, plain_config

    for text in code(DOCS / page, "yaml"):
        given = yaml.safe_load(text)
        assert contains(plain_config(override(seven_b(), given, page)), given)


def contains(values: dict[str, Any], given: dict[str, Any]) -> bool:
    """Whether all given values are among the values."""
    return all(
        contains(values[name], value) if isinstance(value, dict) else values[name] == value
        for name, value in given.items()
    )
