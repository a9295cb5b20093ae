"""Training steps and answers of CALICO with random weights on the CPU.

Two measurements. A training step of a model with a full-width SAM-B encoder (ViT-B, 1024 px), with
features from the cache and without, taking turns in one process. And forward, backward and
generation of a model of about 100M parameters with peak memory and model FLOPs utilisation (MFU):
operations, counted by torch, a second, against a matrix product measured on the same threads.

    python -m benchmarks.model_speed [--threads 1] [--rounds 2] [--write docs/model-speed.md]
"""

from __future__ import annotations

import argparse
import datetime
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.report import machine, write_section
from calico.config import CalicoConfig
from calico.configfile import override
from calico.encoding import FeatureEncoder, Wanted, picture_wanted
from calico.featurecache import FeatureCache
from calico.model.assembly import build_model
from calico.model.calico import Calico, TrainingBatch
from calico.model.checkpoints import trained_weights
from calico.model.generation import generate
from calico.model.vision import ImageFeatures
from calico.presets import tiny
from calico.processing import ImageProcessor
from calico.prompts import PromptEncoder
from calico.tokenizer import build_tokenizer, token_ids
from calico.training.schedule import build_optimizer
from mixedparts import wording
from mixedparts.records import Task

SAM_B: dict[str, Any] = {
    "image_size": 1024,
    "hidden_size": 768,
    "layers": 12,
    "heads": 12,
    "mlp_size": 3072,
    "global_layers": [2, 5, 8, 11],
    "window": 14,
    "prompt_size": 256,
    "decoder_heads": 8,
    "decoder_mlp_size": 2048,
    "iou_head_size": 256,
    "stem": "patch",
}
MEDIUM: dict[str, Any] = {
    "vision": {"image_size": 224, "patch_size": 14, "hidden_size": 512, "layers": 8, "heads": 8,
               "mlp_size": 2048, "stem": "patch"},
    "semantic": {"image_size": 224, "position_size": 224, "patch_size": 14, "hidden_size": 384,
                 "layers": 8, "heads": 6, "stem": "patch"},
    "qformer": {"hidden_size": 384, "layers": 4, "heads": 6, "mlp_size": 1536, "queries": 32},
    "sam": {**SAM_B, "image_size": 512, "hidden_size": 384, "layers": 6, "heads": 6,
            "mlp_size": 1536, "global_layers": [2, 5]},
    "language": {"hidden_size": 512, "layers": 10, "heads": 8, "mlp_size": 1376},
    "correspondence": {"layers": [3, 7], "heads": 8},
}  # fmt: skip
ANSWER_TOKENS = 32


