"""One list of digests: any flipped byte of any file of a build is found."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from mixedparts.errors import InputError
from mixedparts.pipeline.build import build
from mixedparts.pipeline.config import BuildConfig
from mixedparts.progress import Silent
from mixedparts.storage.digest_list import DIGEST_LIST, read_digest_list
from mixedparts.verification.findings import Rule
from mixedparts.verification.verify import verify
from tests.conftest import SOURCES
from tests.oracles.digests import digests

LOG = "_build/log.jsonl"


@pytest.fixture
def copy(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "build"))


def test_the_list_names_every_file_but_the_log(copy: Path) -> None:
    listed = read_digest_list(copy)
    files = digests(copy)
    assert listed == {name: sha for name, sha in files.items() if name not in (LOG, DIGEST_LIST)}
    kinds = {name.split("/")[0] for name in files} | {"/".join(n.split("/")[:2]) for n in files}
    assert {"README.md", "manifest.json", "croissant.json", "rejects.parquet"} <= kinds
    assert {"_build/plan.json", "_build/commits", "pairs", "images", "entities"} <= kinds
    run = subprocess.run(["sha256sum", "--check", "--quiet", DIGEST_LIST], cwd=copy, check=False)
    assert run.returncode == 0


def test_any_flipped_byte_is_found(copy: Path) -> None:
    draw = random.Random(0)
    # One commit record stands for all of them.
    commits = sorted((copy / "_build/commits").iterdir())[1:]
    names = [name for name in digests(copy) if name != LOG and copy / name not in commits]
    for name in names:
        path = copy / name
        whole = path.read_bytes()
        for _ in range(2):
            changed = bytearray(whole)
            changed[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
            path.write_bytes(changed)
            assert is_found(copy), name
            path.write_bytes(whole)
    assert verify(copy, "full").listed == []


def is_found(build: Path) -> bool:
    """Whether verification reports a problem, or names the manifest that is no JSON any more."""
    try:
        return verify(build, "full").total > 0
    except InputError as error:
        return "manifest.json" in str(error)


@pytest.mark.parametrize("name", ["README.md", "_build/plan.json", "croissant.json"])
def test_a_space_more_is_found_and_the_file_is_named(copy: Path, name: str) -> None:
    with (copy / name).open("a") as file:
        file.write(" ")
    (problem,) = verify(copy, "full").listed
    assert (problem.file, problem.rule) == (name, Rule.DIGEST)


@pytest.mark.parametrize(
    "text", ["", "\n", "abc\n", f"{'0' * 64}  ../../other\n", f"{'0' * 64}  /etc/hostname\n"]
)
def test_a_broken_list_is_a_problem_itself(copy: Path, text: str) -> None:
    (copy / DIGEST_LIST).write_text(text)
    (problem,) = verify(copy, "full").listed
    assert (problem.file, problem.rule) == (DIGEST_LIST, Rule.DIGEST)


def test_a_file_that_is_gone_from_the_list_is_missed(copy: Path) -> None:
    lines = (copy / DIGEST_LIST).read_text().splitlines(keepends=True)
    shard = next(line for line in lines if "  pairs/" in line)
    (copy / DIGEST_LIST).write_text("".join(line for line in lines if line != shard))
    (problem,) = verify(copy, "full").listed
    assert shard.endswith(f"  {problem.file}\n")


def test_copies_and_earlier_builds_verify(copy: Path) -> None:
    shutil.rmtree(copy / "_build")
    assert verify(copy, "deep").listed == []
    (copy / DIGEST_LIST).unlink()
    assert verify(copy, "deep").listed == []


def test_the_same_command_repairs_a_changed_file(native_root: Path, copy: Path) -> None:
    before = digests(copy, "log.jsonl")
    for name in ("README.md", "croissant.json", DIGEST_LIST):
        (copy / name).write_text("changed")
        config = BuildConfig(sources=SOURCES, root=native_root, out=copy, samples=900)
        build(config, Silent())
        assert digests(copy, "log.jsonl") == before
