"""Training samples a second: ours against a loader of the native JSON with dense masks.

Both make the same batches of the tiny preset in one process on one thread: the same samples, in the
same words, with the same masks on the same grid, which is checked. Ours is what `calico-train`
runs: rows from Arrow memory, masks from run lengths, features of the pictures from the store that
training computes once. The peer (`benchmarks/native_loader.py`) is timed with and without pictures:
without them it returns tokens and masks only. CPU seconds of this process; the runs take turns.

Examples:
    python -m benchmarks.loader_speed                             sources of `mixedparts sample`
    python -m benchmarks.loader_speed --shaped                    pictures of 640 x 480
    python -m benchmarks.loader_speed --write docs/benchmarks.md  put the table into the docs
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import argparse
import contextlib
import datetime
import io
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import torch
from accelerate import Accelerator
from transformers import PreTrainedTokenizerBase

from benchmarks.native_loader import NativeLoader, NativeSample, annotation_ids, native_sample
from benchmarks.report import machine, write_section
from calico.config.calico import CalicoConfig
from calico.config.presets import tiny
from calico.config.yaml_io import override
from calico.dataset.pairs import BuiltDataset, SampleTable
from calico.model.assembly import build_model
from calico.model.calico import Calico
from calico.processing.images import ImageProcessor
from calico.processing.prompts import PromptEncoder
from calico.processing.tokenizer import build_tokenizer, token_ids
from calico.training.batches import BatchMaker
from calico.training.feature_store import FeatureStore, feature_store
from calico.training.setup import dataset_vocabulary
from calico.training.trainer import Trainer
from mixedparts.progress import Silent
from mixedparts.sources.manifests import load_manifest

KINDS = ("ours", "ours later", "words and masks", "with pictures")
PACKAGES = ("pycocotools", "pyarrow", "pillow", "torch", "tokenizers")
ABOUT = (
    "Both loaders make the same batches of the tiny preset on one thread; tokens and masks are "
    "equal bit for bit. The peer is `benchmarks/native_loader.py`: COCO(), `annToMask`, dense "
    "unions, resizing and tokenising as ours, no features. Samples per second of CPU time."
)
Told = Sequence[Sequence[NativeSample]]


@dataclass(frozen=True, slots=True)
class Bench:
    """Everything both loaders are made of.

    Attributes:
        root: of the sources.
        opened: CPU seconds of opening the build and the JSON.
    """

    root: Path
    config: CalicoConfig
    pairs: SampleTable
    model: Calico
    store: FeatureStore
    tokenizer: PreTrainedTokenizerBase
    processor: ImageProcessor
    opened: dict[str, float] = field(default_factory=dict)

    def prompts(self) -> PromptEncoder:
        """Return a fresh encoder, which has kept no texts yet."""
        return PromptEncoder(self.tokenizer, self.config.prompt, self.config.image_tokens)

    def ours(self) -> BatchMaker:
        """Return our loader, which has kept nothing yet."""
        pairs = SampleTable(lambda: self.pairs.table, self.pairs.columns)
        return BatchMaker(pairs, self.store, self.prompts(), self.processor, self.config)


def prepare(work: Path, images: int, shaped: bool) -> Path:
    """Write sources and build them; return the sources' folder."""
    root = work / "sources"
    script = str(Path(sys.executable).with_name("mixedparts"))
    if shaped:
        make = [sys.executable, "-m", "benchmarks.paco_shaped", "--images", str(images)]
    else:
        make = [script, "sample", "--quiet", "--images", str(images)]
    build = [script, "build", "--sources", "paco", "--root", str(root), "--quiet"]
    for command in ([*make, "--out", str(root)], [*build, "--out", str(work / "build")]):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return root


def assemble(work: Path, root: Path) -> Bench:
    """Open the build and compute the features that training would."""
    start = time.process_time()
    dataset = BuiltDataset(work / "build")
    pairs = dataset.pairs("train")
    opened = {"ours": time.process_time() - start}
    config = tiny()
    prompt = config.prompt
    lead = prompt.system + prompt.user + prompt.lead.format(images=" ") + prompt.assistant
    tokenizer = build_tokenizer(dataset_vocabulary(pairs, lead, dataset.profile), prompt.max_images)
    sized = {"vocabulary": len(tokenizer)}
    config = override(config, {"language": sized}, "benchmark")
    torch.manual_seed(0)
    model = build_model(config, token_ids(tokenizer, prompt.max_images))
    processor = ImageProcessor(config)
    rows = pairs.image_rows()["train"]
    store = feature_store(
        model.encoders, dataset.images("train"), rows, processor, work / "features", True, Silent()
    )
    return Bench(root, config, pairs, model, store, tokenizer, processor, opened)


def check(bench: Bench, steps: int) -> tuple[NativeLoader, Told]:
    """Prove that both make the same tokens and masks; return the peer and what it is told."""
    start = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        peer = NativeLoader(bench.root, bench.prompts(), bench.processor)
    bench.opened["peer"] = time.process_time() - start
    ids = annotation_ids(peer.coco, load_manifest("paco"))
    ours = bench.ours()
    told: list[list[NativeSample]] = []
    for step in range(steps):
        samples = ours.samples(step)
        told.append([native_sample(one, ids) for one in samples])
        one, other = ours.batch(samples), peer.batch(told[-1], pictures=False)
        for name in ("tokens", "answer", "masks"):
            if not torch.equal(getattr(one, name), getattr(other, name)):
                raise SystemExit(f"step {step}: {name} of the two loaders differ")
    return peer, told


