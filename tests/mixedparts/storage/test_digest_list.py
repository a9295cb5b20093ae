"""Files that users write do not replace those of a build."""

from __future__ import annotations

from pathlib import Path

import pytest

from mixedparts.cli import program
from mixedparts.errors import UsageError
from mixedparts.storage.digest_list import check_output
from tests.oracles.digests import digests


@pytest.mark.parametrize(
    "name",
    ["manifest.json", "README.md", "SHA256SUMS", "croissant.json", "rejects.parquet",
     "pairs/train-00000-of-00001.parquet", "pairs/new.html", "_build/plan.json",
     "images/../pairs/x.html"],
)  # fmt: skip
def test_places_of_the_build_are_refused(built: Path, name: str) -> None:
    with pytest.raises(UsageError, match="the place of a file of the build"):
        check_output(built, built / name)


@pytest.mark.parametrize("name", ["view.html", "../view.html", "plots/a.svg", "../pairs/x.html"])
def test_other_places_are_free(built: Path, name: str) -> None:
    check_output(built, built / name)


@pytest.mark.parametrize(
    "words",
    [
        ["view", "--out"],
        ["view", "--limit", "1", "--out"],
        ["stats", "--html"],
    ],
)
def test_commands_keep_a_build_whole(built: Path, words: list[str]) -> None:
    before = digests(built)
    shard = built / "pairs" / "train-00000-of-00001.parquet"
    with pytest.raises(UsageError, match="the place of a file of the build"):
        program.main([words[0], str(built), *words[1:], str(shard)])
    with pytest.raises(UsageError, match="the place of a file of the build"):
        program.main(["view", str(built), "--sheet", str(built / "preview" / "x.png")])
    assert digests(built) == before
