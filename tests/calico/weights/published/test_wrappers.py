"""Words and mappings that training code wraps around weights come off, and are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from calico.weights.files import WeightFiles
from calico.weights.published.wrappers import plain_names
from mixedparts.errors import InputError

PLAIN = {"a.weight": torch.tensor([1.0, 2.0]), "b.bias": torch.tensor([3.0])}


def saved(path: Path, content: Any) -> WeightFiles:
    torch.save(content, path)
    return WeightFiles(path)


def named(prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + name: value for name, value in PLAIN.items()}


@pytest.mark.parametrize(
    "prefix",
    [
        "module.",
        "_orig_mod.",
        "module._orig_mod.",
        "_orig_mod.module.",
        "module.module.",
        "_fsdp_wrapped_module.module._orig_mod.",
    ],
)
def test_prefixes_come_off_in_any_order(tmp_path: Path, prefix: str) -> None:
    for found in (saved(tmp_path / "w.pth", named(prefix)), as_safetensors(tmp_path, prefix)):
        assert {name: found[name].tolist() for name in found} == {
            name: value.tolist() for name, value in PLAIN.items()
        }
        assert found.shape("a.weight") == (2,)
        for word in {f"{word}." for word in prefix.split(".") if word}:
            assert f"'{word}' in 2 names" in found.notes


def as_safetensors(tmp_path: Path, prefix: str) -> WeightFiles:
    save_file(named(prefix), tmp_path / "w.safetensors")
    return WeightFiles(tmp_path / "w.safetensors")


def test_what_torch_itself_writes_around_modules_comes_off(tmp_path: Path) -> None:
    inner = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    inner[1] = torch.compile(inner[1])  # type: ignore[call-overload]
    wrapped = nn.DataParallel(torch.compile(inner))
    names = list(wrapped.state_dict())
    assert "module._orig_mod.1._orig_mod.weight" in names
    found = saved(tmp_path / "w.pth", wrapped.state_dict())
    assert set(found) == {"0.weight", "0.bias", "1.weight", "1.bias"}


def test_a_module_inside_of_a_name_stays() -> None:
    found, notes = plain_names(["encoder.module.weight", "module_list.0.weight"], "w")
    assert list(found) == ["encoder.module.weight", "module_list.0.weight"]
    assert notes == []


@pytest.mark.parametrize(
    ("wrap", "said"),
    [
        (lambda w: {"model": w}, "the container 'model'"),
        (lambda w: {"state_dict": w, "epoch": 3}, "the container 'state_dict', without epoch"),
        (lambda w: {"model_state_dict": w, "loss": 0.5}, "'model_state_dict', without loss"),
        (lambda w: {"module": {"model": w}}, "the container 'module'"),
        (lambda w: {"teacher": w, "student": {"x": 1}}, "'teacher', without student"),
        (lambda w: {"student": w}, "the container 'student'"),
    ],
)
def test_containers_come_off(tmp_path: Path, wrap: Any, said: str) -> None:
    found = saved(tmp_path / "w.pth", wrap(dict(PLAIN)))
    assert set(found) == set(PLAIN)
    assert any(said in note for note in found.notes), found.notes


def test_the_teacher_is_taken_not_the_student(tmp_path: Path) -> None:
    student = {name: torch.zeros_like(value) for name, value in PLAIN.items()}
    found = saved(tmp_path / "w.pth", {"student": student, "teacher": dict(PLAIN)})
    assert found["b.bias"].tolist() == [3.0]


def test_weights_without_wrappers_have_no_notes(tmp_path: Path) -> None:
    assert saved(tmp_path / "w.pth", dict(PLAIN)).notes == []


def test_two_names_that_become_one_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.weight twice: as a\.weight and as module\.a\.weight"):
        saved(tmp_path / "w.pth", PLAIN | named("module."))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({}, "contains no tensors"),
        ([torch.zeros(1)], "does not contain a mapping"),
        ({"weight": torch.zeros(1), "epoch": 3}, "not tensors: epoch"),
        ({0: torch.zeros(1)}, "not tensors: 0"),
        ({"model": {"epoch": 3}}, "not tensors: epoch"),
    ],
)
def test_what_is_no_mapping_of_tensors_is_named(tmp_path: Path, content: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        saved(tmp_path / "w.pth", content)
