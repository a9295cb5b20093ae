"""An odd image has one fate wherever images are opened, and one set of pixels: those of numpy."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import EpsImagePlugin, Image, ImageFile

from calico.dataset.pairs import BuiltDataset
from calico.inference.queries import rgb_image as asked_image
from calico.inference.transformers_auto import CalicoProcessor
from calico.processing.images import open_image as training_image
from mixedparts.errors import InputError
from mixedparts.images.checks import check_image
from mixedparts.interchange.export.request import ExportRequest, Format
from mixedparts.interchange.export.run import export
from mixedparts.loading import load_dataset, open_stored_image
from mixedparts.pipeline.build import build as make_build
from mixedparts.pipeline.config import BuildConfig
from mixedparts.progress import Silent
from mixedparts.records import Reason
from mixedparts.tables.image_files import ImageFile as SourceFile
from mixedparts.tables.preview import decode as preview_image
from mixedparts.verification.verify import verify
from tests.factories import coco_parts
from tests.factories.forger import rewrite
from tests.factories.micro_model import micro_config, micro_tokenizer
from tests.factories.odd_images import HEIGHT, WIDTH, Odd, opened_images, refused_images

OPENED, REFUSED = opened_images(), refused_images()


def preview(path: Path) -> Any:
    size = path.stat().st_size
    return preview_image(SourceFile("paco", "1", path.name, path, size, WIDTH, HEIGHT))


# Every door of a file, as a function from its path to its pixels.
DOORS: dict[str, Callable[[Path], Any]] = {
    "preview": preview,
    "load_dataset, embedded": lambda p: open_stored_image({"bytes": p.read_bytes(), "path": "a"}),
    "load_dataset, referenced": lambda p: open_stored_image({"bytes": None, "path": str(p)}),
    "training": lambda p: training_image(p.read_bytes(), p.name),
    "prediction": lambda p: asked_image(p),
}


@pytest.fixture(params=["Pillow as it is", "lax", "strict"])
def _settings(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process may have set for all of Pillow, which must not matter."""
    if request.param == "lax":
        monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    if request.param == "strict":
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)


@pytest.fixture(autouse=True)
def _no_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail if Pillow starts Ghostscript, which it does for a PostScript program of any name."""

    def started(*_: object, **__: object) -> None:
        raise AssertionError("an external program was started")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", started)
    monkeypatch.setattr(subprocess, "Popen", started)


@pytest.mark.filterwarnings("error")
@pytest.mark.usefixtures("_settings")
@pytest.mark.parametrize("name", OPENED)
def test_what_is_opened_has_the_pixels_of_numpy_at_every_door(tmp_path: Path, name: str) -> None:
    odd = OPENED[name]
    path = tmp_path / "a.jpg"
    path.write_bytes(odd.data)
    assert check_image(path, WIDTH, HEIGHT) is None
    for door, opened in DOORS.items():
        image = opened(path)
        assert np.array_equal(np.asarray(image), odd.rgb), door
        if isinstance(image, Image.Image):
            assert image.mode == "RGB"
            assert 0x0112 not in image.getexif(), door


@pytest.mark.filterwarnings("error")
@pytest.mark.usefixtures("_settings")
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_one_message_at_every_door(tmp_path: Path, name: str) -> None:
    data, text = REFUSED[name]
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    # The annotation has the size that the file claims, or another: the fate is the same.
    for size in ((WIDTH, HEIGHT), (14_000, 13_000)):
        reason, detail = check_image(path, *size) or (None, "")
        assert reason is Reason.UNREADABLE_IMAGE
        assert text in detail
        assert "a.jpg" in detail
        assert str(tmp_path) not in detail
    for door, opened in DOORS.items():
        with pytest.raises(InputError) as caught:
            opened(path)
        assert text in caught.value.message or door == "preview"
        assert "a" in caught.value.message


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> BuildConfig:
    """A build of a source with an image of every odd kind."""
    root = tmp_path_factory.mktemp("odd")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coco_parts, "SIZES", ((WIDTH, HEIGHT),))
        coco_parts.write_coco_parts(root, {"train": len(OPENED) + len(REFUSED)})
    for number, data in enumerate(
        [*(odd.data for odd in OPENED.values()), *(data for data, _ in REFUSED.values())]
    ):
        (root / f"coco_parts/pictures/train/shelf/train-{number}.jpg").write_bytes(data)
    made = BuildConfig(
        sources=("coco_parts",), root=root, out=root / "out", max_rejects="90%", samples=2_000
    )
    make_build(made, Silent())
    return made


def numbered(image_id: str) -> Odd:
    """Return the odd image that was written under the name of an image."""
    return list(OPENED.values())[int(image_id.rpartition("-")[2])]


def test_a_build_rejects_what_is_refused_and_has_the_rest(config: BuildConfig) -> None:
    refused = [
        row
        for row in pq.read_table(config.out / "rejects.parquet").to_pylist()
        if row["level"] == "image"
    ]
    expected = {f"{len(OPENED) + number}" for number in range(len(REFUSED))}
    assert {row["record_id"] for row in refused} == expected
    assert {row["reason"] for row in refused} == {"unreadable_image"}
    (shard,) = (config.out / "images").glob("*.parquet")
    assert len(pq.read_table(shard)) == len(OPENED)
    assert verify(config.out, "deep").listed == []


def test_all_that_reads_a_build_has_the_same_pixels(config: BuildConfig) -> None:
    seen: set[str] = set()
    rows = load_dataset(config.out, split="train")
    images = BuiltDataset(config.out).images("train")
    for row in rows:
        for ref in row["images"]:
            if ref["image_id"] in seen:
                continue
            seen.add(ref["image_id"])
            expected = numbered(ref["image_id"]).rgb
            assert np.array_equal(np.asarray(ref["pixels"]), expected)
            trained = training_image(images.read(ref["row"]), "")
            assert np.array_equal(np.asarray(trained), expected)
    assert len(seen) == len(OPENED)


def test_plain_readers_of_a_build_turn_no_image(config: BuildConfig) -> None:
    """`datasets` applies orientations: EXIF by itself, that of a TIFF through Pillow."""
    stored = datasets.load_dataset(str(config.out), "images", split="train")
    for row in stored:
        assert row["image"].size == (WIDTH, HEIGHT)
        expected = numbered(row["image_id"]).rgb
        if row["image"].mode == "RGB":
            assert np.array_equal(np.asarray(row["image"]), expected)


@pytest.mark.parametrize("form", [Format.COCO, Format.WEBDATASET, Format.PARQUET])
def test_exports_take_every_image(config: BuildConfig, tmp_path: Path, form: Format) -> None:
    report = export(ExportRequest(config.out, form, tmp_path / "out", limit=300), Silent())
    assert report.values["rows"]["train"] > 0
    if form is Format.COCO:
        for file in (tmp_path / "out").rglob("train-*.jpg"):
            with Image.open(file) as image:
                image.load()
                assert image.size == (WIDTH, HEIGHT), file.name


@pytest.fixture(scope="module")
def forged(config: BuildConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build of another program, which stores images that are refused; records fit the bytes."""
    folder = Path(shutil.copytree(config.out, tmp_path_factory.mktemp("forged") / "build"))

    def change(rows: list[dict[str, Any]]) -> None:
        for row, (data, _) in zip(rows, REFUSED.values(), strict=False):
            row["image"]["bytes"] = data
            row["sha256"] = hashlib.sha256(data).hexdigest()

    rewrite(folder, change, "images")
    return folder


