"""Answers with masks: for two pictures, or for all samples of a split."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from calico.config import CalicoConfig
from calico.model.calico import Calico
from calico.model.checkpoints import load_checkpoint
from calico.model.generation import generate
from calico.model.precision import arithmetic
from calico.model.vision import ImageFeatures
from calico.predictions import Prediction, Segment
from calico.processing import ImageProcessor
from calico.prompts import PromptEncoder
from calico.tokenizer import decode
from mixedparts import wording
from mixedparts.errors import InputError
from mixedparts.records import Task
from mixedparts.wording import ParsedAnswer, parse_answer

_KEPT_IMAGES = 512  # features of recent images; a split shows the same image in several pairs


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked about some pictures.

    Attributes:
        id: comes back with the prediction.
        question: in words.
        pictures: RGB, on the stored pixel grid.
        keys: names that are equal only for equal pictures, so that each is encoded once; None
            encodes all of them.
    """

    id: str
    question: str
    pictures: tuple[Image.Image, ...]
    keys: tuple[str, ...] | None = None


@dataclass(slots=True)
class Outcomes:
    """How the answers of a predictor came out, counted over all its predictions.

    Attributes:
        answers: all of them.
        unfinished: reached the limit of tokens before they ended.
        without_masks: held no [SEG] that could be drawn.
        untagged: [SEG] without a tag, drawn on the first image.
        unknown_image: [SEG] with the tag of an image that there is not; not drawn.
        unnamed: [SEG] before any phrase; drawn without a label.
    """

    answers: int = 0
    unfinished: int = 0
    without_masks: int = 0
    untagged: int = 0
    unknown_image: int = 0
    unnamed: int = 0

    def count(self, parsed: ParsedAnswer, drawn: int, finished: bool) -> None:
        """Add one answer."""
        self.answers += 1
        self.unfinished += not finished
        self.without_masks += drawn == 0
        self.untagged += parsed.untagged
        self.unknown_image += parsed.unknown_image
        self.unnamed += parsed.unnamed


