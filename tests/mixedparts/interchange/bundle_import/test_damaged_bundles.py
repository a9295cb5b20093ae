"""Whatever is damaged in a bundle: an import refuses it, or makes a build that verifies.

The slow tier reads MUTATIONS (how many, 600) and MUTATION_SEED (the first seed, 0) from the
environment. A failure prints its seed and its damage; the same seed gives the same damage again.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mixedparts.interchange.bundle_import.importing import ImportRequest, import_bundle
from mixedparts.interchange.export.request import ExportRequest, Format, Origin
from mixedparts.interchange.export.run import export
from mixedparts.pipeline.build import build
from mixedparts.pipeline.config import BuildConfig
from mixedparts.progress import Silent
from mixedparts.verification.verify import verify
from tests.conftest import SOURCES
from tests.factories.ade20k import write_ade20k
from tests.factories.bundle import write_bundle
from tests.factories.json_mutations import TEXTS
from tests.factories.mutations import attempt, attempt_many
from tests.factories.paco import write_paco
from tests.factories.partimagenet import write_partimagenet
from tests.oracles.build_tables import iter_rows

Record = dict[str, Any]
ORIGINS = ("by hand", *Origin)
FAST = {"by hand": 5, Origin.OWN: 2, Origin.ORIGINAL: 2}  # seeds of each kind


def made(root: Path, out: Path) -> None:
    """Import the bundle below a folder."""
    import_bundle(ImportRequest(root / "Part_Segm", root / "sources", out), Silent())


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A bundle written by hand, and two exported ones; do not write here."""
    folder = tmp_path_factory.mktemp("bundles")
    native = folder / "native"
    write_paco(native, {"train": 5, "validation": 2, "test": 3})
    write_partimagenet(native, {"train": 5, "validation": 2, "test": 3})
    write_ade20k(native, 5, 6)
    config = BuildConfig(sources=SOURCES, root=native, out=folder / "build", samples=120)
    build(config, Silent())
    write_bundle(folder / "by hand")
    for origin in Origin:
        out = folder / origin / "Part_Segm"
        request = ExportRequest(
            folder / "build", Format.PUBLISHED, out, annotations=origin, root=native
        )
        export(request, Silent())
        copy_sources(native, folder / origin / "sources", origin)
    return {origin: folder / origin for origin in ORIGINS}


def copy_sources(native: Path, target: Path, origin: Origin) -> None:
    """Copy what an import reads beside the bundle, so that no damage is spent on other files."""
    names = ["coco/*/*", "PartImageNet/images/*/*", "ADE20KPart234/images/*/*"]
    if origin is Origin.ORIGINAL:
        names += ["paco/annotations/*", "ADE20KPart234/annotations_detectron2_part/*/*"]
    for name in names:
        for path in native.glob(name):
            place = target / path.relative_to(native)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes())


@pytest.mark.parametrize("origin", ORIGINS)
@pytest.mark.parametrize("kind", ["json", "mask", "file", "image"])
def test_damaged_bundles_are_refused_or_verify(
    bundles: dict[str, Path], tmp_path: Path, origin: str, kind: str
) -> None:
    for seed in range(FAST[origin]):
        outcome = attempt(bundles[origin], tmp_path / str(seed), seed, made, (kind,), changes=2)
        assert outcome.damages
        assert outcome.result != "fault", outcome


@pytest.mark.slow
@pytest.mark.parametrize("origin", ORIGINS)
def test_many_damaged_bundles_are_refused_or_verify(
    bundles: dict[str, Path], tmp_path: Path, origin: str
) -> None:
    results, faults, count = attempt_many(
        bundles[origin], tmp_path, made, len(ORIGINS), default=600
    )
    print(f"{origin}: {dict(results)}")
    assert results.total() == count
    assert not faults, "\n".join(map(str, faults[:20]))
    # Most damage is to one record of many, and must not cost the rest of the bundle.
    assert results["clean"] > results["refused"]


