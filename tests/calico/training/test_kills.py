"""A run that is killed again and again ends as one that nobody disturbed, bit for bit."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from calico.checkpoints.rotation import newest_checkpoint
from calico.checkpoints.save_load import load_checkpoint
from calico.dataset.pairs import BuiltDataset
from calico.runtime.device import prepare_process
from calico.training.train import RunSettings, train
from mixedparts.progress import Silent
from tests.factories.micro_model import micro_config

KILLS = 10
STEPS = 40
CHANGES = {"steps": STEPS, "save_every": 2, "log_every": 1, "batch_size": 2, "ema": 0.5}


def run(build: Path, output: Path) -> None:
    """Go on with a run, in a process of its own; dropout makes the random state matter."""
    prepare_process(1)
    config = micro_config(training=CHANGES, language={"tuning": "lora", "lora_dropout": 0.3})
    settings = RunSettings(output, resume=True, device="cpu")
    train(config, BuiltDataset(build), settings, Silent())


def started(build: Path, output: Path) -> BaseProcess:
    """Start a process that has imported everything already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    process = context.Process(target=run, args=(build, output))
    process.start()
    return process


def steps(output: Path) -> list[dict[str, float]]:
    """Return the lines of the log that tell of a step, of all attempts."""
    path = output / "train.log.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.is_file() else []
    parsed = [json.loads(line) for line in lines if line.endswith("\n")]
    return [line for line in parsed if "event" not in line]


def killed(process: BaseProcess, output: Path, step: int, delay: float) -> None:
    """Kill a process some moments after it has told of a step."""
    before = len(steps(output))
    deadline = time.monotonic() + 300
    while not any(line["step"] >= step for line in steps(output)[before:]):
        assert process.is_alive(), f"the run ended before step {step} with {process.exitcode}"
        assert time.monotonic() < deadline
        time.sleep(0.001)
    time.sleep(delay)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system knows no SIGKILL")
def test_ten_kills_change_nothing(dataset: BuiltDataset, tmp_path: Path) -> None:
    build = dataset.path
    calm, hunted = tmp_path / "calm", tmp_path / "hunted"
    undisturbed = started(build, calm)
    undisturbed.join()
    assert undisturbed.exitcode == 0

    rng = np.random.default_rng(20241220)
    points = np.sort(rng.choice(np.arange(1, STEPS - 4), KILLS, replace=False)).tolist()
    for point in points:
        killed(started(build, hunted), hunted, point, float(rng.uniform(0, 0.04)))
        newest = newest_checkpoint(hunted)
        assert newest is not None or point < 3
        if newest is not None:
            load_checkpoint(newest)  # whole, whenever the kill came
    last = started(build, hunted)
    last.join()
    assert last.exitcode == 0

    expected = {line["step"]: line for line in steps(calm)}
    found = steps(hunted)
    assert {line["step"] for line in found} == set(expected)
    assert len(found) > STEPS  # some steps were taken again
    for line in found:
        for name in ("total", "text", "mask", "dice", "norm"):
            assert line[name] == expected[line["step"]][name], (line["step"], name)
    for name in ("model", "training"):
        ours = load_file(hunted / f"checkpoint-{STEPS:06d}" / f"{name}.safetensors")
        theirs = load_file(calm / f"checkpoint-{STEPS:06d}" / f"{name}.safetensors")
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert not list(hunted.glob(".*.tmp"))
