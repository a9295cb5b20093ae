"""Addresses such as s3://bucket/x are refused everywhere a path is expected."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from mixedparts.errors import UsageError
from mixedparts.pipeline.config import BuildConfig
from mixedparts.settings.local_paths import is_address, local_path
from tests.conftest import SOURCES

ADDRESS = "s3://bucket/x"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (ADDRESS, True),
        ("s3:/bucket/x", True),
        ("file:///data", True),
        ("hf://datasets/me/x", True),
        ("data/mixedparts", False),
        ("/data/s3:/x", False),
        ("C:/data", False),
        ("a:b", False),
        ("", False),
    ],
)
def test_what_is_an_address(path: str, expected: bool) -> None:
    assert is_address(path) is expected
    assert is_address(Path(path)) is expected


@pytest.mark.parametrize("field", ["root", "out"])
def test_a_configuration_refuses_an_address(field: str) -> None:
    with pytest.raises(UsageError, match=rf"{field}: .*s3:/bucket/x"):
        BuildConfig(sources=SOURCES, **{field: Path(ADDRESS)})
    with pytest.raises(UsageError, match=r"source_roots\.paco: .*address"):
        BuildConfig(sources=SOURCES, source_roots={"paco": Path(ADDRESS)})


@pytest.mark.parametrize(
    "words",
    [
        ["sample", "--out", ADDRESS],
        ["build", "--sources", "paco", "--out", ADDRESS],
        ["build", "--sources", "paco", "--root", ADDRESS],
        ["build", "--sources", "paco", "--source-root", f"paco={ADDRESS}"],
        ["verify", ADDRESS],
        ["stats", "data", "--plots", ADDRESS],
        ["view", "data", "--out", ADDRESS],
        ["export", "data", "--format", "coco", "--out", ADDRESS],
        ["import", "bundle", "--format", "published", "--out", ADDRESS],
        ["push", ADDRESS, "--repo-id", "me/x"],
        ["sources", "show", "paco", "--root", ADDRESS],
    ],
    ids=" ".join,
)
def test_a_command_refuses_an_address_and_writes_nothing(
    words: list[str], run_mixedparts: Callable[..., CompletedProcess[str]], tmp_path: Path
) -> None:
    run = run_mixedparts(*words)
    assert run.returncode == 2
    assert "address" in run.stderr
    assert "s3:/" in run.stderr
    assert "Traceback" not in run.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_present_folder_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    assert local_path(".") == tmp_path / "inner"
    assert local_path("..") == tmp_path
    assert local_path("./x") == Path("x")
    with pytest.raises(ArgumentTypeError, match="it is empty"):
        local_path("")


def test_a_path_of_other_bytes_is_refused() -> None:
    with pytest.raises(ArgumentTypeError, match=r"'a\\udcff' is not text in UTF-8"):
        local_path("a\udcff")
    with pytest.raises(UsageError, match=r"out: expected a path in UTF-8"):
        BuildConfig(sources=SOURCES, out=Path("a\udcff"))
