"""A push reaches a stand-in of the Hub with what it should, goes on after a stop, and loads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import datasets
import huggingface_hub
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import mixedparts
from mixedparts.cards.card import card
from mixedparts.cards.croissant import croissant_text
from mixedparts.cli import main
from mixedparts.errors import EnvironmentFault, InputError, ProblemsFound, UsageError
from mixedparts.hub.push import HuggingFaceHub, push, push_plan
from mixedparts.progress import Silent
from mixedparts.storage.schema import REJECTS
from mixedparts.storage.shards import sha256_of
from mixedparts.verification.verify import verify
from tests.factories.forger import stamp_digests
from tests.factories.hub import StandIn
from tests.oracles.build_tables import iter_rows


@pytest.fixture
def build(built: Path, tmp_path: Path) -> Path:
    """A copy of a build; a push keeps its files in it."""
    return Path(shutil.copytree(built, tmp_path / "build"))


@pytest.fixture
def hub(tmp_path: Path) -> StandIn:
    return StandIn(tmp_path / "hub")


def send(build: Path, hub: StandIn, pixels: bool = False) -> dict[str, int]:
    return push(build, "me/mixedparts", pixels, True, HuggingFaceHub(hub), Silent())


def test_what_is_pushed_has_no_pixels_and_loads(build: Path, hub: StandIn) -> None:
    send(build, hub)
    assert hub.private is True
    stored = b"".join(p.read_bytes() for p in hub.folder.rglob("*") if p.is_file())
    pictures = [row["image"]["bytes"] for row in iter_rows(build, "images")]
    assert len(pictures) > 50
    assert not any(picture in stored for picture in pictures)
    assert not (hub.folder / "preview").exists()
    assert not (hub.folder / "_build").exists()
    assert verify(hub.folder, "deep").listed == []
    for config in ("pairs", "images", "entities"):
        loaded = datasets.load_dataset(str(hub.folder), config, split="test")
        assert len(loaded) == len(list(iter_rows(build, config, "test")))
    row = mixedparts.load_dataset(hub.folder, split="test", pixels=False)[0]
    assert row == next(iter_rows(build, "pairs", "test"))
    with pytest.raises(InputError, match="no pixels"):
        mixedparts.load_dataset(hub.folder, split="test")[0]["images"][0]["pixels"]
    assert "Without pixels" in (hub.folder / "README.md").read_text()
    metadata = json.loads((hub.folder / "croissant.json").read_text())
    assert metadata["url"].endswith("/datasets/me/mixedparts")


def test_with_pixels_the_hub_holds_the_build(build: Path, hub: StandIn) -> None:
    send(build, hub, pixels=True)
    for path in build.rglob("*.parquet"):
        name = path.relative_to(build)
        if name.parts[0] != "_build":
            assert (hub.folder / name).read_bytes() == path.read_bytes()
    assert verify(hub.folder, "deep").listed == []


def test_the_card_comes_last_and_a_stopped_push_goes_on(
    build: Path, hub: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mixedparts.hub.push._FILES_A_COMMIT", 3)
    hub.fail_at = 2
    with pytest.raises(EnvironmentFault, match="the line is dead"):
        send(build, hub)
    assert not (hub.folder / "README.md").exists()
    told = send(build, hub)
    sent = [name for commit in hub.commits for name in commit]
    assert len(sent) == len(set(sent))
    assert hub.commits[-1] == ["manifest.json", "croissant.json", "SHA256SUMS", "README.md"]
    assert told["skipped"] == 6
    assert send(build, hub) == {"sent": 4, "skipped": len(sent) - 4, "removed": 0}


def test_files_of_an_earlier_build_go_away(build: Path, hub: StandIn) -> None:
    for name in ("pairs/train-00000-of-00009.parquet", "preview/preview-00000-of-00001.parquet"):
        (hub.folder / name).parent.mkdir(parents=True)
        (hub.folder / name).write_bytes(b"old")
    (hub.folder / "LICENSE").write_text("mine")
    assert send(build, hub)["removed"] == 2
    assert verify(hub.folder, "full").listed == []
    assert (hub.folder / "LICENSE").read_text() == "mine"


def test_a_build_that_is_not_whole_is_not_pushed(build: Path, hub: StandIn) -> None:
    path = build / "pairs" / "train-00000-of-00001.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ProblemsFound, match="not whole"):
        send(build, hub)
    assert not hub.folder.exists()


def test_the_plan_tells_files_bytes_and_licences(build: Path) -> None:
    before = sorted(build.rglob("*"))
    without, with_pixels = (push_plan(build, "me/x", pixels) for pixels in (False, True))
    assert sorted(build.rglob("*")) == before
    image = "images/train-00000-of-00001.parquet"
    assert without.values["files"][image] < with_pixels.values["files"][image] / 2
    assert "Pixels stay here" in without.text
    assert "Flickr" in with_pixels.text


@pytest.mark.parametrize("pixels", [False, True])
def test_the_plan_names_the_very_files_that_are_sent(
    build: Path, hub: StandIn, pixels: bool
) -> None:
    plan = push_plan(build, "me/x", pixels)
    send(build, hub, pixels)
    sent = {p.relative_to(hub.folder).as_posix(): p for p in hub.folder.rglob("*") if p.is_file()}
    assert set(plan.values["files"]) == set(sent)
    for name, path in sent.items():
        assert name in plan.text
        if name.startswith(("pairs/", "entities/", "preview/")):
            assert plan.values["files"][name] == path.stat().st_size


DETAILS = {
    "no file /home/jane/coco/train2017/1.jpg": "no file …/1.jpg",
    "'/home/jane/my pictures/1.jpg' is not safe": "'…/my pictures/1.jpg' is not safe",
    r"'C:\Users\jane\1.jpg'": "'…/1.jpg'",
    r"\\server\share\1.jpg": "…/1.jpg",
    "~/data/a.png and /b.png": "…/a.png and …/b.png",
    "train2017/1.jpg, 1/2 of it, and/or https://example.org/a/b.jpg": None,
    "size 3 x 4 / 5": None,
}


def test_folders_in_details_of_rejects_stay_here(build: Path, hub: StandIn) -> None:
    rows = [
        {**dict.fromkeys(REJECTS.names, "x"), "detail": text, "file": f"/data/jane/{number}.json"}
        for number, text in enumerate(DETAILS)
    ]
    path = build / "rejects.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=REJECTS), path)
    manifest = json.loads((build / "manifest.json").read_text())
    (shard,) = (item for item in manifest["shards"] if item["path"] == path.name)
    shard |= {"rows": len(rows), "bytes": path.stat().st_size, "sha256": sha256_of(path)}
    manifest["rejects"] = {"x": len(rows)}
    (build / "manifest.json").write_text(json.dumps(manifest))
    (build / "README.md").write_text(card(manifest))
    (build / "croissant.json").write_text(croissant_text(manifest))
    stamp_digests(build)
    send(build, hub)
    sent = pq.read_table(hub.folder / "rejects.parquet").to_pylist()
    assert [row["detail"] for row in sent] == [new or old for old, new in DETAILS.items()]
    assert [row["file"] for row in sent] == [f"…/{number}.json" for number in range(len(DETAILS))]
    assert verify(hub.folder, "deep").listed == []
    assert pq.read_table(path).to_pylist() == rows


@pytest.mark.parametrize("value", ["/home/jane/coco/1.jpg", "C:\\pictures\\1.jpg"])
def test_an_absolute_path_in_the_data_stops_the_push(build: Path, hub: StandIn, value: str) -> None:
    path = build / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["sources"]["paco"]["notes"] = [{"from": value}]
    path.write_text(json.dumps(manifest))
    stamp_digests(build)
    with pytest.raises(ProblemsFound, match="absolute path"):
        send(build, hub)
    assert not hub.folder.exists()


def test_pixels_that_are_not_there_cannot_be_pushed(build: Path) -> None:
    path = build / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["configuration"]["images"] = "reference"
    path.write_text(json.dumps(manifest))
    with pytest.raises(UsageError, match="contains no pixels"):
        push_plan(build, "me/x", True)


def test_the_command_pushes_and_says_so(
    build: Path, hub: StandIn, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: hub)
    words = ["push", str(build), "--repo-id", "me/mixedparts", "--quiet"]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--dry-run"])
    assert ended.value.code == 0
    assert "dry run: nothing was sent" in capsys.readouterr().out
    assert not hub.folder.exists()
    with pytest.raises(SystemExit) as ended:
        main([*words, "--public"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("me/mixedparts: ")
    assert hub.private is False
    with pytest.raises(SystemExit) as ended:
        main(["push", str(build), "--repo-id", "a b/c", "--quiet"])
    assert ended.value.code == 2
