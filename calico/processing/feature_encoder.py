"""Pictures into features of the frozen encoders, one picture at a time, through a cache or not.

One at a time, because a matrix product may round differently in a larger batch: the features of a
picture must not depend on its neighbours, nor on what a cache held already.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor, nn

from calico.config.calico import ExecutionConfig
from calico.dataset.images import ImageTable
from calico.dataset.views import View
from calico.model.precision import arithmetic
from calico.model.vision import ImageEncoders, ImageFeatures, ImageInputs
from calico.processing.feature_cache import FeatureCache, entry_key
from calico.processing.images import ImageProcessor, Pixels, open_picture

PARTS = ("vision", "semantic", "sam")


def weights_digest(module: nn.Module) -> str:
    """Return a digest of all weights and buffers by name."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name}{value.dtype}{tuple(value.shape)}".encode())
        plain = value.detach().cpu().contiguous().reshape(-1)
        digest.update(plain.view(torch.uint8).numpy())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Wanted:
    """A picture whose features are asked for.

    Attributes:
        digest: of its content; equal only for equal pictures.
        mirrored: left to right.
        pixels: makes the resized picture, called only where something must be encoded.
        kept: may be asked for again, so that its features are worth their place in a cache.
    """

    digest: str
    mirrored: bool
    pixels: Callable[[], Pixels]
    kept: bool = True


class FeatureEncoder:
    """The frozen encoders of a model with their cache.

    Args:
        encoders: in evaluation mode; their weights must not change any more.
        processor: resizes and normalises.
        execution: arithmetic; features are kept in its precision.
        cache: None encodes every picture anew.
    """

    def __init__(
        self,
        encoders: ImageEncoders,
        processor: ImageProcessor,
        execution: ExecutionConfig,
        cache: FeatureCache | None = None,
    ) -> None:
        self.encoders = encoders
        self.processor = processor
        self.execution = execution
        self.cache = cache
        self._facts = {part: self._described(part) for part in PARTS} if cache else {}

    def key(self, part: str, wanted: Wanted) -> str:
        """Return the key of one encoder's features of a picture."""
        picture = {"picture": wanted.digest, "mirrored": wanted.mirrored}
        return entry_key({**self._facts[part], **picture})

    def encode(self, wanted: Sequence[Wanted]) -> ImageFeatures:
        """Return the features of pictures in float32; bf16 arithmetic has rounded them to bf16."""
        columns: dict[str, list[Tensor]] = {part: [] for part in PARTS}
        for one in wanted:
            for part, features in self._picture(one).items():
                columns[part].append(features)
        return ImageFeatures(
            **{part: torch.stack(column).float() for part, column in columns.items()}
        )

    @torch.inference_mode()
    def _picture(self, wanted: Wanted) -> dict[str, Tensor]:
        """Return the features of one picture by encoder, each without the batch dimension."""
        found: dict[str, Tensor] = {}
        inputs: ImageInputs | None = None
        device = next(self.encoders.parameters()).device
        cache = self.cache if wanted.kept else None
        for part in PARTS:
            cached = None if cache is None else cache.get(self.key(part, wanted))
            if cached is not None:
                found[part] = cached.to(device)
                continue
            if inputs is None:
                pixels = wanted.pixels()
                shown = pixels.flipped() if wanted.mirrored else pixels
                inputs = self.processor.inputs([shown]).to(device, torch.float32)
            with arithmetic(self.execution, device):
                features = self.encoders.encode_part(part, inputs)[0]
            exact = self.execution.precision == "fp32"
            found[part] = features if exact else features.to(torch.bfloat16)
            if cache is not None:
                cache.put(self.key(part, wanted), found[part])
        return found

    def _described(self, part: str) -> dict[str, object]:
        """Return what the features of one encoder depend on, but for the picture."""
        encoder = getattr(self.encoders, part)
        leading = self.encoders.leading
        return {
            "format": 1,
            "encoder": part,
            "weights": weights_digest(encoder) if encoder is not None else "none",
            "tokens": [leading.start, leading.stop] if part == "semantic" else [],
            "processing": self.processor.part_description(part),
            "arithmetic": [self.execution.precision, self.execution.attention],
        }


@dataclass(frozen=True)
class TableFeatures:
    """Features of the pictures of one images table, encoded or read when a step asks for them."""

    encoder: FeatureEncoder
    table: ImageTable

    def read(self, images: Sequence[tuple[int, View]]) -> ImageFeatures:
        """Return features of images, each a row and how it is shown."""
        return self.encoder.encode([self._wanted(row, view) for row, view in images])

    def _wanted(self, row: int, view: View) -> Wanted:
        def pixels() -> Pixels:
            name = f"in row {row} of the images table"
            picture = view.picture(open_picture(self.table.read(row), name))
            return self.encoder.processor.pixels(picture)

        return Wanted(f"file:{self.table.digest(row)}", view.mirrored, pixels, view.whole)


def image_wanted(picture: Image.Image, processor: ImageProcessor) -> Wanted:
    """Return a request for an RGB picture in memory, known by its pixels."""
    digest = hashlib.sha256(f"{picture.size}".encode())
    digest.update(picture.tobytes())
    return Wanted(f"pixels:{digest.hexdigest()}", False, lambda: processor.pixels(picture))
