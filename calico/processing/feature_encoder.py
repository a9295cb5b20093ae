"""Features of images from the frozen encoders, computed one image at a time or read from a cache.

One at a time, because a matrix product may round differently in a larger batch. The features of an
image must depend neither on the other images of a step nor on what is in the cache, or a resumed
run would differ from an uninterrupted one.
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
from calico.processing.images import ImageProcessor, Pixels, open_image

PARTS = ("vision", "semantic", "sam")


def weights_digest(module: nn.Module) -> str:
    """Return the SHA-256 of all weights and buffers with their names, in hexadecimal."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name}{value.dtype}{tuple(value.shape)}".encode())
        plain = value.detach().cpu().contiguous().reshape(-1)
        digest.update(plain.view(torch.uint8).numpy())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class FeatureRequest:
    """An image whose features are needed.

    Attributes:
        digest: of its content; equal only for equal images.
        mirrored: whether left and right are exchanged.
        pixels: returns the resized image; called only if an encoder must run.
        cacheable: whether the same request can come again, so that a cache should store features.
    """

    digest: str
    mirrored: bool
    pixels: Callable[[], Pixels]
    cacheable: bool = True


class FeatureEncoder:
    """The frozen encoders of a model with their cache.

    Args:
        encoders: in evaluation mode; their weights must not change any more.
        processor: resizes and normalises images.
        execution: precision and attention; features are stored in its precision.
        cache: None encodes every image again.
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
        # Digesting the weights takes seconds for large encoders, so it is done once, and only for a
        # cache. This is why the weights must not change afterwards.
        self._descriptions = {part: self._description(part) for part in PARTS} if cache else {}

    def key(self, part: str, request: FeatureRequest) -> str:
        """Return the cache key of one encoder's features of an image."""
        # The names "picture" and "mirrored" are hashed too: other names would miss every entry.
        image = {"picture": request.digest, "mirrored": request.mirrored}
        return entry_key({**self._descriptions[part], **image})

    def encode(self, requests: Sequence[FeatureRequest]) -> ImageFeatures:
        """Return the features of N images, float32; bf16 arithmetic has rounded them to bf16."""
        columns: dict[str, list[Tensor]] = {part: [] for part in PARTS}
        for request in requests:
            for part, features in self._image(request).items():
                columns[part].append(features)
        return ImageFeatures(
            **{part: torch.stack(column).float() for part, column in columns.items()}
        )

    @torch.inference_mode()
    def _image(self, request: FeatureRequest) -> dict[str, Tensor]:
        """Return the features of one image by encoder, each without the batch dimension."""
        by_part: dict[str, Tensor] = {}
        inputs: ImageInputs | None = None
        device = next(self.encoders.parameters()).device
        cache = self.cache if request.cacheable else None
        for part in PARTS:
            cached = None if cache is None else cache.get(self.key(part, request))
            if cached is not None:
                by_part[part] = cached.to(device)
                continue
            # The image is decoded and resized once for all encoders, and not at all on a full hit.
            if inputs is None:
                pixels = request.pixels()
                shown = pixels.flipped() if request.mirrored else pixels
                inputs = self.processor.inputs([shown]).to(device, torch.float32)
            with arithmetic(self.execution, device):
                features = self.encoders.encode_part(part, inputs)[0]
            # Rounded before they are used, not only before they are stored: the values are then the
            # same whether they come from the encoder or from the cache.
            exact = self.execution.precision == "fp32"
            by_part[part] = features if exact else features.to(torch.bfloat16)
            if cache is not None:
                cache.put(self.key(part, request), by_part[part])
        return by_part

    def _description(self, part: str) -> dict[str, object]:
        """Return what the features of one encoder depend on besides the image."""
        encoder = getattr(self.encoders, part)
        leading = self.encoders.leading
        # Every value that changes features belongs here. Batch size and device are left out: images
        # are encoded one by one, and a cache may be moved between machines.
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
    """Features of the images of one images table, encoded or read when a step asks for them.

    Attributes:
        encoder: of the model, with its cache.
        table: images of one split.
    """

    encoder: FeatureEncoder
    table: ImageTable

    def read(self, images: Sequence[tuple[int, View]]) -> ImageFeatures:
        """Return features of images, each given by its row in the table and its view."""
        return self.encoder.encode([self._request(row, view) for row, view in images])

    def _request(self, row: int, view: View) -> FeatureRequest:
        def pixels() -> Pixels:
            name = f"in row {row} of the images table"
            image = view.crop_and_tint(open_image(self.table.read(row), name))
            return self.encoder.processor.pixels(image)

        # A random crop or tint never comes again. It must not be stored under this key either, as
        # the key knows the file and the mirroring only.
        return FeatureRequest(f"file:{self.table.digest(row)}", view.mirrored, pixels, view.whole)


def image_request(image: Image.Image, processor: ImageProcessor) -> FeatureRequest:
    """Return a request for an RGB image in memory, identified by its pixels."""
    # The size too: a 2 x 8 and an 8 x 2 image can have the same bytes.
    digest = hashlib.sha256(f"{image.size}".encode())
    digest.update(image.tobytes())
    return FeatureRequest(f"pixels:{digest.hexdigest()}", False, lambda: processor.pixels(image))
