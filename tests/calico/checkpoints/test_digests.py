"""Damage of a checkpoint's files is found when it is loaded, and the files are named."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

import calico
from calico.checkpoints.digests import check_digests
from calico.checkpoints.merge import merge_checkpoint
from calico.checkpoints.save_load import load_checkpoint
from mixedparts.errors import InputError
from tests.conftest import command

READ_LATER = ("frozen.safetensors", "training.safetensors")


@pytest.fixture
def place(finished: Path, tmp_path: Path) -> Path:
    """A copy of a checkpoint that a test may damage."""
    return Path(shutil.copytree(finished, tmp_path / "checkpoint"))


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position % len(data)] ^= 1
    path.write_bytes(data)


def test_every_file_has_a_digest(place: Path) -> None:
    recorded = json.loads((place / "digests.json").read_text())["files"]
    files = {p.relative_to(place).as_posix() for p in place.rglob("*") if p.is_file()}
    assert set(recorded) == files - {"digests.json"}
    assert {"model.safetensors", "frozen.safetensors", "config.yaml", "checkpoint.json"} <= files
    check_digests(place)


def test_any_flipped_byte_of_any_file_is_found(place: Path) -> None:
    draw = random.Random(0)
    for path in sorted(p for p in place.rglob("*") if p.is_file()):
        whole = path.read_bytes()
        for _ in range(6):
            flip(path, draw.randrange(len(whole)))
            with pytest.raises(InputError, match=path.name):
                check_digests(place)
            path.write_bytes(whole)
    check_digests(place)


def test_a_cut_a_lost_and_a_swapped_file_are_named_together(place: Path) -> None:
    data = (place / "model.safetensors").read_bytes()
    (place / "model.safetensors").write_bytes(data[:-8])
    (place / "tokenizer.json").unlink()
    (place / "config.yaml").write_bytes((place / "checkpoint.json").read_bytes())
    with pytest.raises(InputError) as raised:
        load_checkpoint(place)
    text = str(raised.value)
    assert f"model.safetensors has {len(data) - 8:,} bytes, {len(data):,} were written" in text
    assert "tokenizer.json is missing" in text
    assert "config.yaml" in text
    assert "digests.json" in text.splitlines()[-1]


def test_weights_of_another_checkpoint_are_found(place: Path) -> None:
    """The same names, shapes and size: only the digest shows that they belong elsewhere."""
    file = place / "model.safetensors"
    weights = {name: value + 1 for name, value in load_file(file).items()}
    size = file.stat().st_size
    save_file(weights, file, metadata={"format": "pt"})
    assert file.stat().st_size == size
    with pytest.raises(InputError, match=r"model\.safetensors was changed"):
        load_checkpoint(place)


def test_frozen_weights_are_compared_by_size_and_on_request_by_content(
    place: Path, tmp_path: Path
) -> None:
    flip(place / "frozen.safetensors", -3)
    load_checkpoint(place)
    calico.load(place)
    for read in (
        lambda: load_checkpoint(place, verify=True),
        lambda: calico.load(place, verify=True),
        lambda: merge_checkpoint(place, tmp_path / "merged", verify=True),
    ):
        with pytest.raises(InputError, match=r"frozen\.safetensors was changed"):
            read()
    with (place / "frozen.safetensors").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(InputError, match=r"frozen\.safetensors has"):
        load_checkpoint(place)


def test_a_checkpoint_of_an_earlier_version_loads(place: Path) -> None:
    (place / "digests.json").unlink()
    flip(place / "tokenizer_config.json", 0)
    check_digests(place)


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"files": {}, "sha256": ""}', "[" * 5000], ids=range(5)
)
def test_broken_digests_are_damage_too(place: Path, text: str) -> None:
    (place / "digests.json").write_text(text)
    with pytest.raises(InputError, match=r"digests\.json"):
        load_checkpoint(place)


def test_a_line_end_that_became_a_space_is_damage_too(place: Path) -> None:
    text = (place / "digests.json").read_bytes()
    for changed in (text[:-1] + b" ", text.replace(b"\n", b" ", 1), text + b"\n"):
        (place / "digests.json").write_bytes(changed)
        with pytest.raises(InputError, match=r"digests\.json was changed"):
            load_checkpoint(place)
    (place / "digests.json").write_bytes(text)
    load_checkpoint(place)


def test_the_commands_name_the_file(place: Path, tmp_path: Path) -> None:
    flip(place / "frozen.safetensors", -3)
    words = ["calico-merge", str(place), "--out", str(tmp_path / "m"), "--verify"]
    run = subprocess.run(
        [command(words[0]), *words[1:]], capture_output=True, text=True, check=False
    )
    assert run.returncode == 3
    assert "frozen.safetensors was changed after it was written" in run.stderr
    assert "Traceback" not in run.stderr
    assert not (tmp_path / "m").exists()
