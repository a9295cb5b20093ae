"""Images that worker processes read and resize: the same answers, files and errors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from calico.dataset.pairs import BuiltDataset
from calico.evaluation.in_memory import answer_samples
from calico.inference.batch import BatchReport, predict_sets
from calico.inference.image_sets import read_image_sets
from calico.inference.predictor import Predictor
from calico.inference.queries import Query
from calico.pretraining.image_entities import gather_entities
from calico.pretraining.label_maps import label_set, labelled_images
from calico.processing.feature_cache import FeatureCache
from calico.processing.images import ImageProcessor
from mixedparts.errors import InputError
from mixedparts.progress import Silent
from mixedparts.records import Task
from tests.factories.micro_model import micro_model, micro_tokenizer
from tests.factories.noise import noise_image
from tests.oracles.digests import digests


def predictor(workers: int) -> Predictor:
    model, config = micro_model(seed=2, training={"loader_workers": workers})
    return Predictor(model.eval(), config, micro_tokenizer())


def query(number: int) -> Query:
    if number == 3:
        raise InputError("the image 3.jpg cannot be decoded: cut")
    images = (noise_image(number), noise_image(number + 1))
    return Query(str(number), "Which object?", images, (str(number), str(number + 1)))


def test_answers_are_the_same_and_features_are_kept(tmp_path: Path) -> None:
    alone = predictor(0)
    expected = list(alone.predict(alone.prepared(query, range(3))))
    fed = predictor(2)
    fed.use_cache(FeatureCache(tmp_path, 1 << 30))
    queries = list(fed.prepared(query, range(3)))
    assert all(one.prepared is not None and len(one.prepared) == 2 for one in queries)
    for _ in range(2):
        assert list(fed.predict(queries)) == expected
    assert len(list(tmp_path.rglob("*.safetensors"))) == 3 * 4


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_image_is_an_error_at_its_turn(workers: int) -> None:
    fed = predictor(workers)
    answers = fed.predict(fed.prepared(query, range(5)), batch_size=1)
    assert [next(answers).id for _ in range(3)] == ["0", "1", "2"]
    with pytest.raises(InputError, match=r"^the image 3\.jpg cannot be decoded: cut$"):
        next(answers)


def test_evaluation_during_training(dataset: BuiltDataset) -> None:
    answers = []
    for workers in (0, 1):
        model, config = micro_model(seed=3, training={"loader_workers": workers})
        given = (model, micro_tokenizer(), config, dataset, "validation")
        answers.append(answer_samples(*given, 3))
    assert answers[0] == answers[1]
    assert len(answers[0]) == 3


def test_sets_of_images(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    for name in "abcd":
        (folder / name).mkdir(parents=True)
        for number in range(2):
            noise = np.asarray(noise_image(ord(name) + number))
            Image.fromarray(noise).save(folder / name / f"{number}.png")
    (folder / "c" / "1.png").write_bytes(b"no image")
    sets = read_image_sets(folder, Task.COMMON_PARTS)
    reports: list[BatchReport] = []
    for workers in (0, 2):
        out = tmp_path / str(workers)
        reports.append(predict_sets(predictor(workers), sets, out, {}, 2, Silent()))
        again = predict_sets(predictor(workers), sets, out, {}, 2, Silent())
        assert (again.answered, again.answered_before) == (0, 3)
    assert reports[0] == reports[1]
    assert reports[0].answered == 3
    assert digests(tmp_path / "0") == digests(tmp_path / "2")


def test_images_of_pretraining(dataset: BuiltDataset) -> None:
    _, config = micro_model()
    entities = gather_entities(dataset.pairs("train"))
    labels = label_set(entities.values())
    given = (dataset, "train", entities, labels, ImageProcessor(config), Silent())
    alone, fed = labelled_images(*given), labelled_images(*given, workers=2)
    assert len(alone) == len(fed) == 6
    for one, other in zip(alone, fed, strict=True):
        assert one.masked == other.masked
        for name in ("vision", "semantic", "square"):
            assert np.array_equal(getattr(one.pixels, name), getattr(other.pixels, name))
        assert np.array_equal(one.square, other.square)


def test_the_preset_of_the_large_model_has_workers() -> None:
    from calico.config.presets import preset

    chosen = preset("7b").training
    assert (chosen.loader_workers, preset("tiny").training.loader_workers) == (4, 0)
    assert replace(chosen, loader_workers=0).features == "encode"
