"""Several processes of one run: the same losses as one, and no waiting without end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from calico.config.yaml_io import write_config
from calico.dataset.pairs import BuiltDataset
from calico.pretraining.pretrain import pretrain
from calico.training.train import RunSettings, train
from mixedparts.errors import UsageError
from mixedparts.files.text import read_json
from mixedparts.progress import Silent
from tests.checkout import ROOT
from tests.factories.micro_model import micro_config

RUN = """
import sys
from pathlib import Path
from calico.config.yaml_io import read_config
from calico.dataset.pairs import BuiltDataset
from calico.config.presets import tiny
from calico.runtime.device import prepare_process
from calico.training.train import RunSettings, train
from mixedparts.progress import Silent
build, config, encoders, output = map(Path, sys.argv[1:])
prepare_process(1)
train(read_config(config, tiny()), BuiltDataset(build), RunSettings(output, encoders), Silent())
"""

# The second process is given answers that hold no [SEG].
WITHOUT_MASKS = (
    """
import os
from dataclasses import replace
from calico.training.batches import BatchMaker
make = BatchMaker.batch
def stripped(self, samples):
    plain = [replace(one, turns=tuple(replace(turn, answer="nothing", targets=(), regions=())
             for turn in one.turns)) for one in samples]
    return make(self, plain if os.environ["RANK"] == "1" else samples)
BatchMaker.batch = stripped
"""
    + RUN
)


ADAMW = {"optimizer": "adamw"}  # where rounding is to be all that differs
STOPPED = RUN.replace("RunSettings(output, encoders)", "RunSettings(output, encoders, max_steps=3)")
GOING_ON = RUN.replace(
    "RunSettings(output, encoders)", "RunSettings(output, encoders, resume=True)"
)


# Each process writes down whom it answered, and the first one whom it scored.
DIVIDED = (
    """
import json, os, sys
from pathlib import Path
import calico.training.train as run
place, answer, rate = Path(sys.argv[4]), run.answer_samples, run.score_answers
def note(name, predictions):
    (place / f"{name}.json").write_text(json.dumps(sorted(predictions)))
    return predictions
def scored(predictions, *rest):
    from tests.factories.evaluation import LetterModel
    return rate(note("scored", predictions), *rest, text_model=LetterModel())
