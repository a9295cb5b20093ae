"""Annotation files in the numbers of the real datasets: totals, sizes, readers, same bytes."""

from __future__ import annotations

import errno
import json
import statistics
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builders.ade20k import Ade20kPartSource
from builders.paco import PacoSource
from builders.partimagenet import PartImageNetSource
from mixedparts.errors import EnvironmentFault, UsageError
from mixedparts.records import ImageRecord
from mixedparts.sources.contract import Source
from mixedparts.synthetic import MARKER, make_sources
from mixedparts.synthetic.scale import PROFILES, Order, make, make_annotations
from mixedparts.synthetic.scale.counts import FULL, Counts
from mixedparts.synthetic.scale.paco import PacoScale
from mixedparts.synthetic.scale.plan import plan_split
from mixedparts.synthetic.scale.random_numbers import generator
from tests.oracles.digests import digests

ORDER = Order(fraction=0.004, seed=5)
JSON = {
    "paco": "paco/annotations/paco_lvis_v1_{}.json",
    "partimagenet": "PartImageNet/annotations/{0}/{0}.json",
    "ade20k": "ADE20KPart234/ade20k_instance_{}.json",
}


def silent(done: int, total: int) -> None:
    """Say nothing."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scale")
    make_annotations(out, ORDER, 1, silent)
    return out


def body(root: Path, source: str, split: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((root / JSON[source].format(split)).read_bytes())
    return content


def test_the_full_profile_has_the_documented_totals() -> None:
    totals = {
        source: {split: counts.images for split, counts in splits.items()}
        for source, splits in FULL.items()
    }
    assert totals["paco"] == {"train": 45_790, "val": 2_410, "test": 9_443}
    assert sum(totals["partimagenet"].values()) == 24_095
    assert totals["ade20k"] == {"train": 8_351, "val": 1_016}
    assert FULL["paco"]["train"] == Counts(45_790, 217_117, 395_071)
    assert PROFILES["small"]["paco"]["train"] == Counts(458, 2_171, 3_951)


def test_a_full_plan_of_paco_has_the_real_frequencies_and_exact_totals() -> None:
    layout, counts = PacoScale(), FULL["paco"]["train"]
    most = layout.most_parts()
    plan = plan_split(counts, layout.weights(), most, layout.most_images, generator(0, "plan"))
    assert len(plan.starts) == counts.images + 1
    assert (np.diff(plan.starts) > 0).all()
    assert int(plan.parts.sum()) == counts.parts
    assert (plan.parts <= most[plan.classes]).all()
    # The real numbers of objects of each class add up to the real total.
    wanted = [item.instances for item in layout.classes]
    assert np.bincount(plan.classes, minlength=75).tolist() == wanted
    images = np.arange(counts.images).repeat(np.diff(plan.starts))
    # 74,528 pairs of class and image in the real file: 1.63 classes an image.
    assert 1.5 < len(set(zip(images.tolist(), plan.classes.tolist(), strict=True))) / 45_790 < 1.7


@pytest.mark.parametrize(
    ("counts", "expected"),
    [(Counts(1, 1, 0), 0), (Counts(3, 3, 500), 6), (Counts(7, 9, 11), 11)],
    ids=["one image", "more parts than fit", "few"],
)
def test_tiny_plans(counts: Counts, expected: int) -> None:
    plan = plan_split(counts, np.ones(3), np.array([2, 2, 2]), 1.0, generator(1, "plan"))
    assert len(plan.classes) == counts.objects
    assert int(plan.parts.sum()) == expected
    assert (np.diff(plan.starts) > 0).all()


@pytest.mark.parametrize(
    ("source", "split"),
    [(source, split) for source, splits in FULL.items() for split in splits],
)
def test_files_have_the_numbers_of_their_split(root: Path, source: str, split: str) -> None:
    content, counts = body(root, source, split), FULL[source][split].times(ORDER.fraction)
    annotations = content["annotations"]
    assert len(content["images"]) == counts.images
    assert len({record["file_name"] for record in content["images"]}) == counts.images
    assert len({item["id"] for item in annotations}) == len(annotations)
    expected = {
        "paco": counts.objects + counts.parts,
        "partimagenet": counts.parts,
        "ade20k": counts.objects,
    }
    assert len(annotations) == expected[source]
    assert "Synthetic" in content["info"]["description"]


@pytest.mark.parametrize(
    "reader", [PacoSource(), PartImageNetSource(), Ade20kPartSource()], ids=lambda item: item.name
)
def test_readers_take_every_record(root: Path, reader: Source) -> None:
    for split in reader.splits(root):
        found = [item for shard in reader.plan(root, split, 64, "") for item in reader.read(shard)]
        assert [item for item in found if not isinstance(item, ImageRecord)] == []
        records = [item for item in found if isinstance(item, ImageRecord)]
        if reader.name == "ade20k":  # two splits share the val file
            assert all(record.parts_known for record in records)
            continue
        counts = FULL[reader.name][split.replace("validation", "val")].times(ORDER.fraction)
        assert len(records) == counts.images
        assert sum(len(record.objects) for record in records) == counts.objects
        assert sum(len(record.parts) for record in records) == counts.parts


def test_most_parts_of_the_maps_lie_in_their_object(root: Path) -> None:
    reader = Ade20kPartSource()
    records = [
        item
        for shard in reader.plan(root, "train", 64, "")
        for item in reader.read(shard)
        if isinstance(item, ImageRecord)
    ]
    drawn = FULL["ade20k"]["train"].times(ORDER.fraction).parts
    # Objects of a class that overlap share the pixels of their parts: some count for both.
    assert 0.8 * drawn < sum(len(record.parts) for record in records) < 1.2 * drawn


def test_outlines_have_the_sizes_of_lvis(root: Path) -> None:
    content = body(root, "paco", "train")
    pixels = {record["id"]: record["width"] * record["height"] for record in content["images"]}
    objects = [item for item in content["annotations"] if item["obj_ann_id"] == item["id"]]
    corners = [len(polygon) / 2 for item in objects for polygon in item["segmentation"]]
    assert 18 <= statistics.median(corners) <= 24
    assert 24 <= statistics.mean(corners) <= 34
    shares = [item["area"] / pixels[item["image_id"]] for item in objects]
    assert 0.005 < statistics.median(shares) < 0.015
    for item in objects:
        x, y, width, height = item["bbox"]
        points = np.concatenate([np.reshape(polygon, (-1, 2)) for polygon in item["segmentation"]])
        assert np.allclose(points.min(0), (x, y))
        assert np.allclose(points.max(0), (x + width, y + height), atol=0.02)


def test_images_share_few_files(root: Path) -> None:
    pictures = [path for path in root.rglob("*") if path.suffix in (".jpg", ".JPEG")]
    assert len({path.stat().st_ino for path in pictures}) < 60 < len(pictures) / 6
    assert max(path.stat().st_size for path in pictures) < 80_000


def test_every_layout_is_marked_and_says_what_it_is(root: Path) -> None:
    marks = {path.parent.name: path.read_text() for path in root.rglob(MARKER)}
    assert set(marks) == {"paco", "coco", "PartImageNet", "ADE20KPart234"}
    assert all("random outlines" in text and "seed: 5" in text for text in marks.values())


def test_workers_and_an_earlier_run_change_no_byte(root: Path, tmp_path: Path) -> None:
    make_sources(tmp_path, 2, 0, 1, silent)
    make_annotations(tmp_path, Order(fraction=0.002, seed=9), 1, silent)
    calls: list[tuple[int, int]] = []
    make_annotations(tmp_path, ORDER, 2, lambda done, total: calls.append((done, total)))
    assert digests(tmp_path) == digests(root)
    assert calls[0] == (0, ORDER.images)
    assert calls[-1] == (ORDER.images, ORDER.images)


def test_one_source_alone_has_the_same_bytes(root: Path, tmp_path: Path) -> None:
    make_annotations(tmp_path, Order(fraction=0.004, seed=5, sources=("ade20k",)), 1, silent)
    assert {path.name for path in tmp_path.iterdir()} == {"ADE20KPart234"}
    whole = digests(root / "ADE20KPart234")
    assert digests(tmp_path / "ADE20KPart234") == whole


def test_only_a_few_blocks_are_in_memory_at_a_time() -> None:
    taken: list[int] = []

    class Instant(Executor):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            future: Future[Any] = Future()
            future.set_result([])
            return future

    def jobs() -> Iterator[Any]:
        for number in range(100):
            taken.append(number)
            yield "paco", number

    results = make._in_pool(Instant(), 4, jobs())
    assert next(results) == []
    assert len(taken) == 4
    assert len(list(results)) == 99


def test_bad_orders_are_told_together(tmp_path: Path) -> None:
    order = Order("huge", 1.0, -1, ("coco",))
    with pytest.raises(UsageError, match=r"profile.*seed.*sources.*workers"):
        make_annotations(tmp_path / "out", order, 0, silent)
    with pytest.raises(UsageError, match="fraction must be above 0"):
        make_annotations(tmp_path / "out", Order(fraction=0), 1, silent)
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_one_clear_error_and_a_second_run_repairs_it(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "picture.jpg")

    with monkeypatch.context() as patched:
        patched.setattr("mixedparts.synthetic.scale.layouts.link_picture", full)
        with pytest.raises(EnvironmentFault, match=r"picture\.jpg: No space left"):
            make_annotations(tmp_path, ORDER, 1, silent)
    assert not [name for name in digests(tmp_path) if name.endswith((".json", ".tmp"))]
    make_annotations(tmp_path, ORDER, 1, silent)
    assert digests(tmp_path) == digests(root)


def test_pictures_are_copied_where_links_are_impossible(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EMLINK, "Too many links")

    monkeypatch.setattr("mixedparts.synthetic.scale.pictures.os.link", no_links)
    order = Order(fraction=0.004, seed=5, sources=("ade20k",))
    make_annotations(tmp_path, order, 1, silent)
    assert digests(tmp_path / "ADE20KPart234") == digests(root / "ADE20KPart234")


def test_foreign_files_are_refused_and_untouched(tmp_path: Path) -> None:
    theirs = tmp_path / "coco" / "real.jpg"
    theirs.parent.mkdir()
    theirs.write_bytes(b"real")
    with pytest.raises(UsageError, match="coco"):
        make_annotations(tmp_path, ORDER, 1, silent)
    assert list(digests(tmp_path)) == ["coco/real.jpg"]
