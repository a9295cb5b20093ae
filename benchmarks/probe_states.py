"""The frozen states of a trained CALICO, stage by stage, from which `benchmarks.part_probe` reads.

From the pixels to the answer:

    global features, semantic features: tokens of the encoders
    extracted features: the CEM's result (equation 6)
    image tokens: the projected Q-Former output (equations 1 and 2)
    states at the image: of the language model's last layer, at the image tokens
    state at the prompt's end: at the last prompt token, which conditions the CAMs (equation 7)
    state at the answer: the one that predicts the first name of a part, after the sentence that
        names the objects
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from benchmarks.other_image import Asked, Shown, right_answer
from calico.checkpoints.save_load import load_checkpoint
from calico.config.calico import CalicoConfig
from calico.config.yaml_io import read_config
from calico.dataset.images import ImageTable
from calico.dataset.pairs import BuiltDataset
from calico.dataset.views import View
from calico.model.assembly import ImageParts, build_image_parts
from calico.model.calico import Calico
from calico.model.vision import ImageFeatures
from calico.pretraining.encoder_files import WEIGHTS, load_encoders
from calico.processing.feature_encoder import FeatureEncoder, TableFeatures
from calico.processing.images import ImageProcessor
from calico.processing.prompts import PromptEncoder

Item = TypeVar("Item")

BY_IMAGE = ("global features", "semantic features", "extracted features", "image tokens")
BY_PAIR = ("states at the image", "state at the prompt's end", "state at the answer")


@dataclass(frozen=True, slots=True)
class Language:
    """The whole of a trained model, for the states of pairs.

    Attributes:
        model: in evaluation mode.
        prompts: writes token ids.
    """

    model: Calico
    prompts: PromptEncoder


@dataclass(frozen=True, slots=True)
class Probed:
    """A model whose states are read.

    Attributes:
        parts: encoders and projector, in evaluation mode.
        config: of the model.
        language: None for pretrained encoders, before a model is trained on them.
    """

    parts: Calico | ImageParts
    config: CalicoConfig
    language: Language | None

    @classmethod
    def of(cls, folder: Path) -> Probed:
        """Load a checkpoint, or a folder of pretrained encoders."""
        if (folder / WEIGHTS).is_file():
            config = read_config(folder / "config.yaml")
            parts = build_image_parts(config)
            load_encoders(parts, config, folder)
            for module in (parts.encoders, parts.bridge):
                module.eval()
            return cls(parts, config, None)
        model, config, tokenizer = load_checkpoint(folder)
        prompts = PromptEncoder(tokenizer, config.prompt, config.image_tokens)
        return cls(model.eval(), config, Language(model, prompts))


class ImageReader:
    """Reads features of images of a build, which stay in memory in half precision.

    Args:
        probed: the model, whose encoders are used.
        dataset: the build.
    """

    def __init__(self, probed: Probed, dataset: BuiltDataset) -> None:
        processor = ImageProcessor(probed.config)
        self._encoder = FeatureEncoder(probed.parts.encoders, processor, probed.config.execution)
        self._dataset = dataset
        self._tables: dict[str, ImageTable] = {}
        self._known: dict[str, ImageFeatures] = {}

    def read(self, images: Sequence[Shown]) -> ImageFeatures:
        """Return the features of some images, in float32."""
        new = {image.key: image for image in images if image.key not in self._known}
        for split in {image.split for image in new.values()}:
            self._encode(split, [image for image in new.values() if image.split == split])
        found = [self._known[image.key] for image in images]
        return ImageFeatures(
            *(
                torch.cat([getattr(one, name) for one in found]).float()
                for name in ("vision", "semantic", "sam")
            )
        )

    def _encode(self, split: str, images: Sequence[Shown]) -> None:
        if split not in self._tables:
            self._tables[split] = self._dataset.images(split)
        source = TableFeatures(self._encoder, self._tables[split])
        for part in _parts(images, 32):
            found = source.read([(image.row, View()) for image in part])
            vision, semantic = found.vision.half(), found.semantic.half()
            # Masks are not decoded here, and SAM's embedding is the largest of the three.
            none = found.sam.new_zeros(1, 0)
            for at, image in enumerate(part):
                one = slice(at, at + 1)
                self._known[image.key] = ImageFeatures(vision[one], semantic[one], none)


@torch.inference_mode()
def image_states(
    probed: Probed, reader: ImageReader, images: Sequence[Shown], size: int = 64
) -> dict[str, Tensor]:
    """Return the states of single images by stage of `BY_IMAGE`, each (N, tokens, width)."""
    found: dict[str, list[Tensor]] = {name: [] for name in BY_IMAGE}
    correspondence = probed.language and probed.language.model.correspondence
    extraction = correspondence and correspondence.extraction
    for part in _parts(images, size):
        features = reader.read(part)
        found["global features"].append(features.vision)
        if features.semantic.numel():
            found["semantic features"].append(features.semantic)
        if extraction is not None:
            extracted = extraction(features.vision, features.semantic)
            found["extracted features"].append(extracted)
        found["image tokens"].append(probed.parts.bridge(features.vision))
    return {name: torch.cat(states) for name, states in found.items() if states}


@torch.inference_mode()
def pair_states(
    probed: Probed, reader: ImageReader, asked: Sequence[Asked], size: int = 32
) -> dict[str, Tensor]:
    """Return the states of questions by stage of `BY_PAIR`.

    Returns:
        States at the image (N, 2, tokens, D), the others (N, 1, D); nothing without a language
        model.
    """
    if probed.language is None:
        return {}
    found: dict[str, list[Tensor]] = {name: [] for name in BY_PAIR}
    model, prompts = probed.language.model, probed.language.prompts
    for part in _parts(asked, size):
        encoded = [prompts.sample(one.question, right_answer(one), 2) for one in part]
        tokens, answers = prompts.collate(encoded)
        last = answers.int().argmax(1) - 1
        features = reader.read([image for one in part for image in one.images])
        questions = [one.question for one in part]
        hidden = model.hidden_states(tokens, features, 2, last, questions=questions)
        rows = torch.arange(len(part))
        places = (tokens == model.ids.image).nonzero()[:, 1].view(len(part), 2, -1)
        at_images = hidden[rows[:, None, None], places]
        found["states at the image"].append(at_images)
        found["state at the prompt's end"].append(hidden[rows, last][:, None])
        named = [_first_name(one, prompts) for one in part]
        found["state at the answer"].append(hidden[rows, last + torch.tensor(named)][:, None])
    return {name: torch.cat(states) for name, states in found.items()}


def _first_name(one: Asked, prompts: PromptEncoder) -> int:
    """Return how many tokens of the answer come before the first word of its first part."""
    text = right_answer(one)
    # The objects have a sentence of their own, before the parts. Every name follows an article.
    begin = text.index("<p> the ", text.index(". ")) + len("<p> the")
    before = prompts.tokenizer(text[:begin], add_special_tokens=False).input_ids
    return len(before)


def _parts(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
