"""Commands that write for a while, on tiny inputs: how they are run and what they leave.

A command writes below a folder of its own, its place. Two runs are equal if the trees of their
places are: all files and folders, hidden ones too, so that a leftover is a difference.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import SOURCES, command

MANY_SHARDS = "read_shard_images: 4\npair_shard_rows: 60\nimage_shard_rows: 7\n"
BUILD_LOG = "_build/log.jsonl"  # has the time of each run
Words = list[object]


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the commands read; nothing may be written there.

    Attributes:
        native: the three sources in their native layouts.
        settings: configuration file of the builds.
        build: a finished build of `native`.
        bundle: its export as a bundle.
        micro: a build that a micro model is trained on.
        model: configuration file of that model and of a short training.
        other_model: as `model`, with another seed.
        checkpoint: of a micro model.
        pairs: table of image pairs.
    """

    native: Path
    settings: Path
    build: Path
    bundle: Path
    micro: Path
    model: Path
    other_model: Path
    checkpoint: Path
    pairs: Path


@dataclass(frozen=True, slots=True)
class Kind:
    """A command that writes.

    Attributes:
        words: the command line for a place.
        other: options that give another result.
        workers: whether it starts processes.
        again: exit code where its own result is there already.
        onto_other: exit code where another result is.
        overwrites: whether it has `--overwrite`.
        kept: file or folder of the place that stays whole until it is replaced, None without one.
    """

    words: Callable[[Inputs, Path], Words]
    other: Callable[[Inputs], Words]
    workers: bool = False
    again: int = 0
    onto_other: int = 2
    overwrites: bool = False
    kept: str | None = "out"


def _build(inputs: Inputs, place: Path) -> Words:
    words: Words = [command("mixedparts"), "build", "--sources", *SOURCES, "--samples", 600]
    words += ["--root", inputs.native, "--config", inputs.settings]
    return [*words, "--out", place / "out", "--workers", 2, "--quiet"]


def _import(inputs: Inputs, place: Path) -> Words:
    words: Words = [command("mixedparts"), "import", "--format", "published", inputs.bundle]
    return [*words, "--root", inputs.native, "--out", place / "out", "--workers", 2, "--quiet"]


def _export(inputs: Inputs, place: Path) -> Words:
    words: Words = [command("mixedparts"), "export", "--format", "coco", inputs.build]
    return [*words, "--out", place / "out", "--quiet"]


def _sample(inputs: Inputs, place: Path) -> Words:
    words: Words = [command("mixedparts"), "sample", "--images", 48]
    return [*words, "--out", place / "out", "--workers", 2, "--quiet"]


def _training(name: str, inputs: Inputs, place: Path) -> Words:
    words: Words = [command(name), "--dataset", inputs.micro, "--config", inputs.model]
    words += ["--device", "cpu", "--processes", 2, "--threads", 1, "--quiet"]
    return [*words, "--output-dir", place / "out"]


def _train(inputs: Inputs, place: Path) -> Words:
    return [*_training("calico-train", inputs, place), "--resume", "auto"]


def _pretrain(inputs: Inputs, place: Path) -> Words:
    return _training("calico-pretrain", inputs, place)


def _evaluate(inputs: Inputs, place: Path) -> Words:
    words: Words = [command("calico-eval"), "--dataset", inputs.build, "--split", "validation"]
    words += ["--checkpoint", inputs.checkpoint, "--device", "cpu", "--bootstrap", 0]
    return [*words, "--save-predictions", place / "kept.jsonl", "--batch-size", 4]


def _predict(inputs: Inputs, place: Path) -> Words:
    words: Words = [command("calico-predict"), "--pairs", inputs.pairs, "--device", "cpu"]
    words += ["--checkpoint", inputs.checkpoint, "--threads", 1, "--quiet"]
    return [*words, "--out", place / "out", "--batch-size", 4]


def _seeded(inputs: Inputs) -> Words:
    return ["--seed", 5]


def _other_model(inputs: Inputs) -> Words:
    return ["--config", inputs.other_model]  # the later of two options counts


KINDS = {
    "build": Kind(_build, _seeded, workers=True, overwrites=True),
    "import": Kind(
        _import, lambda inputs: ["--images", "reference"], workers=True, overwrites=True
    ),
    "export": Kind(_export, lambda inputs: ["--no-pictures"], overwrites=True),
    # It draws into the folders of the sources: nothing of another seed may stay there.
    "sample": Kind(_sample, _seeded, workers=True, onto_other=0, kept=None),
    "train": Kind(_train, _other_model, workers=True, kept="out/checkpoint-000020"),
    "pretrain": Kind(_pretrain, _other_model, workers=True, again=2),
    "eval": Kind(
        _evaluate, lambda inputs: ["--limit", 90], onto_other=0, kept="kept.jsonl"
    ),
    "predict": Kind(
        _predict, lambda inputs: ["--max-new-tokens", 5], kept="out/predictions.jsonl"
    ),
}  # fmt: skip


def tree(place: Path) -> dict[str, str]:
    """Return every entry below a folder with the digest of its content, but for times."""
    found = {}
    for path in sorted(place.rglob("*")):
        name = path.relative_to(place).as_posix()
        if not name.endswith(BUILD_LOG):
            found[name] = "folder" if path.is_dir() else _digest(path)
    return found


def _digest(path: Path) -> str:
    if path.name.endswith(".log.jsonl"):
        return _log_digest(path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _log_digest(path: Path) -> str:
    """Return the digest of what a log of training says of its steps, however often it says so."""
    lines = {}
    for text in path.read_text().splitlines():
        line = json.loads(text)
        if "event" not in line:
            values = {name: value for name, value in line.items() if "seconds" not in name}
            lines[json.dumps(values, sort_keys=True)] = None
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()
