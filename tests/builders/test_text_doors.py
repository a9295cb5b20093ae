"""Text files of builders and importers: one text in many forms, one message for what is none."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from builders.bases.ade20k_records import read_annotation
from builders.bases.coco_description import read_description
from builders.bases.coco_index import open_index
from builders.bases.file_source import UnusableImage
from builders.bundle_records import RecordFile
from builders.formats.json_file import JsonFile
from builders.pascal_part import PascalPartSource
from mixedparts.errors import InputError
from mixedparts.interchange.bundle_import.bundle import open_bundle
from mixedparts.pipeline.config import read_config
from mixedparts.records import Level, Reason
from mixedparts.sources.contract import get_source
from tests.builders.conformance import images_of, read_split, rejects_of
from tests.factories.ade20k import write_ade20k
from tests.factories.ade20k_full import write_ade20k_full
from tests.factories.bundle import part_image_net_records, write_bundle
from tests.factories.coco_parts import yaml_text
from tests.factories.foreign_files import ACCEPTED, NAMED
from tests.factories.pascal_part import write_pascal_part

COCO = {
    "images": [{"id": 1, "file_name": "é.jpg"}],
    "annotations": [],
    "categories": [{"id": 1, "name": "猫"}],
}
ADE = {"annotation": {"filename": "é.jpg", "imsize": [3, 4, 3], "object": []}}
BUILD = "sources: [paco]\n# größer\nseed: 7\n"
LIST = "2008_000001\n2008_000002 -1\n\n"
PASCAL_LIST = "VOCdevkit/VOC2010/ImageSets/Main/train.txt"


def pretty(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


@dataclass(frozen=True)
class Door:
    """A file that a user gives.

    Attributes:
        file: where it is, relative to a root.
        text: what it holds.
        read: reads it below a root, and returns what depends on the text.
        expected: what `read` returns for this text.
    """

    file: str
    text: str
    read: Callable[[Path], Any]
    expected: Any


def _coco(root: Path) -> Any:
    index = open_index(root / "a.json", lambda _, name: name)
    return len(index.images), [item.name for item in index.categories.values()]


def _marked(root: Path) -> Any:
    bundle, sources = root / "Part_Segm", root / "sources"
    if not sources.exists():
        mark = (bundle / "export.json").read_bytes()
        write_bundle(root)
        (bundle / "export.json").write_bytes(mark)
    opened = open_bundle(bundle, sources, ("test",))
    return opened.whole, opened.profile


MARK = {"identity": {"annotations": "own"}, "profile": "minimal"}
DOORS = {
    "COCO": Door("a.json", pretty(COCO), _coco, (1, ["猫"])),
    "list of JSON": Door(
        "a.json", pretty([1, "é"]), lambda root: len(JsonFile(root / "a.json").items()), 2
    ),
    "bundle records": Door(
        "a.json",
        pretty(part_image_net_records()),
        lambda root: len(list(RecordFile(root / "a.json"))),
        len(part_image_net_records()),
    ),
    "export.json": Door("Part_Segm/export.json", pretty(MARK), _marked, (True, "minimal")),
    "coco_parts.yaml": Door(
        "coco_parts/coco_parts.yaml",
        yaml_text("union") + "# größer\n",
        lambda root: read_description(root, lambda _: []).manifest.title,
        "Table parts",
    ),
    "image list": Door(
        PASCAL_LIST,
        LIST,
        lambda root: PascalPartSource().listing(root, "train"),
        [f"PascalPart/Annotations_Part/2008_00000{n}.mat" for n in (1, 2)],
    ),
    "ADE JSON": Door(
        "a.json", pretty(ADE), lambda root: read_annotation(root / "a.json").file_name, "é.jpg"
    ),
    "build --config": Door(
        "a.yaml",
        BUILD,
        lambda root: read_config(root / "a.yaml"),
        {"sources": ("paco",), "seed": 7},
    ),
}


def put(root: Path, door: Door, content: bytes) -> Path:
    path = root / door.file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("form", ACCEPTED)
@pytest.mark.parametrize("name", DOORS)
def test_every_form_of_a_text_is_read(tmp_path: Path, name: str, form: str) -> None:
    door = DOORS[name]
    put(tmp_path, door, ACCEPTED[form](door.text))
    assert door.read(tmp_path) == door.expected


@pytest.mark.parametrize("form", NAMED)
@pytest.mark.parametrize("name", DOORS)
def test_every_other_form_is_named(tmp_path: Path, name: str, form: str) -> None:
    door, (write, says, command) = DOORS[name], NAMED[form]
    path = put(tmp_path, door, write(door.text))
    with pytest.raises((InputError, UnusableImage)) as caught:
        door.read(tmp_path)
    message = str(caught.value)
    assert path.name in message
    assert says in message
    assert command in message


@pytest.mark.parametrize("name", DOORS)
def test_what_is_no_file_is_named(tmp_path: Path, name: str) -> None:
    path = put(tmp_path, DOORS[name], b"")
    expected = [("is empty", None), ("is a pipe, not a file", os.mkfifo), ("is a folder", os.mkdir)]
    for says, make in expected:
        if make is not None:
            path.unlink()
            make(path)
        with pytest.raises((InputError, UnusableImage), match=f"{path.name}.* {says}"):
            DOORS[name].read(tmp_path)


@pytest.mark.parametrize("name", ["export.json", "coco_parts.yaml", "image list", "build --config"])
def test_bytes_that_are_not_utf_8_have_their_line(tmp_path: Path, name: str) -> None:
    door = DOORS[name]
    put(tmp_path, door, door.text.encode() + "# Höhe\n".encode("latin-1"))
    line = door.text.count("\n") + 1
    with pytest.raises(InputError, match=rf"not text in UTF-8: byte \d+ \(line {line}\) is 0xF6"):
        door.read(tmp_path)


def test_json_of_an_image_that_is_packed_is_its_reject(tmp_path: Path) -> None:
    written = [item for item in write_ade20k_full(tmp_path) if item.split == "train"]
    file = (tmp_path / written[0].path).with_suffix(".json")
    file.write_bytes(gzip.compress(file.read_bytes()))
    outcomes = read_split(get_source("ade20k_full"), tmp_path, "train")
    assert len(images_of(outcomes)) == len(written) - 1
    name = file.name
    command = f"mv {name} {name}.gz && gunzip {name}.gz"
    (reject,) = [reject for reject in rejects_of(outcomes) if reject.level is Level.IMAGE]
    assert reject.reason is Reason.MALFORMED_RECORD
    assert reject.detail == f"{name} is gzip-compressed: unpack it with `{command}`"


def test_a_matlab_file_that_is_a_pointer_is_its_reject(tmp_path: Path) -> None:
    pytest.importorskip("scipy")
    written = write_pascal_part(tmp_path, {"train": 3})
    name = f"{written[1].image_id}.mat"
    file = tmp_path / "PascalPart/Annotations_Part" / name
    file.write_bytes(NAMED["pointer"][0](""))
    outcomes = read_split(get_source("pascal_part"), tmp_path, "train")
    assert len(images_of(outcomes)) == 2
    assert [r.detail for r in rejects_of(outcomes) if r.level is Level.IMAGE] == [
        f"{name} is a pointer of Git LFS, not the file itself: fetch it with `git lfs pull`"
    ]


Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.mark.parametrize("form", ["gzip", "UTF-16LE", "web page", "pointer"])
def test_a_build_names_it_and_ends_with_3(
    native_root: Path, tmp_path: Path, run_mixedparts: Run, form: str
) -> None:
    root = shutil.copytree(native_root / "paco", tmp_path / "in" / "paco").parent
    shutil.copytree(native_root / "coco", root / "coco")
    file = root / "paco/annotations/paco_lvis_v1_val.json"
    write, says, command = NAMED[form]
    file.write_bytes(write(file.read_text()))
    done = run_mixedparts("build", "--sources", "paco", "--root", root, "--out", tmp_path / "o")
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert f"{file} (" in done.stderr
    assert says in done.stderr
    assert command in done.stderr


def test_a_configuration_of_windows_builds_the_same(
    native_root: Path, tmp_path: Path, run_mixedparts: Run
) -> None:
    text = "sources: [paco]\nsamples: 12\n"
    ids = []
    for form in ("LF", "mark and CRLF"):
        config = tmp_path / "build.yaml"
        config.write_bytes(ACCEPTED[form](text))
        out = tmp_path / form.replace(" ", "-")
        done = run_mixedparts("build", "--config", config, "--root", native_root, "--out", out)
        assert done.returncode == 0, done.stderr
        ids.append(json.loads((out / "manifest.json").read_text())["build_id"])
    assert ids[0] == ids[1]
    config.write_bytes(NAMED["UTF-16"][0](text))
    done = run_mixedparts(
        "build", "--config", config, "--root", native_root, "--out", tmp_path / "x"
    )
    assert done.returncode == 3
    assert (
        f"error: the configuration {config} is UTF-16 text: convert it with `iconv" in done.stderr
    )


@pytest.fixture
def alarm() -> Iterator[None]:
    """Turn waiting for the writer of a pipe into an error."""

    def waited(*_: object) -> None:
        raise TimeoutError("a pipe was opened")

    before = signal.signal(signal.SIGALRM, waited)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize(
    ("source", "write", "file", "reason"),
    [
        (
            "ade20k",
            lambda root: write_ade20k(root, 2, 0),
            "ADE20KPart234/annotations_detectron2_part/training/ADE_train_00000001.png",
            Reason.MISSING_PART_MAP,
        ),
        (
            "ade20k",
            lambda root: write_ade20k(root, 2, 0),
            "ADE20KPart234/images/training/ADE_train_00000001.jpg",
            Reason.MISSING_IMAGE,
        ),
        (
            "ade20k_full",
            lambda root: write_ade20k_full(root, 2, 0),
            "ADE20K_2021_17_01/images/ADE/training/shopping/mall/ADE_train_00000001.json",
            Reason.MALFORMED_RECORD,
        ),
        (
            "pascal_part",
            lambda root: write_pascal_part(root, {"train": 2}),
            "VOCdevkit/VOC2010/JPEGImages/2008_000001.jpg",
            Reason.MISSING_IMAGE,
        ),
        (
            "pascal_part",
            lambda root: write_pascal_part(root, {"train": 2}),
            "PascalPart/Annotations_Part/2008_000001.mat",
            Reason.MISSING_ANNOTATION,
        ),
    ],
)
@pytest.mark.usefixtures("alarm")
def test_a_pipe_in_the_place_of_one_file_is_a_reject_of_its_image(
    tmp_path: Path, source: str, write: Callable[[Path], Any], file: str, reason: Reason
) -> None:
    if source == "pascal_part":
        pytest.importorskip("scipy")
    write(tmp_path)
    (tmp_path / file).unlink()
    os.mkfifo(tmp_path / file)
    outcomes = read_split(get_source(source), tmp_path, "train")
    found = [reject.reason for reject in rejects_of(outcomes) if reject.level is Level.IMAGE]
    assert found == [reason]
    # The image with the map still has its objects; every other fault costs the image alone.
    assert len(images_of(outcomes)) == (2 if reason is Reason.MISSING_PART_MAP else 1)
