"""The peer of the loader benchmark: batches straight from PACO's JSON, with dense masks.

It opens the native annotations with pycocotools, and for every sample unites `annToMask` of all
annotations of a region, resizes the dense mask to the decoder's grid, tokenises question and answer
and, where asked, opens both pictures and resizes them for the three encoders. That is how the
loaders of this model family work. Which samples a step has, and how they are varied, it is told.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools.coco import COCO
from torch import Tensor

from benchmarks.paco_shaped import ANNOTATIONS
from calico.model.vision import ImageInputs
from calico.processing.images import ImageProcessor, open_image
from calico.processing.prompts import PromptEncoder
from calico.training.augmented_samples import AugmentedSample
from mixedparts.sources.manifests import Manifest

Names = tuple[str, str, str]  # file name, class, part or nothing


@dataclass(frozen=True, slots=True)
class NativeSample:
    """What the peer is told of a sample.

    Attributes:
        question, answer: as text.
        files: name of each picture.
        mirrored: for each picture.
        masks: for each [SEG] the image and the ids of the annotations that are united.
    """

    question: str
    answer: str
    files: tuple[str, ...]
    mirrored: tuple[bool, ...]
    masks: tuple[tuple[int, tuple[int, ...]], ...]


@dataclass(frozen=True, slots=True)
class NativeBatch:
    """Tensors of a batch; `inputs` only where pictures were asked for."""

    tokens: Tensor
    answer: Tensor
    masks: Tensor
    inputs: ImageInputs | None


class NativeLoader:
    """Opens the annotations.

    Args:
        root: folder of the sources.
        prompts: writes token ids.
        processor: knows the encoders' sizes and the grid.
    """

    def __init__(self, root: Path, prompts: PromptEncoder, processor: ImageProcessor) -> None:
        self.coco = COCO(str(root / ANNOTATIONS))
        self.pictures = root / "coco"
        self.prompts = prompts
        self.processor = processor
        self.images = {image["file_name"]: image["id"] for image in self.coco.dataset["images"]}

    def batch(self, samples: Sequence[NativeSample], pictures: bool) -> NativeBatch:
        """Return the tensors of samples, with pictures or without."""
        encoded = [self.prompts.sample(one.question, one.answer, len(one.files)) for one in samples]
        tokens, answer = self.prompts.collate(encoded)
        masks = [
            self._grid_mask(ids, one.mirrored[image]) for one in samples for image, ids in one.masks
        ]
        inputs = None
        if pictures:
            shown = []
            for one in samples:
                for file, mirrored in zip(one.files, one.mirrored, strict=True):
                    data = (self.pictures / file).read_bytes()
                    pixels = self.processor.pixels(open_image(data, file))
                    shown.append(pixels.flipped() if mirrored else pixels)
            inputs = self.processor.inputs(shown)
        return NativeBatch(
            tokens, answer, torch.from_numpy(np.stack(masks)).float().div_(255), inputs
        )

    def _grid_mask(self, ids: Sequence[int], mirrored: bool) -> NDArray[np.uint8]:
        """Unite annotations densely and bring them onto the decoder's grid."""
        dense = self.coco.annToMask(self.coco.anns[ids[0]])
        for number in ids[1:]:
            dense = np.logical_or(dense, self.coco.annToMask(self.coco.anns[number]))
        dense = np.ascontiguousarray(dense[:, ::-1] if mirrored else dense, np.uint8) * 255
        rows, columns = self.processor.inner_size(*dense.shape)
        square = np.zeros((self.processor.square_size,) * 2, np.uint8)
        square[:rows, :columns] = cv2.resize(dense, (columns, rows), interpolation=cv2.INTER_AREA)
        size = (self.processor.grid_size, self.processor.grid_size)
        return np.asarray(cv2.resize(square, size, interpolation=cv2.INTER_AREA), np.uint8)


def annotation_ids(coco: COCO, manifest: Manifest) -> dict[Names, tuple[int, ...]]:
    """Return the annotations of each class and part in each picture."""
    found: dict[Names, list[int]] = defaultdict(list)
    names: dict[int, tuple[str, str]] = {}
    for item in manifest.objects.values():
        names[item.id] = (item.name, "")
        names |= {part.id: (item.name, part.name) for part in item.parts}
    files = {image["id"]: image["file_name"] for image in coco.dataset["images"]}
    for annotation in coco.dataset["annotations"]:
        category = annotation["category_id"]
        if category in names and annotation["image_id"] in files:
            found[(files[annotation["image_id"]], *names[category])].append(annotation["id"])
    return {key: tuple(ids) for key, ids in found.items()}


def native_sample(one: AugmentedSample, ids: dict[Names, tuple[int, ...]]) -> NativeSample:
    """Return what the peer needs to know to make the same of a sample.

    Raises:
        KeyError: the JSON has no annotation of a region.
    """
    (sample,) = one.turns
    files = tuple(ref.file_name for ref in sample.images)
    classes = {region.image: region.label for region in sample.regions if not region.is_part}
    masks = []
    for target in sample.targets:
        part = target.label if target.is_part else ""
        masks.append((target.image, ids[files[target.image], classes[target.image], part]))
    mirrored = tuple(view.mirrored for view in one.views)
    return NativeSample(sample.question, sample.answer, files, mirrored, tuple(masks))
