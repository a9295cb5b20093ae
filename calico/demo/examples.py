"""Pairs of images to try: drawn by `mixedparts.synthetic`, or taken from a build."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from calico.dataset.pairs import BuiltDataset
from calico.dataset.sample import Sample
from mixedparts.errors import InputError
from mixedparts.records import Task

_SOURCE = "paco"
_SEED = 5
_SEARCHED = 200  # images at most; the first twenty are enough
_SPLITS = ("test", "validation", "train")  # images that the model did not train on come first


@dataclass(frozen=True, slots=True)
class Example:
    """Images to try with a task.

    Attributes:
        images: files.
        task: that is asked.
    """

    images: tuple[Path, ...]
    task: str


@dataclass(frozen=True, slots=True)
class Examples:
    """All examples with a sentence about their origin."""

    pairs: tuple[Example, ...]
    origin: str


def drawn_examples(folder: Path) -> Examples:
    """Draw a pair of synthetic images for each task.

    Args:
        folder: gets the files.

    Returns:
        The examples; equal in every run.
    """
    from mixedparts.synthetic.render import render

    pairs = []
    for task, indices in zip(Task, _alike(len(Task)), strict=True):
        paths = []
        for side, index in enumerate(indices, 1):
            path = folder / f"{task}-{side}.png"
            Image.fromarray(render(_SEED, _SOURCE, index).pixels).save(path)
            paths.append(path)
        pairs.append(Example(tuple(paths), str(task)))
    return Examples(
        tuple(pairs), "The examples are synthetic: drawn by a program, not photographed."
    )


def _alike(pairs: int) -> Iterator[tuple[int, int]]:
    """Yield pairs of images, each of another class, that have one object of the same class."""
    from mixedparts.synthetic.scene import compose

    waiting: dict[str, int] = {}
    used: set[str] = set()
    for index in range(_SEARCHED):
        scene, _ = compose(_SEED, _SOURCE, index)
        keys = [actor.key for actor in scene.actors if actor.subject is not None]
        # One object: the answer is easy to check by eye.
        if len(keys) != 1 or keys[0] in used:
            continue
        first = waiting.setdefault(keys[0], index)
        if first != index:
            used.add(keys[0])
            yield first, index
            if len(used) == pairs:
                return
    raise RuntimeError(f"fewer than {pairs} pairs in {_SEARCHED} images")


def dataset_examples(dataset: BuiltDataset, folder: Path, most_images: int) -> Examples:
    """Take the images of one sample of each task from a build.

    Args:
        dataset: the build; samples of its test split are preferred.
        folder: gets the files, with the stored bytes.
        most_images: samples with more images are left out.

    Returns:
        The examples; a task that the build has no sample of is left out.

    Raises:
        InputError: the build has no sample with so few images, or its files are damaged.
    """
    pairs = []
    for task in Task:
        found = _sample(dataset, str(task), most_images)
        if found is not None:
            pairs.append(_written(dataset, found, folder))
    if not pairs:
        raise InputError(
            f"{dataset.path} has no sample of at most {most_images} images for an example",
            "Leave out --dataset: the examples are then drawn.",
        )
    origin = f"The examples are samples of the build {dataset.path}"
    if dataset.build.synthetic:
        return Examples(tuple(pairs), f"{origin}, whose images are synthetic (not photographs).")
    return Examples(tuple(pairs), f"{origin}.")


def _sample(dataset: BuiltDataset, task: str, most_images: int) -> Sample | None:
    """Return the first sample of a task, None if there is none."""
    for split in _SPLITS:
        if split not in dataset.splits:
            continue
        samples = dataset.pairs(split)
        if samples.images_per_sample > most_images:
            continue
        names, codes = samples.coded("task")
        rows = [row for row, code in enumerate(codes) if names[code] == task]
        if rows:
            sample: Sample = samples[rows[0]]
            return sample
    return None


def _written(dataset: BuiltDataset, sample: Sample, folder: Path) -> Example:
    paths = []
    for number, image in enumerate(sample.images, 1):
        data = dataset.images(image.split).read(image.row)
        # The page tells the kind of an image by its suffix.
        path = folder / f"{sample.task}-{number}{Path(image.file_name).suffix.lower() or '.png'}"
        path.write_bytes(data)
        paths.append(path)
    return Example(tuple(paths), sample.task)
