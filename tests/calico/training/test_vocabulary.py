"""The words of a tokenizer that is made for a dataset."""

from __future__ import annotations

from pathlib import Path

from calico.dataset.pairs import BuiltDataset
from calico.training.setup import dataset_vocabulary


def test_a_tokenizer_is_made_for_the_names_of_the_profile(published: Path, built: Path) -> None:
    for folder, words, missing in (
        (published, "the seat cushion", "a motorcycle"),
        (built, "a motorcycle", "the seat cushion"),
    ):
        dataset = BuiltDataset(folder)
        found = set(dataset_vocabulary(dataset.pairs("train"), profile=dataset.profile))
        assert words in found
        assert missing not in found
