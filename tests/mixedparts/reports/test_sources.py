"""`mixedparts sources`: what is told of a source, of its files under a folder, and of the rules."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mixedparts.errors import InputError
from mixedparts.reports import sources as source_reports
from mixedparts.reports.sources import source_report
from mixedparts.sources.manifests import Manifest, load_manifest

Run = Callable[..., subprocess.CompletedProcess[str]]
TRAIN = "paco/annotations/paco_lvis_v1_train.json"


def test_a_source_is_shown_with_all_that_is_known(run_mixedparts: Run) -> None:
    told = run_mixedparts("sources", "show", "paco")
    assert told.returncode == 0, told.stderr
    for line in (
        "  licence of annotations: annotations MIT; the LVIS annotations they extend CC BY 4.0",
        "    sha256 02ac4edb22c251e07853e6231d69aec3fad0a180f03de2f8c880650322debc80, documented",
        "| train      |  45790 |  217117 | 395071 | documented |",
        "  none; another folder: --root DIR",
        "classes: 75 names for 75 upstream classes, 196 parts",
        "  knife: blade, handle",
        "  seats: made to sit on",
        "  ball: the taxonomy gives it no part",
        "  seat: saddle (a saddle is a bicycle's seat, PartImageNet's word for it)",
    ):
        assert line in told.stdout.splitlines()
    assert max(map(len, told.stdout.splitlines())) <= 130


def test_json_holds_the_same_facts(run_mixedparts: Run) -> None:
    told = json.loads(run_mixedparts("sources", "show", "ade20k", "--json").stdout)
    known = load_manifest("ade20k")
    assert told["classes"].keys() == known.by_name.keys()
    assert told["classes"]["chair"]["parts"] == list(known.part_names("chair"))
    assert "ottoman" in told["classes"]["chair"]["comparable"]
    groups = {group["name"]: group for group in told["groups"]}
    assert groups["seats"]["why"] == "made to sit on"
    assert {*groups["motor vehicles"]["classes"]} == {"bus", "car", "truck", "van"}
    assert "taxi" in groups["motor vehicles"]["elsewhere"]
    assert "person" in told["alone"]
    assert told["here"]["splits"] == {}
    names = [item["name"] for item in json.loads(run_mixedparts("sources", "--json").stdout)]
    assert {"paco", "ade20k", "partimagenet"} <= set(names)


def test_files_under_the_root_are_hashed(
    native_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(native_root / "paco", tmp_path / "paco")
    shutil.copytree(native_root / "coco", tmp_path / "coco")
    digest = hashlib.sha256((tmp_path / TRAIN).read_bytes()).hexdigest()
    known = load_manifest("paco")
    train = replace(known.files[1], name="paco_lvis_v1_train.json", sha256=digest)
    changed = replace(known, files=(*known.files, train))

    def manifest_of(name: str, root: Path | None, profile: str) -> Manifest:
        return changed

    monkeypatch.setattr(source_reports, "manifest_of", manifest_of)
    report = source_report("paco", tmp_path)
    files = {item["path"]: item for items in report.values["here"]["splits"].values()
             for item in items}  # fmt: skip
    assert (files[TRAIN]["sha256"], files[TRAIN]["published"]) == (digest, "equal")
    assert files["paco/annotations/paco_lvis_v1_val.json"]["published"] == "unknown"
    assert files["paco/annotations/paco_lvis_v1_test.json"]["published"] == "different"
    assert "DIFFERS from the published file" in report.text
    assert f"sha256 {digest}, the published file" in report.text
    assert "layout:" not in report.text
    shutil.rmtree(tmp_path / "coco")
    broken = source_report("paco", tmp_path)
    assert "coco" in broken.values["here"]["problem"]
    assert broken.values["here"]["problem"].splitlines()[0] in broken.text


def test_a_profile_is_shown_with_what_is_inferred(run_mixedparts: Run) -> None:
    words = ("sources", "show", "partimagenet", "--profile", "published")
    told = run_mixedparts(*words).stdout
    assert "leaves out partimagenet Boat, Aeroplane, Bottle (inferred)" in told
    assert "11 left out by profile published" in told
    assert "  taxi: body, side mirror, tire" in told.splitlines()
    assert "sailboat" not in told
    values = json.loads(run_mixedparts(*words, "--json").stdout)
    assert values["profile"]["name"] == "published"
    assert len(values["left_out"]) == 11


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("show", "pacco"), 2, "Did you mean 'paco'?"),
        (("show", "partimagnet"), 2, "Did you mean 'partimagenet' or 'partinventory'"),
        (("show", "paco", "--profile", "publishd"), 2, "Did you mean 'published'?"),
        (("show", "pascal_part", "--profile", "published"), 2, "does not cover source"),
        (("show",), 2, "show which source?"),
        (("check", "paco"), 2, "'check' takes no name"),
        (("check",), 0, "manifests: 0 faults"),
    ],
)
def test_usage(run_mixedparts: Run, words: tuple[str, ...], code: int, told: str) -> None:
    done = run_mixedparts("sources", *words)
    assert done.returncode == code
    assert told in done.stdout + done.stderr


def test_a_broken_rule_ends_the_check_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mixedparts.cli import program

    monkeypatch.setattr("mixedparts.sources.checks.manifest_faults", lambda: ["groups.yaml: wrong"])
    assert program.main(["sources", "check"]) == 1
    assert capsys.readouterr().out.splitlines() == ["groups.yaml: wrong", "manifests: 1 faults"]


def test_a_source_described_by_its_files_is_shown_without_them(tmp_path: Path) -> None:
    report = source_report("coco_parts", tmp_path)
    assert "layout:" in report.text
    (tmp_path / "coco_parts").mkdir()
    with pytest.raises(InputError, match=r"coco_parts\.yaml"):
        source_report("coco_parts", tmp_path)