run.answer_samples = lambda *given, **more: note(os.environ["RANK"], answer(*given, **more))
run.score_answers = scored
"""
    + RUN
)


def launched(
    place: Path, name: str, count: int, script: str = RUN, **changes: Any
) -> list[dict[str, Any]]:
    """Train with `torchrun`'s module in `count` processes; return the lines of the log."""
    training = {"batch_size": 4, "log_every": 1, **changes.pop("training", {})}
    write_config(micro_config(training=training, **changes), place / f"{name}.yaml")
    (place / f"{name}.py").write_text(script)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={count}", str(place / f"{name}.py"), str(place / "build")]
    command += [str(place / f"{name}.yaml"), str(place / "encoders"), str(place / name)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return log(place / name)


def alone(
    place: Path, name: str, max_steps: int | None = None, resume: bool = False, **changes: Any
) -> list[dict[str, Any]]:
    """Train in this process; return the lines of the log."""
    training = {"batch_size": 4, "log_every": 1, **changes.pop("training", {})}
    config = micro_config(training=training, **changes)
    settings = RunSettings(place / name, place / "encoders", resume, max_steps, device="cpu")
    train(config, BuiltDataset(place / "build"), settings, Silent())
    return log(place / name)


def log(output: Path, name: str = "train.log.jsonl") -> list[dict[str, Any]]:
    lines = (output / name).read_text().splitlines()
    return [json.loads(line) for line in lines]


def state(output: Path) -> dict[str, torch.Tensor]:
    """Return weights and moments of the last checkpoint."""
    (last,) = output.glob("checkpoint-000008")
    weights, moments = (load_file(last / f"{n}.safetensors") for n in ("model", "training"))
    moments.pop("random_state")
    return {**{f"{name}/weight": value for name, value in weights.items()}, **moments}


def losses(lines: list[dict[str, Any]]) -> torch.Tensor:
    """Return (steps, 5) losses and norms."""
    names = ("total", "text", "mask", "dice", "norm")
    steps = [line for line in lines if line["stage"] == "train" and "event" not in line]
    return torch.tensor([[line[name] for name in names] for line in steps], dtype=torch.float64)


@pytest.fixture(scope="module")
def dealt(place: Path) -> list[dict[str, Any]]:
    """The log of a run of two processes with Muon and an evaluation at its end."""
    training = {"eval_every": 8, "eval_samples": 6, "best": "label_f1"}
    return launched(place, "dealt", 2, DIVIDED, training=training)


class TestParts:
    """A batch is the same however many parts it is taken in."""

    @pytest.mark.parametrize("most", [1, 3])
    def test_accumulated_parts_give_the_losses_of_the_whole(self, place: Path, most: int) -> None:
        whole = alone(place, f"whole{most}", training=ADAMW)
        parts = alone(place, f"parts{most}", training={"micro_batch": most, **ADAMW})
        torch.testing.assert_close(losses(parts), losses(whole), rtol=1e-4, atol=1e-6)

    def test_two_processes_give_the_losses_of_one(self, place: Path) -> None:
        one = alone(place, "one", training=ADAMW)
        two = launched(place, "two", 2, training=ADAMW)
        torch.testing.assert_close(losses(two), losses(one), rtol=1e-4, atol=1e-6)

    def test_dealt_matrices_give_the_losses_of_one(
        self, place: Path, dealt: list[dict[str, Any]]
    ) -> None:
        one = alone(place, "muon")
        torch.testing.assert_close(losses(dealt), losses(one), rtol=1e-4, atol=1e-6)
        ours, theirs = (state(place / name) for name in ("dealt", "muon"))
        assert ours.keys() == theirs.keys()  # Muon's moments are those of both processes
        for name, value in ours.items():
            if name.endswith(("momentum_buffer", "exp_avg")):
                torch.testing.assert_close(value, theirs[name], rtol=0.02, atol=2e-5)

    def test_two_processes_go_on_bit_for_bit(self, place: Path) -> None:
        undisturbed = launched(place, "undisturbed", 2)
        assert len(launched(place, "resumed", 2, STOPPED)) == 3
        resumed = launched(place, "resumed", 2, GOING_ON)
        assert torch.equal(losses(resumed), losses(undisturbed))
        ours, theirs = (state(place / name) for name in ("resumed", "undisturbed"))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)

    def test_sharded_weights_give_the_losses_of_one(self, place: Path) -> None:
        """Saved and resumed by other numbers of processes; 5 samples in parts of 2."""
        training = {"ema": 0.9, "batch_size": 5, "micro_batch": 2, "features": "encode", **ADAMW}
        language = {"tuning": "lora", "lora_dropout": 0.0}  # whose draws differ between processes
        one = alone(place, "unsharded", training=training, language=language)
        sharded: dict[str, Any] = {
            "training": training,
            "language": language,
            "execution": {"parallel": "fsdp", "activation_checkpointing": True},
        }
        alone(place, "sharded", max_steps=3, **sharded)
        script = GOING_ON.replace("resume=True", "resume=True, max_steps=6")
        launched(place, "sharded", 2, script, **sharded)
        sharded["execution"]["parallel"] = "ddp"
        lines = alone(place, "sharded", resume=True, **sharded)
        torch.testing.assert_close(losses(lines), losses(one), rtol=1e-4, atol=1e-6)
        ours, theirs = (state(place / name) for name in ("sharded", "unsharded"))
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            if name.endswith("exp_avg"):
                torch.testing.assert_close(value, theirs[name], rtol=0.02, atol=2e-5)

    def test_an_evaluation_is_divided(self, place: Path, dealt: list[dict[str, Any]]) -> None:
        assert [line["step"] for line in dealt if line.get("stage") == "evaluation"] == [8]
        shares = [set(read_json(place / "dealt" / f"{rank}.json")) for rank in (0, 1)]
        assert [len(share) for share in shares] == [3, 3]
        assert not shares[0] & shares[1]
        # All answers came together: none of the six samples counts as missing.
        assert read_json(place / "dealt" / "scored.json") == sorted(shares[0] | shares[1])

    def test_a_process_without_masks_keeps_no_other_waiting(self, place: Path) -> None:
        lines = launched(place, "unmasked", 2, script=WITHOUT_MASKS)
        assert [line["step"] for line in lines] == list(range(1, 9))
        assert all(line["mask"] > 0 for line in lines)  # of the other process

    def test_two_processes_pretrain_encoders_together(self, place: Path) -> None:
        script = RUN.replace("RunSettings(output, encoders)", "RunSettings(output)")
        assert len(launched(place, "fresh", 2, script=script)) == 8
        made = load_file(place / "fresh" / "encoders" / "encoders.safetensors")
        alone = load_file(place / "encoders" / "encoders.safetensors")
        assert made.keys() == alone.keys()
        assert all(made[name].shape == alone[name].shape for name in made)
        stages = {line["stage"] for line in log(place / "fresh", "encoders.log.jsonl")}
        assert {"global encoder", "Q-Former", "mask encoder and decoder"} <= stages
        assert not list((place / "fresh").glob(".*"))

    def test_more_processes_than_samples_are_refused(
        self, dataset: BuiltDataset, place: Path
    ) -> None:
        from accelerate import Accelerator

        from calico.training.train import _check

        class Many(Accelerator):
            num_processes = 5

        config = replace(micro_config(), training=replace(micro_config().training, batch_size=4))
        with pytest.raises(UsageError, match="batch of 4 cannot be shared by 5"):
            _check(config, Many(cpu=True))
        with pytest.raises(UsageError, match="batch of 2 images cannot be shared by 5"):
            pretrain(config, dataset, place / "many", Silent(), Many(cpu=True))
