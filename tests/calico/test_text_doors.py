"""Text files given to CALICO: one text in many forms, one message for what is none."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from calico.checkpoints.digests import folder_digest
from calico.checkpoints.rotation import Best, newest_checkpoint, read_best, remove_old_checkpoints
from calico.checkpoints.save_load import read_checkpoint_metadata
from calico.cli import predict, train
from calico.config.yaml_io import read_config
from calico.inference.image_sets import ImageSet, read_image_sets
from calico.predictions.files import read_predictions
from calico.processing.feature_cache import FeatureCache
from calico.weights.files import WeightFiles
from calico.weights.published.configs import published_values, read_published_config
from calico.weights.safetensors_io import read_tensors
from mixedparts.errors import InputError
from mixedparts.records import Task
from tests.factories.closed_folders import close_folder
from tests.factories.evaluation import HEIGHT, WIDTH, box
from tests.factories.foreign_files import ACCEPTED, BOM, NAMED
from tests.factories.micro_build import write_build

SIZES = {"s1": ((HEIGHT, WIDTH),) * 2, "ß": ((HEIGHT, WIDTH),) * 2}


def line(name: str) -> str:
    mask = {"size": [HEIGHT, WIDTH], "counts": box(1, 2, 3, 4).counts.decode()}
    value = {"id": name, "answer": "é", "segments": [{"label": "猫", "image": 1, "mask": mask}]}
    return json.dumps(value, ensure_ascii=False) + "\n"


@dataclass(frozen=True)
class Door:
    """A file that a user gives: its name, what it holds, and what reading it returns."""

    file: str
    text: str
    read: Callable[[Path], Any]
    expected: Any


def _predictions(path: Path) -> Any:
    found = read_predictions(path, SIZES).values()
    return [(each.id, each.answer, each.segments[0].label) for each in found]


def _sets(path: Path) -> Any:
    found = read_image_sets(path, Task.COMMON_PARTS)
    assert all(isinstance(each, ImageSet) for each in found)
    return [
        (each.id, [image.name for image in each.images], each.question)
        for each in found
        if isinstance(each, ImageSet)
    ]


def _published_heads(path: Path) -> Any:
    data = read_published_config(path.parent)
    return dict(published_values(data, "language model", "language"))["language.heads"]


def _indexed(path: Path) -> list[str]:
    save_file({"weight": torch.zeros(1)}, path.with_name("one.safetensors"))
    return list(WeightFiles(path.parent))


SETS = [("a", ["é.jpg", "b.jpg"], "Which?"), ("c", ["c.jpg", "d.jpg"], None)]
TABLE = "image1,image2,id,question\né.jpg,b.jpg,a,Which?\n\nc.jpg,d.jpg,c,\n"
ROWS = [
    {"image1": "é.jpg", "image2": "b.jpg", "id": "a", "question": "Which?"},
    {"image1": "c.jpg", "image2": "d.jpg", "id": "c"},
]
DOORS = {
    "predictions": Door(
        "p.jsonl",
        line("s1") + "\n" + line("ß"),
        _predictions,
        [("s1", "é", "猫"), ("ß", "é", "猫")],
    ),
    "CSV table": Door("t.csv", TABLE, _sets, SETS),
    "TSV table": Door("t.tsv", TABLE.replace(",", "\t"), _sets, SETS),
    "table of JSON lines": Door(
        "t.jsonl",
        "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS) + "\n",
        _sets,
        SETS,
    ),
    "--config": Door(
        "c.yaml",
        "# größer\npreset: tiny\ntraining:\n  seed: 77\n",
        lambda path: read_config(path).training.seed,
        77,
    ),
    "config.json of weights": Door(
        "config.json",
        json.dumps({"_name": "é", "num_attention_heads": 64}, indent=1, ensure_ascii=False) + "\n",
        _published_heads,
        64,
    ),
    "index of weights": Door(
        "model.safetensors.index.json",
        json.dumps({"weight_map": {"weight": "one.safetensors"}}, indent=1) + "\n",
        _indexed,
        ["weight"],
    ),
    "checkpoint.json": Door(
        "checkpoint.json",
        '{\n"step": 3, "é": 1}\n',
        lambda path: read_checkpoint_metadata(path.parent)["step"],
        3,
    ),
    "best.json": Door(
        "best.json",
        '{\n"checkpoint": "checkpoint-000001", "metric": "é",\n"value": 1}\n',
        lambda path: read_best(path.parent),
        Best("checkpoint-000001", "é", 1),
    ),
}


@pytest.mark.parametrize("form", ACCEPTED)
@pytest.mark.parametrize("name", DOORS)
def test_every_form_of_a_text_is_read(tmp_path: Path, name: str, form: str) -> None:
    door, path = DOORS[name], tmp_path / DOORS[name].file
    path.write_bytes(ACCEPTED[form](door.text))
    assert door.read(path) == door.expected


@pytest.mark.parametrize("form", NAMED)
@pytest.mark.parametrize("name", DOORS)
def test_every_other_form_is_named(tmp_path: Path, name: str, form: str) -> None:
    door, path = DOORS[name], tmp_path / DOORS[name].file
    write, says, command = NAMED[form]
    path.write_bytes(write(door.text))
    # The one packed form that is read: predictions compress to a tenth.
    if (name, form) == ("predictions", "gzip"):
        assert door.read(path) == door.expected
        return
    with pytest.raises(InputError) as caught:
        door.read(path)
    assert f"{path} {says}" in caught.value.message
    assert command in caught.value.message
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("name", DOORS)
def test_what_is_no_file_is_named(tmp_path: Path, name: str) -> None:
    door, path = DOORS[name], tmp_path / DOORS[name].file
    os.mkfifo(path)
    with pytest.raises(InputError, match=f"{path} cannot be read: it is a pipe, not a file"):
        door.read(path)
    if not name.endswith(("table", "lines")):  # a folder of images is read as such
        path.unlink()
        path.mkdir()
        with pytest.raises(InputError, match=f"{path} cannot be read: it is a folder, not a file"):
            door.read(path)


@pytest.mark.parametrize(
    "packed",
    [
        gzip.compress((BOM + line("s1").replace("\n", "\r\n") + BOM + line("ß")).encode()),
        gzip.compress((line("s1") + line("ß")).replace("\n", "\r").encode()),
    ],
)
def test_predictions_in_gzip_have_any_line_ends(tmp_path: Path, packed: bytes) -> None:
    (tmp_path / "p.jsonl").write_bytes(packed)
    assert _predictions(tmp_path / "p.jsonl") == DOORS["predictions"].expected


def test_what_gzip_holds_is_named(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl.gz"
    path.write_bytes(gzip.compress(line("s1").encode("utf-16")))
    with pytest.raises(InputError, match=r"p\.jsonl\.gz, unpacked, is UTF-16 text: .*p\.jsonl >"):
        _predictions(path)


@pytest.mark.parametrize("form", ["pointer", "gzip", "web page"])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".bin"])
def test_weights_that_are_no_weights_are_named(tmp_path: Path, suffix: str, form: str) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(NAMED[form][0]("weights"))
    with pytest.raises(InputError, match=f"the weights {path} {NAMED[form][1]}"):
        WeightFiles(path)
    if suffix == ".safetensors":
        with pytest.raises(InputError, match=f"the weights {path} {NAMED[form][1]}"):
            read_tensors(path)


class TestCommands:
    def test_calico_predict_reads_a_table_of_windows(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        table = tmp_path / "pairs.csv"
        arguments = [
            "--pairs",
            str(table),
            "--checkpoint",
            str(tmp_path),
            "--out",
            str(tmp_path / "o"),
        ]
        table.write_bytes(ACCEPTED["mark and CRLF"](TABLE))
        assert predict.main(arguments) == 3
        # The table is read first; what is missing is the checkpoint.
        assert f"no checkpoint in {tmp_path}" in capsys.readouterr().err
        table.write_bytes(NAMED["UTF-16"][0](TABLE))
        assert predict.main(arguments) == 3
        said = capsys.readouterr().err
        assert f"error: the table {table} is UTF-16 text: convert it with `iconv" in said

    def test_calico_train_reads_a_configuration_of_windows(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        text = "training:\n  task_weights: {common_object: 1, common_parts: 0, unique_parts: 3}\n"
        config = tmp_path / "my.yaml"
        config.write_bytes(ACCEPTED["mark and CRLF"](text))
        build = write_build(tmp_path / "build", 6)
        arguments = ["--dataset", str(build), "--config", str(config), "--dry-run"]
        assert train.main(arguments) == 0
        assert "#   paco common_object: 25.0 % from 2 samples" in capsys.readouterr().out
        config.write_bytes(NAMED["zip"][0](text))
        assert train.main(arguments) == 3
        assert f"error: the configuration {config} is a zip archive" in capsys.readouterr().err


class TestFolders:
    def test_a_closed_folder_of_images_is_an_error(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("a/1.png", "a/2.png", "b/1.png", "b/2.png"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
        assert [each.id for each in read_image_sets(tmp_path, Task.COMMON_PARTS)] == ["a", "b"]
        close_folder(monkeypatch, tmp_path / "b")
        with pytest.raises(InputError, match=f"the folder {tmp_path / 'b'} cannot be listed"):
            read_image_sets(tmp_path, Task.COMMON_PARTS)

    def test_a_closed_run_does_not_start_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert newest_checkpoint(tmp_path / "none") is None
        for step in (10, 20, 30):
            (tmp_path / f"checkpoint-{step:06d}").mkdir()
        remove_old_checkpoints(tmp_path, 2)
        assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-000030"
        assert not (tmp_path / "checkpoint-000010").exists()
        close_folder(monkeypatch, tmp_path)
        with pytest.raises(InputError, match="cannot be listed: Permission denied"):
            newest_checkpoint(tmp_path)

    def test_a_digest_covers_every_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "tokenizer").mkdir()
        (tmp_path / "tokenizer" / "a.json").write_text("1")
        before = folder_digest(tmp_path)
        (tmp_path / "tokenizer" / "a.json").write_text("2")
        assert folder_digest(tmp_path) != before
        close_folder(monkeypatch, tmp_path / "tokenizer")
        with pytest.raises(InputError, match="tokenizer cannot be listed"):
            folder_digest(tmp_path)

    def test_a_feature_cache_counts_every_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        FeatureCache(tmp_path, 1 << 30).put("ab" + "0" * 62, torch.zeros(4))
        assert (tmp_path / "ab").is_dir()
        close_folder(monkeypatch, tmp_path / "ab")
        with pytest.raises(InputError, match="ab cannot be listed"):
            FeatureCache(tmp_path, 1 << 30)