class Predictor:
    """A trained model that answers.

    Args:
        model: in evaluation mode.
        config: of the model.
        tokenizer: that goes with it.
    """

    def __init__(
        self, model: Calico, config: CalicoConfig, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        self.model = model
        self.config = config
        self.tokenizer = tokenizer
        self.processor = ImageProcessor(config)
        self.prompts = PromptEncoder(tokenizer, config.prompt, config.image_tokens)
        self.outcomes = Outcomes()
        self._features: OrderedDict[str, ImageFeatures] = OrderedDict()

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Predictor:
        """Load a checkpoint, or the newest one of a run's folder.

        Raises:
            InputError: there is none, or it does not fit the code.
        """
        return cls(*load_checkpoint(Path(folder)))

    def predict_rows(
        self, rows: Iterable[Mapping[str, Any]], batch_size: int | None = None
    ) -> Iterator[Prediction]:
        """Answer rows of `pairs` joined with pictures, as `mixedparts.load_dataset` gives them.

        Args:
            rows: mappings with `id`, `question`, `source`, `split`, and `images` that hold
                `pixels`.
            batch_size: samples decoded at once; the configuration's by default.
        """
        yield from self.predict((_query(row) for row in rows), batch_size)

    def predict(
        self, queries: Iterable[Query], batch_size: int | None = None
    ) -> Iterator[Prediction]:
        """Answer queries in batches, in their order.

        Raises:
            InputError: a query has more pictures than the model has tags for.
        """
        size = batch_size or self.config.generation.batch_size
        iterator = iter(queries)
        while batch := list(islice(iterator, size)):
            yield from self._answer_all(batch)

    def _answer_all(self, batch: Sequence[Query]) -> Iterator[Prediction]:
        """Answer a batch; queries with different numbers of pictures go one after another."""
        start = 0
        while start < len(batch):
            images = len(batch[start].pictures)
            stop = start
            while stop < len(batch) and len(batch[stop].pictures) == images:
                stop += 1
            yield from self._answer(batch[start:stop], images)
            start = stop

    @torch.inference_mode()
    def _answer(self, batch: Sequence[Query], images: int) -> Iterator[Prediction]:
        if not 1 <= images <= self.config.prompt.max_images:
            raise InputError(
                f"a query has {images} pictures, the model takes 1 to "
                f"{self.config.prompt.max_images}"
            )
        prompts = self.prompts.batch([query.question for query in batch], images)
        limit = self.config.generation.max_new_tokens
        with arithmetic(self.config.execution, prompts.tokens.device):
            features = self._encode(batch)
            generated = generate(self.model, prompts, features, limit)
            segments = generated.segments(self.model, images)
            logits = self.model.decode_masks(segments, features.sam, images)
        for row, query in enumerate(batch):
            answer = decode(self.tokenizer, generated.tokens[row].tolist())
            parsed = parse_answer(answer, images)
            found = self._segments(parsed, logits[segments.sample == row], query)
            self.outcomes.count(parsed, len(found), bool(generated.finished[row]))
            yield Prediction(query.id, answer, found, parsed.untagged)

    def _segments(self, parsed: ParsedAnswer, logits: Tensor, query: Query) -> tuple[Segment, ...]:
        """Bring the masks (M, g, g) of one answer to original size and name them.

        The n-th mask is the n-th [SEG] of the text, so phrases and masks go in step.
        """
        named = [(phrase.label, image) for phrase in parsed.phrases for image in phrase.images]
        found: list[Segment | None] = [None] * len(named)
        for image, picture in enumerate(query.pictures):
            here = [place for place, (_, where) in enumerate(named) if where == image]
            own = logits[here]
            masks = self.processor.original_masks(own, picture.height, picture.width)
            for place, mask, score in zip(here, masks, _scores(own), strict=True):
                found[place] = Segment(named[place][0], image, mask, score)
        return tuple(one for one in found if one is not None)

    def _encode(self, batch: Sequence[Query]) -> ImageFeatures:
        """Return the features of all pictures of a batch, encoding each picture once."""
        wanted: list[str] = []
        fresh: OrderedDict[str, Image.Image] = OrderedDict()
        for number, query in enumerate(batch):
            for place, picture in enumerate(query.pictures):
                key = query.keys[place] if query.keys else f"\0{number}.{place}"
                wanted.append(key)
                if key not in self._features:
                    fresh[key] = picture
        if fresh:
            inputs = self.processor.inputs([self.processor.pixels(one) for one in fresh.values()])
            features = self.model.encoders(inputs)
            for row, key in enumerate(fresh):
                self._features[key] = features.select(torch.tensor([row]))
        parts = [self._features[key] for key in wanted]
        found = ImageFeatures(
            torch.cat([part.vision for part in parts]),
            torch.cat([part.semantic for part in parts]),
            torch.cat([part.sam for part in parts]),
        )
        for key in [key for key in fresh if key.startswith("\0")]:
            del self._features[key]
        while len(self._features) > _KEPT_IMAGES:
            self._features.popitem(last=False)
        return found


def _query(row: Mapping[str, Any]) -> Query:
    try:
        refs = row["images"]
        return Query(
            id=row["id"],
            question=row["question"],
            pictures=tuple(ref["pixels"] for ref in refs),
            keys=tuple(f"{row['source']}/{row['split']}/{ref['row']}" for ref in refs),
        )
    except KeyError as error:
        raise InputError(
            f"a row of pairs lacks {error}",
            "Load rows with their pictures: mixedparts.load_dataset(name, split=…)",
        ) from error


def _scores(logits: Tensor) -> list[float]:
    """Return the mean probability inside each mask of (M, g, g) logits, 0 for an empty one."""
    chance = logits.sigmoid().flatten(1)
    inside = (logits > 0).flatten(1)
    mean = (chance * inside).sum(1) / inside.sum(1).clamp_min(1)
    return [float(value) for value in mean]


def task_question(task: str) -> str:
    """Return the first wording of a task's question."""
    return wording.question(Task(task), 0)
