"""Questions, prompts and training batches for a model of micro size."""

from __future__ import annotations

import re
from collections.abc import Sequence

import cv2
import numpy as np
import torch

from calico.model.inputs import TrainingBatch
from calico.model.original_masks import OriginalMasks
from calico.processing.prompts import PromptEncoder
from tests.factories.micro_model import (
    micro_config,
    micro_tokenizer,
    random_features,
)

QUESTIONS = (
    "Which object do both pictures contain?",
    "What parts are shared by the objects in these pictures?",
    "Name the object that the pictures share and mark it in both.",
)


ANSWER = "Both pictures contain <p> a mug </p> [SEG] (IMAGE1) [SEG] (IMAGE2)."


def encoder() -> PromptEncoder:
    config = micro_config()
    return PromptEncoder(micro_tokenizer(), config.prompt, config.qformer.queries)


def training_batch(config, answers: tuple[str, ...] = (ANSWER,), seed: int = 0) -> TrainingBatch:
    prompts = encoder()
    encoded = [prompts.sample(QUESTIONS[0], answer, 2) for answer in answers]
    tokens, answer = prompts.collate(encoded)
    grid = config.sam.mask_size
    count = sum(text.count("[SEG]") for text in answers)
    noise = torch.Generator().manual_seed(seed)
    masks = torch.rand(count, grid, grid, generator=noise) > 0.6
    originals = None
    if config.loss.resolution == "original":
        originals = originals_of(masks, config.sam.image_size)
        masks = torch.zeros(count, 0, 0)
    return TrainingBatch(
        tokens=tokens,
        answer=answer,
        features=random_features(2 * len(answers), config, seed),
        images=2,
        masks=masks.float(),
        mask_image=mask_images(answers),
        extents=torch.tensor([[grid, grid - 3]] * (2 * len(answers))),
        originals=originals,
    )


def originals_of(masks: torch.Tensor, square: int) -> OriginalMasks:
    """Return masks (M, g, g) as of images of another size for each, wider than high."""
    sizes = [(square - 5, square + 3 * number) for number in range(len(masks))]
    dense = [
        cv2.resize(mask.numpy().astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST)
        for mask, size in zip(masks, sizes, strict=True)
    ]
    inner = [(max(1, round(square * rows / max(rows, columns))), square) for rows, columns in sizes]
    return OriginalMasks.of(dense, inner, square)


def mask_images(answers: Sequence[str], images: int = 2) -> torch.Tensor:
    """Return (M,) which image of a batch the tag of each [SEG] names; the first without a tag."""
    tags = [re.findall(r"\[SEG\](?: \(IMAGE(\d)\))?", answer) for answer in answers]
    rows = [row * images + int(tag or 1) - 1 for row, found in enumerate(tags) for tag in found]
    return torch.tensor(rows, dtype=torch.int64)
