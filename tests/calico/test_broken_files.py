"""Whatever stands in the place of a file of a run, its reader says so or does the work again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from calico.checkpoints.digests import damaged_files
from calico.checkpoints.rotation import Best, read_best, record_best
from calico.checkpoints.save_load import load_checkpoint, read_checkpoint_metadata
from calico.dataset.pairs import BuiltDataset
from calico.evaluation.ground_truth import read_ground_truth
from calico.evaluation.prediction_cache import PredictionCache, unfinished_part
from calico.inference.answer import read_answer
from calico.inference.batch import predict_sets
from calico.inference.predictor import Predictor
from calico.pretraining.encoder_files import FinishedStages
from calico.processing.feature_cache import FeatureCache
from calico.processing.tokenizer import load_tokenizer
from calico.training.curves import draw_curves, read_log
from calico.training.feature_store import feature_store
from calico.weights.files import WeightFiles
from calico.weights.published.configs import published_values, read_published_config
from calico.weights.safetensors_io import read_tensors
from mixedparts.errors import EnvironmentFault, InputError, UsageError
from mixedparts.progress import Silent
from mixedparts.storage.build_folder import BuildFolder
from tests.factories.broken_files import BROKEN, ends_within, put

# Each takes the broken file, in a folder of its own.
REFUSING: dict[str, tuple[str, Callable[[Path], object]]] = {
    "metadata": ("checkpoint.json", lambda path: read_checkpoint_metadata(path.parent)),
    "best": ("best.json", lambda path: read_best(path.parent)),
    "tokenizer": ("tokenizer.json", lambda path: load_tokenizer(path.parent)),
    "tensors": ("model.safetensors", read_tensors),
    "weights": ("model.safetensors", WeightFiles),
    "old weights": ("model.pth", WeightFiles),
    "index of weights": (
        "model.safetensors.index.json",
        lambda path: WeightFiles(path.parent),
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
@pytest.mark.parametrize("reader", REFUSING)
def test_a_broken_file_is_named(reader: str, fault: str, tmp_path: Path) -> None:
    name, read = REFUSING[reader]
    put(tmp_path / name, fault)
    with ends_within(30), pytest.raises(InputError, match=str(tmp_path)):
        read(tmp_path / name)


@pytest.mark.parametrize("fault", BROKEN)
def test_broken_digests_are_damage(tmp_path: Path, fault: str) -> None:
    put(tmp_path / "digests.json", fault)
    with ends_within(30):
        try:
            found = ", ".join(damaged_files(tmp_path))
        except InputError as error:
            found = str(error)
    assert "digests.json" in found


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_answer_counts_as_none(tmp_path: Path, fault: str) -> None:
    put(tmp_path / "prediction.json", fault)
    with ends_within(30):
        assert "question" not in (read_answer(tmp_path) or {})


@pytest.mark.parametrize("fault", BROKEN)
def test_a_run_of_answers_that_is_none(tmp_path: Path, fault: str, predictor: Predictor) -> None:
    put(tmp_path / "out/run.json", fault)
    with ends_within(30), pytest.raises(UsageError, match=r"run\.json|another run"):
        predict_sets(predictor, [], tmp_path / "out", {"checkpoint": "a"}, 2, Silent())


@pytest.fixture(scope="module")
def predictor(finished: Path) -> Predictor:
    return Predictor.from_pretrained(finished, "cpu")


@pytest.mark.parametrize("fault", BROKEN)
def test_stages_of_a_broken_record_are_trained_again(tmp_path: Path, fault: str) -> None:
    stages = FinishedStages(tmp_path / "stages")
    stages.start({"seed": 1})
    stages.save("sam", {"a": torch.ones(2)})
    put(tmp_path / "stages/begun.json", fault)
    with ends_within(30):
        stages.start({"seed": 1})
    assert not stages.has("sam")
    assert json.loads((tmp_path / "stages/begun.json").read_text()) == {"seed": 1}


@pytest.mark.parametrize("fault", BROKEN)
def test_cached_answers_that_are_none(dataset: BuiltDataset, tmp_path: Path, fault: str) -> None:
    samples = read_ground_truth(BuildFolder.open(dataset.path), "validation", None).samples
    cache = PredictionCache(tmp_path / "p.jsonl", {"checkpoint": "a"}, 2)
    put(unfinished_part(tmp_path / "p.jsonl"), fault)
    with ends_within(30):
        # A file without a whole first line is what a kill leaves: it is begun again.
        try:
            found = str(cache.begin(samples))
        except (UsageError, EnvironmentFault) as error:
            found = str(error)
    assert found == "[]" or str(cache.part) in found


@pytest.mark.parametrize("fault", BROKEN)
def test_cached_features_are_computed_again(tmp_path: Path, fault: str) -> None:
    cache = FeatureCache(tmp_path, 10**6)
    cache.put("ab", torch.ones(2))
    put(tmp_path / "ab/ab.safetensors", fault)
    with ends_within(30):
        assert cache.get("ab") is None


@pytest.mark.parametrize("fault", [name for name in BROKEN if name != "a link to itself"])
def test_damaged_features_of_a_run_name_the_folder(
    dataset: BuiltDataset, predictor: Predictor, tmp_path: Path, fault: str
) -> None:
    table = dataset.images("train")
    encoders, processor = predictor.model.encoders, predictor.processor

    def store() -> Any:
        return feature_store(encoders, table, [0, 1], processor, tmp_path, False, Silent())

    first = np.array(store().arrays["vision"])
    (place,) = tmp_path.iterdir()
    for broken in sorted(place.iterdir()):
        kept = broken.read_bytes()
        put(broken, fault)
        with ends_within(30), pytest.raises(InputError, match=rf"rm -r {place}"):
            store()
        put(broken, "nothing")
        broken.write_bytes(kept[:-2])
        with pytest.raises(InputError, match="are damaged"):
            store()
        broken.write_bytes(kept)
    shutil.rmtree(place)
    assert np.array_equal(store().arrays["vision"], first)


def test_the_best_checkpoint_is_one_of_the_run(tmp_path: Path) -> None:
    record_best(tmp_path, Best("checkpoint-000003", "miou", 0.5))
    assert read_best(tmp_path) == Best("checkpoint-000003", "miou", 0.5)
    for name in ("../other/checkpoint-000003", "/tmp/x", "checkpoint-1/../../x", ""):
        record_best(tmp_path, Best(name, "miou", 0.5))
        with pytest.raises(InputError, match="names no checkpoint"):
            read_best(tmp_path)


def test_damaged_lines_of_a_log_are_not_drawn(tmp_path: Path) -> None:
    lines = [
        '{"stage": "train", "step": 1, "total": 2.0, "text": 1.0, "mask": 1.0, "dice": 1.0}',
        "[" * 100_000,
        "5",
        '{"stage": 5, "step": 1}',
        '{"stage": "train", "step": "x"}',
        '{"stage": "train", "step": 2, "total": "many"}',
        '{"stage": "evaluation", "step": 2, "mean": {"miou_strict": 0.5}}',
        '{"stage": "evaluation", "step": 3, "mean": 7}',
    ]
    (tmp_path / "train.log.jsonl").write_bytes("\n".join(lines).encode() + b"\n\xff\xfe\n")
    found = read_log(tmp_path / "train.log.jsonl")
    assert [(line["stage"], line["step"]) for line in found] == [
        ("evaluation", 2), ("evaluation", 3), ("train", 1), ("train", 2),
    ]  # fmt: skip
    draw_curves(tmp_path, Silent())
    assert (tmp_path / "curves.png").stat().st_size > 1000


@pytest.mark.parametrize(
    "values", [{"text_config": [1]}, {"rope_parameters": 5}, {"qformer_config": "x"}]
)
def test_a_published_configuration_of_odd_sections(tmp_path: Path, values: Any) -> None:
    (tmp_path / "config.json").write_text(json.dumps(values))
    data = read_published_config(tmp_path)
    for layout in ("InstructBLIP", "language model", "SAM", "DINOv2"):
        for part in ("vision", "semantic", "qformer", "sam", "language"):
            stated = dict(published_values(data, layout, part))
            assert not any(value is not None for value in stated.values())
    (tmp_path / "config.json").write_text('{"vision_config": {"global_attn_indexes": 5}}')
    stated = dict(published_values(read_published_config(tmp_path), "SAM", "sam"))
    assert stated["sam.global_layers"] == 5  # no list of layers, so it differs from any


@pytest.mark.parametrize("fault", BROKEN)
def test_a_checkpoint_without_its_digests(finished: Path, tmp_path: Path, fault: str) -> None:
    place = Path(shutil.copytree(finished, tmp_path / "checkpoint"))
    (place / "digests.json").unlink()
    kept = {path.name: path.read_bytes() for path in place.iterdir()}
    for name in ("checkpoint.json", "config.yaml", "tokenizer_config.json", "frozen.safetensors"):
        put(place / name, fault)
        with ends_within(30), pytest.raises((InputError, UsageError)):
            load_checkpoint(place)
        put(place / name, "nothing")
        (place / name).write_bytes(kept[name])
    load_checkpoint(place)


def test_a_tokenizer_with_more_tokens_than_the_model(finished: Path, tmp_path: Path) -> None:
    place = Path(shutil.copytree(finished, tmp_path / "checkpoint"))
    (place / "digests.json").unlink()
    content = json.loads((place / "tokenizer.json").read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary["surplus"] = len(vocabulary)
    (place / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=rf"has {len(vocabulary)} tokens, the model"):
        load_checkpoint(place)
