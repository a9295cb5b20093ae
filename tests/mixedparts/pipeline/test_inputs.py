"""What the build id knows of the inputs: annotations and maps by content, images by size."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from mixedparts.errors import InputError, UsageError
from mixedparts.pipeline.build import build
from mixedparts.pipeline.config import BuildConfig
from mixedparts.pipeline.inputs import digests_below, source_digests
from mixedparts.pipeline.plan import make_plan
from mixedparts.progress import Silent
from mixedparts.sources.contract import get_source
from tests.factories.ade20k import write_ade20k
from tests.factories.ade20k_full import write_ade20k_full
from tests.factories.partimagenet import write_partimagenet
from tests.oracles.digests import digests

COUNTS = {"train": 6, "validation": 4, "test": 4}


def edit_map(path: Path) -> None:
    """Change one pixel of a map; its file keeps size and time of modification."""
    status = path.stat()
    with Image.open(path) as opened:
        labels = opened.copy()
    position = (labels.width // 2, labels.height // 2)
    value = labels.getpixel(position)
    assert isinstance(value, int)
    # Stored without compression, before and after, all values give files of one size.
    labels.putpixel(position, value ^ 1)
    labels.save(path, compress_level=0)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def uncompressed(paths: list[Path]) -> None:
    for path in paths:
        with Image.open(path) as opened:
            labels = opened.copy()
        labels.save(path, compress_level=0)


def write_maps_of_ade20k(root: Path) -> list[Path]:
    write_ade20k(root, 6, 6)
    return sorted((root / "ADE20KPart234/annotations_detectron2_part").rglob("*.png"))


def write_whole_maps(root: Path) -> list[Path]:
    write_partimagenet(root, COUNTS)
    return sorted((root / "PartImageNet/annotations").rglob("*_whole/*.png"))


def write_maps_of_ade20k_full(root: Path) -> list[Path]:
    write_ade20k_full(root, 6, 6)
    return sorted(root.rglob("instance_*.png"))


@pytest.mark.parametrize(
    ("source", "write"),
    [
        ("ade20k", write_maps_of_ade20k),
        ("partimagenet", write_whole_maps),
        ("ade20k_full", write_maps_of_ade20k_full),
    ],
)
def test_a_map_edited_at_equal_size_is_noticed_by_the_second_run(
    source: str, write: Callable[[Path], list[Path]], tmp_path: Path
) -> None:
    root, out = tmp_path / "src", tmp_path / "out"
    maps = write(root)
    uncompressed(maps)
    config = BuildConfig(sources=(source,), root=root, out=out, samples=40, min_object_area=0.001)
    build(config, Silent())
    before = digests(out)
    assert build(config, Silent())["build_id"] == make_plan(config).build_id
    size = maps[0].stat().st_size
    edit_map(maps[0])
    assert maps[0].stat().st_size == size
    with pytest.raises(UsageError, match=rf"sources\.{source}\.inputs\..*contents:") as caught:
        build(config, Silent())
    assert "--overwrite" in str(caught.value)
    assert digests(out) == before
    build(config, Silent(), overwrite=True)
    edit_map(maps[0])
    with pytest.raises(UsageError, match="contents:"):
        build(config, Silent())


def test_a_list_and_a_file_are_known_by_their_bytes(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a\nb\n")
    expected = hashlib.sha256(b"a\nb\n").hexdigest()
    assert digests_below(tmp_path, ["list.txt"]) == {"list.txt": expected}


def test_folders_of_images_are_known_by_names_and_sizes(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"one")

    def listing() -> str:
        return digests_below(tmp_path, ["images"], ["images"])["images"]

    before = listing()
    assert before.startswith("listing:")
    (folder / "a.png").write_bytes(b"two")
    assert listing() == before
    (folder / "a.png").write_bytes(b"three")
    assert listing() != before
    (folder / "a.png").rename(folder / "b.png")
    (folder / "b.png").write_bytes(b"one")
    assert listing() != before


def test_the_order_of_files_on_disk_does_not_matter(tmp_path: Path) -> None:
    for name, order in (("x", "abc"), ("y", "cba")):
        for file in order:
            path = tmp_path / name / "maps" / file / f"{file}.png"
            path.parent.mkdir(parents=True)
            path.write_text(file)
    assert digests_below(tmp_path / "x", ["maps"]) == digests_below(tmp_path / "y", ["maps"])


def test_what_cannot_be_hashed_counts_and_is_left_to_the_reader(tmp_path: Path) -> None:
    maps = tmp_path / "maps"
    maps.mkdir()
    (maps / "a.png").write_text("a")
    seen = [digests_below(tmp_path, ["maps"])]
    (maps / "link.png").symlink_to(tmp_path / "nothing.png")
    seen.append(digests_below(tmp_path, ["maps"]))
    (tmp_path / "nothing.png").write_text("something")
    seen.append(digests_below(tmp_path, ["maps"]))
    os.mkfifo(maps / "pipe.png")
    seen.append(digests_below(tmp_path, ["maps", "maps/pipe.png", "absent.json"]))
    assert len({item["maps"] for item in seen}) == 4
    assert seen[-1]["absent.json"] == "missing"
    assert seen[-1]["maps/pipe.png"] == "special"


def test_a_loop_of_links_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps/again").symlink_to(tmp_path / "maps")
    with pytest.raises(InputError, match="leads back"):
        digests_below(tmp_path, ["maps"])


def test_files_of_a_source_that_does_not_say_what_images_are_count_by_content(
    tmp_path: Path,
) -> None:
    class Plain:
        name = "plain"

        def required_files(self, root: Path, split: str) -> tuple[str, ...]:
            return ("data",)

    (tmp_path / "data").mkdir()
    for name in ("a.png", "a.jpg"):
        (tmp_path / "data" / name).write_bytes(b"1")

    def of() -> dict[str, str]:
        return source_digests(Plain(), tmp_path, ["train"])  # type: ignore[arg-type]

    before = of()
    (tmp_path / "data/a.jpg").write_bytes(b"2")
    assert of() == before
    (tmp_path / "data/a.png").write_bytes(b"2")
    assert of() != before


def test_hashing_many_files_shows_progress_and_few_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[tuple[str, int, str]] = []
    advanced: list[int] = []

    class Recorded(Silent):
        def start(self, what: str, total: int, unit: str) -> None:
            shown.append((what, total, unit))

        def advance(self, amount: int = 1) -> None:
            advanced.append(amount)

    folder = tmp_path / "maps"
    folder.mkdir()
    for number in range(300):
        (folder / f"{number}.png").write_text(str(number))
    before = digests_below(tmp_path, ["maps"], progress=Recorded())
    assert shown == []
    monkeypatch.setattr("mixedparts.pipeline.inputs._MANY_FILES", 299)
    assert digests_below(tmp_path, ["maps"], progress=Recorded()) == before
    assert shown == [("hashing annotations", 300, "files")]
    assert sum(advanced) == 300


def test_equal_inputs_give_equal_bytes_with_a_cache_and_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "src"
    write_ade20k(root, 6, 6)
    built = []
    for name, cache in (("one", "cache"), ("two", "cache"), ("three", "none")):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / cache))
        # Of files that are old enough to be kept, however fast this test is.
        monkeypatch.setattr("mixedparts.storage.digest_cache._RACY_NS", -1)
        if cache == "none":
            (tmp_path / "none").write_text("no folder can be made here")
        out = tmp_path / name
        build(BuildConfig(sources=("ade20k",), root=root, out=out, samples=60), Silent())
        built.append(digests(out, "log.jsonl"))
    assert built[0] == built[1] == built[2]
    assert list((tmp_path / "cache").rglob("digests/*.json"))
    assert not any("digests" in path for path in built[0])


def test_get_source_says_which_folders_hold_images() -> None:
    root = Path("/nowhere")
    expected = {
        "paco": ("coco/train2017",),
        "partimagenet": ("PartImageNet/images/train",),
        "ade20k": ("ADE20KPart234/images/training",),
        "pascal_part": ("VOCdevkit/VOC2010/JPEGImages",),
        "partinventory": ("PartInventory/images",),
    }
    found = {name: get_source(name).image_folders(root, "train") for name in expected}  # type: ignore[attr-defined]
    assert found == expected
