"""Masks whose runs an unusual encoder wrote: the same tables as from canonical runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mixedparts.interchange.bundle_import.importing import ImportRequest, import_bundle
from mixedparts.pipeline.build import build
from mixedparts.pipeline.config import BuildConfig
from mixedparts.progress import Silent
from mixedparts.verification.verify import verify
from tests.conftest import SOURCES
from tests.factories.bundle import write_bundle
from tests.oracles.digests import digests

Mask = dict[str, Any]
TABLES = ("pairs", "images", "entities", "preview")


def runs_of(segmentation: Any, height: int, width: int) -> list[int]:
    """The runs of any segmentation, by walking its pixels."""
    merged = (
        coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
        if isinstance(segmentation, list)
        else segmentation
    )
    if isinstance(merged["counts"], list):
        merged = coco_mask.frPyObjects(merged, height, width)
    pixels = coco_mask.decode(merged).ravel(order="F")
    steps = np.flatnonzero(np.diff(pixels)) + 1
    lengths = np.diff(np.concatenate(([0], steps, [pixels.size]))).tolist()
    return [0, *lengths] if pixels[0] else lengths


def canonical(lengths: list[int], height: int, width: int) -> Mask:
    return {"size": [height, width], "counts": lengths}


def cut_every_100(lengths: list[int], height: int, width: int) -> Mask:
    """Runs of at most 100 pixels, as an encoder of small integers writes them."""
    counts: list[int] = []
    for length in lengths:
        while length > 100:
            counts += [100, 0]
            length -= 100
        counts.append(length)
    return {"size": [height, width], "counts": counts}


def cut_as_text(lengths: list[int], height: int, width: int) -> Mask:
    counts = cut_every_100(lengths, height, width)
    text = coco_mask.frPyObjects(counts, height, width)["counts"].decode()
    return {"size": [height, width], "counts": text}


def closed_by_zero(lengths: list[int], height: int, width: int) -> Mask:
    """Two empty runs in front, and one or two at the end."""
    return {"size": [height, width], "counts": [0, 0, *lengths, 0, 0]}


Form = Callable[[list[int], int, int], Mask]
FORMS = [cut_every_100, cut_as_text, closed_by_zero]


def rewrite(root: Path, form: Form) -> None:
    """Write every mask of every annotation file below a folder in one form."""
    for path in sorted(root.rglob("*.json")):
        content = json.loads(path.read_bytes())
        if not isinstance(content, dict) or "annotations" not in content:
            continue
        sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
        for item in content["annotations"]:
            if item.get("segmentation") and item["image_id"] in sizes:
                height, width = sizes[item["image_id"]]
                lengths = runs_of(item["segmentation"], height, width)
                item["segmentation"] = form(lengths, height, width)
        path.write_text(json.dumps(content))


def tables(out: Path) -> dict[str, str]:
    """The digest of every table, without the build's own records."""
    return {name: sha for name, sha in digests(out).items() if name.split("/")[0] in TABLES}


@pytest.fixture(scope="module")
def canonical_tables(native_root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("canonical")
    return built_tables(native_root, folder, canonical)


def built_tables(native_root: Path, folder: Path, form: Form) -> dict[str, str]:
    shutil.copytree(native_root, folder / "root")
    rewrite(folder / "root", form)
    out = folder / "out"
    build(BuildConfig(sources=SOURCES, root=folder / "root", out=out, samples=90), Silent())
    assert verify(out, "deep").listed == []
    return tables(out)


@pytest.mark.parametrize("form", FORMS)
def test_a_build_has_the_same_tables(
    native_root: Path, tmp_path: Path, canonical_tables: dict[str, str], form: Form
) -> None:
    assert built_tables(native_root, tmp_path, form) == canonical_tables
    assert len(canonical_tables) > 8


@pytest.mark.parametrize("form", FORMS)
def test_an_import_has_the_same_tables(tmp_path: Path, form: Form) -> None:
    found = []
    for name, one in (("canonical", canonical), ("odd", form)):
        bundle, sources = write_bundle(tmp_path / name)
        rewrite(tmp_path / name, one)
        out = tmp_path / name / "out"
        import_bundle(ImportRequest(bundle, sources, out), Silent())
        assert verify(out, "deep").listed == []
        found.append(tables(out))
    assert found[0] == found[1]
