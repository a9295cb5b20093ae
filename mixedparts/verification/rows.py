"""Rules of one row of `pairs`: all its values follow from the entities that it shows.

Common parts are the parts that all entities show, unique parts those that exactly one shows. With
two images this is the definition of CALICO (arXiv 2412.19331, section 3).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mixedparts.pairing.samples import id_texts, sample_ids
from mixedparts.records import Task
from mixedparts.tables.seg_targets import seg_fault
from mixedparts.text import answers
from mixedparts.verification.findings import Rule
from mixedparts.verification.index import EntityRow, SplitIndex, region_hash, region_is_whole
from mixedparts.verification.regions import region_problems

Row = Mapping[str, Any]
Found = Iterator[tuple[Rule, str]]
Comparable = Callable[[str, Sequence[str]], bool]  # source, classes


def row_problems(row: Row, split: str, index: SplitIndex, comparable: Comparable) -> Found:
    """Yield the problems of a row of `pairs`.

    Args:
        row: the row.
        split: split whose images and entities the row must show; `test` for the benchmark.
        index: index of the split.
        comparable: returns whether classes of a source may be compared.

    Yields:
        (rule, sentence) for each problem.
    """
    # The other checks index into the row's lists and would fail on a broken structure.
    broken = list(structure_problems(row))
    if broken:
        yield from ((Rule.STRUCTURE, text) for text in broken)
        return
    yield from _image_problems(row, split, index)
    entities = []
    for ref, item in zip(row["images"], row["objects"], strict=True):
        entity = index.entities.get((ref["row"], item["category"]))
        if entity is None:
            yield Rule.ENTITY, f"image {ref['image_id']} has no entity '{item['category']}'"
        else:
            entities.append(entity)
    yield from _region_problems(row, index)
    yield from _answer_problems(row)
    # Parts, id and question can only be derived if all entities are there.
    if len(entities) < len(row["images"]):
        return
    yield from _part_problems(row, entities)
    yield from _identity_problems(row, split, entities)
    categories = [item["category"] for item in row["objects"]]
    if not comparable(row["source"], categories):
        yield Rule.CLASSES, f"{' and '.join(categories)} are not comparable classes"


def structure_problems(row: Row) -> Iterator[str]:
    """Yield a sentence for every value that is missing, and every index that is out of range."""
    for name in ("id", "source", "split", "task", "question", "answer"):
        if not row[name]:
            yield f"no {name}"
    for name in ("images", "objects", "parts", "seg"):
        if row[name] is None or None in row[name]:
            yield f"{name} has no value"
            return  # the checks below read these lists
    if row["task"] not in set(Task):
        yield f"there is no task '{row['task']}'"
    count = len(row["images"])
    if count < 2:
        yield f"{count} images"
    if any(None in ref.values() for ref in row["images"]):
        yield "an image lacks a value"
    if [item["image"] for item in row["objects"]] != list(range(count)):
        yield "the objects are not one an image, in the order of the images"
    for what, name in (("objects", "category"), ("parts", "name")):
        for item in row[what]:
            if item["image"] is None or not 0 <= item["image"] < count:
                yield f"{what}: there is no image {item['image']}"
            if not item[name] or not region_is_whole(item):
                yield f"{what}: {item[name]} has an incomplete region"
    for seg in row["seg"]:
        fault = seg_fault(seg["kind"], seg["index"], len(row["objects"]), len(row["parts"]))
        if fault is not None:
            yield fault


def _image_problems(row: Row, split: str, index: SplitIndex) -> Found:
    """Compare split, source and image references of a row with the table `images`."""
    if row["split"] != split:
        yield Rule.IMAGE, f"split '{row['split']}' in a shard of {split}"
    sources = set()
    for ref in row["images"]:
        image = index.images.get(ref["row"])
        if image is None:
            yield Rule.IMAGE, f"images has no row {ref['row']} ({ref['image_id']})"
            continue
        sources.add(image[0])
        if image[1:] != (ref["image_id"], ref["width"], ref["height"]):
            yield Rule.IMAGE, f"image {ref['image_id']} is not row {ref['row']} of images"
    if sources and "+".join(sorted(sources)) != row["source"]:
        yield Rule.IMAGE, f"source '{row['source']}', its images are of {sorted(sources)}"
    if len({ref["row"] for ref in row["images"]}) < len(row["images"]):
        yield Rule.IMAGE, "an image is compared with itself"


def _region_problems(row: Row, index: SplitIndex) -> Found:
    """Compare every region with that of its entity; decode and measure those that differ.

    The check of `entities` has measured every mask there. A region with an equal hash needs no
    second look, which saves nearly all of the decoding: an entity is in many rows.
    """
    for image, ref in enumerate(row["images"]):
        owner = index.entities.get((ref["row"], row["objects"][image]["category"]))
        labels = [row["objects"][image]["category"]]
        regions = [row["objects"][image]]
        expected = [owner.region if owner else None]
        for part in row["parts"]:
            if part["image"] == image:
                labels.append(part["name"])
                regions.append(part)
                expected.append(owner.parts.get(part["name"]) if owner else None)
        odd = [n for n, region in enumerate(regions) if region_hash(region) != expected[n]]
        reported = set()
        for place, rule, text in region_problems(
            [regions[n] for n in odd], ref["height"], ref["width"]
        ):
            reported.add(odd[place])
            yield rule, f"{labels[odd[place]]} in image {image + 1}: {text}"
        # Sound in itself, but of other pixels. A part that the entity lacks has no hash to compare;
        # `_part_problems` reports it.
        for n in odd:
            if n not in reported and expected[n] is not None:
                yield Rule.MASK, f"{labels[n]} in image {image + 1}: not the mask of the entity"


def _part_problems(row: Row, entities: Sequence[EntityRow]) -> Found:
    """Derive the parts from the entities and compare them with the row's."""
    task = Task(row["task"])
    categories = {item["category"] for item in row["objects"]}
    if task is Task.COMMON_OBJECT and len(categories) > 1:
        yield Rule.CLASSES, f"no common object: {sorted(categories)}"
    if task is not Task.COMMON_OBJECT and not all(e.parts_known for e in entities):
        yield Rule.PARTS, "parts of an entity are unknown"
    wanted = derived_parts(task, entities)
    if task is not Task.COMMON_OBJECT and not wanted:
        yield Rule.PARTS, f"the entities have no {task.replace('_', ' ')}"
    if task is Task.UNIQUE_PARTS and not all(e.parts for e in entities):
        yield Rule.PARTS, "an entity shows no part at all"
    listed = [(part["name"], part["image"], part["kind"]) for part in row["parts"]]
    if listed == wanted:
        return
    # Counters and not sets: a part that is listed twice is one too many.
    extra, missing = Counter(listed) - Counter(wanted), Counter(wanted) - Counter(listed)
    for (name, image, kind), _ in sorted(extra.items()):
        yield Rule.PARTS, f"{name} in image {image + 1} is not a {kind} part of the entities"
    for (name, image, kind), _ in sorted(missing.items()):
        yield Rule.PARTS, f"{kind} part {name} in image {image + 1} is missing"
    if not extra and not missing:
        yield Rule.PARTS, "the parts are not in their order"


