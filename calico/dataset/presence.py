"""What the images of a split show, for the loss of presence (`calico.model.presence`)."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from calico.dataset.sample import Sample
from mixedparts.errors import InputError
from mixedparts.records import Task
from mixedparts.storage.build_folder import BuildFolder


@dataclass(frozen=True, slots=True)
class NameAsked:
    """Whether an image shows a class or a part.

    Attributes:
        image: of the sample, counted from 0.
        name: of an object class, or of a part of the object that the sample is about.
        shown: whether the image shows it.
    """

    image: int
    name: str
    shown: bool


class ShownNames:
    """The classes of every image and their visible parts, as the table `entities` has them.

    Args:
        build: the build.
        split: whose images are asked about.

    Raises:
        InputError: the build has no such table.
    """

    def __init__(self, build: BuildFolder, split: str) -> None:
        if split not in build.splits("entities"):
            raise InputError(
                f"{build.path} has no table of entities of {split}, which loss.presence needs",
                "Set loss.presence to 0 in --config, or build the dataset again.",
            )
        # A set of parts is kept once: thousands of entities of a class share few of them.
        sets: dict[frozenset[str], frozenset[str]] = {}
        parts_of: dict[tuple[str, str], set[str]] = defaultdict(set)
        classes_of: dict[str, set[str]] = defaultdict(set)
        self._shown: dict[int, dict[str, frozenset[str] | None]] = defaultdict(dict)
        self._sources: dict[int, str] = {}
        columns = ["source", "row", "category", "parts_known", "parts.list.element.name"]
        for item in build.rows("entities", split, columns):
            if item["row"] is None:  # no sample shows the image
                continue
            source, name = item["source"], item["category"]
            names = frozenset(part["name"] for part in item["parts"])
            parts_of[source, name] |= names
            classes_of[source].add(name)
            known = sets.setdefault(names, names) if item["parts_known"] else None
            self._shown[item["row"]][name] = known
            self._sources[item["row"]] = source
        self._parts_of = {key: tuple(sorted(names)) for key, names in parts_of.items()}
        self._classes_of = {key: tuple(sorted(names)) for key, names in classes_of.items()}

    def of(self, sample: Sample) -> list[NameAsked]:
        """Return what a sample can be asked about its images.

        Of a sample about parts, all parts that the class of an image's object has anywhere in the
        split; none if the visible ones are unknown. Of a sample about objects, all classes of the
        image's source.
        """
        found: list[NameAsked] = []
        objects = {one.image: one.label for one in reversed(sample.regions) if not one.is_part}
        for image, ref in enumerate(sample.images):
            shown = self._shown.get(ref.row, {})
            source = self._sources.get(ref.row, "")
            if sample.task == Task.COMMON_OBJECT:
                names: tuple[str, ...] = self._classes_of.get(source, ())
                found += [NameAsked(image, name, name in shown) for name in names]
                continue
            visible = shown.get(objects.get(image, ""))
            if visible is not None:
                names = self._parts_of[source, objects[image]]
                found += [NameAsked(image, name, name in visible) for name in names]
        return found