@dataclass(frozen=True, slots=True)
class Subject:
    """A model with everything that a step on one pair needs."""

    model: Calico
    config: CalicoConfig
    prompts: PromptEncoder
    processor: ImageProcessor
    optimizer: torch.optim.AdamW
    pictures: list[Wanted]

    def batch(self, features: ImageFeatures) -> TrainingBatch:
        question = wording.question(Task.COMMON_OBJECT, 0)
        sample = self.prompts.sample(question, wording.common_object_answer("mug"), 2)
        tokens, answer = self.prompts.collate([sample])
        grid = self.processor.grid_size
        masks = torch.zeros(2, grid, grid)
        masks[:, : grid // 2] = 1
        return TrainingBatch(tokens, answer, features, 2, masks, torch.full((2, 2), grid))

    def update(self) -> None:
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def step(self, encoder: FeatureEncoder) -> None:
        """Take a whole training step on one pair."""
        self.model(self.batch(encoder.encode(self.pictures))).total.backward()
        self.update()


def subject(changes: dict[str, Any]) -> Subject:
    """Build a model with random weights and two pictures of 1024 x 768."""
    texts = [text for texts in wording.QUESTIONS.values() for text in texts]
    tokenizer = build_tokenizer([*texts, wording.common_object_answer("mug"), "ANSWER:"], 2)
    changes = {**changes, "training": {"features": "encode", "flips": False}}
    changes["language"] = {**changes.get("language", {}), "vocabulary": len(tokenizer)}
    config = override(tiny(), changes, "benchmark")
    torch.manual_seed(0)
    model = build_model(config, token_ids(tokenizer, 2)).train()
    weights = trained_weights(model).values()
    optimizer = build_optimizer(weights, 1e-4, (0.9, 0.98), 0.0)  # type: ignore[arg-type]
    processor = ImageProcessor(config)
    rng = np.random.default_rng(0)
    shown = [Image.fromarray(rng.integers(0, 255, (768, 1024, 3), np.uint8)) for _ in range(2)]
    prompts = PromptEncoder(tokenizer, config.prompt, config.image_tokens)
    wanted = [picture_wanted(picture, processor) for picture in shown]
    return Subject(model, config, prompts, processor, optimizer, wanted)


def seconds(run: Callable[[], object]) -> float:
    """Return the wall time of a call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def peak_memory(run: Callable[[], object]) -> int:
    """Return the peak resident bytes of this process during a call (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")
    run()
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def operations(run: Callable[[], object]) -> int:
    """Return the floating point operations of a call; attention is counted as its products."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops())


def matmul_peak(size: int = 1536, repeats: int = 8) -> float:
    """Return the best rate of an fp32 matrix product in operations a second."""
    left, right = torch.randn(size, size), torch.randn(size, size)
    return 2 * size**3 / min(seconds(lambda: left @ right) for _ in range(repeats))


def measure_cache(rounds: int) -> str:
    """Return the table of training steps with and without the cache."""
    one = subject({"sam": SAM_B})
    encoders = one.model.encoders
    plain = FeatureEncoder(encoders, one.processor, one.config.execution)
    with tempfile.TemporaryDirectory() as folder:
        cache = FeatureCache(Path(folder), 1 << 30)
        cached = FeatureEncoder(encoders, one.processor, one.config.execution, cache)
        first = seconds(lambda: one.step(cached))  # fills the cache
        times: dict[str, list[float]] = {"without": [], "with": []}
        for _ in range(rounds):
            times["without"].append(seconds(lambda: one.step(plain)))
            times["with"].append(seconds(lambda: one.step(cached)))
    without, with_cache = (statistics.median(times[name]) for name in ("without", "with"))
    count = sum(weight.numel() for weight in encoders.sam.parameters())
    spans = {name: f"{min(some):.2f} to {max(some):.2f}" for name, some in times.items()}
    return (
        f"SAM-B encoder ({count / 1e6:.1f}M parameters, 1024 px) in an otherwise tiny CALICO, one "
        f"pair a step, fp32; medians of {rounds}, taking turns, ranges in brackets.\n\n"
        "| training step | seconds |\n|---|---|\n"
        f"| without cache | {without:.2f} ({spans['without']}) |\n"
        f"| first time, fills the cache | {first:.2f} |\n"
        f"| with cache | {with_cache:.2f} ({spans['with']}) |\n"
        f"| ratio | **{without / with_cache:.1f} x** |\n"
    )


def measure_model(rounds: int) -> str:
    """Return the table of the model of about 100M parameters."""
    one = subject(MEDIUM)
    plain = FeatureEncoder(one.model.encoders, one.processor, one.config.execution)
    kept: dict[str, Any] = {}

    def encode() -> None:
        kept["features"] = plain.encode(one.pictures)

    def forward() -> None:
        kept["loss"] = one.model(one.batch(kept["features"])).total

    def backward() -> None:
        kept["loss"].backward()
        one.update()

    def answer(beams: int) -> Callable[[], None]:
        asked = one.prompts.batch([wording.question(Task.COMMON_PARTS, 0)], 2)

        def run() -> None:
            generate(one.model, asked, kept["features"], ANSWER_TOKENS, beams)

        return run

    # Each with what must run before it, outside the clock.
    stages = {
        "encoders": (encode, None),
        "forward": (forward, None),
        "backward, optimiser": (backward, forward),
        "greedy answer": (answer(1), None),
        "answer, 4 beams": (answer(4), None),
    }
    with torch.no_grad():  # an answer of random weights must not end before the limit
        one.model.language.lm_head.weight[one.model.ids.end] = 0
    rows: dict[str, tuple[float, int, int]] = {}
    rates = []
    for name, (run, before) in stages.items():
        one.model.train("answer" not in name)
        if "answer" in name:  # the counter cannot follow weights that ask for gradients here
            one.model.requires_grad_(False)
        flops = operations(_both(before, run)) - (operations(before) if before else 0)
        memory = peak_memory(_both(before, run))
        took = []
        for _ in range(rounds):
            rates.append(matmul_peak())
            if before is not None:
                before()
            took.append(seconds(run))
        rows[name] = (statistics.median(took), flops, memory)
    step = [row for name, row in rows.items() if "answer" not in name]
    took_all, flops_all, memory_all = zip(*step, strict=True)
    rows["training step"] = (sum(took_all), sum(flops_all), max(memory_all))
    peak = max(rates)
    count = sum(weight.numel() for weight in one.model.parameters())
    lines = [
        f"{count / 1e6:.1f}M parameters, one pair, fp32, {ANSWER_TOKENS} new tokens an answer "
        f"(prefill included); medians of {rounds}. fp32 matrix product: {peak / 1e9:.1f} GFLOP/s "
        f"at best, {min(rates) / 1e9:.1f} at worst between the measurements.",
        "",
        "| | seconds | GFLOP | MFU | peak memory, process (MB) |",
        "|---|---|---|---|---|",
    ]
    for name, (took_once, flops, memory) in rows.items():
        lines.append(
            f"| {name} | {took_once:.2f} | {flops / 1e9:.1f} | {flops / took_once / peak:.0%} "
            f"| {memory / 1e6:,.0f} |"
        )
    return "\n".join(lines) + "\n"


def _both(first: Callable[[], None] | None, then: Callable[[], None]) -> Callable[[], None]:
    def run() -> None:
        if first is not None:
            first()
        then()

    return run


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--beside", default="", help="what else ran on the machine, for the record")
    parser.add_argument("--write", type=Path, metavar="FILE")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    where = machine(("torch", "transformers"))
    today = datetime.date.today().isoformat()
    head = f"{today}, {where}, threads of torch: {arguments.threads}. "
    lines = ["## Steps and answers with random weights", ""]
    lines += [f"`python -m benchmarks.model_speed`: {head}{arguments.beside}".rstrip(), ""]
    print("\n".join(lines), flush=True)
    for title, measure in (
        ("### A model of about 100M parameters", measure_model),
        ("### Feature cache", measure_cache),
    ):
        lines += [title, "", measure(arguments.rounds)]
        print("\n".join(lines[-3:]), flush=True)
    text = "\n".join(lines).rstrip()
    if arguments.write is not None:
        write_section(arguments.write, "benchmarks.model_speed", text)


if __name__ == "__main__":
    main()
