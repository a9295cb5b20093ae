"""Checks with the tiny preset on synthetic sources: training, resumption, answers, FSDP2.

Everything is compared in fp32 without TF32, where both devices round alike but for the order of
sums. Bounds are relative; what they are for is said where they are defined.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from benchmarks.gpu_check.outcome import Report, Setting
from calico.config.calico import CalicoConfig
from calico.config.presets import tiny
from calico.config.yaml_io import override
from calico.dataset.pairs import BuiltDataset
from calico.evaluation.in_memory import answer_samples
from calico.inference.predictor import Predictor
from calico.model.precision import arithmetic
from calico.predictions.types import Prediction
from calico.pretraining.pretrain import pretrain
from calico.processing.feature_encoder import FeatureEncoder, TableFeatures
from calico.processing.images import ImageProcessor
from calico.processing.prompts import PromptEncoder
from calico.runtime.device import exact_products
from calico.runtime.distributed import build_accelerator
from calico.training.batches import BatchMaker
from calico.training.train import RunSettings, train
from mixedparts.masks import iou
from mixedparts.progress import Silent

STEPS, _SHORT = 50, 10
_ADAMW, _NONE = {"optimizer": "adamw"}, dict[str, Any]()
_FIRST = 2e-3  # of the first step: the same weights, rounded differently in forward and backward
_FEW = 2e-2  # over the first updates, which carry the rounding on
_BF16 = 3e-2  # bf16 rounds to 3 digits
_ANSWERS = 0.9  # share of equal answers: a near tie of two words may fall either way
# A model of micro size, for a CPU and for tests.
_MICRO: dict[str, Any] = {
    "vision": {"image_size": 32, "patch_size": 8, "hidden_size": 32, "layers": 1, "heads": 2},
    "semantic": {"image_size": 32, "position_size": 32, "patch_size": 8, "hidden_size": 32,
                 "layers": 1, "heads": 2},
    "qformer": {"hidden_size": 32, "layers": 1, "heads": 2, "mlp_size": 48, "queries": 4},
    "sam": {"image_size": 32, "patch_size": 8, "hidden_size": 32, "layers": 1, "heads": 2,
            "mlp_size": 48, "global_layers": [0], "prompt_size": 32, "decoder_heads": 2,
            "decoder_mlp_size": 48, "iou_head_size": 8},
    "language": {"hidden_size": 48, "layers": 4, "heads": 2, "mlp_size": 96},
    "correspondence": {"heads": 2, "layers": [1, 3]},
    "pretraining": {"carry_over": False, "batch_size": 4, "qformer_batch_size": 8},
    "training": {"batch_size": 4},
    "generation": {"max_new_tokens": 24},
}  # fmt: skip


def prepare(setting: Setting, report: Report) -> None:
    """Draw sources, build a dataset, and pretrain encoders for a few steps on the device."""
    sources, build = setting.work / "sources", setting.work / "build"
    images, samples = (24, 120) if setting.small else (60, 600)
    commands = [
        ["sample", "--images", str(images), "--seed", "3", "--out", str(sources)],
        ["build", "--sources", "paco", "--root", str(sources), "--out", str(build),
         "--samples", str(samples)],
    ]  # fmt: skip
    program = Path(sys.executable).with_name("mixedparts")
    for words in commands:
        subprocess.run([program, *words, "--quiet"], check=True)
    dataset = BuiltDataset(build)
    report.figure("samples to train on", len(dataset.pairs("train")))
    accelerator = build_accelerator(setting.device)
    folder = setting.work / "encoders"
    pretrain(_config(setting), dataset, folder, Silent(), accelerator)
    report.figure("pretraining stages of 10 steps", 4)


def fp32(setting: Setting, report: Report) -> None:
    """Train in fp32 on the device and on the CPU, and compare the losses."""
    exact_products()
    there = _trained(setting, "fp32", STEPS)
    here = _trained(setting, "fp32-cpu", _SHORT, device="cpu")
    _losses(there, report)
    report.figure("step on the CPU", 1000 * _seconds(here), "ms")
    away = _away(there, here, 1)
    report.figure("losses and norm of step 1 against the CPU", away, "relative")
    report.require(away <= _FIRST, f"the first step is {away:.2g} off the CPU's ({_FIRST:g})")
    # Muon iterates in bf16 on a GPU and in fp32 on a CPU, so updates are compared with AdamW.
    pair = [
        _trained(setting, f"adamw-{name}", _SHORT, _ADAMW, device=device)
        for name, device in (("cpu", "cpu"), ("device", setting.device))
    ]
    away = _away(*pair, _SHORT)
    report.figure("losses of 10 steps of AdamW against the CPU", away, "relative")
    report.require(away <= _FEW, f"10 steps of AdamW are {away:.2g} off the CPU's ({_FEW:g})")


def bf16(setting: Setting, report: Report) -> None:
    """Train in bf16, and compare the first step with that of fp32."""
    exact_products()
    there = _trained(setting, "bf16", STEPS, execution={"precision": "bf16"})
    _losses(there, report)
    plain = _lines(setting.work / "fp32")
    away = abs(there[0]["total"] / plain[0]["total"] - 1)
    report.figure("loss of step 1 against fp32", away, "relative")
    report.require(away <= _BF16, f"the first loss is {away:.2g} off that of fp32 ({_BF16:g})")


def resumed(setting: Setting, report: Report) -> None:
    """Kill a run with SIGKILL and resume it: losses and weights are those of an undisturbed one."""
    # Processes of their own, because a killed one is the point. Forked: this one has not touched
    # the device.
    context = multiprocessing.get_context("fork")
    for name, kill_after in (("whole", None), ("parts", 6), ("parts", None)):
        process = context.Process(target=_stopped, args=(setting, name, kill_after))
        process.start()
        process.join()
        expected = -signal.SIGKILL if kill_after else 0
        if process.exitcode != expected:
            raise RuntimeError(f"the run '{name}' ended with {process.exitcode}, not {expected}")
    names = ("whole", "parts")
    whole, parts = (_lines(setting.work / name) for name in names)
    report.require([line["step"] for line in parts] == list(range(1, 13)), "steps are missing")
    away = _away(whole, parts, 12)
    report.figure("losses against an undisturbed run", away, "relative")
    one, other = (
        load_file(setting.work / name / "checkpoint-000012" / "model.safetensors") for name in names
    )
    unequal = sum(not torch.equal(value, other[name]) for name, value in one.items())
    report.figure("weights", len(one))
    report.figure("weights that differ in a bit", unequal)
    report.require(away == 0 and not unequal, "a resumed run differs from an undisturbed one")


def _stopped(setting: Setting, name: str, kill_after: int | None) -> None:
    """Train 12 steps with kernels of a fixed order, or kill this process after some of them."""

    def after_step(step: int) -> None:
        if step == kill_after:
            os.kill(os.getpid(), signal.SIGKILL)

    _trained(
        setting,
        name,
        12,
        {"save_every": 4},
        resume=True,
        after_step=after_step,
        execution={"deterministic": True},
    )


def answers(setting: Setting, report: Report) -> None:
    """Compare losses of true answers, and generated answers with their masks, with the CPU's."""
    exact_products()
    checkpoint, dataset = setting.work / "fp32", BuiltDataset(setting.work / "build")
    here, there = (Predictor.from_pretrained(checkpoint, name) for name in ("cpu", setting.device))
    away = max(
        abs(one / other - 1)
        for one, other in zip(
            _true_losses(here, dataset), _true_losses(there, dataset), strict=True
        )
    )
    report.figure("text, mask and Dice loss against the CPU", away, "relative")
    report.require(away <= _FIRST, f"losses are {away:.2g} off the CPU's ({_FIRST:g})")
    for beams in (1, 3):
        found = [
            answer_samples(
                one.model, one.tokenizer, _with_beams(one.config, beams), dataset, "validation", 24
            )
            for one in (here, there)
        ]
        search = "greedy" if beams == 1 else f"{beams} beams"
        equal, overlap = _compared(*found)
        report.figure(f"equal answers, {search}", equal, "share")
        report.figure(f"IoU of their masks, {search}", overlap)
        report.require(equal >= _ANSWERS, f"{search}: {equal:.0%} of the answers are the CPU's")
        report.require(
            overlap >= 0.99, f"{search}: masks have an IoU of {overlap:.3f} with the CPU's"
        )


