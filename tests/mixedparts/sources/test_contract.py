"""The registry of readers."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from mixedparts.errors import InputError, UsageError
from mixedparts.sources import contract as sources
from mixedparts.sources.contract import available, get_source


@pytest.mark.parametrize(("name", "near"), [("pacco", "paco"), ("ade20", "ade20k"), ("zzz", "")])
def test_an_unknown_name_is_answered_with_the_known_ones(name: str, near: str) -> None:
    with pytest.raises(UsageError) as caught:
        get_source(name)
    assert caught.value.exit_code == 2
    assert f"'{name}'" in caught.value.message
    assert ("Did you mean" in caught.value.message) == bool(near)
    assert near in caught.value.message
    assert ", ".join(available()) in str(caught.value)


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
