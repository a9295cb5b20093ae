"""Answers with masks: for two pictures, or for all samples of a split."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from calico.checkpoints.save_load import load_checkpoint
from calico.config.calico import CalicoConfig
from calico.config.yaml_io import override
from calico.inference.answer import VisualAnswer
from calico.inference.outcomes import Mark, Outcomes, counted_prediction, drawn_marks, mask_scores
from calico.inference.queries import Query, rgb_image, row_query, task_question
from calico.model.calico import Calico
from calico.model.generation import generate
from calico.model.precision import arithmetic
from calico.model.vision import ImageFeatures
from calico.predictions.types import Prediction, Segment
from calico.processing.feature_cache import FeatureCache
from calico.processing.feature_encoder import FeatureEncoder, image_wanted
from calico.processing.images import ImageProcessor
from calico.processing.parse_answer import Reading, read_answer
from calico.processing.prompts import PromptEncoder
from calico.runtime.device import choose_device
from mixedparts.errors import InputError
from mixedparts.records import Task

# Features of recent images, on the model's device; a split shows the same image in several pairs.
_KEPT_BYTES = 1 << 30


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
        self.encoder = FeatureEncoder(model.encoders, self.processor, config.execution)
        self._features: OrderedDict[str, ImageFeatures] = OrderedDict()

    @classmethod
    def from_pretrained(cls, folder: str | Path, device: str = "auto") -> Predictor:
        """Load a checkpoint, or the newest one of a run's folder.

        Args:
            folder: of the checkpoint.
            device: "auto" (CUDA where there is one), "cpu", "cuda", "cuda:N" or "mps".

        Raises:
            InputError: there is none, or it does not fit the code.
            UsageError: there is no such kind of device.
            EnvironmentFault: this machine has no such device.
        """
        chosen = choose_device(device)  # before minutes of loading
        model, config, tokenizer = load_checkpoint(Path(folder))
        return cls(model.to(chosen), config, tokenizer)

    @property
    def device(self) -> torch.device:
        """Where the model is; inputs go there, and features are kept there."""
        return self.model.device

    def __call__(
        self,
        *pictures: str | Path | Image.Image,
        task: str = Task.COMMON_PARTS,
        question: str | None = None,
    ) -> VisualAnswer:
        """Answer one question about some pictures, two as a rule.

        Args:
            pictures: files, or pictures in memory; EXIF orientation is not applied.
            task: `common_object`, `common_parts` or `unique_parts`.
            question: asked instead of the task's first wording.

        Raises:
            InputError: a picture cannot be read, or there are more than the model has tags for.
            UsageError: there is no such task.
        """
        asked = task_question(task, len(pictures)) if question is None else question
        shown = tuple(rgb_image(one) for one in pictures)
        (found,) = self.predict([Query("prediction", asked, shown)])
        return VisualAnswer(found, asked, shown)

    def configure(self, generation: Mapping[str, Any]) -> None:
        """Change how answers are generated, by the names of `GenerationConfig`.

        Raises:
            UsageError: unknown names, or values that cannot work.
        """
        self.config = override(self.config, {"generation": generation}, "of the generation")

    def use_cache(self, cache: FeatureCache) -> None:
        """Keep features of pictures on disk; answers stay what they are."""
        self.encoder = FeatureEncoder(
            self.model.encoders, self.processor, self.config.execution, cache
        )

    def predict_rows(
        self, rows: Iterable[Mapping[str, Any]], batch_size: int | None = None
    ) -> Iterator[Prediction]:
        """Answer rows of `pairs` joined with pictures, as `mixedparts.load_dataset` gives them.

        Args:
            rows: mappings with `id`, `question`, `source`, `split`, and `images` that hold
                `pixels`.
            batch_size: samples decoded at once; the configuration's by default.
        """
        yield from self.predict((row_query(row) for row in rows), batch_size)

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
                f"{self.config.prompt.max_images}",
                "Train one that knows more tags: prompt.max_images in the configuration.",
            )
        prompts = self.prompts.batch([query.question for query in batch], images).to(self.device)
        chosen = self.config.generation
        with arithmetic(self.config.execution, self.device):
            features = self._encode(batch)
            generated = generate(
                self.model,
                prompts,
                features,
                chosen.max_new_tokens,
                chosen.num_beams,
                chosen.length_penalty,
            )
            readings = [self._read(row.tolist(), images) for row in generated.tokens]
            # One [SEG] token is one entry of its reading, in the same order.
            drawn = [drawn_marks(reading, chosen.max_masks) for reading in readings]
            marks = [mark for marked in drawn for mark in marked]
            kept = [mark is not None for mark in marks]
            shown = [mark.image for mark in marks if mark is not None]
            segments = generated.segments(self.model, images).select(
                torch.tensor(kept, dtype=torch.bool, device=self.device)
            )
            segments = segments.bind(torch.tensor(shown, dtype=torch.int64, device=self.device))
            logits = self.model.decode_masks_in_parts(segments, features.sam, images)
        for row, (query, reading) in enumerate(zip(batch, readings, strict=True)):
            mine = [mark for mark in drawn[row] if mark is not None]
            found = self._segments(mine, logits[segments.sample == row], query)
            finished = bool(generated.finished[row])
            prediction = counted_prediction(query.id, reading, found, chosen.max_masks, finished)
            self.outcomes.count(prediction)
            yield prediction

    def _read(self, tokens: list[int], images: int) -> Reading:
        seg, untagged = self.model.ids.segments.seg, self.config.prompt.untagged
        return read_answer(self.tokenizer, tokens, seg, images, untagged)

    def _segments(self, marks: Sequence[Mark], logits: Tensor, query: Query) -> tuple[Segment, ...]:
        """Bring the masks (M, g, g) of one answer to original size and name them."""
        found: list[Segment | None] = [None] * len(marks)
        for image, picture in enumerate(query.pictures):
            here = [place for place, mark in enumerate(marks) if mark.image == image]
            own = logits[here]
            masks = self.processor.original_masks(own, picture.height, picture.width)
            for place, mask, score in zip(here, masks, mask_scores(own), strict=True):
                found[place] = Segment(marks[place].label, image, mask, score)
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
        for key, picture in fresh.items():
            self._features[key] = self.encoder.encode([image_wanted(picture, self.processor)])
        parts = [self._features[key] for key in wanted]
        found = ImageFeatures(
            torch.cat([part.vision for part in parts]),
            torch.cat([part.semantic for part in parts]),
            torch.cat([part.sam for part in parts]),
        )
        for key in [key for key in fresh if key.startswith("\0")]:
            del self._features[key]
        kept = sum(features.nbytes for features in self._features.values())
        while kept > _KEPT_BYTES:
            kept -= self._features.popitem(last=False)[1].nbytes
        return found
