"""The metrics of a model in memory, as training asks for them between two steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from calico.config.calico import CalicoConfig
from calico.dataset.images import ImageTable
from calico.dataset.pairs import BuiltDataset
from calico.dataset.sample import Sample
from calico.evaluation.ground_truth import read_ground_truth
from calico.evaluation.scoring import score
from calico.evaluation.summary import HEADLINE, MetricGroup, summarise
from calico.evaluation.text import SentenceEncoder, TextModel, load_text_model
from calico.inference.predictor import Predictor
from calico.inference.queries import Query
from calico.model.calico import Calico
from calico.processing.feature_cache import FeatureCache
from calico.processing.images import open_image
from mixedparts.progress import Progress, Silent

REPORTED = (*HEADLINE.values(), "miou_strict", "label_f1")
OVERALL = "overall"
_DIGITS = 6  # text vectors differ in later ones with the company in which they were encoded


def evaluate_model(
    model: Calico,
    tokenizer: PreTrainedTokenizerBase,
    config: CalicoConfig,
    dataset: BuiltDataset,
    split: str,
    limit: int | None = None,
    *,
    text_model: TextModel | None = None,
    cache: FeatureCache | None = None,
    progress: Progress | None = None,
) -> dict[str, dict[str, float]]:
    """Answer samples by free generation and score the answers; no checkpoint is written or read.

    The model is left as it was found: training flags of all its modules, gradients, and the random
    states of torch.

    Args:
        model: on any device, in training or evaluation mode.
        tokenizer: that goes with it.
        config: of the model; says how answers are generated, and how many at once.
        dataset: the build.
        split: whose samples are answered.
        limit: how many at most, spread evenly over the split.
        text_model: of SS and Recall; the packaged MiniLM by default.
        cache: of features of frozen encoders.
        progress: counts samples.

    Returns:
        Task, or "overall" for the mean over tasks, to `REPORTED` metric to its value in [0, 1]
        (SS: [-1, 1]).

    Raises:
        UsageError: the build has no such split.
        InputError: the build cannot be read, or a picture of it.
        EnvironmentFault: the text model cannot be loaded.
    """
    ground_truth = read_ground_truth(dataset.build, split, limit)
    told = progress or Silent()
    with _undisturbed(model):
        compared = text_model or _packaged_text_model()
        predictor = Predictor(model, config, tokenizer)
        if cache is not None:
            predictor.use_cache(cache)
        told.start(f"evaluating on {split}", len(ground_truth.rows), "samples")
        predictions = {}
        for prediction in predictor.predict(_queries(dataset, split, ground_truth.rows)):
            predictions[prediction.id] = prediction
            told.advance()
        told.finish()
    summary = summarise(score(ground_truth.samples, predictions, compared, compared), replicates=0)
    return {OVERALL: _values(summary.overall)} | {
        task: _values(group) for task, group in summary.tasks.items()
    }


def _values(group: MetricGroup) -> dict[str, float]:
    return {metric: round(group.metrics[metric].value, _DIGITS) for metric in REPORTED}


def _queries(dataset: BuiltDataset, split: str, rows: Sequence[int]) -> Iterator[Query]:
    """Yield the questions of some rows of a split with their pictures."""
    pairs = dataset.pairs(split)
    tables: dict[str, ImageTable] = {}  # a row says which split its pictures are of
    for row in rows:
        sample: Sample = pairs[row]
        for ref in sample.images:
            if ref.split not in tables:
                tables[ref.split] = dataset.images(ref.split)
        yield Query(
            id=sample.id,
            question=sample.question,
            images=tuple(
                open_image(tables[ref.split].read(ref.row), f"{ref.image_id} of {ref.split}")
                for ref in sample.images
            ),
            keys=tuple(f"{ref.split}/{ref.row}" for ref in sample.images),
        )


@lru_cache(maxsize=1)
def _packaged_text_model() -> SentenceEncoder:
    """Return the default text model; a run that asks often loads it once."""
    return load_text_model()


@contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    """Evaluate inside the `with` block; training flags and random states are put back after it."""
    flags = {module: module.training for module in model.modules()}
    devices = {one.device for one in model.parameters() if one.device.type == "cuda"}
    model.eval()
    try:
        with torch.random.fork_rng(devices=sorted(devices, key=str)):
            yield
    finally:
        for module, training in flags.items():
            module.training = training
