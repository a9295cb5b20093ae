"""Questions whose answer depends on the other image, proven so by how they are chosen.

Three images form a triangle if each of them must be answered differently beside each of the other
two: of three images with the classes a + b, b + c and c + a, the first shares b with the second and
a with the third. All three pairs are asked in both orders, so every image stands equally often
beside its two partners. Whoever sees only the image that an answer is for, whatever he knows of it,
says the same both times and is right at most once: in one half of all cases, exactly.

    common_object: images of exactly two classes that share exactly one; the answer is its name.
    unique_parts: images of one class, the same for all three; the answer for an image is the set
        of its parts that the other one does not show. What is not shown by the other image alone
        tells much of it: `single_image_bound` says how much.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

from calico.dataset.pairs import BuiltDataset
from mixedparts.errors import InputError
from mixedparts.pairing.random_streams import philox
from mixedparts.records import Task
from mixedparts.text import answers as wording

TASKS = (Task.COMMON_OBJECT, Task.UNIQUE_PARTS)


@dataclass(frozen=True, slots=True)
class Shown:
    """An image and everything that is annotated in it.

    Attributes:
        row: of the images table of its split.
        classes: names of its object classes, in alphabetical order.
        parts: names of the visible parts of each class, None where they are unknown.
    """

    source: str
    split: str
    row: int
    classes: tuple[str, ...]
    parts: tuple[frozenset[str] | None, ...]

    @property
    def key(self) -> str:
        """Return a name that no other image of the dataset has."""
        return f"{self.source}/{self.split}/{self.row}"


@dataclass(frozen=True, slots=True)
class Asked:
    """A question about an ordered pair of a triangle.

    Attributes:
        images: first and second image.
        answers: for each of them the names that are right beside the other.
        rivals: for each of them the answers that would be right beside the triangle's third image;
            for common objects those of the other image too.
    """

    id: str
    task: Task
    images: tuple[Shown, Shown]
    question: str
    answers: tuple[frozenset[str], frozenset[str]]
    rivals: tuple[tuple[frozenset[str], ...], tuple[frozenset[str], ...]]


def shown_images(dataset: BuiltDataset) -> list[Shown]:
    """Return the images of all splits that the images tables hold, with what they show.

    Raises:
        InputError: the build has no table `entities`.
    """
    build = dataset.build
    columns = ["source", "image_id", "category", "parts_known", "parts.list.element.name"]
    if not build.splits("entities"):
        raise InputError(
            f"{dataset.path} has no table of entities, so nobody knows what its images show",
            "Build it again with: mixedparts build",
        )
    found: dict[tuple[str, str, str], dict[str, frozenset[str] | None]] = defaultdict(dict)
    for split in build.splits("entities"):
        for item in build.rows("entities", split, columns):
            names = frozenset(part["name"] for part in item["parts"])
            key = (item["source"], split, item["image_id"])
            found[key][item["category"]] = names if item["parts_known"] else None
    rows = dict(_image_rows(dataset, sorted({key[1] for key in found})))
    images = []
    for key, classes in sorted(found.items()):
        if key in rows:
            listed = tuple(sorted(classes))
            parts = tuple(classes[name] for name in listed)
            images.append(Shown(key[0], key[1], rows[key], listed, parts))
    return images


def _image_rows(
    dataset: BuiltDataset, splits: Sequence[str]
) -> Iterator[tuple[tuple[str, str, str], int]]:
    for split in splits:
        for item in dataset.build.rows("images", split, ["source", "image_id", "row"]):
            yield (item["source"], split, item["image_id"]), item["row"]


def fitting(task: Task, image: Shown) -> bool:
    """Say whether an image can be part of a triangle at all."""
    if task is Task.COMMON_OBJECT:
        return len(image.classes) == 2
    return len(image.classes) == 1 and bool(image.parts[0])


def comparable(task: Task, one: Shown, two: Shown) -> bool:
    """Say whether two fitting images can be asked about together."""
    if (one.source, one.split) != (two.source, two.split):
        return False
    if task is Task.COMMON_OBJECT:
        return len(set(one.classes) & set(two.classes)) == 1
    return one.classes == two.classes and one.parts != two.parts


def answer(task: Task, own: Shown, other: Shown) -> frozenset[str]:
    """Return what is right for `own` beside `other`."""
    if task is Task.COMMON_OBJECT:
        return frozenset(own.classes) & frozenset(other.classes)
    return (own.parts[0] or frozenset()) - (other.parts[0] or frozenset())


def is_triangle(task: Task, images: Sequence[Shown]) -> bool:
    """Say whether each of three images has different answers beside the other two."""
    return all(
        comparable(task, one, two) and answer(task, one, two) != answer(task, one, three)
        for one, two, three in permutations(images)
    )


def draw_triangles(
    task: Task, images: Sequence[Shown], limit: int, seed: int = 0
) -> list[tuple[Shown, Shown, Shown]]:
    """Draw triangles that have no image in common, so that they are independent of each other.

    Args:
        task: one of `TASKS`.
        images: to draw from.
        limit: triangles at most; fewer where no more are found.
        seed: of the order in which images are looked at.
    """
    usable = [image for image in images if fitting(task, image)]
    order = philox(seed, f"triangles|{task}").permutation(len(usable))
    left = {usable[at].key: usable[at] for at in order}
    found: list[tuple[Shown, Shown, Shown]] = []
    for first in list(left.values()):
        if len(found) == limit:
            break
        if first.key not in left:
            continue
        triangle = _around(task, first, [image for image in left.values() if image is not first])
        if triangle is not None:
            found.append(triangle)
            for image in triangle:
                del left[image.key]
    return found


def _around(task: Task, first: Shown, others: Sequence[Shown]) -> tuple[Shown, Shown, Shown] | None:
    near = [image for image in others if comparable(task, first, image)]
    for place, second in enumerate(near):
        for third in near[place + 1 :]:
            if is_triangle(task, (first, second, third)):
                return first, second, third
    return None


def questions(task: Task, triangles: Sequence[tuple[Shown, Shown, Shown]]) -> list[Asked]:
    """Ask about all ordered pairs of the triangles, six questions each."""
    asked: list[Asked] = []
    for number, triangle in enumerate(triangles):
        for one, two, third in permutations(triangle):
            other = (answer(task, one, third), answer(task, two, third))
            alone = ((other[0],), (other[1],))
            both = (other, other)  # whoever names what only one image shows has missed the other
            asked.append(
                Asked(
                    f"{task}-{number}-{one.row}-{two.row}",
                    task,
                    (one, two),
                    wording.question(task, len(asked)),
                    (answer(task, one, two), answer(task, two, one)),
                    both if task is Task.COMMON_OBJECT else alone,
                )
            )
    return asked


def part_names(images: Sequence[Shown]) -> frozenset[str]:
    """Return all names of parts that some images show."""
    return frozenset(name for image in images for names in image.parts for name in names or ())


def asked_questions(images: Sequence[Shown], limit: int, seed: int = 0) -> dict[Task, list[Asked]]:
    """Return the questions of both tasks; `limit` bounds the triangles of each."""
    return {task: questions(task, draw_triangles(task, images, limit, seed)) for task in TASKS}


def right_answer(asked: Asked) -> str:
    """Return the text that answers a question rightly, in the wording of the datasets."""
    if asked.task is Task.COMMON_OBJECT:
        return wording.common_object_answer(min(asked.answers[0]))
    parts = [(name, (0,)) for name in sorted(asked.answers[0])]
    parts += [(name, (1,)) for name in sorted(asked.answers[1])]
    classes = [image.classes[0] for image in asked.images]
    return wording.part_answer(asked.task, classes, parts)
