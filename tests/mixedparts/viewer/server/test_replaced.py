"""A build that is replaced, removed or changed while a server reads it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from mixedparts.errors import InputError
from mixedparts.storage.build_folder import BuildFolder
from mixedparts.viewer.selection import Query, find
from mixedparts.viewer.selection.read import read_rows
from mixedparts.viewer.server.app import create_app
from mixedparts.viewer.server.stored import StoredRows
from tests.factories.forger import rewrite

Row = dict[str, Any]


@pytest.fixture
def copy(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "build"))


def client_of(folder: Path) -> TestClient:
    return TestClient(
        create_app(StoredRows(BuildFolder.open(folder))),
        base_url="http://127.0.0.1:8765",
        raise_server_exceptions=True,  # an error that is not a message fails the test
    )


def questions(client: TestClient) -> list[str]:
    reply = client.get("/api/rows", params={"count": 1}).json()
    (sample,) = reply["samples"]
    return [
        "/api/rows",
        "/api/rows?text=the",
        "/api/rows?start=100",
        f"/api/row?split={sample['split']}&id={sample['id']}",
        "/api/facets",
        reply["images"][0]["address"],
    ]


def another(rows: list[Row]) -> None:
    del rows[20:]


def replace_build(copy: Path) -> None:
    rewrite(copy, another)


def remove_build(copy: Path) -> None:
    shutil.rmtree(copy)


@pytest.mark.parametrize(
    ("change", "says"),
    [(replace_build, "was replaced by another one"), (remove_build, "is no longer there")],
)
def test_no_row_of_another_build_is_shown(copy: Path, change: Any, says: str) -> None:
    client = client_of(copy)
    asked = questions(client)
    assert [client.get(address).status_code for address in asked] == [200] * len(asked)
    change(copy)
    for address in asked:
        answer = client.get(address)
        assert answer.status_code == 500
        assert says in answer.json()["error"]
    assert client.get("/").status_code == 200  # the page, which then shows the message


def test_a_manifest_that_was_written_again_is_the_same_build(copy: Path) -> None:
    client = client_of(copy)
    file = copy / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text())))
    os.utime(file, ns=(1, 1))
    assert client.get("/api/rows").status_code == 200


def test_a_shard_that_changes_behind_its_manifest_is_damage(built: Path, copy: Path) -> None:
    build = BuildFolder.open(copy)
    found = list(find(build, Query(splits=("train",))))
    shard = copy / "pairs" / "train-00000-of-00001.parquet"
    shutil.copy(built / "pairs" / "test-00000-of-00001.parquet", shard)
    with pytest.raises(InputError, match="it was replaced while it was read"):
        list(read_rows(build, found))


def test_a_build_in_the_place_of_another_is_read_anew(copy: Path) -> None:
    """In one process, as in a notebook."""
    before = sum(match.rows.size for match in find(BuildFolder.open(copy), Query()))
    rewrite(copy, another)
    after = sum(match.rows.size for match in find(BuildFolder.open(copy), Query(ids=())))
    assert after < before
    rows = list(read_rows(build := BuildFolder.open(copy), find(build, Query(splits=("train",)))))
    assert len(rows) == 20
