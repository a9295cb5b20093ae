"""The training run: from a configuration and a dataset to checkpoints.

A run can stop after any checkpoint and be resumed exactly: see `calico.training.state`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from accelerate import Accelerator

from calico.checkpoints.rotation import (
    Best,
    checkpoint_path,
    read_best,
    record_best,
    remove_old_checkpoints,
)
from calico.checkpoints.save_load import (
    TRAINING,
    checkpoint_weights,
    save_checkpoint,
    trained_weights,
)
from calico.config.calico import CalicoConfig
from calico.config.yaml_io import dump_config
from calico.dataset.pairs import BuiltDataset, SampleTable
from calico.dataset.presence import ShownNames
from calico.evaluation.in_memory import OVERALL, answer_samples, score_answers
from calico.model.precision import arithmetic
from calico.processing.feature_encoder import FeatureEncoder, TableFeatures
from calico.processing.images import ImageProcessor
from calico.processing.prompts import PromptEncoder
from calico.processing.workers import lost_workers_reported
from calico.runtime.device import fixed_order
from calico.runtime.distributed import build_accelerator, collected
from calico.runtime.run_log import RunLog
from calico.runtime.sharding import end_lone_group, gathered
from calico.runtime.waiting import first_process_first, leave, wait_for_everyone
from calico.training.banner import banner
from calico.training.batches import BatchMaker, check_samples
from calico.training.curves import draw_curves
from calico.training.feature_store import feature_store
from calico.training.feeding.feeder import FedFeatures, StepFeeder, StepParts
from calico.training.setup import FEATURES, Assembled, RunSettings, set_up
from calico.training.state import position
from calico.training.trainer import StepData, Trainer
from calico.weights.safetensors_io import read_tensors
from mixedparts.errors import InputError, UsageError
from mixedparts.progress import Progress, Silent
from mixedparts.storage.writer_lock import writing

__all__ = ["RunSettings", "train"]


def train(
    config: CalicoConfig,
    dataset: BuiltDataset,
    settings: RunSettings,
    progress: Progress,
    after_step: Callable[[int], None] = lambda step: None,
) -> Path:
    """Train the assembled model, alone or as one of the processes that torchrun started.

    Args:
        config: of the model and the run.
        dataset: its train split is used.
        settings: folder and start of the run.
        progress: reports steps and events.
        after_step: called with the number of finished steps.

    Returns:
        The folder of the last checkpoint.

    Raises:
        UsageError: the folder contains a run already, or one of another configuration.
        InputError: data or weights cannot be used.
        EnvironmentFault: a requested tracker is not installed, or another process writes to the
            folder.
    """
    accelerator = build_accelerator(settings.device, settings.report_to, settings.output)
    first = accelerator.is_main_process
    try:
        with writing(settings.output, progress.log) if first else nullcontext():
            return _train(config, dataset, settings, progress, after_step, accelerator)
    finally:
        leave()
        end_lone_group(accelerator)


def _train(
    config: CalicoConfig,
    dataset: BuiltDataset,
    settings: RunSettings,
    progress: Progress,
    after_step: Callable[[int], None],
    accelerator: Accelerator,
) -> Path:
    _check(config, accelerator)
    if config.execution.deterministic:
        fixed_order()
    if not accelerator.is_main_process:
        progress = Silent()
    # All checks before anything expensive: pretraining of encoders may take hours.
    pairs = dataset.pairs("train")
    check_samples(pairs, config)
    digest = pairs.digest()
    start = set_up(config, dataset, pairs, settings, digest, accelerator, progress)
    start = replace(start, metadata={**start.metadata, "data": digest})
    if dataset.build.synthetic:
        start.metadata["synthetic"] = True
    processor = ImageProcessor(start.config)
    start.model.encoders.to(accelerator.device)
    features = _features(start, dataset, pairs, processor, settings, accelerator, progress)
    prompts = PromptEncoder(start.tokenizer, start.config.prompt, start.config.image_tokens)
    shown = ShownNames(dataset.build, "train") if start.config.loss.presence else None
    batches = BatchMaker(pairs, features, prompts, processor, start.config, shown)
    # The checkpoint's record of sampler and schedule must be what this run computes for its step.
    if start.checkpoint and start.metadata.get("state") != position(
        start.config, batches.sampler, start.step
    ):
        raise InputError(f"{start.checkpoint} is at another place in the order of samples")
    trainer = Trainer(start.model, start.config, accelerator)
    if start.checkpoint is not None:
        trainer.restore(read_tensors(start.checkpoint / TRAINING))
    for line in banner(start, accelerator, len(pairs)):
        progress.log(line)
    run = _Run(start, dataset, settings, trainer, batches, features, accelerator, progress)
    # The loop itself learns of a lost worker too, wherever it is.
    with lost_workers_reported():
        return run.go(after_step)


@dataclass(frozen=True, slots=True)
class _Run:
    """The loop over steps with its log lines, evaluations and checkpoints.

    Attributes:
        start: model, configuration and first step.
        dataset: evaluations answer samples of it.
        settings: folder and length of the run.
        trainer: takes the steps.
        batches: makes the batch of a step.
        features: of the images of batches.
        accelerator: device and processes.
        progress: reports steps and events.
    """

    start: Assembled
    dataset: BuiltDataset
    settings: RunSettings
    trainer: Trainer
    batches: BatchMaker
    features: FedFeatures
    accelerator: Accelerator
    progress: Progress

    def go(self, after_step: Callable[[int], None]) -> Path:
        """Take the remaining steps and return the last checkpoint.

        Raises:
            UsageError: `max_steps` is 0 and there is no checkpoint.
        """
        start, output, chosen = self.start, self.settings.output, self.start.config.training
        stop = min(chosen.steps, self.settings.max_steps or chosen.steps)
        runlog = RunLog(self._own(output / "train.log.jsonl"), chosen.log_every)
        if start.checkpoint is not None:
            runlog.write({"stage": "train", "event": "resumed", "step": start.step})
        self.accelerator.init_trackers("calico", {"configuration": dump_config(start.config)})
        self.progress.start("training", stop - start.step, "steps")
        self.trainer.model.train()
        last = start.checkpoint
        # Closed, so that workers end with the loop, also where a step fails.
        with closing(self._data(start.step, stop)) as steps:
            for step, waited, parts in steps:
                began = time.perf_counter()
                values = self.trainer.step(step, parts)
                values |= {"data_seconds": waited, "step_seconds": time.perf_counter() - began}
                done = step + 1
                line = runlog.add("train", done, values, done == stop)
                if line:
                    self.accelerator.log(line, done)
                after_step(done)
                self.progress.advance()
                # Saved before it is evaluated, so that a failing evaluation loses no step. Old
                # checkpoints go last: by then it is known whether the new one is the best.
                saved = done % chosen.save_every == 0 or done == stop
                if saved:
                    last = self._save(done)
                if chosen.eval_every and (done % chosen.eval_every == 0 or done == stop):
                    self._evaluate(done, saved, runlog)
                if saved and self.accelerator.is_main_process:
                    remove_old_checkpoints(output, chosen.keep)
        self.progress.finish()
        self.trainer.model.eval()
        if last is None:
            raise UsageError("there is nothing to train: --max-steps is 0")
        if self.accelerator.is_main_process:
            draw_curves(output, self.progress)
        wait_for_everyone(self.accelerator)
        self.accelerator.end_training()
        return last

    def _own(self, path: Path) -> Path | None:
        """Return the path of a file in the first process, which alone writes it, else None."""
        return path if self.accelerator.is_main_process else None

    def _data(self, start: int, stop: int) -> Generator[tuple[int, float, StepParts]]:
        """Yield each step, the seconds that this process waited for its parts, and the parts."""
        # Workers get step numbers, not samples: a batch depends on the number alone, so any worker
        # can make any batch, and a resumed run just starts at a later number.
        rank, count = self.accelerator.process_index, self.accelerator.num_processes
        chosen = self.start.config.training
        # `set_up` has put a number in place of "auto".
        most = 0 if chosen.micro_batch == "auto" else chosen.micro_batch
        feeder = StepFeeder(
            StepData(self.batches, rank, count, most),
            self.features,
            chosen,
            self.batches.processor.image_bytes,
            self.accelerator.device,
        )
        began = time.perf_counter()
        for step, parts in feeder.steps(start, stop):
            yield step, time.perf_counter() - began, parts
            began = time.perf_counter()

    def _save(self, step: int) -> Path:
        """Write a checkpoint; all processes call it, the first one writes."""
        start, trainer = self.start, self.trainer
        place = checkpoint_path(self.settings.output, step)
        # Outside the block below: the state holds the weights as they were updated, the checkpoint
        # their average. Gathering sharded tensors needs all processes.
        state = trainer.state()
        first = self.accelerator.is_main_process
        # Frozen weights of published models are not in a checkpoint: they are not gathered.
        choose = trained_weights if start.metadata.get("init") else checkpoint_weights
        with trainer.averaged():
            weights = gathered(choose(trainer.model), first)
            if first:
                where = position(start.config, self.batches.sampler, step)
                metadata = {**start.metadata, "state": where}
                save_checkpoint(
                    place,
                    trainer.model,
                    start.config,
                    start.tokenizer,
                    step,
                    metadata,
                    state,
                    weights,
                )
        wait_for_everyone(self.accelerator)
        return place

    def _evaluate(self, step: int, saved: bool, runlog: RunLog) -> None:
        """Evaluate by free generation and record the checkpoint if it is the best so far."""
        # Every process answers its share of the samples. The first one scores all of them, while
        # the others wait for its decision: a checkpoint is written by all of them.
        start, chosen, output = self.start, self.start.config.training, self.settings.output
        accelerator, better = self.accelerator, False
        with self.trainer.averaged():
            own = answer_samples(
                self.trainer.model,
                start.tokenizer,
                start.config,
                self.dataset,
                chosen.eval_split,
                chosen.eval_samples,
                share=(accelerator.process_index, accelerator.num_processes),
            )
        if (answers := collected(accelerator, own)) is not None:
            every = {name: one for part in answers for name, one in part.items()}
            metrics = score_answers(every, self.dataset, chosen.eval_split, chosen.eval_samples)
            value = metrics[OVERALL][chosen.best]
            runlog.write({"stage": "evaluation", "step": step, **metrics})
            flat = {f"{task}/{name}": v for task, of in metrics.items() for name, v in of.items()}
            accelerator.log(flat, step)
            best = read_best(output)
            better = best is None or value > best.value
            self.progress.log(f"step {step}: {chosen.best} {value:.3f}{', the best' * better}")
        wait_for_everyone(accelerator)
        if not saved and self._agreed(better):
            self._save(step)
        # After the checkpoint exists: best.json never names one that a kill left unwritten.
        if better:
            name = checkpoint_path(output, step).name
            record_best(output, Best(name, chosen.best, value))

    def _agreed(self, better: bool) -> bool:
        """Return in every process the decision of the first one; the others pass False."""
        answer = torch.tensor(float(better), device=self.accelerator.device)
        return bool(self.accelerator.reduce(answer, "sum") > 0)


def _check(config: CalicoConfig, accelerator: Accelerator) -> None:
    """Refuse a configuration that cannot run with this number of processes."""
    count = accelerator.num_processes
    if config.training.batch_size < count:
        raise UsageError(
            f"a batch of {config.training.batch_size} cannot be shared by {count} processes",
            "Raise training.batch_size in --config, or start fewer processes.",
        )
    if config.execution.parallel == "fsdp" and config.training.eval_every:
        raise UsageError(
            "a model whose weights are shared out (execution.parallel: fsdp) is not evaluated"
            " between steps",
            "Set training.eval_every to 0 and run calico-eval on a checkpoint.",
        )


def _features(
    start: Assembled,
    dataset: BuiltDataset,
    pairs: SampleTable,
    processor: ImageProcessor,
    settings: RunSettings,
    accelerator: Accelerator,
    progress: Progress,
) -> FedFeatures:
    """Return the source of features for batches, as configured: encoders or a store."""
    config, table = start.config, dataset.images("train")
    encoders = start.model.encoders
    if config.training.features == "encode":
        encoder = FeatureEncoder(encoders, processor, config.execution, settings.cache)
        if set(encoder.batches.values()) != {1}:
            sizes = ", ".join(f"{part} {size}" for part, size in encoder.batches.items())
            progress.log(f"Images that are encoded at once: {sizes}.")
        return TableFeatures(encoder, table)
    if settings.cache is not None:
        raise UsageError(
            "a feature cache needs training.features: encode, this configuration has store",
            "Leave out --feature-cache, or set training.features to encode.",
        )
    rows = pairs.image_rows()["train"]
    place, flips = settings.output / FEATURES, config.training.flips
    # The first process computes the store while the others wait; they then find it and only open
    # it.
    with (
        first_process_first(accelerator),
        arithmetic(config.execution, next(encoders.parameters()).device),
        _all_cores(accelerator),
    ):
        return feature_store(
            encoders,
            table,
            rows,
            processor,
            place,
            flips,
            progress,
            execution=config.execution,
            workers=config.training.loader_workers,
        )


@contextmanager
def _all_cores(accelerator: Accelerator) -> Iterator[None]:
    """Give the first process the cores of the waiting ones inside the `with` block."""
    threads = torch.get_num_threads()
    if accelerator.is_main_process:
        torch.set_num_threads(threads * int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    try:
        yield
    finally:
        torch.set_num_threads(threads)
