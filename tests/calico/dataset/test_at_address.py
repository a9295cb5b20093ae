"""Training and evaluation read a build at an address as they read a folder."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from calico.cli.options import read_dataset
from calico.dataset.pairs import BuiltDataset
from tests.factories.object_store import ObjectStore


def test_samples_and_images_are_those_of_the_folder(object_store: ObjectStore, built: Path) -> None:
    object_store.files().put(f"{built}/", "bucket/calico/", recursive=True)
    there, here = read_dataset(Namespace(dataset="s3://bucket/calico")), BuiltDataset(built)
    assert there.splits == here.splits
    wanted, found = here.pairs("test"), there.pairs("test")
    assert len(found) == len(wanted)
    assert found[3] == wanted[3]
    images = [dataset.images("test") for dataset in (there, here)]
    assert images[0].rows == images[1].rows
    assert images[0].digest(2) == images[1].digest(2)