def fsdp(setting: Setting, report: Report) -> None:
    """Train with sharded weights and one rank, and compare with a plain run."""
    exact_products()
    plain = _trained(setting, "ddp", _SHORT, _ADAMW)
    sharded = _trained(setting, "fsdp", _SHORT, _ADAMW, execution={"parallel": "fsdp"})
    report.figure("step", 1000 * _seconds(sharded), "ms")
    away = _away(plain, sharded, _SHORT)
    report.figure("losses of 10 steps against DDP", away, "relative")
    report.require(away <= _FEW, f"losses are {away:.2g} off those of DDP ({_FEW:g})")
    saved = load_file(setting.work / "fsdp" / "checkpoint-000010" / "model.safetensors")
    whole = load_file(setting.work / "ddp" / "checkpoint-000010" / "model.safetensors")
    report.require(saved.keys() == whole.keys(), "the checkpoint holds other weights than DDP's")
    report.figure("weights of the checkpoint", len(saved))


def feeding(setting: Setting, report: Report) -> None:
    """Train with images that are encoded in each step, prepared by worker processes."""
    chosen = {"features": "encode", "loader_workers": 2}
    lines = _trained(setting, "encode", 3 * _SHORT, chosen)
    images = 2 * _config(setting, training=chosen).training.batch_size
    later = lines[_SHORT:]
    waited = statistics.fmean(line["data_seconds"] for line in later)
    took = statistics.fmean(line["step_seconds"] for line in later)
    report.figure("step", 1000 * took, "ms")
    report.figure("waiting for its data", 1000 * waited, "ms")
    report.figure("images decoded, encoded and learnt", images / (waited + took), "images/s")
    report.require(all(math.isfinite(line["total"]) for line in lines), "a loss is not finite")


