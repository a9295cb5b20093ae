"""Training steps and answers of CALICO with random weights.

On a GPU: forward, backward and generation of the 7B model in bf16 with peak memory and model FLOPs
utilisation (MFU): operations, counted by torch, a second, against a matrix product measured on the
same device. On the CPU the same of a model of about 100M parameters, and a training step of a model
with a full-width SAM-B encoder (ViT-B, 1024 px), with features from the cache and without, taking
turns in one process.

    python -m benchmarks.model_speed [--device auto] [--threads 1] [--rounds 2] [--pairs 1]
        [--write docs/model-speed.md]
"""

from __future__ import annotations

import argparse
import datetime
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.model_stages import measure, seconds, table
from benchmarks.model_subject import MEDIUM, SAM_B, large_subject, small_subject
from benchmarks.report import machine, write_section
from calico.processing.feature_cache import FeatureCache
from calico.processing.feature_encoder import FeatureEncoder
from calico.runtime.device import choose_device


def measure_cache(rounds: int, device: torch.device) -> str:
    """Return the table of training steps with and without the cache."""
    one = small_subject({"sam": SAM_B}, device)
    encoders = one.model.encoders
    plain = FeatureEncoder(encoders, one.processor, one.config.execution)
    with tempfile.TemporaryDirectory() as folder:
        cache = FeatureCache(Path(folder), 1 << 30)
        cached = FeatureEncoder(encoders, one.processor, one.config.execution, cache)
        first = seconds(lambda: one.step(cached), device)  # fills the cache
        times: dict[str, list[float]] = {"without": [], "with": []}
        for _ in range(rounds):
            times["without"].append(seconds(lambda: one.step(plain), device))
            times["with"].append(seconds(lambda: one.step(cached), device))
    without, with_cache = (statistics.median(times[name]) for name in ("without", "with"))
    count = sum(weight.numel() for weight in encoders.sam.parameters())
    spans = {name: f"{min(some):.3g} to {max(some):.3g}" for name, some in times.items()}
    return (
        f"SAM-B encoder ({count / 1e6:.1f}M parameters, 1024 px) in an otherwise tiny CALICO, one "
        f"pair a step, fp32; medians of {rounds}, taking turns, ranges in brackets.\n\n"
        "| training step | seconds |\n|---|---|\n"
        f"| without cache | {without:.3g} ({spans['without']}) |\n"
        f"| first time, fills the cache | {first:.3g} |\n"
        f"| with cache | {with_cache:.3g} ({spans['with']}) |\n"
        f"| ratio | **{without / with_cache:.1f} x** |\n"
    )


def measure_model(rounds: int, device: torch.device, pairs: int) -> str:
    """Return the table of the 7B model on a GPU, of about 100M parameters elsewhere."""
    if device.type == "cuda":
        one = large_subject(device, pairs)
    else:
        one = small_subject(MEDIUM, device, pairs)
    return table(one, measure(one, rounds), rounds)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    add = parser.add_argument
    add("--device", default="auto", help="auto (CUDA where there is one), cpu, cuda or cuda:N")
    add("--threads", type=int, default=1)
    add("--rounds", type=int, default=2)
    add("--pairs", type=int, default=1, help="samples of a step and of a batch of answers")
    add("--beside", default="", help="what else ran on the machine, for the record")
    add("--write", type=Path, metavar="FILE")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    device = choose_device(arguments.device)
    gpu = device.type == "cuda"
    where = machine(("torch", "transformers"))
    if gpu:
        where = f"{torch.cuda.get_device_name(device)}; {where}"
    today = datetime.date.today().isoformat()
    head = f"{today}, {where}, threads of torch: {arguments.threads}. "
    lines = ["## Steps and answers with random weights", ""]
    lines += [f"`python -m benchmarks.model_speed`: {head}{arguments.beside}".rstrip(), ""]
    print("\n".join(lines), flush=True)
    size = "The 7B model" if gpu else "A model of about 100M parameters"
    lines += [f"### {size}", "", measure_model(arguments.rounds, device, arguments.pairs)]
    print("\n".join(lines[-3:]), flush=True)
    lines += ["### Feature cache", "", measure_cache(arguments.rounds, device)]
    print("\n".join(lines[-3:]), flush=True)
    if arguments.write is not None:
        # A machine with a GPU adds its section; it replaces none of the CPU.
        section = f"benchmarks.model_speed{'.gpu' if gpu else ''}"
        write_section(arguments.write, section, "\n".join(lines).rstrip())


if __name__ == "__main__":
    main()
