"""Setup of a run: new weights, published weights, or the newest checkpoint of the same run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from transformers import PreTrainedTokenizerBase

from calico.checkpoints.digests import check_digests
from calico.checkpoints.rotation import newest_checkpoint
from calico.checkpoints.save_load import (
    CONFIG,
    FROZEN,
    load_checkpoint,
    read_checkpoint_metadata,
)
from calico.config.calico import CalicoConfig
from calico.config.open_values import filled, open_values, settled, value_of
from calico.config.yaml_io import dump_config, read_config, write_config
from calico.dataset.pairs import BuiltDataset, SampleTable
from calico.model.assembly import build_model
from calico.model.calico import Calico
from calico.pretraining.encoder_files import ENCODERS, load_encoders
from calico.pretraining.pretrain import pretrain
from calico.pretraining.stages_folder import discard_finished_stages
from calico.processing.feature_cache import FeatureCache
from calico.processing.prompts import prompt_words
from calico.processing.tokenizer import build_tokenizer, token_ids
from calico.runtime.waiting import wait_for_everyone
from calico.training.micro_batch import with_micro_batch
from mixedparts.errors import InputError, UsageError
from mixedparts.progress import Progress
from mixedparts.records import Task
from mixedparts.sources.manifests import FULL, manifest_of
from mixedparts.storage.leftovers import remove_leftovers
from mixedparts.text import answers as wording

FEATURES = "features"  # folder of the feature stores in the output of a run


@dataclass(frozen=True, slots=True)
class RunSettings:
    """Folder, start and length of a run.

    Attributes:
        output: the run's folder.
        encoders: folder of pretrained encoders; None pretrains them first, in `output`/encoders.
        resume: continue from the newest checkpoint in `output`, if there is one.
        max_steps: stop after this many steps of the schedule; None runs to its end.
        init: published weights that the model starts from.
        cache: feature cache, with `training.features: encode` only.
        device: a name for `choose_device`, such as "cpu", or "auto" for a GPU if there is one.
        report_to: trackers besides the log: "tensorboard", "wandb".
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
    """A model with its tokenizer and the state of its training.

    Attributes:
        model: in evaluation mode.
        tokenizer: that goes with it.
        config: of the model, with the final vocabulary size.
        step: number of finished steps.
        checkpoint: folder that it was read from; None at the start of a run.
        metadata: JSON values that checkpoints of this run hold besides their step.
    """

    model: Calico
    tokenizer: PreTrainedTokenizerBase
    config: CalicoConfig
    step: int
    checkpoint: Path | None
    metadata: dict[str, Any] = field(default_factory=dict)


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
        settings: folder and start of the run.
        digest: of the samples; a resumed run must have the same.
        accelerator: of the run; all processes call this function.
        progress: reports events.

    Returns:
        The model in evaluation mode and the step that it continues from.

    Raises:
        UsageError: the folder contains a run already, or one of another configuration.
        InputError: data or weights cannot be used.
    """
    # Everything is written under a temporary name first; a killed run leaves such files.
    if accelerator.is_main_process:
        for folder in (settings.output, settings.output / FEATURES):
            remove_leftovers(folder)
        discard_finished_stages(settings.output / ENCODERS)
    wait_for_everyone(accelerator)
    existing = newest_checkpoint(settings.output)
    if existing and not settings.resume:
        raise UsageError(
            f"{settings.output} already contains a training run ({existing.name})",
            "Continue with --resume auto, or choose another --output-dir.",
        )
    if existing:
        start = _resumed(config, existing, digest, progress)
        return _with_micro_batch(start, pairs, accelerator, progress)
    # The same random weights in every process; published ones leave new parts random as well.
    torch.manual_seed(config.training.seed)
    if settings.init:
        start = _from_published(config, settings, progress)
    else:
        start = _fresh(config, dataset, pairs, settings, accelerator, progress)
    start = _with_micro_batch(start, pairs, accelerator, progress)
    if accelerator.is_main_process:
        settings.output.mkdir(parents=True, exist_ok=True)
        write_config(start.config, settings.output / CONFIG)
    return start


def _with_micro_batch(
    start: Assembled, pairs: SampleTable, accelerator: Accelerator, progress: Progress
) -> Assembled:
    config = with_micro_batch(start.config, start.tokenizer, pairs, accelerator, progress)
    # The model reads `execution` as well, but no value of it that depends on memory.
    return replace(start, config=config)


def _fresh(
    config: CalicoConfig,
    dataset: BuiltDataset,
    pairs: SampleTable,
    settings: RunSettings,
    accelerator: Accelerator,
    progress: Progress,
) -> Assembled:
    """Build a model with random weights around pretrained encoders; pretrain them if needed."""
    if settings.encoders is None and config.pretraining.steps == 0:
        raise UsageError(
            f"the configuration '{config.name}' starts from published weights",
            "Give them with --init (docs/weights.md lists them and their commands), or train the"
            " small model with --preset tiny.",
        )
    encoders = settings.encoders or settings.output / ENCODERS
    if settings.encoders is None and not encoders.is_dir():
        progress.log("No pretrained encoders were given: they are made first, from single images.")
        pretrain(config, dataset, encoders, progress, accelerator)
    # A model without published weights has a tokenizer of the dataset's own words.
    prompt = config.prompt
    texts = dataset_vocabulary(pairs, prompt_words(prompt), dataset.profile)
    tokenizer = build_tokenizer(texts, prompt.max_images)
    if config.language.vocabulary == 0:
        config = replace(config, language=replace(config.language, vocabulary=len(tokenizer)))
    # Seeded again: a run that pretrains its encoders and one that is given them start alike.
    torch.manual_seed(config.training.seed)
    model = build_model(config, token_ids(tokenizer, config.prompt.max_images))
    load_encoders(model, config, encoders)
    return Assembled(model, tokenizer, settled(config), 0, None)


def _from_published(config: CalicoConfig, settings: RunSettings, progress: Progress) -> Assembled:
    """Fill the model with published weights and log what each was used for."""
    from calico.weights.initial import initial_model

    start = initial_model(config, settings.init)
    for line in start.report:
        progress.log(line)
    return Assembled(start.model, start.tokenizer, start.config, 0, None, {"init": start.record})


def _resumed(config: CalicoConfig, checkpoint: Path, digest: str, progress: Progress) -> Assembled:
    """Rebuild the model of a checkpoint after checking that it belongs to this run."""
    # All but the frozen weights: the state of training is read after this.
    check_digests(checkpoint, sized=(FROZEN,))
    saved = read_config(checkpoint / CONFIG)
    metadata = read_checkpoint_metadata(checkpoint)
    # What the weights decided when the run began, and the vocabulary size where the tokenizer
    # decides it, the given configuration does not have; everything else must be equal.
    config = filled(config, {name: value_of(saved, name) for name, _ in open_values(saved)})
    if config.language.vocabulary == 0 or "init" in metadata:
        vocabulary = saved.language.vocabulary
        config = replace(config, language=replace(config.language, vocabulary=vocabulary))
    # How batches are prepared changes nothing in them: a run may continue with other numbers.
    prepared = {
        name: getattr(config.training, name) for name in ("loader_workers", "loader_images")
    }
    saved = replace(saved, training=replace(saved.training, **prepared))
    # Nor does where the weights lie: a checkpoint has all of them, whole.
    placed = {name: getattr(config.execution, name) for name in ("parallel", "deterministic")}
    saved = replace(saved, execution=replace(saved.execution, **placed))
    config, saved = _parts_of_steps(config, saved, progress)
    if config != saved:
        differences = "\n".join(f"  {line}" for line in _differences(saved, config))
        raise UsageError(
            f"{checkpoint} was trained with another configuration:\n{differences}",
            "Resume with the same --preset and --config, or choose another --output-dir.",
        )
    if metadata.get("data") != digest:
        raise InputError(
            f"{checkpoint} was trained on another dataset: the samples of the train split differ"
        )
    model, _, tokenizer = load_checkpoint(checkpoint)
    progress.log(f"Continuing from {checkpoint}.")
    # `state` is compared with the position of this run's sampler later, when there is one.
    passed_on: dict[str, Any] = {
        name: metadata[name] for name in ("init", "state", "synthetic") if name in metadata
    }
    return Assembled(model, tokenizer, config, int(metadata["step"]), checkpoint, passed_on)


def _parts_of_steps(
    config: CalicoConfig, saved: CalicoConfig, progress: Progress
) -> tuple[CalicoConfig, CalicoConfig]:
    """Return both configurations with the size of a step's parts that a resumed run takes.

    Args:
        config: as given; what it leaves open is taken from the run.
        saved: of the run.
        progress: receives a line if the size changes.
    """
    before, wanted = saved.training.micro_batch, config.training.micro_batch
    if wanted == "auto":
        # What was chosen along with it, too.
        batches = config.execution.encode_batch or saved.execution.encode_batch
        execution = replace(config.execution, encode_batch=batches)
        training = replace(config.training, micro_batch=before)
        return replace(config, training=training, execution=execution), saved
    if wanted != before:
        # Losses are divided by the counts of the whole step, so the parts may be others, such as
        # on a smaller device. Only dropout and the points of the mask loss are drawn anew.
        progress.log(f"micro_batch {wanted} from here on, {before} before.")
    return config, replace(saved, training=replace(saved.training, micro_batch=wanted))


def _differences(saved: CalicoConfig, wanted: CalicoConfig) -> Iterator[str]:
    """Yield the lines of YAML that differ, saved value first."""
    # Fields are dumped in a fixed order, so the lines correspond unless a mapping, such as
    # source_weights, has more entries in one of them.
    pairs: list[tuple[Any, Any]] = list(
        zip(dump_config(saved).splitlines(), dump_config(wanted).splitlines(), strict=False)
    )
    for old, new in pairs:
        if old != new:
            yield f"{old.strip()}  (saved), {new.strip()}  (now)"


def dataset_vocabulary(pairs: SampleTable, lead: str = "", profile: str = FULL) -> Iterator[str]:
    """Yield texts that contain every word of a dataset's questions and answers.

    Args:
        pairs: the train split.
        lead: further words of the prompt.
        profile: manifest profile, which decides the names of classes and parts.

    Yields:
        Texts, from which a tokenizer is built.

    Raises:
        InputError: the samples have different numbers of images.
    """
    yield lead
    yield from pairs.texts()
    # Not only the words of the train split: questions are reworded in training, and other splits
    # have classes and parts that this one may lack.
    for task in Task:
        yield from wording.questions(task, pairs.images_per_sample)
    # A sample of two sources is listed as `first+second`.
    sources = {name for cell in pairs.sources() for name in cell.split("+")}
    for source in sorted(sources):
        manifest = manifest_of(source, profile=profile)
        for entry in manifest.objects.values() if manifest else ():
            yield f"a {entry.name}"
            yield from (f"the {part.name}" for part in entry.parts)
