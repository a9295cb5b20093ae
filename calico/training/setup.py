"""How a run begins: fresh, from published weights, or where its newest checkpoint left off."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from transformers import PreTrainedTokenizerBase

from calico.checkpoints.rotation import newest_checkpoint
from calico.checkpoints.save_load import CONFIG, load_checkpoint, read_facts
from calico.config.calico import CalicoConfig
from calico.config.yaml_io import dump_config, read_config, write_config
from calico.dataset.pairs import BuiltDataset, SampleTable
from calico.model.assembly import build_model
from calico.model.calico import Calico
from calico.pretraining.encoder_files import ENCODERS, load_encoders
from calico.pretraining.pretrain import pretrain
from calico.processing.feature_cache import FeatureCache
from calico.processing.tokenizer import build_tokenizer, token_ids
from calico.training.vocabulary import dataset_vocabulary
from mixedparts.errors import InputError, UsageError
from mixedparts.progress import Progress


@dataclass(frozen=True, slots=True)
class RunSettings:
    """Where a run lives and how it begins.

    Attributes:
        output: the run's folder.
        encoders: pretrained encoders; None makes them first, in `output`/encoders.
        resume: go on from the newest checkpoint in `output`, if there is one.
        max_steps: stop after this many steps of the schedule; None runs to its end.
        init: published weights that the model starts from.
        cache: of features, where the configuration encodes them step by step.
        device: "cpu", or "auto" for a GPU where there is one.
        report_to: trackers beside the log: "tensorboard", "wandb".
    """

    output: Path
    encoders: Path | None = None
    resume: bool = False
    max_steps: int | None = None
    init: tuple[Path, ...] = ()
    cache: FeatureCache | None = None
    device: str = "auto"
    report_to: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Assembled:
    """A model with its tokenizer, and where its training stands.

    Attributes:
        checkpoint: it was read from; None for a fresh start.
        facts: that checkpoints of this run say beside their step, as far as they are known.
    """

    model: Calico
    tokenizer: PreTrainedTokenizerBase
    config: CalicoConfig
    step: int
    checkpoint: Path | None
    facts: dict[str, Any] = field(default_factory=dict)


def set_up(
    config: CalicoConfig,
    dataset: BuiltDataset,
    pairs: SampleTable,
    settings: RunSettings,
    digest: str,
    accelerator: Accelerator,
    progress: Progress,
) -> Assembled:
    """Return the model as the run starts.

    Args:
        config: of the model and the run.
        dataset: encoders are pretrained on it where there are none.
        pairs: its train split.
        settings: where and how.
        digest: of the samples; a resumed run must have the same.
        accelerator: knows the other processes, all of which call this function.
        progress: is told what happens.

    Raises:
        UsageError: the folder holds a run already, or one of another configuration.
        InputError: data or weights cannot be used.
    """
    if accelerator.is_main_process:
        for leftover in settings.output.glob(".*.tmp"):  # of a killed run
            if leftover.is_dir():
                shutil.rmtree(leftover)
            else:
                leftover.unlink()
    accelerator.wait_for_everyone()
    existing = newest_checkpoint(settings.output)
    if existing and not settings.resume:
        raise UsageError(
            f"{settings.output} holds a training run already ({existing.name})",
            "Go on with --resume auto, or choose another --output-dir.",
        )
    if existing:
        return _resumed(config, existing, digest, progress)
    torch.manual_seed(config.training.seed)
    if settings.init:
        start = _from_published(config, settings, progress)
    else:
        start = _fresh(config, dataset, pairs, settings, accelerator, progress)
    if accelerator.is_main_process:
        settings.output.mkdir(parents=True, exist_ok=True)
        write_config(start.config, settings.output / CONFIG)
    return start


def _fresh(
    config: CalicoConfig,
    dataset: BuiltDataset,
    pairs: SampleTable,
    settings: RunSettings,
    accelerator: Accelerator,
    progress: Progress,
) -> Assembled:
    """Build a model with fresh weights around pretrained encoders, which may be made first."""
    if settings.encoders is None and config.pretraining.steps == 0:
        raise UsageError(
            f"the configuration '{config.name}' starts from published weights",
            "Give them with --init, or train the small model with --preset tiny.",
        )
    encoders = settings.encoders or settings.output / ENCODERS
    if settings.encoders is None and not encoders.is_dir():
        progress.log("No pretrained encoders were given: they are made first, from single images.")
        pretrain(config, dataset, encoders, progress, accelerator)
    prompt = config.prompt
    lead = prompt.system + prompt.user + prompt.lead.format(images=" ") + prompt.assistant
    tokenizer = build_tokenizer(dataset_vocabulary(pairs, lead, dataset.profile), prompt.max_images)
    if config.language.vocabulary == 0:
        config = replace(config, language=replace(config.language, vocabulary=len(tokenizer)))
    torch.manual_seed(config.training.seed)
    model = build_model(config, token_ids(tokenizer, config.prompt.max_images))
    load_encoders(model, config, encoders)
    return Assembled(model, tokenizer, config, 0, None)


def _from_published(config: CalicoConfig, settings: RunSettings, progress: Progress) -> Assembled:
    """Fill the model with published weights and say what each was used for."""
    from calico.weights.initial import initial_model

    start = initial_model(config, settings.init)
    for line in start.report:
        progress.log(line)
    return Assembled(start.model, start.tokenizer, start.config, 0, None, {"init": start.record})


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
    progress.log(f"Going on from {checkpoint}.")
    kept: dict[str, Any] = {name: facts[name] for name in ("init", "state") if name in facts}
    return Assembled(model, tokenizer, config, int(facts["step"]), checkpoint, kept)


def _differences(saved: CalicoConfig, wanted: CalicoConfig) -> Iterator[str]:
    """Yield the lines of YAML that differ, saved value first."""
    pairs: list[tuple[Any, Any]] = list(
        zip(dump_config(saved).splitlines(), dump_config(wanted).splitlines(), strict=False)
    )
    for old, new in pairs:
        if old != new:
            yield f"{old.strip()}  (saved), {new.strip()}  (now)"