def own_seconds(ours: BatchMaker, first: int, steps: int) -> float:
    """Return the CPU seconds that our loader takes for steps."""
    start = time.process_time()
    for step in range(first, first + steps):
        ours.batch(ours.samples(step))
    return time.process_time() - start


def peer_seconds(peer: NativeLoader, told: Told, pictures: bool) -> float:
    """Return the CPU seconds that the peer takes for the same steps."""
    start = time.process_time()
    for samples in told:
        peer.batch(samples, pictures)
    return time.process_time() - start


def measure(bench: Bench, peer: NativeLoader, told: Told, repeats: int) -> dict[str, list[float]]:
    """Return the CPU seconds of all steps, several times, kind by kind."""
    seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    steps = len(told)
    for _ in range(repeats):
        ours = bench.ours()
        seconds["ours"].append(own_seconds(ours, 0, steps))
        seconds["ours later"].append(own_seconds(ours, steps, steps))
        for kind, pictures in (("words and masks", False), ("with pictures", True)):
            peer.prompts = bench.prompts()
            seconds[kind].append(peer_seconds(peer, told, pictures))
    return seconds


def step_seconds(bench: Bench, steps: int) -> float:
    """Return the CPU seconds of a training step of the tiny preset, its batch not counted."""
    trainer = Trainer(bench.model, bench.config, Accelerator(cpu=True))
    trainer.model.train()
    ours = bench.ours()
    batches = [ours.batch(ours.samples(step)) for step in range(steps)]
    trainer.step(0, batches[:1])
    start = time.process_time()
    for number, batch in enumerate(batches):
        trainer.step(number, [batch])
    return (time.process_time() - start) / steps


def table(bench: Bench, seconds: dict[str, list[float]], steps: int, what: str) -> str:
    """Return the rates as a Markdown table."""
    batch = bench.config.training.batch_size
    rates = {kind: [steps * batch / one for one in seconds[kind]] for kind in KINDS}
    middle = {kind: statistics.median(rates[kind]) for kind in KINDS}
    names = {
        "ours": "`calico-train`, first steps: words, masks, stored features",
        "ours later": f"the same, steps {steps:,} to {2 * steps:,}",
        "words and masks": "JSON and `annToMask`: words and masks, no pictures",
        "with pictures": "the same, and pictures opened and resized for three encoders",
    }
    lines = [
        f"{what}, {len(bench.pairs):,} samples, {steps:,} steps of {batch}; medians of "
        f"{len(seconds['ours'])} runs that take turns, ranges in brackets.",
        "",
        f"{datetime.date.today().isoformat()}, one thread of {machine(PACKAGES)}.",
        "",
        "| loader | samples a second | first steps of ours: faster | later steps |",
        "|---|---:|---:|---:|",
    ]
    for kind in KINDS:
        low, high = min(rates[kind]), max(rates[kind])
        cells = [f"{middle[own] / middle[kind]:.1f} x" for own in ("ours", "ours later")]
        if kind.startswith("ours"):
            cells = ["", ""]
        rate = f"{middle[kind]:,.0f} ({low:,.0f} to {high:,.0f})"
        lines.append(f"| {names[kind]} | {rate} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def waiting(bench: Bench, seconds: dict[str, list[float]], steps: int, step: float) -> str:
    """Return what share of a training step goes into its batch."""
    made = {kind: statistics.median(seconds[kind]) / steps for kind in KINDS}
    shares = {kind: f"{100 * made[kind] / (step + made[kind]):.1f} %" for kind in KINDS}
    return (
        f"A training step of the tiny preset takes {1000 * step:.0f} ms of CPU time, making its "
        f"batch {1000 * made['ours']:.1f} ms, so {shares['ours']} of the time goes into data "
        f"({shares['ours later']} later); with the peer's pictures it would be "
        f"{shares['with pictures']}. Opening takes {bench.opened['ours']:.2f} s (Parquet) and "
        f"{bench.opened['peer']:.2f} s (JSON)."
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.loader_speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--images", type=int, default=300, help="images of the source")
    add("--steps", type=int, default=100, help="batches of each timed run")
    add("--repeats", type=int, default=3, help="timed runs of each loader")
    add("--shaped", action="store_true", help="pictures of 640 x 480 (benchmarks.paco_shaped)")
    add("--write", type=Path, metavar="FILE", help="Markdown file to put it into")
    given = parser.parse_args(argv)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory(prefix="loader_speed") as folder:
        work = Path(folder)
        root = prepare(work, given.images, given.shaped)
        bench = assemble(work, root)
        peer, told = check(bench, given.steps)
        seconds = measure(bench, peer, told, given.repeats)
        step = step_seconds(bench, 20)
    size = "640 x 480" if given.shaped else "128 x 128"
    command = "python -m benchmarks.loader_speed" + (" --shaped" if given.shaped else "")
    head = f"## Reading training samples{', pictures of ' + size if given.shaped else ''}\n\n"
    what = f"{ABOUT} `{command}`: {given.images:,} pictures of about {size}"
    text = head + table(bench, seconds, given.steps, what)
    text += f"\n\n{waiting(bench, seconds, given.steps, step)}"
    print(text)
    if given.write:
        name = "benchmarks.loader_speed" + (".shaped" if given.shaped else "")
        write_section(given.write, name, text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
