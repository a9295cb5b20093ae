"""The endpoint of the page against the model, bad input, and other hosts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from calico.demo.answering import Answering, Upload
from calico.demo.examples import Example, Examples
from calico.demo.page import build_page
from mixedparts.errors import UsageError
from mixedparts.masks import area, from_string
from mixedparts.tables.overlay import colours_of
from tests.calico.demo.conftest import Running
from tests.checkout import DOCS
from tests.house.test_document_code import code


@pytest.fixture(scope="module")
def client(running: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    opened = Client(
        running.address, verbose=False, analytics_enabled=False,
        download_files=str(tmp_path_factory.mktemp("downloads")),
    )  # fmt: skip
    yield opened
    opened.close()


def ask(
    client: Client, *images: Path | None, task: str = "common_parts", question: str = ""
) -> Any:
    given = [None if path is None else handle_file(str(path)) for path in images]
    return client.predict(*given, task, question, api_name="/answer")


def test_the_code_on_the_page_about_prediction(
    running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (block,) = code(DOCS / "prediction.md", "python", "gradio_client")
    assert "http://127.0.0.1:7860/" in block
    monkeypatch.chdir(tmp_path)
    for name, path in zip(("a.jpg", "b.jpg"), running.images, strict=False):
        Image.open(path).convert("RGB").save(name)
    # A model for three images has a third place, which the block leaves empty.
    block = block.replace("http://127.0.0.1:7860/", running.address)
    block = block.replace('handle_file("b.jpg"),', 'handle_file("b.jpg"), None,')
    names: dict[str, Any] = {}
    exec(compile(block, "<page>", "exec"), names)
    assert len(names["table"]["data"]) == 4
    assert Path(names["overlay"]).stat().st_size > 1_000
    names["client"].close()


@pytest.mark.parametrize("count", [2, 3])
def test_the_answer_is_that_of_the_model(count: int, running: Running, client: Client) -> None:
    images = [*running.images[:count], *[None] * (3 - count)]
    notes, overlay, answer, table, files = ask(client, *images, task="unique_parts")
    expected = running.answering.predictor(*running.images[:count], task="unique_parts")
    assert len(expected.segments) == 4
    assert any(area(segment.mask) for segment in expected.segments)
    with Image.open(overlay) as drawn:
        np.testing.assert_array_equal(np.asarray(drawn), np.asarray(expected.overlay()))
    phrases = [(piece["token"], piece["class_or_confidence"]) for piece in answer["value"]]
    assert [(text, label) for text, label in phrases if label] == [
        ("a mug", "mug"), ("a kettle", "kettle"), ("the lid", "lid"),
    ]  # fmt: skip
    assert ("handle", None) in phrases  # its mask is on an image that does not exist
    assert "".join(text for text, _ in phrases) == (
        "One object is a mug, the other a kettle. Both have the lid and no handle,."
    )
    colours = colours_of([segment.label for segment in expected.segments])
    assert answer["color_map"] == {
        label: "#{:02x}{:02x}{:02x}".format(*colour) for label, colour in colours.items()
    }
    assert [[*row[1:3], row[4]] for row in table["data"]] == [
        [segment.label, segment.image + 1, area(segment.mask)] for segment in expected.segments
    ]
    assert [row[3] for row in table["data"]] == [round(s.score, 3) for s in expected.segments]
    assert "was trained on synthetic images" in notes
    assert "1 [SEG] named an image that does not exist" in notes
    by_name = {Path(path).name: path for path in files}
    stored = json.loads(Path(by_name["prediction.json"]).read_text())
    assert stored["question"] == expected.question
    assert stored["images"] == [path.name for path in running.images[:count]]
    with ZipFile(by_name["prediction.zip"]) as archive:
        assert {*archive.namelist(), "prediction.zip"} == set(by_name)
    for segment, mine in zip(stored["segments"], expected.segments, strict=True):
        height, width = segment["mask"]["size"]
        assert from_string(segment["mask"]["counts"], height, width) == mine.mask
        assert segment["file"] in by_name


def test_the_visitors_own_question(running: Running, client: Client) -> None:
    *_, files = ask(client, *running.images[:2], None, question=" What do they share? ")
    stored = next(path for path in files if path.endswith("prediction.json"))
    assert json.loads(Path(stored).read_text())["question"] == "What do they share?"


def test_images_stay_on_their_stored_grid(running: Running, client: Client, tmp_path: Path) -> None:
    tall = Image.new("RGB", (20, 40), "red")
    exif = tall.getexif()
    exif[0x0112] = 6  # turned by a quarter
    tall.save(tmp_path / "turned.jpg", exif=exif)
    *_, files = ask(client, tmp_path / "turned.jpg", running.images[0], None)
    stored = json.loads(Path(next(p for p in files if p.endswith("prediction.json"))).read_text())
    assert {tuple(s["mask"]["size"]) for s in stored["segments"] if s["image"] == 0} == {(40, 20)}


def test_a_model_of_photographs_has_no_such_note(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploads = [Upload(path, path.name) for path in running.images[:2]]
    assert "synthetic" in str(running.answering.ask(uploads, "common_parts", None).notes)
    monkeypatch.setattr(running.answering.predictor, "synthetic", False)
    assert "synthetic" not in str(running.answering.ask(uploads, "common_parts", None).notes)
    examples = Examples((Example(running.images[:2], "common_parts"),), "Photographs.")
    page = build_page(running.answering, examples, "runs/tiny")
    assert "synthetic" not in str(page.get_config_file()["components"])


def test_files_of_old_answers_are_deleted(
    running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("calico.demo.answering.KEPT_ANSWERS", 2)
    answering = Answering(running.answering.predictor, tmp_path, 1)
    uploads = [Upload(path, path.name) for path in running.images[:2]]
    folders = [answering.ask(uploads, "common_parts", None).files[0].parent for _ in range(3)]
    assert [folder.exists() for folder in folders] == [False, True, True]


class TestBadInput:
    def test_a_broken_image(
        self, running: Running, client: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        broken = tmp_path / "broken.png"
        broken.write_bytes(running.images[0].read_bytes()[:60])
        with pytest.raises(AppError, match=r"image 2 \(broken\.png\)"):
            ask(client, running.images[0], broken, None)
        assert "Traceback" not in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("places", "said"),
        [
            ((0, None, None), "Image 2 is missing"),
            ((None, 0, None), "Image 1 is missing"),
            ((None, None, None), "Images 1 and 2 are missing"),
            ((0, None, 1), "Image 2 is missing"),
        ],
    )
    def test_a_missing_image(
        self, running: Running, client: Client, places: tuple[int | None, ...], said: str
    ) -> None:
        images = [None if at is None else running.images[at] for at in places]
        with pytest.raises(AppError, match=said):
            ask(client, *images)

    def test_too_many_images(self, running: Running, client: Client) -> None:
        upload = Upload(running.images[0], "a.png")
        with pytest.raises(UsageError, match="4 images were given, this model takes at most 3"):
            running.answering.ask([upload] * 4, "common_parts", None)

    def test_no_such_task(self, running: Running, client: Client) -> None:
        with pytest.raises(AppError, match=r"there is no task .*common_object"):
            ask(client, *running.images, task="parts")


def test_other_hosts_and_files_of_the_machine(running: Running, tmp_path: Path) -> None:
    assert httpx.get(running.address).status_code == 200
    foreign = httpx.get(running.address, headers={"Host": "example.org"})
    assert foreign.status_code == 400
    secret = tmp_path / "secret.txt"
    secret.write_text("mine")
    for path in (secret, Path("/etc/passwd"), Path("pyproject.toml").resolve()):
        got = httpx.get(f"{running.address}gradio_api/file={path}")
        assert got.status_code in (403, 404), (path, got.status_code)
