"""Checks with the 7B model and random weights, beside what `calico-cost` says of the same sample.

The weights are drawn on the device, in the types that they keep: no copy on the CPU is made.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from benchmarks.gpu_check.outcome import Report, Setting, Skipped
from benchmarks.model_stages import matmul_rate, peak_memory, seconds
from benchmarks.model_subject import Subject, subject
from calico.config.calico import CalicoConfig
from calico.config.presets import seven_b
from calico.config.yaml_io import override
from calico.cost.memory import answer_memory, step_memory
from calico.cost.tables import DEVICES, UTILISATION, step_flops
from calico.cost.workload import Workload
from calico.model.generation import generate
from calico.model.inputs import TrainingBatch
from calico.model.precision import arithmetic
from calico.model.quantized import bitsandbytes
from calico.model.vision import ImageFeatures
from calico.runtime.device import choose_device
from mixedparts.errors import MixedPartsError

PAIRS = 2  # samples of a step, as many as the paper's family computes at once on a GPU
_STEPS = 3  # that are timed; the first one, which compiles and tunes kernels, comes before
_ANSWER = 64  # tokens
_RATE = 1e-3  # of learning
_GB = 1e9
# The architecture of the 7B model, and how it is trained, at a size for a CPU.
_SMALL: dict[str, Any] = {
    "vision": {"image_size": 32, "patch_size": 8, "hidden_size": 32, "layers": 2, "heads": 2,
               "mlp_size": 64},
    "semantic": {"image_size": 32, "position_size": 48, "patch_size": 8, "hidden_size": 32,
                 "layers": 1, "heads": 2},
    "qformer": {"hidden_size": 32, "layers": 2, "heads": 2, "mlp_size": 48, "queries": 4},
    "sam": {"image_size": 64, "patch_size": 8, "hidden_size": 32, "layers": 2, "heads": 2,
            "mlp_size": 48, "global_layers": [1], "window": 4, "prompt_size": 32,
            "decoder_heads": 2, "decoder_mlp_size": 48, "iou_head_size": 8},
    "language": {"vocabulary": 400, "hidden_size": 64, "layers": 4, "heads": 2, "mlp_size": 128},
    "correspondence": {"heads": 2, "layers": [1, 3]},
}  # fmt: skip


def large(setting: Setting, report: Report) -> None:
    """Build the 7B model on the device; forward, backward, optimiser step and generation."""
    _run(_config(setting), setting, report)


def quantized(setting: Setting, report: Report) -> None:
    """The same with the frozen weights of the language model in 4 bits (bitsandbytes)."""
    try:
        bitsandbytes()
    except MixedPartsError as fault:
        raise Skipped(fault.message) from None
    _run(_config(setting, {"execution": {"quantization": "nf4"}}), setting, report)


def _config(setting: Setting, changes: dict[str, Any] | None = None) -> CalicoConfig:
    # Markers around images are tokens of a vocabulary that is not at hand.
    config = override(seven_b(), {"prompt": {"image_markers": False}}, "the check")
    if setting.small:
        config = override(config, _SMALL, "the small model")
    return override(config, changes or {}, "the check")


def _run(config: CalicoConfig, setting: Setting, report: Report) -> None:
    device = choose_device(setting.device)
    began = time.perf_counter()
    one = subject(config, device, PAIRS)
    seconds(lambda: None, device)
    report.figure("built on the device in", time.perf_counter() - began, "s")
    report.figure("parameters", sum(weight.numel() for weight in one.model.parameters()))
    report.figure("trained", sum(weight.numel() for weight in one.updater.weights))
    if device.type == "cuda":
        report.figure("memory of the weights", torch.cuda.memory_allocated(device) / _GB, "GB")
    rate = matmul_rate(device)
    report.figure("matrix product, measured", rate / 1e12, "TFLOP/s")
    features = _encoding(one, report, device)
    batch = one.batch(features)
    workload = _workload(batch, one)
    _training(one, batch, workload, report, _peak_rate(device) or rate)
    _answering(one, features, workload, report, device)


def _encoding(one: Subject, report: Report, device: torch.device) -> ImageFeatures:
    """Encode the images of all pairs, and report how fast."""
    one.encode()
    features: list[ImageFeatures] = []
    took = seconds(lambda: features.append(one.encode()), device)
    images = len(one.pictures) * one.pairs
    report.figure("frozen encoders, resizing included", images / took, "images/s")
    return features[0]


def _workload(batch: TrainingBatch, one: Subject) -> Workload:
    """Return the size of a sample of a batch, as `calico-cost` counts it."""
    text = batch.tokens.shape[1] - batch.images * one.config.image_tokens
    answer = int(batch.answer[0].sum())
    assert batch.originals is not None
    return Workload(
        images=batch.images,
        text=text,
        answer=answer,
        masks=len(batch.mask_image) // one.pairs,
        question=text - answer,
        size=batch.originals.sizes[0],
    )


def _training(
    one: Subject, batch: TrainingBatch, workload: Workload, report: Report, rate: float
) -> None:
    """Take some steps on one batch, and report time, utilisation and memory.

    Args:
        one: the model.
        batch: of all pairs.
        workload: one sample of it.
        report: of the check.
        rate: operations a second of the device at best.
    """
    device, model = one.model.device, one.model.train()
    trained = {name: one for name, one in model.named_parameters() if one.requires_grad}
    before = {name: weight.detach().clone() for name, weight in trained.items()}
    losses: list[float] = []
    one.updater.set_rate(_RATE)

    def forward() -> torch.Tensor:
        torch.manual_seed(0)  # the same dropout in every step, so that the loss must fall
        with arithmetic(one.config.execution, device):
            total: torch.Tensor = model(batch).total
        return total

    def step() -> None:
        loss = forward()
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(float(loss.detach()))
        one.update()

    step()
    report.figure("forward pass", statistics.median(_timed(forward, device)), "s")
    took = statistics.median(_timed(step, device))
    peak = peak_memory(step, device)
    config = replace(one.config, training=replace(one.config.training, batch_size=one.pairs))
    operations = step_flops(config, workload, cached=True) * one.pairs
    report.figure("training step, features at hand", took, "s", operations / (rate * UTILISATION))
    report.figure("model FLOPs utilisation", operations / took / rate, "", UTILISATION)
    report.figure("tokens of training", batch.tokens.numel() / took, "tokens/s")
    _memory(report, device, "a training step", peak, lambda: _passes(config, workload))
    report.figure("loss of the first and last step", f"{losses[0]:.4f} to {losses[-1]:.4f}")
    same = [name for name, weight in trained.items() if torch.equal(weight, before[name])]
    report.figure("trained weights that changed", len(trained) - len(same))
    # Of SAM's decoder, the head of IoU and the masks that are not asked for get no gradient.
    same = [name for name in same if not name.startswith("grounding.mask_decoder.")]
    report.require(not same, f"trained weights did not change: {', '.join(same[:3])}")
    report.require(all(loss == loss and loss < 1e4 for loss in losses), f"losses: {losses}")
    report.require(losses[-1] < losses[0], f"the loss did not fall on one batch: {losses}")


def _answering(
    one: Subject, features: ImageFeatures, workload: Workload, report: Report, device: torch.device
) -> None:
    """Generate answers and decode masks from them.

    Args:
        one: the model.
        features: of the images of all pairs.
        workload: one sample.
        report: of the check.
        device: of the model.
    """
    model = one.model.eval()
    with torch.no_grad():  # an answer of random weights must not end before the limit
        model.language.lm_head.weight[model.ids.end] = 0
    asked = one.asked()
    made = []

    def answer() -> None:
        with torch.inference_mode(), arithmetic(one.config.execution, device):
            found = generate(model, asked, features, _ANSWER)
            states = found.segments(model, 2)
            # Every predicting state in place of those of [SEG], which random weights hardly write.
            every = replace(
                states,
                states=found.predicting[:, 0],
                sample=torch.arange(one.pairs, device=device),
                position=torch.zeros(one.pairs, dtype=torch.int64, device=device),
                image=torch.ones(one.pairs, dtype=torch.int64, device=device),
            )
            masks = model.decode_masks(every, features.sam.to(device), 2)
        made.append((found.tokens, masks))

    answer()
    took = statistics.median(_timed(answer, device))
    peak = peak_memory(answer, device)
    tokens, masks = made[-1]
    report.figure("answers of two samples", took, "s")
    report.figure("generated", tokens.numel() / took, "tokens/s")
    chosen = replace(one.config.generation, max_new_tokens=_ANSWER)
    config = replace(one.config, generation=chosen)
    _memory(
        report,
        device,
        "answering",
        peak,
        lambda: answer_memory(config, workload, one.pairs).total,
    )
    shape = tuple(tokens.shape)
    report.require(shape == (one.pairs, _ANSWER), f"answers have the shape {shape}")
    report.require(bool(torch.isfinite(masks).all()), "a mask has values that are not finite")
    repeated = all(torch.equal(tokens, other) for other, _ in made)
    report.require(repeated, "answers of one question differ in a repeat")


def _timed(run: Callable[[], object], device: torch.device) -> list[float]:
    return [seconds(run, device) for _ in range(_STEPS)]


def _passes(config: CalicoConfig, workload: Workload) -> int:
    """Return the bytes of the passes of a step, without those of the encoders before it."""
    phases = step_memory(config, workload).phases
    return next(phase.total for phase in phases if phase.name.startswith("forward"))


def _memory(
    report: Report, device: torch.device, of: str, peak: int, counted: Callable[[], int]
) -> None:
    """Report a peak, on a GPU beside what is counted.

    Args:
        report: of the check.
        device: that was measured.
        of: what was measured.
        peak: in bytes.
        counted: returns it in bytes.
    """
    if device.type == "cuda":
        report.figure(f"peak memory of {of}", peak / _GB, "GB", counted() / _GB)
    else:  # the process has Python and libraries too, which are not counted
        report.figure(f"peak memory of {of}, the whole process", peak / _GB, "GB")


def _peak_rate(device: torch.device) -> float | None:
    """Return the dense bf16 peak of a GPU from its maker's data sheet, None for others."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    # An H200 computes as fast as an H100.
    known = {**DEVICES, "H200": DEVICES["H100"]}
    return next((peak for one, peak in known.items() if one in name), None)
