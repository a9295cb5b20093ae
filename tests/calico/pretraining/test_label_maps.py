"""Label maps of single images: what pairs state, and what follows from it."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from calico.dataset.pairs import BuiltDataset
from calico.pretraining.image_entities import gather_entities
from calico.pretraining.label_maps import (
    UNKNOWN,
    LabelledImage,
    augmented,
    label_set,
    labelled_images,
)
from calico.processing.images import ImageProcessor, Pixels
from mixedparts.masks import area
from mixedparts.progress import Silent
from tests.factories.micro_model import micro_config


class TestLabels:
    def test_maps_hold_objects_and_parts(self, dataset: BuiltDataset) -> None:
        entities = gather_entities(dataset.pairs("train"))
        labels = label_set(entities.values())
        assert labels.classes == ("kettle", "mug")
        assert labels.parts == ("handle", "lid")
        processor = ImageProcessor(micro_config())
        images = labelled_images(dataset, "train", entities, labels, processor, Silent())
        for row, image in zip(sorted(entities), images, strict=True):
            height, width = image.pixels.size
            for entity in entities[row].values():
                share = area(entity.mask) / (height * width)
                assert abs((image.direct[0] > 0).mean() - share) < 0.05
            inside = image.direct[1] > 0
            assert np.array_equal(inside, image.direct[0] > 0)

    def test_what_a_pair_leaves_out_is_concluded(self, dataset: BuiltDataset) -> None:
        """Row 2 says: the handle is on image 2 only, the lid on image 3 only."""
        entities = gather_entities([dataset.pairs("train")[2]])
        kettle, mug = entities[2]["kettle"], entities[3]["mug"]
        assert (kettle.parts.keys(), kettle.absent) == ({"handle"}, {"lid"})
        assert (mug.parts.keys(), mug.absent) == ({"lid"}, {"handle"})

    def test_a_part_named_as_common_elsewhere_must_be_shown(self, dataset: BuiltDataset) -> None:
        """If image 3 is known to have a foot that is not unique, image 2 has one too."""
        unique = dataset.pairs("train")[2]
        lid = next(one for one in unique.regions if one.label == "lid")
        foot = replace(lid, label="foot")
        other = replace(unique, id="other", task="common_parts", regions=(*unique.regions, foot))
        entities = gather_entities([unique, replace(other, images=unique.images[1:] * 2)])
        assert "foot" in entities[3]["mug"].parts
        assert "foot" in entities[2]["kettle"].unmasked

    def test_pixels_of_unlisted_parts_teach_nothing(self, dataset: BuiltDataset) -> None:
        samples = [dataset.pairs("train")[place] for place in (2, 4)]
        entities = gather_entities(samples)
        labels = label_set(entities.values())
        processor = ImageProcessor(micro_config())
        images = labelled_images(dataset, "train", entities, labels, processor, Silent())
        by_row = dict(zip(sorted(entities), images, strict=True))
        assert not (by_row[2].direct[1] == UNKNOWN).any(), "row 2 says all about its images"
        assert (by_row[4].direct[1] == UNKNOWN).any(), "row 4 says nothing about a handle"
        numbers = {pair: index for index, pair in enumerate(labels.pairs)}
        kettle = labels.classes.index("kettle")
        handle, lid = (numbers[kettle, labels.parts.index(name)] for name in ("handle", "lid"))
        assert [by_row[2].presence[index] for index in (handle, lid)] == [1, 0]
        assert [by_row[4].presence[index] for index in (handle, lid)] == [-1, 1]

    def test_labels_move_with_the_pixels(self, dataset: BuiltDataset) -> None:
        entities = gather_entities(dataset.pairs("train"))
        labels = label_set(entities.values())
        processor = ImageProcessor(micro_config())
        image = labelled_images(dataset, "train", entities, labels, processor, Silent())[0]
        moved = augmented(image, np.array([0.9, 0.9, 0.1, 0.8]))
        bright = moved.pixels.vision.max(-1) > 120
        assert (bright == (moved.direct[0] > 0)).mean() > 0.9
        assert not np.array_equal(moved.direct, image.direct)

    def test_maps_and_moves_are_the_recorded_ones(self, dataset: BuiltDataset) -> None:
        """The same bytes under every allowed version of OpenCV, NumPy and Pillow."""
        entities = gather_entities(dataset.pairs("train"))
        labels = label_set(entities.values())
        processor = ImageProcessor(micro_config())
        images = labelled_images(dataset, "train", entities, labels, processor, Silent())
        rng = np.random.Generator(np.random.Philox(7))
        moved = [augmented(image, rng.random(4)) for image in images for _ in range(4)]
        assert _digest([image.direct for image in images]) == "20679d28cc80ddae"
        assert _digest([image.square for image in images]) == "59a24c7297d8718a"
        assert _digest([image.direct for image in moved]) == "6d9c8b096f47126d"
        assert _digest([image.square for image in moved]) == "e57dd13673bf8106"

    def test_moved_pixels_are_the_recorded_ones(self) -> None:
        values = np.random.Generator(np.random.Philox(8)).integers(0, 256, (3, 48, 48, 3))
        vision, semantic, square = values.astype(np.uint8)
        pixels = Pixels(vision, semantic, square, (48, 31), (96, 62))
        maps = (values[:2, ..., 0] % 3).astype(np.uint8)
        image = LabelledImage(pixels, maps, maps, (), np.zeros(0, np.int8))
        moved = augmented(image, np.array([0.25, 0.7, 0.1, 0.8])).pixels
        assert _digest([moved.vision, moved.semantic, moved.square]) == "59a8929a06713eb3"


def _digest(planes: list[NDArray[np.uint8]]) -> str:
    return hashlib.sha256(b"".join(plane.tobytes() for plane in planes)).hexdigest()[:16]