def test_verify_names_every_image_that_no_door_opens(forged: Path) -> None:
    found = [p for p in verify(forged, "deep").listed if p.rule == "pixels"]
    assert len(found) == len(REFUSED)
    for problem, (_, text) in zip(found, REFUSED.values(), strict=True):
        assert "the image cannot be opened" in problem.text
        assert text in problem.text


def test_rows_and_exports_of_such_images_are_one_message(forged: Path, tmp_path: Path) -> None:
    rows = load_dataset(forged, split="train")
    plain = load_dataset(forged, split="train", pixels=False)
    numbers = [[ref["row"] for ref in row["images"]] for row in plain]
    for at in range(len(REFUSED)):
        hit = next(number for number, of in enumerate(numbers) if at in of)
        with pytest.raises(InputError, match=r"the image shelf/train-\d+ in row \d+ of images"):
            [ref["pixels"] for ref in rows[hit]["images"]]
    for form in (Format.COCO, Format.WEBDATASET, Format.PARQUET):
        with pytest.raises(InputError, match=r"in row \d+ of images cannot be decoded"):
            export(ExportRequest(forged, form, tmp_path / form, limit=300), Silent())


@pytest.mark.parametrize(
    "name", ["16-bit grey PNG", "float TIFF in 0..1", "1-bit PNG", "CMYK JPEG"]
)
def test_images_in_memory_follow_the_rule_of_files(tmp_path: Path, name: str) -> None:
    odd, config = OPENED[name], micro_config()
    (tmp_path / "a.jpg").write_bytes(odd.data)
    processor = CalicoProcessor(config, micro_tokenizer())
    with Image.open(tmp_path / "a.jpg") as image:
        given = [image, tmp_path / "a.jpg", odd.rgb, Image.fromarray(odd.rgb)]
        inputs = [processor([[one, one]], ["Which parts?"]).images for one in given]
    for other in inputs[1:]:
        assert other.vision.equal(inputs[0].vision)
        assert other.sam.equal(inputs[0].sam)
    with Image.open(tmp_path / "a.jpg") as image:
        assert np.array_equal(np.asarray(asked_image(image)), odd.rgb)


def test_a_program_in_memory_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(REFUSED["EPS"][0])
    with Image.open(tmp_path / "a.jpg") as image, pytest.raises(InputError, match="PostScript"):
        asked_image(image)


def test_there_is_no_other_door() -> None:
    """Only `mixedparts.images` decodes files and turns modes into RGB."""
    root = Path(__file__).parents[2]
    others = re.compile(r"Image\.open\(|imread\(|imdecode\(|\.convert\(")
    found = [
        f"{path.relative_to(root)}:{number}"
        for package in ("mixedparts", "builders", "calico")
        for path in sorted((root / package).rglob("*.py"))
        if path.parent != root / "mixedparts/images"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if others.search(line) and "msgspec.convert" not in line
    ]
    assert found == []
