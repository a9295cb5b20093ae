"""The registry of readers."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from builders.ade20k import Ade20kPartSource
from builders.ade20k_full import Ade20kFullSource
from builders.paco import PacoSource
from builders.partimagenet import PartImageNetSource
from builders.partinventory import PartInventorySource
from builders.pascal_part import PascalPartSource
from mixedparts.errors import InputError, UsageError
from mixedparts.pipeline.config import BuildConfig
from mixedparts.pipeline.plan import make_plan, manifest_of
from mixedparts.sources import contract as sources
from mixedparts.sources.contract import available, get_source


def test_the_built_in_readers_are_registered() -> None:
    assert available() == (
        "ade20k",
        "ade20k_full",
        "coco_parts",
        "paco",
        "partimagenet",
        "partinventory",
        "pascal_part",
    )
    assert isinstance(get_source("paco"), PacoSource)
    assert isinstance(get_source("partimagenet"), PartImageNetSource)
    assert isinstance(get_source("ade20k"), Ade20kPartSource)
    assert isinstance(get_source("ade20k_full"), Ade20kFullSource)
    assert isinstance(get_source("partinventory"), PartInventorySource)
    assert isinstance(get_source("pascal_part"), PascalPartSource)


@pytest.mark.parametrize(("name", "near"), [("pacco", "paco"), ("ade20", "ade20k"), ("zzz", "")])
def test_an_unknown_name_is_answered_with_the_known_ones(name: str, near: str) -> None:
    with pytest.raises(UsageError) as caught:
        get_source(name)
    assert caught.value.exit_code == 2
    assert f"'{name}'" in caught.value.message
    assert ("Did you mean" in caught.value.message) == bool(near)
    assert near in caught.value.message
    assert ", ".join(available()) in str(caught.value)


@pytest.mark.parametrize("name", available())
def test_a_source_that_is_not_there_shows_its_tree_and_terms(name: str, tmp_path: Path) -> None:
    config = BuildConfig(sources=(name,), root=tmp_path, out=tmp_path / "out")
    with pytest.raises(InputError) as caught:
        make_plan(config)
    assert caught.value.exit_code == 3
    for line in get_source(name).layout(tmp_path).splitlines():
        assert line in caught.value.message
    known = manifest_of(name)
    if known is not None:
        assert known.licence in caught.value.message
        assert known.download in caught.value.message
    assert f"--source-root {name}=DIR" in caught.value.hint


STRANGERS = {
    "no such package": (None, "nothing_of_this_name:Reader"),
    "no such class": ("class Other: ...", "stranger:Reader"),
    "broken package": ("1 / 0", "stranger:Reader"),
    "bad syntax": ("def", "stranger:Reader"),
}


@pytest.mark.parametrize(("code", "value"), STRANGERS.values(), ids=STRANGERS)
def test_a_reader_that_cannot_be_imported_is_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str | None, value: str
) -> None:
    if code is not None:
        (tmp_path / "stranger.py").write_text(code)
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, "stranger", raising=False)
    entry = EntryPoint("stranger", value, sources.ENTRY_POINT_GROUP)
    monkeypatch.setattr(sources, "entry_points", lambda group: (entry,))
    assert available() == ("stranger",)
    with pytest.raises(InputError) as caught:
        get_source("stranger")
    assert "stranger" in caught.value.message
    assert value in caught.value.message
    assert caught.value.hint
    sys.modules.pop("stranger", None)


def test_a_stranger_s_reader_comes_in_through_the_same_door(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "visitor.py").write_text("class Reader:\n    name = 'visitor'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    entry = EntryPoint("visitor", "visitor:Reader", sources.ENTRY_POINT_GROUP)
    monkeypatch.setattr(sources, "entry_points", lambda group: (entry,))
    assert get_source("visitor").name == "visitor"
    sys.modules.pop("visitor", None)
