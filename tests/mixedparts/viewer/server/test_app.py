"""The server: pages, filters, masks and images of a build; it changes nothing and shows no more."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from starlette.testclient import TestClient

from mixedparts import masks
from mixedparts.pipeline.build import build
from mixedparts.pipeline.config import BuildConfig
from mixedparts.progress import Silent
from mixedparts.storage.build_folder import BuildFolder
from mixedparts.viewer.page.data import PageData
from mixedparts.viewer.predictions import Predictions
from mixedparts.viewer.server.app import create_app
from mixedparts.viewer.server.stored import StoredRows
from tests.factories.forger import damage, rewrite
from tests.oracles.build_tables import iter_rows
from tests.oracles.digests import digests

HERE = "http://127.0.0.1:8765"


def client_of(folder: Path, **options: Any) -> TestClient:
    app = create_app(StoredRows(BuildFolder.open(folder)))
    return TestClient(app, base_url=HERE, **options)


@pytest.fixture(scope="module")
def client(built: Path) -> TestClient:
    return client_of(built)


@pytest.fixture(scope="module")
def rows(built: Path) -> list[dict[str, Any]]:
    return [row for s in ("train", "validation", "test") for row in iter_rows(built, "pairs", s)]


def test_rows_are_paged_in_their_order(client: TestClient, rows: list[dict[str, Any]]) -> None:
    seen: list[str] = []
    for start in range(0, len(rows) + 200, 200):
        reply = client.get("/api/rows", params={"start": start, "count": 200}).json()
        assert reply["total"] == len(rows)
        assert reply["masks"] == []
        seen += [sample["id"] for sample in reply["samples"]]
    assert seen == [row["id"] for row in rows]
    assert len(client.get("/api/rows").json()["samples"]) == 50
    copies = client.get("/api/rows", params={"split": "benchmark"}).json()
    assert copies["total"] > 0
    assert {sample["split"] for sample in copies["samples"]} == {"test"}


def test_filters_of_every_kind(client: TestClient, rows: list[dict[str, Any]]) -> None:
    name = rows[0]["objects"][0]["category"]
    params = [("task", "common_parts"), ("task", "unique_parts"), ("class", name), ("text", "IS")]
    wanted = [
        row["id"]
        for row in rows
        if row["task"] != "common_object"
        and name in {item["category"] for item in row["objects"]}
        and "is" in row["question"].lower() + row["answer"].lower()
    ]
    reply = client.get("/api/rows", params=[*params, ("count", "200")]).json()
    assert reply["total"] == len(wanted) > 0
    assert [sample["id"] for sample in reply["samples"]] == wanted[:200]
    counts = client.get("/api/facets", params=params).json()
    assert counts["class"][name] == len(wanted)


def test_one_row_has_its_masks(client: TestClient, rows: list[dict[str, Any]]) -> None:
    row = next(row for row in rows if row["task"] == "unique_parts")
    reply = client.get("/api/row", params={"split": row["split"], "id": row["id"]})
    data = msgspec.json.decode(reply.content, type=PageData)
    (sample,) = data.samples
    assert (sample.id, sample.question) == (row["id"], row["question"])
    regions = sample.answers[0].regions
    for region, item in zip(regions, [*row["objects"], *row["parts"]], strict=True):
        assert data.masks[region.mask] == item["mask"]["counts"]
        height, width = item["mask"]["size"]
        rle = masks.from_string(data.masks[region.mask], height, width)
        assert region.area == item["area"] == masks.area(rle)
    for params in ({"split": "train", "id": "x"}, {"split": "x", "id": row["id"]}, {}):
        assert client.get("/api/row", params=params).status_code == 404


def test_images_are_those_of_the_rows(client: TestClient, built: Path) -> None:
    stored = {row["row"]: row["image"]["bytes"] for row in iter_rows(built, "images", "test")}
    reply = client.get("/api/rows", params={"split": "benchmark", "count": 5}).json()
    for image in reply["images"]:
        answer = client.get(image["address"])
        assert answer.content == stored[int(image["key"].partition("/")[2])]
        assert answer.headers["content-type"] == "image/jpeg"
        with Image.open(io.BytesIO(answer.content)) as opened:
            assert opened.size == (image["width"], image["height"])
    first = reply["images"][0]["address"]
    place = first.rpartition("/")[0]
    for other in ("99999", "-1", "0.5", "x", "9" * 20, "1" * 5_000, "\u0663", "1/"):
        assert client.get(f"{place}/{other}").status_code == 404
    assert client.get(first.replace("test", "benchmark")).status_code == 404
    assert client.get(f"/images/another/{first.split('/', 3)[3]}").status_code == 404


@pytest.mark.parametrize(
    ("name", "wrong", "says"),
    [
        ("split", "tset", "has no split 'tset'. Did you mean 'test'?"),
        ("source", "pcao", "has no source 'pcao'. Did you mean 'paco'?"),
        ("task", "comon_parts", "has no task 'comon_parts'. Did you mean 'common_parts'"),
        ("class", "dgo", "has no class 'dgo'. Did you mean 'dog'?"),
        ("part", "eey", "has no part 'eey'. Did you mean 'eye'?"),
        ("class", "\ufffd\x00", "has no class"),
    ],
)
def test_a_name_that_the_build_does_not_have(
    client: TestClient, name: str, wrong: str, says: str
) -> None:
    reply = client.get("/api/rows", params={name: wrong}).json()
    assert (reply["total"], reply["samples"]) == (0, [])
    assert says in reply["note"]
    # Names that are there and exclude each other are no mistake.
    given = {"task": "common_object", "part": "eye"}
    assert client.get("/api/rows", params=given).json()["note"] == ""


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8765", "127.0.0.1.evil.example", "localhost.evil.example",
     "127.0.0.1@evil.example", "[::1].evil", "", "127.0.0.1:8765, evil", "0.0.0.0:8765",
     "192.168.1.4:8765", "127.0.0.2"],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/", "/api/rows", "/images/x/train/0", "/nothing"])
def test_other_hosts_are_refused(client: TestClient, host: str, path: str) -> None:
    answer = client.get(path, headers={"host": host})
    assert answer.status_code == 421
    assert "MixedParts" not in answer.text


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:8765"])
def test_this_machine_is_answered(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "X"])
@pytest.mark.parametrize("path", ["/", "/api/rows", "/api/row", "/images/x/train/0"])
def test_other_methods_are_refused(client: TestClient, method: str, path: str) -> None:
    answer = client.request(method, path)
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD"
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "path",
    ["/manifest.json", "/../manifest.json", "/..%2fmanifest.json", "/images/../manifest.json",
     "/images/x/..%2f..%2fmanifest.json/0", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd",
     "/pairs/train-00000-of-00001.parquet", "/static/main.js", "/favicon.ico", "/docs"],
)  # fmt: skip
def test_there_are_no_other_paths(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert len(answer.content) < 100


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("/api/rows?clas=dog", "there is no parameter 'clas'. Did you mean 'class'"),
        ("/api/rows?start=-1", "start must be a whole number from 0"),
        ("/api/rows?count=201", "count must be a whole number from 0 to 200, not '201'"),
        ("/api/rows?count=1e3", "count must be a whole number"),
        ("/api/rows?start=\u0663", "start must be a whole number"),
        (f"/api/rows?text={'x' * 1001}", "has over 1,000 characters"),
        ("/api/facets?start=0", "there is no parameter 'start'"),
    ],
)
def test_a_wrong_question_is_named(client: TestClient, address: str, says: str) -> None:
    answer = client.get(address)
    assert answer.status_code == 400
    assert says in answer.json()["error"]


def test_answers_forbid_other_sites_to_use_them(client: TestClient) -> None:
    for path in ("/", "/api/facets", "/nothing"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cross-origin-resource-policy"] == "same-origin"
    policy = client.get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert client.head("/").headers["content-length"] == str(len(client.get("/").content))
    assert client.head("/").content == b""


def test_predictions_are_compared(built: Path, tmp_path: Path) -> None:
    row = next(r for r in iter_rows(built, "pairs", "test") if r["task"] == "common_parts")
    item = row["objects"][0]
    segment = {"label": item["category"], "image": 0, "mask": item["mask"]}
    line = {"id": row["id"], "answer": "<p> it </p> [SEG] (IMAGE1)", "segments": [segment]}
    (tmp_path / "p.jsonl").write_text(json.dumps(line))
    stored = StoredRows(BuildFolder.open(built), Predictions(tmp_path / "p.jsonl"))
    client = TestClient(create_app(stored), base_url=HERE)
    reply = client.get("/api/rows", params={"id": row["id"]})
    (sample,) = msgspec.json.decode(reply.content, type=PageData).samples
    truth, predicted = sample.answers
    assert [region.mark for region in predicted.regions] == ["match"]
    assert {region.mark for region in truth.regions[1:]} == {"miss"}
    assert predicted.title == "Prediction (p.jsonl)"
    assert reply.json()["masks"]
    # As in a file, only rows that have a prediction are shown and counted.
    assert client.get("/api/rows").json()["total"] == 1
    assert sum(client.get("/api/facets").json()["task"].values()) == 1
    assert "data-marked" in client.get("/").text
    assert "data-marked" not in client_of(built).get("/").text


def test_a_build_is_only_read(built: Path) -> None:
    before = digests(built)
    client = client_of(built)
    for path in ("/", "/api/rows?text=a", "/api/facets", "/api/row?split=train&id=x"):
        client.get(path)
    assert digests(built) == before


def test_damage_is_a_message(built: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(built, tmp_path / "build"))
    damage(copy, "pairs/train-00000-of-00001.parquet", "question")
    answer = client_of(copy, raise_server_exceptions=False).get("/api/rows?split=train")
    assert answer.status_code == 500
    assert "cannot be read" in answer.json()["error"]
    other = Path(shutil.copytree(built, tmp_path / "other"))
    rewrite(other, lambda rows: rows[0].update(objects=None))
    answer = client_of(other, raise_server_exceptions=False).get("/api/rows?split=train")
    assert "pairs.objects has no value" in answer.json()["error"]


def test_images_that_a_build_refers_to(native_root: Path, tmp_path: Path) -> None:
    out = tmp_path / "build"
    given = {"sources": ("ade20k",), "root": native_root, "samples": 30}
    build(BuildConfig(**given, out=out, images="reference"), Silent())
    reply = client_of(out).get("/api/rows").json()
    answer = client_of(out).get(reply["images"][0]["address"])
    assert answer.headers["content-type"] == "image/jpeg"
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(answer.content)
    split = reply["samples"][0]["split"]
    elsewhere = {"bytes": None, "path": str(secret)}
    rewrite(out, lambda rows: [row.update(image=elsewhere) for row in rows], "images", split)
    refused = client_of(out, raise_server_exceptions=False).get(reply["images"][0]["address"])
    assert refused.status_code == 500
    assert "which is not below the folder of its source" in refused.json()["error"]


def test_a_build_without_pixels_has_no_images(built: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(built, tmp_path / "build"))
    for path in (copy / "images").glob("*.parquet"):
        table = pq.read_table(path)
        nothing = pa.nulls(len(table), table.schema.field("image").type)
        pq.write_table(table.set_column(2, table.schema.field("image"), nothing), path)
    client = client_of(copy)
    reply = client.get("/api/rows").json()
    assert len(reply["samples"]) == 50
    assert client.get(reply["images"][0]["address"]).status_code == 404
