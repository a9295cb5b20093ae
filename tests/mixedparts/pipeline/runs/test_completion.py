"""`mixedparts finalize` does what is left, from the stored plan and the log alone."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mixedparts.errors import EnvironmentFault, InputError, UsageError
from mixedparts.pipeline.build import build
from mixedparts.pipeline.runs.completion import CompletionRequest, finalize_build
from mixedparts.progress import Silent
from mixedparts.storage.writer_lock import sharing
from tests.mixedparts.pipeline.runs.conftest import configuration
from tests.oracles.digests import digests

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.mark.parametrize(
    "shares",
    [
        pytest.param(1, id="one share", marks=pytest.mark.slow),
        pytest.param(2, id="reading"),
        pytest.param(3, id="reading and a share", marks=pytest.mark.slow),
    ],
)
def test_it_does_what_shares_have_left(
    shares: int, native_root: Path, whole: dict[str, str], tmp_path: Path, run_mixedparts: Run
) -> None:
    out = tmp_path / "out"
    for at in range(shares):
        build(configuration(native_root, out, shard_range=(at % 2, 2)), Silent())
    # From another folder, without one of the options that the build was begun with.
    done = run_mixedparts("finalize", "out", "--quiet")
    assert done.returncode == 0, done.stderr
    assert digests(out, "log.jsonl") == whole
    assert "rows" in done.stdout.splitlines()[-5]
    again = run_mixedparts("finalize", "out")
    assert again.returncode == 0
    assert "is complete; nothing to do." in again.stderr


def test_choices_of_all_kinds_come_from_the_plan(native_root: Path, tmp_path: Path) -> None:
    choices = {
        "sources": ("paco", "partimagenet"),
        "source_roots": {"paco": native_root},
        "tasks": ("common_parts", "common_object"),
        "min_object_area": 0.03,
        "min_part_area": 0.0015,
        "per_image_limit": 9,
        "images_per_sample": 3,
        "cross_source": True,
        "images": "reference",
        "limit_images": 30,
        "seed": 2**63 - 1,
    }
    begun, alone = tmp_path / "begun", tmp_path / "alone"
    config = configuration(native_root, begun, max_rejects="100%", **choices)
    build(replace(config, shard_range=(0, 2)), Silent())
    build(replace(config, out=alone), Silent())
    manifest = finalize_build(CompletionRequest(begun), Silent())
    assert manifest["configuration"]["per_image_limit"] == 9
    assert digests(begun, "log.jsonl") == digests(alone, "log.jsonl")


def test_sources_are_needed_only_for_what_is_left(
    native_root: Path, whole: dict[str, str], tmp_path: Path
) -> None:
    root, out = tmp_path / "sources", tmp_path / "out"
    shutil.copytree(native_root, root)
    for _ in range(2):
        for at in range(2):
            build(configuration(root, out, shard_range=(at, 2)), Silent())
        if (out / "manifest.json").exists():
            break
    # The state of a run that was killed before its last step: all tasks are done.
    (out / "manifest.json").unlink()
    root.rename(tmp_path / "gone")
    with pytest.raises(InputError, match=r"no annotation file|annotation"):
        finalize_build(CompletionRequest(out), Silent())
    manifest = finalize_build(CompletionRequest(out, {"root": tmp_path / "gone"}), Silent())
    assert manifest["build_id"]
    assert digests(out, "log.jsonl") == whole


def test_reading_that_is_done_is_not_looked_at_again(
    native_root: Path, whole: dict[str, str], tmp_path: Path
) -> None:
    root, out = tmp_path / "sources", tmp_path / "out"
    shutil.copytree(native_root, root)
    for at in (0, 1):
        build(configuration(root, out, shard_range=(at, 2)), Silent())
    for file in root.rglob("*.json"):
        file.unlink()
    finalize_build(CompletionRequest(out), Silent())
    assert digests(out, "log.jsonl") == whole


def test_a_build_of_other_code_or_inputs_is_refused(native_root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for at in (0, 1):
        build(configuration(native_root, out, shard_range=(at, 2)), Silent())
    plan = out / "_build/plan.json"
    text = plan.read_text()
    value = json.loads(text)
    value["identity"]["code_version"] = "0.0.1+older"
    plan.write_text(json.dumps(value))
    with pytest.raises(UsageError, match=r'code_version: "0\.0\.1\+older" -> "'):
        finalize_build(CompletionRequest(out), Silent())
    value = json.loads(text)
    value["identity"]["configuration"]["colour"] = "red"
    plan.write_text(json.dumps(value))
    with pytest.raises(UsageError, match='colour: "red" -> null'):
        finalize_build(CompletionRequest(out), Silent())


def test_it_is_refused_while_a_share_is_at_work(native_root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    build(configuration(native_root, out, shard_range=(0, 2)), Silent())
    before = digests(out)
    with sharing(out, "1-2"), pytest.raises(EnvironmentFault, match="another process is writing"):
        finalize_build(CompletionRequest(out), Silent())
    assert digests(out) == before


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("finalize", "nothing"), 3, "nothing contains no build"),
        (("finalize",), 2, "OUT"),
        (("finalize", "x", "--engine", "local", "--ray-address", "auto"), 3, "no build"),
        (("finalize", "x", "--source-root", "paco"), 2, "NAME=DIR"),
        (("finalise", "x"), 2, "Did you mean 'finalize'"),
        (("stats", "nothing", "--chek"), 2, "--chek"),
        (("statu", "x"), 2, "Did you mean 'status'"),
    ],
)
def test_wrong_usage(words: tuple[str, ...], code: int, told: str, run_mixedparts: Run) -> None:
    done = run_mixedparts(*words)
    assert done.returncode == code, done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr
