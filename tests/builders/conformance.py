"""Checks that every source reader inherits: derive a test class and say what to read.

The accounting, which the readers here follow and a new one should:

- every record of an images list is one `ImageRecord` or one reject of level image. The reasons in
  `NOTES` come on top: they report a lost map and leave the image in;
- every record of an annotations list is one object, one part, or one reject of level object or
  part; also where its image is refused (`image_rejected`), or where it has none;
- rejects of level polygon come on top: the annotation they name goes on without that polygon;
- what no record describes (PartImageNet's objects, ADE's parts) is counted by the reader's tests.

A split that shares its file with another is read together with it.
"""

from __future__ import annotations

import os
import pickle
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import ClassVar

import pytest

from mixedparts import masks
from mixedparts.errors import InputError, UsageError
from mixedparts.masks import Rle
from mixedparts.pipeline.inputs import digests_below, source_digests
from mixedparts.records import ImageRecord, Level, Reason, Reject
from mixedparts.sources.contract import SPLITS, SeparatesImages, Source, available, get_source
from mixedparts.sources.manifests import Manifest, manifest_of

NOTES = {Reason.MISSING_PART_MAP, Reason.UNREADABLE_OBJECT_MAP, Reason.AMBIGUOUS_MAP}
Outcome = ImageRecord | Reject
RecordCounts = dict[str, tuple[int, int]]
Reads = dict[str, list[Outcome]]


def read_split(
    source: Source, root: Path, split: str, variant: str = "", shard_images: int = 3
) -> list[Outcome]:
    """Read a whole split, shard after shard."""
    shards = source.plan(root, split, shard_images, variant)
    return [outcome for shard in shards for outcome in source.read(shard)]


@contextmanager
def changed_byte(path: Path) -> Iterator[None]:
    """Change the last byte of a file, and keep its size and its time of modification."""
    content, status = path.read_bytes(), path.stat()
    for data in (content[:-1] + bytes([content[-1] ^ 1]), content):
        path.write_bytes(data)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        if data != content:
            yield


def images_of(outcomes: Sequence[Outcome]) -> list[ImageRecord]:
    return [outcome for outcome in outcomes if isinstance(outcome, ImageRecord)]


def rejects_of(outcomes: Sequence[Outcome]) -> list[Reject]:
    return [outcome for outcome in outcomes if isinstance(outcome, Reject)]


def masks_of(image: ImageRecord) -> list[Rle]:
    return [*(item.mask for item in image.objects), *(part.mask for part in image.parts)]


def accounted(outcomes: Sequence[Outcome], level: Level | None = None) -> Counter[str]:
    """Count images and annotations that came out or were refused.

    Args:
        level: for a reader whose annotations are all objects, or all parts: that level. What it
            derives on the other level is left out of the count.
    """
    counted: Counter[str] = Counter(images=0, annotations=0)
    levels = {Level.OBJECT, Level.PART} if level is None else {level}
    for outcome in outcomes:
        if isinstance(outcome, ImageRecord):
            counted["images"] += 1
            counted["annotations"] += len(outcome.objects) * (Level.OBJECT in levels)
            counted["annotations"] += len(outcome.parts) * (Level.PART in levels)
        elif outcome.level is Level.IMAGE:
            counted["images"] += outcome.reason not in NOTES
        else:
            counted["annotations"] += outcome.level in levels
    return counted


class SourceConformance(ABC):
    """What holds for every reader. Derive, name it `Test…`, and give the two things below."""

    name: ClassVar[str]
    """The registered name."""
    level: ClassVar[Level | None] = None
    """Level of the file's annotations, where they are all of one."""
    sharing: ClassVar[tuple[tuple[str, ...], ...]] = (("train",), ("validation",), ("test",))
    """Splits, grouped by the annotation file that they share."""
    one_file_an_image: ClassVar[bool] = False
    """Whether every image has an annotation file of its own; a broken one is then a reject."""

    @abstractmethod
    def write(self, root: Path) -> RecordCounts:
        """Write a source with good and bad records; return for each group's first split the
        number of image records and annotation records in its file."""

    def known(self, root: Path) -> Manifest:
        found = manifest_of(self.name, root)
        assert found is not None
        return found

    @pytest.fixture
    def source(self) -> Source:
        return get_source(self.name)

    @pytest.fixture
    def records_in(self, tmp_path: Path) -> RecordCounts:
        return self.write(tmp_path)

    @pytest.fixture
    def read(self, tmp_path: Path, source: Source, records_in: RecordCounts) -> Reads:
        return {split: read_split(source, tmp_path, split) for split in source.splits(tmp_path)}

    def test_is_registered_under_its_name_and_has_a_manifest(
        self, tmp_path: Path, source: Source, records_in: RecordCounts
    ) -> None:
        assert self.name in available()
        assert source.name == self.name
        assert source.version
        assert self.known(tmp_path).objects

    def test_finds_its_splits_and_what_they_need(
        self, tmp_path: Path, source: Source, records_in: RecordCounts
    ) -> None:
        assert source.splits(tmp_path) == tuple(
            split for split in SPLITS if any(split in group for group in self.sharing)
        )
        for split in source.splits(tmp_path):
            required = source.required_files(tmp_path, split)
            assert len(set(required)) == len(required) > 0
            for path in required:
                assert not PurePosixPath(path).is_absolute()
                assert (tmp_path / path).exists()
            assert (tmp_path / required[0]).is_file() or self.one_file_an_image

    def test_a_change_of_equal_size_is_another_build_but_for_images(
        self, tmp_path: Path, source: Source, records_in: RecordCounts
    ) -> None:
        splits = source.splits(tmp_path)
        images = {
            folder
            for split in splits
            if isinstance(source, SeparatesImages)
            for folder in source.image_folders(tmp_path, split)
        }
        before = source_digests(source, tmp_path, splits)
        assert images <= before.keys()
        for required, digest in before.items():
            place = tmp_path / required
            inside = [place] if place.is_file() else sorted(place.rglob("*"))
            # One file of each kind, such as a JSON file, an image and a segmentation map.
            kinds = {path.suffix.lower(): path for path in inside if path.is_file()}
            for suffix, path in kinds.items():
                by_size = required in images or suffix in (".jpg", ".jpeg")
                # Without the reader, which may refuse the file as it now is.
                with changed_byte(path):
                    now = digests_below(tmp_path, [required], images)[required]
                assert (now == digest) == by_size, path
        assert source_digests(source, tmp_path, splits) == before

    def test_an_empty_root_has_no_split_and_a_layout_to_show(
        self, tmp_path: Path, source: Source
    ) -> None:
        assert source.splits(tmp_path) == ()
        assert str(tmp_path) in source.layout(tmp_path)
        assert len(source.layout(tmp_path).splitlines()) > 1

    def test_plans_every_image_once_and_in_order(
        self, tmp_path: Path, source: Source, records_in: RecordCounts
    ) -> None:
        for group in self.sharing:
            for split in group:
                for size in (1, 2, 1000):
                    shards = source.plan(tmp_path, split, size, "")
                    covered = [i for shard in shards for i in range(shard.start, shard.stop)]
                    assert covered == list(range(records_in[group[0]][0]))
                    assert all(shard.stop - shard.start <= size for shard in shards)
                    assert {(s.source, s.split) for s in shards} == {(self.name, split)}
                    assert pickle.loads(pickle.dumps(shards)) == shards

    def test_shards_of_any_size_give_the_same(
        self, tmp_path: Path, source: Source, read: Reads
    ) -> None:
        for split, outcomes in read.items():
            for size in (1, 1000):
                again = read_split(source, tmp_path, split, shard_images=size)
                assert Counter(again) == Counter(outcomes)
                assert images_of(again) == images_of(outcomes)

    def test_a_shard_reads_the_same_twice(
        self, tmp_path: Path, source: Source, read: Reads
    ) -> None:
        for split in read:
            for shard in source.plan(tmp_path, split, 2, ""):
                assert list(source.read(shard)) == list(source.read(shard))

    def test_counts_reconcile(self, read: Reads, records_in: RecordCounts) -> None:
        for group in self.sharing:
            together = [outcome for split in group for outcome in read[split]]
            images, annotations = records_in[group[0]]
            expected = {"images": images, "annotations": annotations}
            assert accounted(together, self.level) == expected

    def test_every_split_yields_images_and_some_split_rejects(self, read: Reads) -> None:
        assert all(images_of(outcomes) for outcomes in read.values())
        assert any(rejects_of(outcomes) for outcomes in read.values())

    def test_image_ids_are_unique_in_the_source(self, read: Reads) -> None:
        ids = [image.image_id for outcomes in read.values() for image in images_of(outcomes)]
        assert all(ids)
        assert len(set(ids)) == len(ids)

    def test_records_say_where_they_come_from(self, tmp_path: Path, read: Reads) -> None:
        for split, outcomes in read.items():
            for outcome in outcomes:
                assert (outcome.source, outcome.split) == (self.name, split)
                assert pickle.loads(pickle.dumps(outcome)) == outcome
            for image in images_of(outcomes):
                path = PurePosixPath(image.path)
                assert not path.is_absolute()
                assert ".." not in path.parts
                assert (tmp_path / path).is_file()
                assert path.name == PurePosixPath(image.file_name).name
            for reject in rejects_of(outcomes):
                assert (tmp_path / reject.file).is_file()
                assert reject.record_id
                assert isinstance(reject.level, Level)
                assert isinstance(reject.reason, Reason)
                assert str(tmp_path) not in reject.detail  # the same on every machine

    def test_masks_have_the_size_of_their_image_and_a_pixel(self, read: Reads) -> None:
        for outcomes in read.values():
            for image in images_of(outcomes):
                for mask in masks_of(image):
                    assert masks.decode(mask).shape == (image.height, image.width)
                    assert masks.area(mask) > 0

    def test_ids_are_unique_in_an_image_and_parts_find_their_object(self, read: Reads) -> None:
        for outcomes in read.values():
            for image in images_of(outcomes):
                objects = {item.id: item for item in image.objects}
                assert len(objects) == len(image.objects)
                assert len({part.id for part in image.parts}) == len(image.parts)
                assert all(part.object_id in objects for part in image.parts)
                assert image.parts_known or not image.parts

    def test_names_are_those_of_the_manifest(self, tmp_path: Path, read: Reads) -> None:
        classes = self.known(tmp_path).objects
        for outcomes in read.values():
            for image in images_of(outcomes):
                owners = {item.id: classes[item.category] for item in image.objects}
                for part in image.parts:
                    natives = [known.native for known in owners[part.object_id].parts]
                    assert part.name in natives

    def test_what_cannot_be_asked_for_is_a_usage_error(
        self, tmp_path: Path, source: Source, records_in: RecordCounts
    ) -> None:
        first = self.sharing[0][0]
        for split, size, variant in (("holdout", 5, ""), (first, 0, ""), (first, 5, "no such")):
            with pytest.raises(UsageError):
                source.plan(tmp_path, split, size, variant)

    def test_an_annotation_file_that_cannot_be_read_is_one_error(
        self, tmp_path: Path, source: Source, records_in: RecordCounts
    ) -> None:
        split = self.sharing[0][0]
        if self.one_file_an_image:
            self._check_broken_files(tmp_path, source, split)
            return
        path = tmp_path / source.required_files(tmp_path, split)[0]
        content = path.read_bytes()
        for broken in (b"", content[: len(content) // 2], b"[]", b"{}", b"\x89PNG\r\n"):
            path.write_bytes(broken)
            with pytest.raises(InputError) as caught:
                source.plan(tmp_path, split, 5, "")
            assert path.name in caught.value.message
            assert caught.value.hint
            assert caught.value.exit_code == 3

    def _check_broken_files(self, root: Path, source: Source, split: str) -> None:
        before = images_of(read_split(source, root, split))
        name = before[0].image_id
        (path,) = (p for p in root.rglob(f"{name}.*") if p.suffix in (".json", ".mat"))
        content = path.read_bytes()
        for broken in (b"", content[: len(content) // 2], b"[]", b"{}", b"\x89PNG\r\n"):
            path.write_bytes(broken)
            outcomes = read_split(source, root, split)
            assert images_of(outcomes) == before[1:]
            mine = [r for r in rejects_of(outcomes) if r.file == str(path.relative_to(root))]
            assert [(r.record_id, r.level, r.reason) for r in mine] == [
                (name, Level.IMAGE, Reason.MALFORMED_RECORD)
            ]
            assert str(root) not in mine[0].detail

    def test_a_folder_that_is_not_there_is_one_error_with_the_layout(
        self, tmp_path: Path, source: Source, records_in: RecordCounts
    ) -> None:
        first = self.sharing[0][0]
        required = source.required_files(tmp_path, first)
        for folder in [path for path in required if (tmp_path / path).is_dir()]:
            (tmp_path / folder).rename(tmp_path / "away")
            if self.one_file_an_image and folder == required[0]:
                assert first not in source.splits(tmp_path)
            elif folder in source.required_files(tmp_path, first):
                with pytest.raises(InputError) as caught:
                    source.splits(tmp_path)
                assert caught.value.exit_code == 3
                assert str(tmp_path / folder) in str(caught.value)
                assert source.layout(tmp_path) in str(caught.value)
            else:  # one of several that do, or one that is read where it is there
                assert first in source.splits(tmp_path)
            (tmp_path / "away").rename(tmp_path / folder)
