"""Answers with masks: about images in memory, image files, or the samples of a split."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import torch
from PIL import Image
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from calico.checkpoints.save_load import (
    find_checkpoint,
    load_checkpoint,
    read_checkpoint_metadata,
)
from calico.config.calico import CalicoConfig
from calico.config.yaml_io import override
from calico.inference.answer import VisualAnswer
from calico.inference.device_map import DeviceMap, dispatched
from calico.inference.outcomes import Mark, Outcomes, counted_prediction, drawn_marks, mask_scores
from calico.inference.queries import AnyImage, Query, rgb_image, row_query, task_question
from calico.model.calico import Calico
from calico.model.generation import generate
from calico.model.precision import arithmetic
from calico.model.vision import ImageFeatures
from calico.predictions.types import SYNTHETIC_NOTE, Prediction, Segment
from calico.processing.feature_cache import FeatureCache
from calico.processing.feature_encoder import FeatureEncoder
from calico.processing.images import ImageProcessor
from calico.processing.parse_answer import Reading, parse_generated
from calico.processing.prepared import ImagePreparer, PreparedImages, image_request
from calico.processing.prompts import PromptEncoder
from calico.processing.workers import affordable, in_order, lost_workers_reported
from calico.runtime.device import choose_device
from mixedparts.errors import InputError, UsageError
from mixedparts.records import Task

LOG = logging.getLogger(__name__)
AnyTask = TypeVar("AnyTask")
Result = TypeVar("Result")
# Features of recent images, on the model's device; a split shows the same image in several pairs.
_CACHED_BYTES = 1 << 30


class Predictor:
    """A trained model that answers questions about images.

    Args:
        model: in evaluation mode.
        config: of the model.
        tokenizer: that goes with it.
        synthetic: whether it was trained on synthetic images; its answers note it.
    """

    def __init__(
        self,
        model: Calico,
        config: CalicoConfig,
        tokenizer: PreTrainedTokenizerBase,
        synthetic: bool = False,
    ) -> None:
        self.synthetic = synthetic
        self.model = model
        self.config = config
        self.tokenizer = tokenizer
        self.processor = ImageProcessor(config)
        self.prompts = PromptEncoder(tokenizer, config.prompt, config.image_tokens)
        self.outcomes = Outcomes()
        self.encoder = FeatureEncoder(model.encoders, self.processor, config.execution)
        self._features: OrderedDict[str, ImageFeatures] = OrderedDict()

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        device: str = "auto",
        verify: bool = False,
        device_map: DeviceMap | None = None,
        offload_folder: Path | None = None,
    ) -> Predictor:
        """Load a checkpoint, or the newest one of a run's folder.

        Args:
            folder: of the checkpoint.
            device: "auto" (CUDA if there is a GPU), "cpu", "cuda", "cuda:N" or "mps".
            verify: compare the digest of the frozen weights too, which reads all of them.
            device_map: spreads the model over several devices, in place of `device`; see
                `calico.inference.device_map.dispatched`.
            offload_folder: for what the map puts on "disk".

        Returns:
            The predictor, with its model on the device or devices.

        Raises:
            InputError: there is no checkpoint, or it does not fit the code.
            UsageError: there is no such kind of device, or the device map cannot be used.
            EnvironmentFault: this machine has no such device.
        """
        # Before the checkpoint is loaded, which may take minutes.
        chosen = choose_device(device)
        place = find_checkpoint(Path(folder))
        model, config, tokenizer = load_checkpoint(place, verify)
        synthetic = bool(read_checkpoint_metadata(place).get("synthetic"))
        if synthetic:
            LOG.warning("note: the model %s %s", place, SYNTHETIC_NOTE)
        if device_map is None:
            model = model.to(chosen)
        else:
            model = dispatched(model, device_map, offload_folder)
        return cls(model, config, tokenizer, synthetic)

    @property
    def device(self) -> torch.device:
        """Device of the model, of its inputs and of cached features."""
        return self.model.device

    def __call__(
        self,
        *images: AnyImage,
        task: str = Task.COMMON_PARTS,
        question: str | None = None,
    ) -> VisualAnswer:
        """Answer one question about some images, usually two.

        Args:
            images: files, images of Pillow or arrays; EXIF orientation is not applied.
            task: `common_object`, `common_parts` or `unique_parts`.
            question: asked instead of the task's first wording.

        Returns:
            The answer with its masks and the images.

        Raises:
            InputError: an image cannot be read or decoded, or there are more images than the model
                has tags for.
            UsageError: there is no such task.
        """
        asked = task_question(task, len(images)) if question is None else question
        shown = tuple(rgb_image(image) for image in images)
        (prediction,) = self.predict([Query("prediction", asked, shown)])
        return VisualAnswer(prediction, asked, shown, self.synthetic)

    def configure(self, generation: Mapping[str, Any]) -> None:
        """Change options of generation, by the names of `GenerationConfig`.

        Raises:
            UsageError: unknown names, or values that cannot work.
        """
        self.config = override(self.config, {"generation": generation}, "of the generation")

    def use_cache(self, cache: FeatureCache) -> None:
        """Store features of images on disk; answers do not change.

        Raises:
            UsageError: a device map offloads the encoders.
        """
        # Entries are named by a digest of the encoders' weights, which would have to be in memory.
        if any(weight.is_meta for weight in self.model.encoders.parameters()):
            raise UsageError(
                "a feature cache needs the encoders in memory, and the device map offloads them",
                "Leave out --feature-cache, or put encoders on a device.",
            )
        self.encoder = FeatureEncoder(
            self.model.encoders, self.processor, self.config.execution, cache
        )

    def predict_rows(
        self, rows: Iterable[Mapping[str, Any]], batch_size: int | None = None
    ) -> Iterator[Prediction]:
        """Answer rows of `pairs` joined with images, as `mixedparts.load_dataset` gives them.

        Args:
            rows: mappings with `id`, `question`, `source`, `split`, and `images` that hold
                `pixels`.
            batch_size: samples decoded at once; the configuration's by default.

        Yields:
            One prediction a row.

        Raises:
            InputError: a row lacks a key, or has more images than the model has tags for.
        """
        yield from self.predict((row_query(row) for row in rows), batch_size)

    def predict(
        self, queries: Iterable[Query], batch_size: int | None = None
    ) -> Iterator[Prediction]:
        """Answer queries in batches, in their order.

        Raises:
            InputError: a query has more images than the model has tags for.
        """
        size = batch_size or self.config.generation.batch_size
        iterator = iter(queries)
        # A worker process that prepares the queries may be lost at any time.
        with lost_workers_reported():
            while batch := list(islice(iterator, size)):
                yield from self._answer_all(batch)

    def prepared(
        self, make: Callable[[AnyTask], Query], tasks: Iterable[AnyTask]
    ) -> Iterator[Query]:
        """Yield queries whose images worker processes read, decode and resize ahead.

        There are `training.loader_workers` of them; without any, queries are made here.

        Args:
            make: returns the query of a task.
            tasks: in the order of the queries.

        Yields:
            The queries.
        """
        if not self.config.training.loader_workers:
            yield from map(make, tasks)
            return
        compute = partial(_prepared_query, make, self.encoder.preparer)
        yield from self.ahead(compute, tasks, self.config.prompt.max_images)

    def ahead(
        self, compute: Callable[[AnyTask], Result], tasks: Iterable[AnyTask], images: int
    ) -> Iterator[Result]:
        """Yield results in the order of their tasks, computed by `training.loader_workers`.

        Args:
            compute: runs in the worker processes, or here if there are none.
            tasks: in order.
            images: greatest number of prepared images in a result, for the bound of memory.

        Yields:
            The results.
        """
        chosen = self.config.training
        held = affordable(chosen.loader_images, self.processor.image_bytes)
        return in_order(compute, tasks, chosen.loader_workers, max(1, held // images))

    def _answer_all(self, batch: Sequence[Query]) -> Iterator[Prediction]:
        """Answer a batch; queries with different numbers of images are computed separately."""
        # Runs of neighbours, not groups of the whole batch: answers come in the order of queries.
        start = 0
        while start < len(batch):
            images = len(batch[start].images)
            stop = start
            while stop < len(batch) and len(batch[stop].images) == images:
                stop += 1
            yield from self._answer(batch[start:stop], images)
            start = stop

    @torch.inference_mode()
    def _answer(self, batch: Sequence[Query], images: int) -> Iterator[Prediction]:
        """Answer queries that all have the same number of images."""
        if not 1 <= images <= self.config.prompt.max_images:
            raise InputError(
                f"a query has {images} images, the model takes 1 to "
                f"{self.config.prompt.max_images}",
                "Train one with more tags: prompt.max_images in the configuration.",
            )
        # All prompts are answered together, then all [SEG] of their answers are decoded together.
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
            # Each [SEG] token is one entry of its reading, in the order of the hidden states. The
            # text decides what is drawn and on which image: it also knows malformed tags, which
            # the tag ids alone do not show.
            drawn = [drawn_marks(reading, chosen.max_masks) for reading in readings]
            marks = [mark for row_marks in drawn for mark in row_marks]
            selected = [mark is not None for mark in marks]
            image_numbers = [mark.image for mark in marks if mark is not None]
            segments = generated.segments(self.model, images).select(
                torch.tensor(selected, dtype=torch.bool, device=self.device)
            )
            segments = segments.bind(
                torch.tensor(image_numbers, dtype=torch.int64, device=self.device)
            )
            logits = self.model.decode_masks_in_parts(segments, features.sam, images)
        for row, (query, reading) in enumerate(zip(batch, readings, strict=True)):
            row_marks = [mark for mark in drawn[row] if mark is not None]
            masks = self._segments(row_marks, logits[segments.sample == row], query)
            finished = bool(generated.finished[row])
            prediction = counted_prediction(query.id, reading, masks, chosen.max_masks, finished)
            self.outcomes.count(prediction)
            yield replace(prediction, synthetic=self.synthetic)

    def _read(self, tokens: list[int], images: int) -> Reading:
        seg, untagged = self.model.ids.segments.seg, self.config.prompt.untagged
        return parse_generated(self.tokenizer, tokens, seg, images, untagged)

    def _segments(self, marks: Sequence[Mark], logits: Tensor, query: Query) -> tuple[Segment, ...]:
        """Resize the masks (M, g, g) of one answer to original size and add their labels."""
        # Image by image, because masks of one size are resized together; the result is in the
        # order of the text again.
        segments: list[Segment | None] = [None] * len(marks)
        for number, image in enumerate(query.images):
            places = [place for place, mark in enumerate(marks) if mark.image == number]
            own = logits[places]
            masks = self.processor.original_masks(own, image.height, image.width)
            for place, mask, score in zip(places, masks, mask_scores(own), strict=True):
                segments[place] = Segment(marks[place].label, number, mask, score)
        return tuple(segment for segment in segments if segment is not None)

    def _encode(self, batch: Sequence[Query]) -> ImageFeatures:
        """Return the features of all images of a batch, encoding each image once."""
        wanted: list[str] = []
        uncached: dict[str, PreparedImages | Image.Image] = {}
        for number, query in enumerate(batch):
            for place, image in enumerate(query.images):
                # A key that begins with a zero byte is of this batch only: no named image has it.
                key = query.keys[place] if query.keys else f"\0{number}.{place}"
                wanted.append(key)
                if key not in self._features:
                    uncached[key] = image if query.prepared is None else query.prepared[place]
        if uncached:
            encoded = self.encoder.finish(map(self._prepared, uncached.values()))
            for row, key in enumerate(uncached):
                index = torch.tensor([row], device=self.device)
                self._features[key] = encoded.select(index).to(self.device, torch.float32)
        parts = [self._features[key] for key in wanted]
        features = ImageFeatures(
            torch.cat([part.vision for part in parts]),
            torch.cat([part.semantic for part in parts]),
            torch.cat([part.sam for part in parts]),
        )
        for key in [key for key in uncached if key.startswith("\0")]:
            del self._features[key]
        # Evicted after the batch was joined, so that a batch larger than the cache still works.
        size = sum(cached.nbytes for cached in self._features.values())
        while size > _CACHED_BYTES:
            size -= self._features.popitem(last=False)[1].nbytes
        return features

    def _prepared(self, image: PreparedImages | Image.Image) -> PreparedImages:
        """Return an image prepared for the encoders, by a worker process or here."""
        if isinstance(image, PreparedImages):
            return image
        return self.encoder.preparer.prepare([image_request(image)])


def _prepared_query(
    make: Callable[[AnyTask], Query], preparer: ImagePreparer, task: AnyTask
) -> Query:
    return make(task).with_prepared(preparer)
