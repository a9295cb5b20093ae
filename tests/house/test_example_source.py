"""The package that docs/add-a-source.md shows: installed, found, checked and built like any."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mixedparts import masks
from mixedparts.sources.contract import get_source
from tests.builders.conformance import SourceConformance, images_of, read_split, rejects_of
from tests.checkout import DOCS
from tests.conftest import command
from tests.factories.scenes import write_json
from tests.factories.teaware import write_teaware

EXAMPLE = DOCS / "example_source"
WIDTH, HEIGHT = 80, 60


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the example package offline into a folder of its own."""
    copy = tmp_path_factory.mktemp("example") / "source"
    shutil.copytree(EXAMPLE, copy)
    target = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--target", str(target)]
    done = subprocess.run([*pip, *offline, str(copy)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture(autouse=True)
def _importable(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(installed))


class TestTeawareConformance(SourceConformance):
    name = "teaware"

    def write(self, root: Path) -> dict[str, tuple[int, int]]:
        written = write_teaware(root, {"train": 5, "validation": 3, "test": 3})
        first, second, third = written["train"][:3]
        first["objects"][0]["class"] = "samovar"
        second["objects"][0]["parts"][0]["outline"] = [1, 2]
        third["width"] = 5
        written["train"] += [None, first]  # type: ignore[list-item]
        write_json(root / "teaware/train.json", {"images": written["train"]})
        return {
            split: (len(images), sum(records(image) for image in images))
            for split, images in written.items()
        }


def records(image: dict[str, Any] | None) -> int:
    return sum(1 + len(item["parts"]) for item in image["objects"]) if image else 0


def test_its_masks_are_those_of_the_outlines(tmp_path: Path) -> None:
    written = write_teaware(tmp_path, {"train": 2})["train"]
    outcomes = read_split(get_source("teaware"), tmp_path, "train")
    assert not rejects_of(outcomes)
    for image, native in zip(images_of(outcomes), written, strict=True):
        outlines = [item["outline"] for item in native["objects"]]
        outlines += [part["outline"] for item in native["objects"] for part in item["parts"]]
        found = [*image.objects, *image.parts]
        assert len(found) == len(outlines)
        for item, outline in zip(found, outlines, strict=True):
            rle = coco_mask.merge(coco_mask.frPyObjects([outline], HEIGHT, WIDTH))
            assert np.array_equal(masks.decode(item.mask), coco_mask.decode(rle))


def test_it_builds_through_the_command_and_verifies_without_it(
    tmp_path: Path, installed: Path
) -> None:
    write_teaware(tmp_path / "sources", {"train": 6, "test": 4})

    def run(*arguments: str, found: bool = True) -> subprocess.CompletedProcess[str]:
        paths = [str(installed)] * found + [os.environ.get("PYTHONPATH", "")]
        return subprocess.run(
            [command("mixedparts"), *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in paths if path)},
        )

    shown = run("sources", "show", "teaware").stdout
    assert "Teaware (an example)" in shown
    assert "milk jug: handle, spout" in shown
    built = run("build", "--sources", "teaware", "--out", "data", "--workers", "1", "--quiet")
    assert built.returncode == 0, built.stderr
    manifest = json.loads((tmp_path / "data/manifest.json").read_text())
    assert manifest["sources"]["teaware"]["licence"] == "CC0"
    assert manifest["sources"]["teaware"]["comparable"]["teapot"] == ["milk jug"]
    assert manifest["counts"]["teaware"]["train"]["unique_parts"] > 0
    assert "teaware" not in run("sources", found=False).stdout
    verified = run("verify", "data", "--level", "deep", found=False)
    assert verified.returncode == 0, verified.stdout