def derived_parts(task: Task, entities: Sequence[EntityRow]) -> list[tuple[str, int, str]]:
    """Return (name, image, kind) of the parts that a row of these entities must list, in order.

    Common parts are ordered by name and then image, unique parts by image and then name.
    """
    if task is Task.COMMON_OBJECT:
        return []
    shown = Counter(name for entity in entities for name in entity.parts)
    if task is Task.COMMON_PARTS:
        everywhere = sorted(name for name, n in shown.items() if n == len(entities))
        return [(name, image, "common") for name in everywhere for image in range(len(entities))]
    return [
        (name, image, "unique")
        for image, entity in enumerate(entities)
        for name in sorted(entity.parts)
        if shown[name] == 1
    ]


def _answer_problems(row: Row) -> Found:
    """Parse the answer, and compare its phrases, image tags and [SEG] with the row's regions."""
    parsed = answers.parse_answer(row["answer"], len(row["images"]))
    if parsed.untagged or parsed.unknown_image or parsed.unnamed:
        yield Rule.ANSWER, "a [SEG] of the answer has no phrase, no tag, or a tag of no image"
    answered = [(phrase.label, image) for phrase in parsed.phrases for image in phrase.images]
    if any(not phrase.images for phrase in parsed.phrases):
        yield Rule.ANSWER, "a phrase of the answer has no [SEG]"
    # The n-th [SEG] of the answer means the n-th entry of `seg`.
    meant = []
    for seg in row["seg"]:
        region = row["objects" if seg["kind"] == "object" else "parts"][seg["index"]]
        meant.append((region.get("category") or region.get("name"), region["image"]))
    if answered != meant:
        yield Rule.ANSWER, f"the answer names {answered}, its masks are {meant}"
    order = [("object", n) for n in range(len(row["objects"]))]
    order += [("part", n) for n in range(len(row["parts"]))]
    if [(seg["kind"], seg["index"]) for seg in row["seg"]] != order:
        yield Rule.SEG, "the [SEG] do not mean every object, then every part, in their order"


def _identity_problems(row: Row, split: str, entities: Sequence[EntityRow]) -> Found:
    """Compute the row's id from its split, task and entities, and its question from the id."""
    keys = np.array([[entity.key for entity in entities]], np.uint64)
    ids = sample_ids(split, [row["task"]], keys, np.ones(keys.shape, np.bool_))
    if id_texts(ids) != [row["id"]]:
        yield Rule.ID, f"its entities in this order have the id {id_texts(ids)[0]}"
    # With a wrong id the question would be wrong too, which is not a second problem.
    elif row["question"] != answers.question(Task(row["task"]), int(ids[0]), len(entities)):
        yield Rule.QUESTION, "the question is not the one that follows from the id"