def _config(setting: Setting, **changes: Any) -> CalicoConfig:
    """Return the tiny preset, or the micro model, with a short pretraining."""
    few = dict.fromkeys(("steps", "semantic_steps", "mask_steps", "qformer_steps"), 10)
    base = override(tiny(), {"pretraining": few, "training": {"log_every": 1}}, "the check")
    if setting.small:
        base = override(base, _MICRO, "the micro model")
    return override(base, changes, "the check")


def _trained(
    setting: Setting,
    name: str,
    steps: int,
    training: Mapping[str, Any] = _NONE,
    device: str = "",
    resume: bool = False,
    after_step: Callable[[int], None] = lambda step: None,
    **changes: Any,
) -> list[dict[str, float]]:
    """Train in a folder of the check, and return the lines of the log.

    Args:
        setting: of the check.
        name: of the run's folder.
        steps: after which it stops.
        training: values of the configuration's `training`.
        device: in place of the check's.
        resume: whether the folder may hold a run.
        after_step: as `train`.
        changes: other sections of the configuration.

    Returns:
        One line a step.
    """
    config = _config(setting, training={"steps": STEPS, "save_every": STEPS, **training}, **changes)
    settings = RunSettings(
        setting.work / name,
        setting.work / "encoders",
        resume=resume,
        max_steps=steps,
        device=device or setting.device,
    )
    train(config, BuiltDataset(setting.work / "build"), settings, Silent(), after_step)
    return _lines(setting.work / name)


def _lines(folder: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "train.log.jsonl").read_text().splitlines()]
    # A killed run has lines of steps that the resumed one takes again: the later ones count.
    return list({line["step"]: line for line in lines if "total" in line}.values())


def _losses(lines: Sequence[Mapping[str, float]], report: Report) -> None:
    """Report the losses of a run and require that they are finite and fall."""
    totals = [line["total"] for line in lines]
    first, last = statistics.fmean(totals[:10]), statistics.fmean(totals[-10:])
    report.figure("loss, mean of the first 10 steps", first)
    report.figure("loss, mean of the last 10 steps", last)
    report.figure("step", 1000 * _seconds(lines), "ms")
    report.require(len(totals) == STEPS, f"{len(totals)} steps were logged, not {STEPS}")
    report.require(all(map(math.isfinite, totals)), "a loss is not finite")
    report.require(last < 0.9 * first, f"the loss did not fall: {first:.3f} to {last:.3f}")


def _seconds(lines: Sequence[Mapping[str, float]]) -> float:
    """Return the median time of a step after the first ones, in seconds."""
    return statistics.median(line["step_seconds"] for line in lines[len(lines) // 5 :])


def _away(
    one: Sequence[Mapping[str, float]], other: Sequence[Mapping[str, float]], steps: int
) -> float:
    """Return the largest relative difference of losses and gradient norms over the first steps."""
    return max(
        abs(mine[name] - theirs[name]) / max(abs(theirs[name]), 1e-12)
        for mine, theirs in zip(one[:steps], other[:steps], strict=True)
        for name in ("total", "text", "mask", "dice", "norm")
    )


def _true_losses(predictor: Predictor, dataset: BuiltDataset) -> list[float]:
    """Return text, mask and Dice loss of some true answers."""
    model, config = predictor.model, predictor.config
    processor = ImageProcessor(config)
    encoder = FeatureEncoder(model.encoders, processor, config.execution)
    features = TableFeatures(encoder, dataset.images("train"))
    prompts = PromptEncoder(predictor.tokenizer, config.prompt, config.image_tokens)
    batches = BatchMaker(dataset.pairs("train"), features, prompts, processor, config)
    batch = batches.batch(batches.samples(0)).to(predictor.device)
    with torch.no_grad(), arithmetic(config.execution, predictor.device):
        losses = model(batch)
    return [losses.text.item(), losses.mask.item(), losses.dice.item()]


def _with_beams(config: CalicoConfig, beams: int) -> CalicoConfig:
    return replace(config, generation=replace(config.generation, num_beams=beams))


def _compared(
    here: Mapping[str, Prediction], there: Mapping[str, Prediction]
) -> tuple[float, float]:
    """Return the share of equal answers, and the mean IoU of their masks (1 without any)."""
    equal = [name for name, one in here.items() if one.answer == there[name].answer]
    overlaps = [
        1.0 if mine.mask == theirs.mask else float(iou([mine.mask], [theirs.mask])[0, 0])
        for name in equal
        for mine, theirs in zip(here[name].segments, there[name].segments, strict=True)
    ]
    return len(equal) / len(here), statistics.fmean(overlaps) if overlaps else 1.0
