"""Steps that worker processes prepare: the same losses, files and errors as without them."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from calico.checkpoints.save_load import find_checkpoint
from calico.dataset.pairs import BuiltDataset
from calico.model.vision import ImageFeatures
from calico.processing.feature_cache import FeatureCache
from calico.processing.feature_encoder import FeatureEncoder, TableFeatures
from calico.processing.images import ImageProcessor
from calico.processing.prompts import PromptEncoder
from calico.training.batches import BatchMaker
from calico.training.feeding.feeder import StepFeeder, StepParts
from calico.training.train import RunSettings, train
from calico.training.trainer import StepData
from mixedparts.errors import EnvironmentFault, InputError
from mixedparts.progress import Silent
from tests.factories.micro_build import write_build
from tests.factories.micro_model import micro_config, micro_model, micro_tokenizer
from tests.oracles.digests import digests

VIEWS = {"crop": 0.5, "crop_share": 0.3, "colour": 0.2}
ENCODE = {"features": "encode", "flips": True, "micro_batch": 2, "steps": 6}


class Interrupted(Exception):
    """Stands for a kill."""


def feeder(dataset: BuiltDataset, workers: int, most: int = 0, **changes: object) -> StepFeeder:
    """Return a feeder of steps of 4 samples with random views, images prepared 2 at a time."""
    training = {"batch_size": 4, "features": "encode", "augment": VIEWS, "loader_images": 2}
    model, config = micro_model(training={**training, "loader_workers": workers, **changes})
    processor = ImageProcessor(config)
    encoder = FeatureEncoder(model.encoders, processor, config.execution)
    features = TableFeatures(encoder, dataset.images("train"))
    prompts = PromptEncoder(micro_tokenizer(), config.prompt, config.image_tokens)
    batches = BatchMaker(dataset.pairs("train"), features, prompts, processor, config)
    data = StepData(batches, 0, 1, most)
    bytes_of_image = processor.image_bytes
    return StepFeeder(data, features, config.training, bytes_of_image, torch.device("cpu"))


def losses(output: Path) -> list[tuple[float, ...]]:
    lines = [json.loads(line) for line in (output / "train.log.jsonl").read_text().splitlines()]
    names = ("step", "total", "text", "mask", "dice", "norm")
    return [tuple(line[name] for name in names) for line in lines if "total" in line]


class TestParts:
    @pytest.mark.parametrize("workers", [0, 2])
    def test_parts_are_those_of_the_batch_maker(self, dataset: BuiltDataset, workers: int) -> None:
        fed = feeder(dataset, workers, most=3)
        data = fed.tasks.data
        for step, parts in fed.steps(2, 4):
            expected = data[step]
            assert len(parts) == len(expected) == 2
            for one, other in zip(parts, expected, strict=True):
                for name in ("tokens", "answer", "masks", "mask_image", "extents"):
                    assert torch.equal(getattr(one, name), getattr(other, name)), name
                for name in ("vision", "semantic", "sam"):
                    ours, theirs = getattr(one.features, name), getattr(other.features, name)
                    assert ours.dtype == torch.float32
                    assert torch.equal(ours, theirs), name
                assert (one.images, one.questions) == (other.images, other.questions)

    def test_masks_at_original_size_reach_the_trainer(self, dataset: BuiltDataset) -> None:
        fed = feeder(dataset, 1)
        fed.tasks.data.batches.at_original_size = True
        ((_, parts),) = fed.steps(0, 1)
        (expected,) = fed.tasks.data[0]
        assert expected.originals is not None
        assert parts[0].originals is not None
        assert torch.equal(parts[0].originals.bits, expected.originals.bits)

    def test_an_image_of_several_samples_is_prepared_and_encoded_once(
        self, dataset: BuiltDataset, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plain = {"augment": {"crop": 0.0, "colour": 0.0}, "flips": False}
        fed = feeder(dataset, 0, most=1, **plain)
        asked = [ref.row for one in fed.tasks.data.batches.samples(0) for ref in one.images]
        assert len(set(asked)) < len(asked), "no image comes twice in this step"
        prepared = []
        part_pixels = ImageProcessor.part_pixels
        monkeypatch.setattr(
            ImageProcessor,
            "part_pixels",
            lambda *given: prepared.append(given) or part_pixels(*given),
        )
        ((_, parts),) = fed.steps(0, 1)
        assert len(prepared) == len(set(asked))
        assert sum(len(part.features.sam) for part in parts) == len(asked)

    def test_features_are_copied_when_a_part_is_asked_for(self, dataset: BuiltDataset) -> None:
        ((_, parts),) = feeder(dataset, 0, most=1).steps(0, 1)
        assert isinstance(parts, StepParts)
        assert parts[0].features.sam.data_ptr() != parts[0].features.sam.data_ptr()
        assert [len(part.features.sam) for part in parts[1:]] == [2, 2, 2]


@pytest.fixture(scope="module")
def alone(dataset: BuiltDataset, encoders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run without workers."""
    output = tmp_path_factory.mktemp("alone") / "run"
    train(micro_config(training=ENCODE), dataset, RunSettings(output, encoders), Silent())
    return output


