"""Addresses such as s3://bucket/x are taken where they can be used, and refused elsewhere."""

from __future__ import annotations

import shlex
from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from mixedparts.errors import UsageError
from mixedparts.pipeline.config import BuildConfig, config_values
from mixedparts.settings.fields import convert
from mixedparts.settings.local_paths import address_of, is_address, local_path, place, shown, typed
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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ADDRESS, ADDRESS),
        (f"{ADDRESS}/", ADDRESS),
        ("s3:/bucket/x", ADDRESS),
        ("hf://datasets/me/x", "hf://datasets/me/x"),
        ("gs://bucket", "gs://bucket"),
    ],
)
def test_an_address_travels_as_a_path(text: str, expected: str) -> None:
    assert address_of(place(text)) == expected
    assert shown(place(text)) == expected
    config = BuildConfig(**config_values({"sources": ["paco"], "out": text}, "this"))
    assert address_of(config.out) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("file:///data/x", "/data/x"),
        ("file://localhost/data/x", "/data/x"),
        ("file:/data/x", "/data/x"),
        ("file://data/x", "data/x"),
        ("local:///data/x", "/data/x"),
    ],
)
def test_an_address_of_a_file_is_a_local_path(text: str, expected: str) -> None:
    assert local_path(text) == place(text) == Path(expected)
    values = config_values({"sources": ["paco"], "out": text, "source_roots": {"paco": text}}, "x")
    config = BuildConfig(**values)
    assert config.out == config.source_root("paco") == Path(expected)


@pytest.mark.parametrize("text", ["s3://", "s3:/", "gs:///"])
def test_an_address_without_a_bucket_makes_no_folder(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="names no bucket"):
        place(text)
    with pytest.raises(UsageError, match=r"out: .*names no bucket"):
        config_values({"sources": ["paco"], "out": text}, "this")


def test_a_path_that_must_be_local_is_no_address() -> None:
    with pytest.raises(
        ValueError, match="expected a local file or folder, got the address 's3://b"
    ):
        convert(Path(ADDRESS), Path)


@pytest.mark.parametrize(
    "words",
    [
        ["sample", "--out", ADDRESS],
        ["build", "--sources", "paco", "--config", ADDRESS],
        ["stats", "data", "--plots", ADDRESS],
        ["view", "data", "--out", ADDRESS],
        ["export", "data", "--format", "coco", "--out", ADDRESS],
        ["import", "bundle", "--format", "published", "--out", ADDRESS],
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


@pytest.mark.parametrize(
    "words",
    [
        ["build", "--sources", "paco", "--root", "sources", "--out", ADDRESS],
        ["build", "--sources", "paco", "--source-root", f"paco={ADDRESS}", "--dry-run"],
        ["verify", ADDRESS],
    ],
    ids=" ".join,
)
def test_without_credentials_a_command_says_so_and_writes_nothing(
    words: list[str],
    run_mixedparts: Callable[..., CompletedProcess[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    run = run_mixedparts(*words)
    assert run.returncode == 3
    assert f"{ADDRESS}: access was refused: Unable to locate credentials" in run.stderr
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


@pytest.mark.parametrize("name", ["plain", "two words", "it's", '"$HOME" `x`', "-x", "a;b", "é"])
def test_a_copied_command_names_the_same_path(name: str) -> None:
    words = shlex.split(f"mixedparts verify {typed(Path(name))} --level full")
    assert [Path(word) for word in words[2:3]] == [Path(name)]
    assert len(words) == 5
    assert not words[2].startswith("-")
    assert typed("s3:/bucket/x") == "s3://bucket/x"


def test_a_path_of_other_bytes_is_refused() -> None:
    with pytest.raises(ArgumentTypeError, match=r"'a\\udcff' is not text in UTF-8"):
        local_path("a\udcff")
    with pytest.raises(UsageError, match=r"out: expected a path in UTF-8"):
        BuildConfig(sources=SOURCES, out=Path("a\udcff"))
