"""Tests against documents: what they list is what the code has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from mixedparts.records import Reason
from mixedparts.storage import schema
from mixedparts.verification.findings import Rule
from tests.checkout import DOCS


def test_every_reason_is_documented() -> None:
    listed = re.findall(r"^\| `(\w+)` \|", (DOCS / "rejects.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(Reason)


def test_every_rule_is_documented() -> None:
    text = (DOCS / "verification.md").read_text()
    assert [rule for rule in Rule if f"| `{rule}` |" not in text] == []


def columns(table: pa.Schema, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield dotted name and type of every column, and of the fields of its lists and structs."""
    for field in table:
        inner = field.type.value_type if pa.types.is_list(field.type) else field.type
        name = f"{prefix}{field.name}"
        if field.name in ("mask", "bbox", "area") and prefix:
            continue  # a row of the page describes those of all regions
        if pa.types.is_struct(inner) and field.name not in ("mask", "image"):
            yield name, "list"
            yield from columns(pa.schema(list(inner)), f"{name}[].")
        else:
            yield (
                name,
                {"mask": "struct", "image": "struct", "bbox": "list of float"}.get(
                    field.name if pa.types.is_nested(field.type) else "", str(field.type)
                ),
            )


@pytest.mark.parametrize(
    ("title", "table"),
    [
        ("pairs", schema.PAIRS),
        ("images", schema.IMAGES),
        ("entities", schema.ENTITY_TABLE),
    ],
)
def test_every_column_is_documented_with_its_type(title: str, table: pa.Schema) -> None:
    section = DOCS.joinpath("tables.md").read_text().split(f"\n## {title}\n")[1].split("\n## ")[0]
    rows: dict[str, str] = {}
    for names, kinds in re.findall(r"^\| (`[^|]+`) \| ([^|]+) \|", section, re.MULTILINE):
        listed = re.findall(r"`([^`]+)`", names)
        types = kinds.strip().split(", ") if len(listed) > 1 and "," in kinds else [kinds.strip()]
        rows |= dict(zip(listed, types * len(listed), strict=False))
    expected = dict(columns(table))
    if title == "entities":
        # Its parts are the same struct as above, and the row of the list names its fields.
        expected = {name: kind for name, kind in expected.items() if "[]" not in name}
    documented = {name: kind for name, kind in rows.items() if not name.startswith("….")}
    assert documented == expected


def test_the_other_tables_and_the_version_are_documented() -> None:
    text = (DOCS / "tables.md").read_text()
    for title, table in (("preview", schema.PREVIEW), ("rejects", schema.REJECTS)):
        (row,) = re.findall(rf"^\| `{title}` \| (.+) \|$", text, re.MULTILINE)
        assert [name for name in table.names if f"`{name}`" not in row] == []
    assert f"The schema version is {schema.SCHEMA_VERSION}." in text


def test_every_key_of_the_manifest_is_documented(built: Path) -> None:
    text = (DOCS / "tables.md").read_text().split("\n## manifest.json\n")[1].split("\n## ")[0]
    keys = json.loads((built / "manifest.json").read_text())
    assert [key for key in keys if f"`{key}`" not in text] == []


def test_every_file_of_a_checkpoint_is_documented(tmp_path: Path) -> None:
    from calico.checkpoints.save_load import save_checkpoint
    from tests.factories.micro_model import micro_model, micro_tokenizer

    model, config = micro_model()
    save_checkpoint(tmp_path / "checkpoint", model, config, micro_tokenizer(), 0)
    text = (DOCS / "tables.md").read_text().split("\n## Runs and checkpoints\n")[1]
    names = {path.name for path in (tmp_path / "checkpoint").iterdir()}
    assert "model.safetensors" in names
    of_transformers = {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"}
    assert [name for name in sorted(names - of_transformers) if f"`{name}`" not in text] == []