class TestRuns:
    @pytest.mark.parametrize("workers", [1, 3])
    def test_workers_change_no_byte(
        self, dataset: BuiltDataset, encoders: Path, alone: Path, tmp_path: Path, workers: int
    ) -> None:
        config = micro_config(training={**ENCODE, "loader_workers": workers, "loader_images": 3})
        train(config, dataset, RunSettings(tmp_path / "run", encoders), Silent())
        assert losses(tmp_path / "run") == losses(alone)
        ours, theirs = digests(find_checkpoint(tmp_path / "run")), digests(find_checkpoint(alone))
        # The configuration has the number of workers.
        other = {name for name in ours if ours[name] != theirs[name]}
        assert other <= {"config.json", "config.yaml", "checkpoint.json", "digests.json"}
        assert "training.safetensors" in ours.keys() - other

    def test_a_killed_run_goes_on_with_another_number_of_workers(
        self, dataset: BuiltDataset, encoders: Path, alone: Path, tmp_path: Path
    ) -> None:
        def stop(done: int) -> None:
            if done == 4:
                raise Interrupted

        settings = RunSettings(tmp_path / "run", encoders, cache=FeatureCache(tmp_path / "c", 1e9))
        first = micro_config(training={**ENCODE, "loader_workers": 2})
        with pytest.raises(Interrupted):
            train(first, dataset, settings, Silent(), stop)
        second = micro_config(training={**ENCODE, "loader_workers": 1, "loader_images": 1})
        train(second, dataset, replace(settings, resume=True), Silent())
        names = ("model.safetensors", "training.safetensors")
        ours, theirs = digests(find_checkpoint(settings.output)), digests(find_checkpoint(alone))
        assert [ours[name] for name in names] == [theirs[name] for name in names]

    def test_stored_features_too(
        self, dataset: BuiltDataset, encoders: Path, finished: Path, tmp_path: Path
    ) -> None:
        from tests.factories.micro_model import lora_config

        config = lora_config()
        config = replace(config, training=replace(config.training, loader_workers=2))
        last = train(config, dataset, RunSettings(tmp_path / "run", encoders), Silent())
        assert losses(tmp_path / "run") == losses(finished.parent)
        assert digests(last)["model.safetensors"] == digests(finished)["model.safetensors"]


class TestFaults:
    @pytest.mark.parametrize("workers", [0, 2])
    def test_a_broken_image_is_one_message(self, tmp_path: Path, workers: int) -> None:
        folder = write_build(tmp_path / "build", 6)
        file = folder / "images" / "train-00000-of-00001.parquet"
        rows = pq.read_table(file)
        values = rows.to_pylist()
        values[3]["image"]["bytes"] = values[3]["image"]["bytes"][:60]
        pq.write_table(pa.Table.from_pylist(values, rows.schema), file, row_group_size=4)
        with pytest.raises(InputError) as raised:
            list(feeder(BuiltDataset(folder), workers).steps(0, 3))
        assert str(raised.value).startswith("the image in row 3 of the images table cannot be dec")
        assert "Traceback" not in str(raised.value)

    def test_a_killed_worker_is_one_message(
        self, dataset: BuiltDataset, encoders: Path, tmp_path: Path
    ) -> None:
        def kill(done: int) -> None:
            if done == 2:
                os.kill(children()[0], signal.SIGKILL)
                time.sleep(0.5)

        config = micro_config(training={**ENCODE, "loader_workers": 2, "loader_images": 2})
        with pytest.raises(EnvironmentFault, match="a process that prepares images has ended"):
            train(config, dataset, RunSettings(tmp_path / "run", encoders), Silent(), kill)
        assert gone(children)

    def test_no_worker_is_left_where_a_step_fails(
        self, dataset: BuiltDataset, encoders: Path, tmp_path: Path
    ) -> None:
        def interrupted(done: int) -> None:
            assert len(children()) == 2
            raise KeyboardInterrupt

        config = micro_config(training={**ENCODE, "loader_workers": 2})
        settings = RunSettings(tmp_path / "run", encoders)
        with pytest.raises(KeyboardInterrupt):
            train(config, dataset, settings, Silent(), interrupted)
        assert gone(children)


def children() -> list[int]:
    """Return the ids of the running worker processes of this one."""
    import multiprocessing

    return [one.pid for one in multiprocessing.active_children() if one.pid]


def gone(processes: Callable[[], list[int]]) -> bool:
    """Return whether no process is left, after a moment at most."""
    for _ in range(50):
        if not processes():
            return True
        time.sleep(0.1)
    return False


def test_bf16_features_of_a_step_take_half_the_memory(dataset: BuiltDataset) -> None:
    model, config = micro_model(execution={"precision": "bf16"})
    processor = ImageProcessor(config)
    encoder = FeatureEncoder(model.encoders, processor, config.execution)
    features = TableFeatures(encoder, dataset.images("train"))
    from calico.dataset.views import View

    shown = [(0, View()), (1, View(mirrored=True))]
    once: ImageFeatures = features.finish([features.source.prepare(shown)])
    assert once.sam.dtype == torch.bfloat16
    assert torch.equal(once.sam.float(), features.read(shown).sam)
