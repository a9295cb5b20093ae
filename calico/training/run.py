"""The training run: from a configuration and a dataset to checkpoints, exactly resumable."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW
from transformers import PreTrainedTokenizerBase

from calico.config import CalicoConfig
from calico.configfile import dump_config, read_config, write_config
from calico.data import BuiltDataset, PairTable
from calico.encoding import FeatureEncoder, TableFeatures
from calico.featurecache import FeatureCache
from calico.model.assembly import build_model
from calico.model.calico import Calico
from calico.model.checkpoints import (
    CONFIG,
    find_checkpoint,
    load_checkpoint,
    read_facts,
    read_tensors,
    save_checkpoint,
    trained_weights,
)
from calico.model.precision import arithmetic
from calico.processing import ImageProcessor
from calico.prompts import PromptEncoder
from calico.tokenizer import build_tokenizer, token_ids
from calico.training.batches import BatchMaker, Features, check_samples, data_digest
from calico.training.encoders import load_encoders, pretrain
from calico.training.features import feature_store
from calico.training.runlog import RunLog
from calico.training.schedule import build_optimizer, rate_factor, set_rate, take_step
from calico.training.state import optimizer_tensors, restore_optimizer
from calico.training.words import dataset_words
from mixedparts.errors import InputError, UsageError
from mixedparts.progress import Progress

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunSettings:
    """Where a run lives and how it begins.

    Attributes:
        output: the run's folder.
        encoders: pretrained encoders; None makes them first, in `output`/encoders.
        resume: go on from the newest checkpoint in `output`, if there is one.
        init: published weights that the model starts from.
        max_steps: stop after this many steps of the schedule; None runs to its end.
        side_by_side: pretrain encoders in two processes.
        cache: of features, where the configuration encodes them step by step.
    """

    output: Path
    encoders: Path | None = None
    resume: bool = False
    max_steps: int | None = None
    side_by_side: bool = False
    init: tuple[Path, ...] = ()
    cache: FeatureCache | None = None


@dataclass(frozen=True, slots=True)
class Assembled:
    """A model with its tokenizer, and where its training stands."""

    model: Calico
    tokenizer: PreTrainedTokenizerBase
    config: CalicoConfig
    step: int
    checkpoint: Path | None
    facts: dict[str, Any] = field(default_factory=dict)


def train(
    config: CalicoConfig,
    dataset: BuiltDataset,
    settings: RunSettings,
    progress: Progress,
    after_step: Callable[[int], None] = lambda step: None,
) -> Path:
    """Train the assembled model.

    Args:
        config: of the model and the run.
        dataset: its train split is used.
        settings: where and how.
        progress: is told what happens.
        after_step: is called with the number of finished steps.

    Returns:
        the last checkpoint.

    Raises:
        UsageError: the folder holds a run already, or one of another configuration.
        InputError: data or weights cannot be used.
    """
    pairs = dataset.pairs("train")
    check_samples(pairs, config)
    digest = data_digest(pairs.ids())
    start = _begin(config, dataset, pairs, settings, digest, progress)
    model, tokenizer, config = start.model, start.tokenizer, start.config
    processor = ImageProcessor(config)
    features = _features(start, dataset, pairs, processor, settings, progress)
    prompts = PromptEncoder(tokenizer, config.prompt, config.image_tokens)
    batches = BatchMaker(pairs, features, prompts, processor, config)
    weights: dict[str, nn.Parameter] = trained_weights(model)  # type: ignore[assignment]
    chosen = config.training
    optimizer = build_optimizer(
        weights.values(), chosen.learning_rate, chosen.betas, chosen.weight_decay
    )
    torch.manual_seed(chosen.seed)
    if start.checkpoint is not None:
        saved = read_tensors(start.checkpoint / "training.safetensors")
        restore_optimizer(optimizer, weights, saved)
    run = _Run(model, optimizer, weights, batches, config)
    stop = min(chosen.steps, settings.max_steps or chosen.steps)
    runlog = RunLog(settings.output / "train.log.jsonl", chosen.log_every)
    facts = {**start.facts, "data": digest}
    last = start.checkpoint
    if last is not None:
        runlog.write({"stage": "train", "event": "resumed", "step": start.step})
    progress.start("training", stop - start.step, "steps")
    model.train()
    for step in range(start.step, stop):
        runlog.add("train", step + 1, run.step(step), step + 1 == stop)
        after_step(step + 1)
        progress.advance()
        if (step + 1) % chosen.save_every == 0 or step + 1 == stop:
            last = settings.output / f"checkpoint-{step + 1:06d}"
            state = optimizer_tensors(optimizer, weights)
            save_checkpoint(last, model, config, tokenizer, step + 1, facts, state)
            _drop_old(settings.output, chosen.keep)
    progress.finish()
    model.eval()
    if last is None:
        raise UsageError("there is nothing to train: --max-steps is 0")
    return last


@dataclass(frozen=True, slots=True)
class _Run:
    """One optimiser step after another."""

    model: Calico
    optimizer: AdamW
    weights: dict[str, nn.Parameter]
    batches: BatchMaker
    config: CalicoConfig

    def step(self, step: int) -> dict[str, float]:
        """Take a step, counted from 0; return its losses."""
        chosen = self.config.training
        factor = rate_factor(step, chosen.steps, chosen.warmup_steps, chosen.schedule)
        set_rate(self.optimizer, chosen.learning_rate * factor)
        device = next(self.model.parameters()).device
        with arithmetic(self.config.execution, device):
            losses = self.model(self.batches.batch(self.batches.samples(step)))
        named = {
            name: float(getattr(losses, name).detach())
            for name in ("total", "text", "mask", "dice")
        }
        norm = take_step(losses.total, self.optimizer, list(self.weights.values()), chosen.clip)
        return {**named, "norm": norm}


def _features(
    start: Assembled,
    dataset: BuiltDataset,
    pairs: PairTable,
    processor: ImageProcessor,
    settings: RunSettings,
    progress: Progress,
) -> Features:
    """Return where batches find their features, as the configuration says."""
    config, table = start.config, dataset.images("train")
    encoders = start.model.encoders
    if config.training.features == "encode":
        encoder = FeatureEncoder(encoders, processor, config.execution, settings.cache)
        return TableFeatures(encoder, table)
    if settings.cache is not None:
        raise UsageError(
            "a feature cache serves training.features: encode, this configuration says store",
            "Leave out --feature-cache, or set training.features to encode.",
        )
    rows = pairs.image_rows()["train"]
    with arithmetic(config.execution, next(encoders.parameters()).device):
        place, flips = settings.output / "features", config.training.flips
        return feature_store(encoders, table, rows, processor, place, flips, progress)


def _begin(
    config: CalicoConfig,
    dataset: BuiltDataset,
    pairs: PairTable,
    settings: RunSettings,
    digest: str,
    progress: Progress,
) -> Assembled:
    """Return the model as the run starts: fresh, or from the newest checkpoint."""
    for leftover in settings.output.glob(".*.tmp"):  # of a killed run
        shutil.rmtree(leftover)
    existing = sorted(settings.output.glob("checkpoint-*"))
    if existing and not settings.resume:
        raise UsageError(
            f"{settings.output} holds a training run already ({existing[-1].name})",
            "Go on with --resume auto, or choose another --output-dir.",
        )
    if existing:
        return _resumed(config, find_checkpoint(settings.output), digest, progress)
    torch.manual_seed(config.training.seed)
    if settings.init:
        return _from_published(config, settings, progress)
    if settings.encoders is None and config.pretraining.steps == 0:
        raise UsageError(
            f"the configuration '{config.name}' starts from published weights",
            "Give them with --init, or train the small model with --preset tiny.",
        )
    prompt = config.prompt
    lead = prompt.system + prompt.user + prompt.lead.format(images=" ") + prompt.assistant
    tokenizer = build_tokenizer(dataset_words(pairs, lead, dataset.profile), prompt.max_images)
    if config.language.vocabulary == 0:
        config = replace(config, language=replace(config.language, vocabulary=len(tokenizer)))
    model = build_model(config, token_ids(tokenizer, config.prompt.max_images))
    settings.output.mkdir(parents=True, exist_ok=True)
    write_config(config, settings.output / CONFIG)
    encoders = settings.encoders or settings.output / "encoders"
    if settings.encoders is None and not encoders.is_dir():
        progress.say("No pretrained encoders were given: they are made first, from single images.")
        pretrain(config, dataset, encoders, progress, settings.side_by_side)
    load_encoders(model, config, encoders)
    return Assembled(model, tokenizer, config, 0, None)


def _resumed(config: CalicoConfig, checkpoint: Path, digest: str, progress: Progress) -> Assembled:
    """Rebuild the model of a checkpoint after proving that it is this run's."""
    saved = read_config(checkpoint / CONFIG)
    facts = read_facts(checkpoint)
    if config.language.vocabulary == 0 or "init" in facts:  # then the tokenizer decides
        vocabulary = saved.language.vocabulary
        config = replace(config, language=replace(config.language, vocabulary=vocabulary))
    if config != saved:
        differences = "\n".join(f"  {line}" for line in _differences(saved, config))
        raise UsageError(
            f"{checkpoint} was trained with another configuration:\n{differences}",
            "Resume with the same --preset and --config, or choose another --output-dir.",
        )
    if facts.get("data") != digest:
        raise InputError(
            f"{checkpoint} was trained on another dataset: the samples of the train split differ"
        )
    model, _, tokenizer = load_checkpoint(checkpoint)
    progress.say(f"Going on from {checkpoint}.")
    kept = {"init": facts["init"]} if "init" in facts else {}
    return Assembled(model, tokenizer, config, int(facts["step"]), checkpoint, kept)


def _from_published(config: CalicoConfig, settings: RunSettings, progress: Progress) -> Assembled:
    """Fill the model with published weights and say what each was used for."""
    from calico.weights.initial import initial_model

    start = initial_model(config, settings.init)
    for line in start.report:
        progress.say(line)
    settings.output.mkdir(parents=True, exist_ok=True)
    write_config(start.config, settings.output / CONFIG)
    facts = {"init": start.record}
    return Assembled(start.model, start.tokenizer, start.config, 0, None, facts)


def _differences(saved: CalicoConfig, wanted: CalicoConfig) -> Iterator[str]:
    """Yield the lines of YAML that differ, saved value first."""
    pairs: list[tuple[Any, Any]] = list(
        zip(dump_config(saved).splitlines(), dump_config(wanted).splitlines(), strict=False)
    )
    for old, new in pairs:
        if old != new:
            yield f"{old.strip()}  (saved), {new.strip()}  (now)"


def _drop_old(output: Path, keep: int) -> None:
    """Remove all but the newest checkpoints."""
    for old in sorted(output.glob("checkpoint-*"))[:-keep]:
        shutil.rmtree(old)
