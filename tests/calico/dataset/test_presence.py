"""What images show, as the table of entities has it, for the loss of presence."""

from __future__ import annotations

from pathlib import Path

import pytest

from calico.config.presets import tiny
from calico.config.yaml_io import override
from calico.dataset.pairs import BuiltDataset
from calico.dataset.presence import ShownNames
from calico.processing.prompts import PromptEncoder
from calico.processing.tokenizer import build_tokenizer
from calico.training.setup import dataset_vocabulary
from mixedparts.errors import InputError, UsageError
from mixedparts.records import Task
from mixedparts.storage.build_folder import BuildFolder
from tests.oracles.build_tables import iter_rows


def test_names_are_those_of_the_entities(synthetic_build: Path) -> None:
    dataset = BuiltDataset(synthetic_build)
    shown = ShownNames(dataset.build, "train")
    entities = [
        row for row in iter_rows(synthetic_build, "entities", "train") if row["row"] is not None
    ]
    by_image = {(row["row"], row["category"]): row for row in entities}
    for sample in dataset.pairs("train").take(range(150)):
        asked = shown.of(sample)
        for image, ref in enumerate(sample.images):
            names = {one.name: one.shown for one in asked if one.image == image}
            if sample.task == Task.COMMON_OBJECT:
                source = next(row["source"] for row in entities if row["row"] == ref.row)
                assert set(names) == {r["category"] for r in entities if r["source"] == source}
                there = {category for row, category in by_image if row == ref.row}
            else:
                label = next(r.label for r in sample.regions if r.image == image and not r.is_part)
                own = by_image[ref.row, label]
                assert own["parts_known"]
                there = {part["name"] for part in own["parts"]}
                same = [
                    r for r in entities if (r["source"], r["category"]) == (own["source"], label)
                ]
                assert set(names) == {part["name"] for row in same for part in row["parts"]}
            assert {name for name, value in names.items() if value} == there
        # What the answer names as unique is shown by one image only.
        if sample.task == Task.UNIQUE_PARTS:
            for target in (one for one in sample.targets if one.is_part):
                values = {(o.image, o.name): o.shown for o in asked}
                assert values[target.image, target.label] is True
                assert not values.get((1 - target.image, target.label), False)


def test_a_name_has_the_words_that_it_has_in_an_answer(synthetic_build: Path) -> None:
    pairs = BuiltDataset(synthetic_build).pairs("train")
    tokenizer = build_tokenizer(dataset_vocabulary(pairs), 2)
    prompts = PromptEncoder(tokenizer, tiny().prompt, 8)
    for name in ("leg", "front leg", "table top"):
        sentence = tokenizer(f"<p> the {name} </p>", add_special_tokens=False).input_ids
        ids = list(prompts.name_ids(name))
        assert ids
        assert sentence[-len(ids) - 1 : -1] == ids


def test_a_build_without_entities_is_one_message(synthetic_build: Path) -> None:
    build = BuildFolder.open(synthetic_build)
    with pytest.raises(InputError, match="no table of entities of nowhere, which loss"):
        ShownNames(build, "nowhere")
    with pytest.raises(UsageError, match="presence"):
        override(tiny(), {"loss": {"presence": -1}}, "of a test")