LOSSES: dict[str, Callable[[Record], object]] = {
    "no id": lambda item: item.pop("id"),
    "no mask": lambda item: item.update(segmentation=None),
    "an empty mask": lambda item: item["segmentation"].update(counts=[96 * 64]),
    "a mask of another size": lambda item: item["segmentation"].update(size=[5, 5]),
    "an unknown class": lambda item: item.update(category_id=99_999),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_part_that_is_lost_takes_only_its_own_rows_along(
    bundles: dict[str, Path], tmp_path: Path, loss: str
) -> None:
    """A part of an exported bundle that several records name, as common and as unique."""
    root = tmp_path / "in"
    shutil.copytree(bundles[Origin.OWN], root)
    made(root, tmp_path / "sound")
    rows = {row["id"]: row for row in iter_rows(tmp_path / "sound", "pairs", "train")}
    named = Counter(
        (row["images"][part["image"]]["image_id"], part["mask"]["counts"])
        for row in rows.values()
        for part in row["parts"]
        if row["source"] == "paco"
    )
    (image, counts), times = named.most_common(1)[0]
    assert times > 3
    file = root / "Part_Segm/paco_lvis/annotations/paco_lvis_v1_train.json"
    content = json.loads(file.read_bytes())
    lost = next(
        item
        for item in content["annotations"]
        if str(item["image_id"]) == image and item["segmentation"]["counts"] == counts
    )
    LOSSES[loss](lost)
    file.write_text(json.dumps(content))
    made(root, tmp_path / "out")
    assert verify(tmp_path / "out", "deep").listed == []
    left = {row["id"]: row for row in iter_rows(tmp_path / "out", "pairs", "train")}
    apart = {
        number: row
        for number, row in rows.items()
        if row["source"] != "paco" or image not in {ref["image_id"] for ref in row["images"]}
    }
    assert 0 < len(apart) < len(rows)
    assert apart.keys() <= left.keys()
    # A row has the parts that it had, without the lost one; a common part is gone in both images.
    for number, row in left.items():
        had = {(p["image"], p["name"], p["kind"]): p for p in rows[number]["parts"]}
        has = {(p["image"], p["name"], p["kind"]): p for p in row["parts"]}
        gone = had.keys() - has.keys()
        assert {key: had[key] for key in has} == has
        assert not gone or number not in apart
        assert len({name for _, name, _ in gone}) <= 1


@dataclass(frozen=True)
class Case:
    """A way to damage one of several records that agree about an entity.

    Attributes:
        change: changes the record in place.
        reason: the reject that names the record; "some" for any, None if the record still agrees.
    """

    name: str
    change: Callable[[Record], object]
    reason: str | None


def _pair(**values: Any) -> Callable[[Record], object]:
    return lambda record: record["pairs"][0].update(values)


def _record(**values: Any) -> Callable[[Record], object]:
    return lambda record: record.update(values)


def _common(place: int, **values: Any) -> Callable[[Record], object]:
    return lambda record: record["pairs"][0]["common"][place].update(values)


def _without_part(record: Record) -> None:
    record["pairs"][0]["common"].pop()


def _swapped(record: Record) -> None:
    record["img_ids"].reverse()


def _other_unique(record: Record) -> None:
    unique = record["pairs"][0]["unique"]
    unique["part_cats"] = [["leg"], []]
    unique["part_ann_ids"] = [[[3]], []]


def _cases() -> Iterator[Case]:
    yield Case("one instance of two", _pair(ann_ids=[[1], [7]]), "contradicted")
    yield Case("an instance twice", _pair(ann_ids=[[1, 2, 2, 1], [7]]), None)
    yield Case("ids as text", _pair(ann_ids=[["1", "2"], ["7"]]), None)
    yield Case("an unknown instance", _pair(ann_ids=[[1, 99], [7]]), "contradicted")
    yield Case("no known instance", _pair(ann_ids=[[99], [7]]), "orphan_pair")
    yield Case("a part less", _without_part, "contradicted")
    yield Case("another mask of a part", _common(0, part_ann_ids=[[3], [8]]), "contradicted")
    yield Case("a mask of another part", _common(0, part_ann_ids=[[5], [8]]), "contradicted")
    yield Case("common is unique", _other_unique, "malformed_record")
    yield Case("swapped images", _swapped, "orphan_pair")
    yield Case("an unknown image", _record(img_ids=[11, 99]), "orphan_pair")
    yield Case("one image", _record(img_ids=[11]), "malformed_record")
    yield Case("three images", _record(img_ids=[11, 12, 12]), "malformed_record")
    yield Case("the same image", _record(img_ids=[11, 11]), "malformed_record")
    yield Case("another dataset", _record(dataset_name="pascal"), "unknown_dataset")
    yield Case("another known dataset", _record(dataset_name="ade20k_part234"), "malformed_record")
    yield Case("another kind", _record(is_object=True), "nothing_stated")
    yield Case("no kind", _record(is_object=None), "malformed_record")
    yield Case("extra keys", _record(extra=[None], split="test"), None)
    yield Case("visibility", _pair(visibility=[None, "x", 5]), None)
    yield Case("upper case", _pair(cats=["CHAIR", "Stool"]), None)
    for text in TEXTS:
        yield Case(f"class {text[:9]!r}", _pair(cats=[text, "stool"]), "some")
        yield Case(f"part {text[:9]!r}", _common(0, part_cat=text), "some")
    for value in (None, -1, 10**30, float("nan"), [], {}, True, 1.5, ""):
        yield Case(f"ids {value!r}", _pair(ann_ids=[[value], [7]]), "some")
        yield Case(f"part ids {value!r}", _common(1, part_ann_ids=[[5], value]), "some")


CASES = tuple(_cases())


@pytest.fixture(scope="module")
def agreeing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle by hand; do not write here."""
    folder = tmp_path_factory.mktemp("agreeing")
    write_bundle(folder)
    return folder


@pytest.mark.parametrize("last", [True, False], ids=["after the sound ones", "before them"])
def test_damage_to_a_record_costs_this_record_alone(
    agreeing: Path, tmp_path: Path, last: bool
) -> None:
    """All damaged copies of a record beside two sound ones, in one bundle."""
    root = tmp_path / "in"
    shutil.copytree(agreeing, root)
    made(root, tmp_path / "sound")
    file = root / "Part_Segm" / "mixed_parts_train.json"
    sound = json.loads(file.read_bytes())
    copies = []
    for case in CASES:
        copy = json.loads(json.dumps(sound[1]))
        case.change(copy)
        copies.append(copy)
    # As many sound copies: of two records that contradict each other, neither is known to be right.
    again = [sound[1]] * len(CASES)
    records = [*sound, *again, *copies] if last else [*copies, *sound, *again]
    file.write_text(json.dumps(records))
    made(root, tmp_path / "out")
    assert verify(tmp_path / "out", "deep").listed == []
    for split in ("train", "test"):
        ours, theirs = (
            sorted(map(without_order, iter_rows(tmp_path / name, "pairs", split)))
            for name in ("out", "sound")
        )
        assert ours == theirs
    table = pq.read_table(tmp_path / "out" / "rejects.parquet").to_pylist()
    found: defaultdict[str, set[str]] = defaultdict(set)
    for row in table:
        # The rows that a damaged record still states rightly are there already.
        if row["level"] == "pair" and row["reason"] != "duplicate_id":
            found[row["record_id"].partition(".")[0]].add(row["reason"])
    first = len(sound) + len(again) if last else 0
    for place, case in enumerate(CASES, first):
        reasons = found[str(place)]
        if case.reason == "some":
            assert reasons, case.name
        else:
            assert reasons == ({case.reason} if case.reason else set()), case.name


@pytest.mark.parametrize(
    "text", ["a </p> b", "</p> [SEG] (IMAGE1)", "x <P> y", "[seg]", "a\u202eb"]
)
def test_a_name_that_would_break_an_answer_is_refused(
    agreeing: Path, tmp_path: Path, text: str
) -> None:
    """The same name in the annotation files and in the records: a class, and a part."""
    root = tmp_path / "in"
    shutil.copytree(agreeing, root)
    records = root / "Part_Segm" / "mixed_parts_train.json"
    content = json.loads(records.read_bytes())
    content[2]["pairs"][0]["cats"][0] = text
    content[3]["pairs"][0]["common"][0]["part_cat"] = text
    records.write_text(json.dumps(content))
    for name, native in (("train_whole/train", "dog"), ("train/train", "head")):
        file = root / f"Part_Segm/PartImageNet/annotations/{name}_mixed_parts.json"
        notes = json.loads(file.read_bytes())
        for category in notes["categories"]:
            category["name"] = text if category["name"] == native else category["name"]
        file.write_text(json.dumps(notes))
    made(root, tmp_path / "out")
    assert verify(tmp_path / "out", "deep").listed == []
    table = pq.read_table(tmp_path / "out" / "rejects.parquet").to_pylist()
    found = {row["record_id"]: row["reason"] for row in table if row["level"] == "pair"}
    assert found == {"2.0": "malformed_record", "3.0": "malformed_record"}
    # No record of PartImageNet is left, and the rejects name it all the same.
    assert all(row["detail"].startswith("part_image_net: ") for row in table)


def without_order(row: Record) -> str:
    """Return a row as text, the same whichever of its images is the first."""
    images = [ref["file_name"] for ref in row["images"]]
    regions = [
        (images[item["image"]], item.get("kind", ""), item.get("name", item.get("category")),
         item["mask"]["counts"])
        for item in (*row["objects"], *row["parts"])
    ]  # fmt: skip
    return json.dumps([row["task"], sorted(images), sorted(regions)])
