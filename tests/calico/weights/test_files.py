"""The files of a published model in a folder: an index, a single file, and what is ambiguous."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from calico.weights.files import WeightFiles
from mixedparts.errors import InputError


def write_index(folder: Path, name: str, shard: str, value: float) -> None:
    save_file({"weight": torch.full((2,), value)}, folder / shard)
    (folder / name).write_text(json.dumps({"weight_map": {"weight": shard}}))


def test_the_usual_index_takes_precedence(tmp_path: Path) -> None:
    write_index(tmp_path, "a.safetensors.index.json", "a-1.safetensors", 1.0)
    write_index(tmp_path, "model.safetensors.index.json", "model-1.safetensors", 2.0)
    assert WeightFiles(tmp_path)["weight"].tolist() == [2.0, 2.0]


def test_two_other_indices_are_an_error_that_names_both(tmp_path: Path) -> None:
    for name, value in (("a", 1.0), ("b", 2.0)):
        write_index(tmp_path, f"{name}.safetensors.index.json", f"{name}-1.safetensors", value)
    with pytest.raises(InputError) as caught:
        WeightFiles(tmp_path)
    assert "a.safetensors.index.json and b.safetensors.index.json" in caught.value.message
    (tmp_path / "b.safetensors.index.json").unlink()
    assert WeightFiles(tmp_path)["weight"].tolist() == [1.0, 1.0]


def test_two_files_without_an_index_are_an_error_that_names_both(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_file({"weight": torch.zeros(2)}, tmp_path / f"{name}.safetensors")
    with pytest.raises(InputError, match=r"2 weight files \(a\.safetensors, b\.safetensors\)"):
        WeightFiles(tmp_path)


def test_a_folder_without_weights_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("nothing here")
    with pytest.raises(InputError, match=r"contains no weights \(\.safetensors, \.pth, \.pt"):
        WeightFiles(tmp_path)
