"""Every rule of curation holds for the manifests, and is noticed when one of them breaks it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

import manifests
from mixedparts.errors import InputError
from mixedparts.sources import manifests as taxonomy
from mixedparts.sources.checks import manifest_faults

FOLDER = Path(manifests.__path__[0])
PEN = """\
    - {source: paco, part: barrel, of: [pen],
       reason: "the barrel of a pen is what a pencil's body is"}
"""
CACHED = ("load_manifest", "groups", "profiles", "_upstream", "_names")


def forget() -> None:
    for name in CACHED:
        cast(Any, getattr(taxonomy, name)).cache_clear()


@pytest.fixture
def fresh() -> Iterator[None]:
    yield
    forget()


def break_file(monkeypatch: pytest.MonkeyPatch, file: str, old: str, new: str) -> None:
    """Let the manifests be read with one change in one file."""
    text = (FOLDER / file).read_text()
    assert text.count(old) == 1, f"{text.count(old)} times {old!r}"
    changed = text.replace(old, new).encode()
    read = taxonomy._read
    monkeypatch.setattr(taxonomy, "_read", lambda name: changed if name == file else read(name))
    forget()


def test_the_manifests_break_no_rule() -> None:
    assert manifest_faults() == []


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        (
            "groups.yaml", "  ball: the taxonomy gives it no part\n", "",
            "class 'ball' is in no group and not listed under alone",
        ),
        (
            "groups.yaml", "    classes: [pen, pencil]", "    classes: [pen, pensil]",
            "no source has a class 'pensil'. Did you mean 'pencil'",
        ),
        (
            "groups.yaml", "    classes: [pen, pencil]", "    classes: [pen, pensil]",
            "class 'pencil' is in no group",
        ),
        (
            "groups.yaml", "swivel chair]", "swivel chair, microwave]",
            "'chair' and 'microwave' of group 'seats' share no part in ade20k",
        ),
        (
            "groups.yaml", "[sink, toilet]", "[sink, toilet, ball]",
            "class 'ball' is listed under alone, yet it is in a group",
        ),
        (
            "groups.yaml", "    classes: [airliner, airplane, warplane]",
            "    classes: [airliner, airplane, bed, warplane]",
            "'airliner' and 'bed' of group 'aircraft' share no part in any source",
        ),
        (
            "names.yaml", "    paco: [microwave_oven]\n", "",
            "class 'microwave oven' is in no group",
        ),
        (
            "names.yaml", PEN, "",
            "'pen' and 'pencil' of group 'writing tools' share no part in paco",
        ),
        (
            "names.yaml", "[bald eagle]", "[bald eagle, airliner]",
            "partimagenet: 'eagle' mixes Aeroplane and Bird",
        ),
        (
            "names.yaml", "names: [faucet, tap]", "names: [faucet, tab]",
            "kept_apart: no part is called 'tab'. Did you mean 'tap'",
        ),
        (
            "names.yaml", "names: [lamp, light]", "names: [lamp, lihgt]",
            "kept_apart: no object is called 'lihgt'",
        ),
        (
            "profiles.yaml", "[Boat, Aeroplane, Bottle]", "[Boat, Airplane, Bottle]",
            "published: partimagenet has no superclass 'Airplane'",
        ),
        (
            "profiles.yaml", "part: column, of: [lamp]", "part: column, of: [sconce]",
            "names.yaml has no rename of 'column' of ade20k for sconce",
        ),
        (
            "profiles.yaml", "sources: [paco, partimagenet, ade20k]",
            "sources: [pacoo, partimagenet, ade20k]",
            "there is no source 'pacoo'. Did you mean 'paco'",
        ),
    ],
)  # fmt: skip
def test_a_broken_rule_is_told(
    monkeypatch: pytest.MonkeyPatch, fresh: None, file: str, old: str, new: str, words: str
) -> None:
    break_file(monkeypatch, file, old, new)
    faults = manifest_faults()
    assert any(words in fault for fault in faults), faults


def test_a_rename_of_a_part_that_is_not_there_is_refused(
    monkeypatch: pytest.MonkeyPatch, fresh: None
) -> None:
    break_file(monkeypatch, "paco.yaml", "barrel: 2014", "barel: 2014")
    with pytest.raises(InputError, match=r"names\.yaml:\d+: paco has no part 'barrel' of 'pen'"):
        manifest_faults()


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("groups.yaml", "why: made to sit on", "why: ' '"),
        ("groups.yaml", "person: not set beside animals", "person: "),
        ("names.yaml", "reason: misspelt upstream", "reason: ''"),
        ("names.yaml", "reason: one device under three names", "reason:"),
        ("profiles.yaml", '"whether the bundle corrects the spelling is not known"', "''"),
    ],
)
def test_an_empty_reason_is_refused(
    monkeypatch: pytest.MonkeyPatch, fresh: None, file: str, old: str, new: str
) -> None:
    break_file(monkeypatch, file, old, new)
    with pytest.raises(InputError, match=rf"{file}:\d+: '\w+' must be text"):
        manifest_faults()
