"""The size of a step's parts: chosen for a device, kept by the run, no effect on losses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from accelerate import Accelerator

from calico.config.yaml_io import read_config
from calico.cost.fitting import ONE_IMAGE, usable
from calico.cost.memory import step_memory
from calico.dataset.pairs import BuiltDataset
from calico.training import micro_batch
from calico.training.micro_batch import chosen_for, sampled_workload
from calico.training.train import RunSettings, train
from mixedparts.errors import EnvironmentFault, UsageError
from mixedparts.progress import Progress, Silent
from tests.factories.micro_model import lora_config, micro_config, micro_tokenizer


class Said(Silent):
    """Keeps the lines of a run."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture(scope="module")
def accelerator() -> Accelerator:
    return Accelerator(cpu=True)


class TestChoice:
    def test_it_is_the_largest_that_fits_with_the_margin(
        self, dataset: BuiltDataset, accelerator: Accelerator
    ) -> None:
        config = micro_config(language={"vocabulary": 300}, training={"batch_size": 6})
        workload = sampled_workload(config, micro_tokenizer(), dataset.pairs("train"))
        needed = [step_memory(config, workload, size).total for size in (1, 2, 3, 4)]
        said = Said()
        free = int(needed[2] / 0.9) + 1000
        found = chosen_for(config, workload, free, accelerator, said)
        assert found.training.micro_batch == 3
        assert needed[2] <= usable(free) < needed[3]
        assert "micro_batch 3 chosen, 2 parts a step" in said.lines[0]
        with pytest.raises(EnvironmentFault, match="one sample at once needs") as raised:
            chosen_for(config, workload, needed[0] // 3, accelerator, said)
        assert "nf4" in str(raised.value.hint)

    def test_the_sample_is_that_of_the_dataset(self, dataset: BuiltDataset) -> None:
        pairs = dataset.pairs("train")
        config = micro_config(language={"vocabulary": 300})
        workload = sampled_workload(config, micro_tokenizer(), pairs)
        masks = [len(pairs[index].targets) for index in range(len(pairs))]
        assert min(masks) < workload.masks <= max(masks) + 1
        assert workload.answer < workload.text
        assert workload.images == 2

    def test_encoders_take_one_image_where_a_batch_of_them_does_not_fit(
        self, accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        config = micro_config(language={"vocabulary": 300}, training={"features": "encode"})
        from calico.cost.fitting import Fit

        monkeypatch.setattr(micro_batch, "fit_step", lambda *_: [Fit(2, 2, 10, True)])
        found = chosen_for(config, None, 100, accelerator, Said())  # type: ignore[arg-type]
        assert found.execution.encode_batch == ONE_IMAGE
        assert found.training.micro_batch == 2


def run(
    config: Any, dataset: BuiltDataset, place: Path, progress: Progress | None = None, **more: Any
) -> dict[int, dict[str, Any]]:
    train(config, dataset, RunSettings(place, **more), progress or Silent())
    lines = map(json.loads, (place / "train.log.jsonl").read_text().splitlines())
    return {
        line["step"]: line for line in lines if line.get("stage") == "train" and "total" in line
    }


class TestRuns:
    @pytest.fixture
    def config(self) -> Any:
        config = lora_config()
        training = replace(
            config.training, batch_size=4, log_every=1, optimizer="adamw", clip=100.0
        )
        language = replace(config.language, lora_dropout=0.0)
        return replace(config, training=training, language=language, pretraining=config.pretraining)

    def test_parts_of_any_size_give_the_losses_and_weights_of_one_batch(
        self, config: Any, dataset: BuiltDataset, encoders: Path, tmp_path: Path
    ) -> None:
        found = {}
        for size in (0, 1, 3):
            chosen = replace(config, training=replace(config.training, micro_batch=size))
            place = tmp_path / str(size)
            found[size] = run(chosen, dataset, place, encoders=encoders, max_steps=3)
        for size in (1, 3):
            for step, line in found[0].items():
                for name in ("total", "text", "mask", "dice", "norm"):
                    assert found[size][step][name] == pytest.approx(line[name], rel=2e-5), name

    def test_a_run_keeps_its_choice_and_may_be_given_another(
        self,
        config: Any,
        dataset: BuiltDataset,
        encoders: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        assert config.training.micro_batch == "auto"
        # As on a GPU that holds two samples; the run goes on where none was asked.
        chosen = replace(config.training, micro_batch=2)
        monkeypatch.setattr(
            "calico.training.setup.with_micro_batch",
            lambda given, *_: (
                replace(given, training=replace(given.training, micro_batch=2))
                if given.training.micro_batch == "auto"
                else given
            ),
        )
        place = tmp_path / "run"
        run(config, dataset, place, encoders=encoders, max_steps=1)
        assert read_config(place / "config.yaml").training == chosen
        monkeypatch.undo()
        run(config, dataset, place, encoders=encoders, max_steps=2, resume=True)
        assert read_config(place / "checkpoint-000002" / "config.yaml").training == chosen
        other, said = replace(config, training=replace(chosen, micro_batch=1)), Said()
        run(other, dataset, place, said, encoders=encoders, max_steps=3, resume=True)
        assert "micro_batch 1 from here on, 2 before." in said.lines
        assert read_config(place / "checkpoint-000003" / "config.yaml").training.micro_batch == 1
        faster = replace(other, training=replace(other.training, learning_rate=1.0))
        with pytest.raises(UsageError, match="learning_rate"):
            run(faster, dataset, place, encoders=encoders, max_steps=4, resume=True)


@pytest.mark.parametrize("value", [-1, "all", 1.5])
def test_other_values_are_refused(value: Any) -> None:
    with pytest.raises(UsageError, match="micro_batch"):
        micro_config(training={"micro_batch": value})


def test_the_margin_is_a_tenth() -> None:
    assert usable(10 * 10**9) == 9 * 10**9
