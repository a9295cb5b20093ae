"""Features of images from the frozen encoders, computed in batches or read from a cache.

The features of an image must depend neither on the other images of a step nor on what is in the
cache, or a resumed run would differ from an uninterrupted one. A matrix product may round
differently in a larger batch. A batch therefore always has the same size, the last one is filled
up, and before anything else an encoder has to give the same bits for an image at another place
among other images. One that does not encodes one image at a time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor, nn

from calico.config.calico import ExecutionConfig
from calico.dataset.images import ImageTable
from calico.dataset.views import View
from calico.model.precision import arithmetic
from calico.model.vision import ImageEncoders, ImageFeatures, ImageInputs, OffsetPositions
from calico.processing.encoding_batches import PendingImages, batch_sizes, uploaded
from calico.processing.feature_cache import FeatureCache
from calico.processing.images import PARTS, ImageProcessor, open_image
from calico.processing.normalisation import normalised
from calico.processing.prepared import (
    Allocate,
    FeatureRequest,
    ImagePreparer,
    PreparedImages,
    image_request,
)

__all__ = ["PARTS", "FeatureEncoder", "FeatureRequest", "TableFeatures", "image_request"]
_PIECE = 8  # images that are prepared at once where no worker process prepares them


def weights_digest(module: nn.Module) -> str:
    """Return the SHA-256 of all weights and buffers with their names, in hexadecimal."""
    digest = hashlib.sha256()
    # Features that were stored before the position table was resized with the offset are others.
    if any(isinstance(one, OffsetPositions) for one in module.modules()):
        digest.update(b"position offset 0.1")
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name}{value.dtype}{tuple(value.shape)}".encode())
        plain = value.detach().cpu().contiguous().reshape(-1)
        digest.update(plain.view(torch.uint8).numpy())
    return digest.hexdigest()


class FeatureEncoder:
    """The frozen encoders of a model with their cache.

    Args:
        encoders: in evaluation mode, on their device; their weights must not change any more.
        processor: resizes and normalises images.
        execution: precision, attention and batch sizes; features are stored in its precision.
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
        wanted = batch_sizes(encoders, processor, execution, self.device)
        self.batches = {
            part: size if size == 1 or self._steady(part, size) else 1
            for part, size in wanted.items()
        }
        # Digesting the weights takes seconds for large encoders, so it is done once, and only for a
        # cache. This is why the weights must not change afterwards.
        descriptions = {part: self._description(part) for part in PARTS} if cache else {}
        self.preparer = ImagePreparer(processor, cache, descriptions)

    @property
    def device(self) -> torch.device:
        """Device of the encoders, on which features are returned."""
        return self.encoders.device

    def key(self, part: str, request: FeatureRequest) -> str:
        """Return the cache key of one encoder's features of an image."""
        return self.preparer.key(part, request)

    def encode(self, requests: Sequence[FeatureRequest]) -> ImageFeatures:
        """Return the features of N images, float32; bf16 arithmetic has rounded them to bf16."""
        starts = range(0, len(requests), _PIECE)
        pieces = (self.preparer.prepare(requests[start : start + _PIECE]) for start in starts)
        return self.finish(pieces).to(self.device, torch.float32)

    def finish(self, pieces: Iterable[PreparedImages]) -> ImageFeatures:
        """Return the features of images that were prepared, maybe by other processes.

        Args:
            pieces: of all images, in their order; the next one is asked for while the device
                encodes.

        Returns:
            Features of all images on the device of the encoders, rounded to bf16 by bf16
            arithmetic, in this precision.
        """
        pending = {part: PendingImages(self.batches[part]) for part in PARTS}
        rows: dict[str, dict[int, Tensor]] = {part: {} for part in PARTS}
        first = 0
        for piece in uploaded(pieces, self.device):
            for part, own in piece.parts.items():
                for place, features in zip(own.found, _rows(own.features), strict=True):
                    rows[part][first + place] = features
                pending[part].add(own, first)
                self._encode(part, pending[part], rows[part])
                pending[part].detach()
            first += piece.count
        for part in PARTS:
            self._encode(part, pending[part], rows[part], rest=True)
        # Stored after all batches were sent to the device: it computes while files are written.
        if self.cache is not None:
            for part in PARTS:
                for place, key in pending[part].keys.items():
                    self.cache.put(key, rows[part][place])
        return ImageFeatures(
            **{part: torch.stack([rows[part][row] for row in range(first)]) for part in PARTS}
        )

    def _encode(
        self, part: str, pending: PendingImages, rows: dict[int, Tensor], rest: bool = False
    ) -> None:
        """Encode the pending images in whole batches and put their features into `rows`.

        Args:
            part: the encoder.
            pending: its images.
            rows: features by place of the image.
            rest: fill up and encode the last batch too.
        """
        for places, pixels, inner in pending.batches(rest):
            features = self._features(part, pixels, inner)
            rows.update(zip(places, features, strict=False))

    @torch.inference_mode()
    def _features(self, part: str, pixels: Tensor, inner: Sequence[tuple[int, int]]) -> Tensor:
        """Return the features of a batch (n, side, side, 3) uint8, rounded as they are stored."""
        values = normalised(part, pixels, inner)
        with arithmetic(self.execution, pixels.device):
            # `encode_part` reads the input of its own encoder only.
            features = self.encoders.encode_part(part, ImageInputs(values, values, values))
        # Rounded before they are used, not only before they are stored: the values are then the
        # same whether they come from the encoder or from the cache.
        return features.float() if self._exact else features.to(torch.bfloat16)

    @property
    def _exact(self) -> bool:
        return self.execution.precision == "fp32"

    def _steady(self, part: str, size: int) -> bool:
        """Return whether an image has the same features at any place of a batch."""
        if getattr(self.encoders, part) is None:
            return True
        side = self.processor.shown(part, 1, 1)[0]
        noise = torch.Generator().manual_seed(0)
        pixels = torch.randint(0, 256, (size, side, side, 3), dtype=torch.uint8, generator=noise)
        inner = [(side, side)] * size
        plain = self._features(part, pixels.to(self.device), inner)
        for shift in {1, size // 2}:
            moved = self._features(part, pixels.roll(shift, 0).to(self.device), inner)
            if not torch.equal(moved.roll(-shift, 0), plain):
                return False
        return True

    def _description(self, part: str) -> dict[str, object]:
        """Return what the features of one encoder depend on besides the image."""
        encoder = getattr(self.encoders, part)
        leading = self.encoders.leading
        computed: list[object] = [self.execution.precision, self.execution.attention]
        # The last bit may depend on the size of a batch. The keys of images that were encoded one
        # at a time are those of caches from before there were batches.
        if self.batches[part] > 1:
            computed.append({"batch": self.batches[part]})
        # Every value that changes features belongs here. The device is left out: a cache may be
        # moved between machines.
        return {
            "format": 1,
            "encoder": part,
            "weights": weights_digest(encoder) if encoder is not None else "none",
            "tokens": [leading.start, leading.stop] if part == "semantic" else [],
            "processing": self.processor.part_description(part),
            "arithmetic": computed,
        }


def _rows(features: Tensor | None) -> Iterable[Tensor]:
    return () if features is None else features


@dataclass(frozen=True)
class TableImages:
    """Prepares images of one images table, in any process.

    Attributes:
        preparer: reads stored features, or decodes and resizes.
        table: images of one split.
    """

    preparer: ImagePreparer
    table: ImageTable

    def prepare(
        self, images: Sequence[tuple[int, View]], allocate: Allocate | None = None
    ) -> PreparedImages:
        """Prepare images, each given by its row in the table and its view."""
        requests = [self._request(row, view) for row, view in images]
        return self.preparer.prepare(requests, allocate)

    def _request(self, row: int, view: View) -> FeatureRequest:
        def image() -> Image.Image:
            name = f"in row {row} of the images table"
            return view.crop_and_tint(open_image(self.table.read(row), name))

        # A random crop or tint never comes again. It must not be stored under this key either, as
        # the key knows the file and the mirroring only.
        cached = tuple(part for part in PARTS if view.whole_for(part))
        digest = f"file:{self.table.digest(row)}"
        return FeatureRequest(digest, view.mirrored, image, cached, view.global_box)


@dataclass(frozen=True)
class TableFeatures:
    """Features of the images of one images table, encoded or read when a step asks for them.

    Attributes:
        encoder: of the model, with its cache.
        table: images of one split.
    """

    encoder: FeatureEncoder
    table: ImageTable

    @property
    def source(self) -> TableImages:
        """What prepares the images, here or in a worker process."""
        return TableImages(self.encoder.preparer, self.table)

    def finish(self, pieces: Iterable[PreparedImages]) -> ImageFeatures:
        """Return the features of prepared images, as `FeatureEncoder.finish`."""
        return self.encoder.finish(pieces)

    def read(self, images: Sequence[tuple[int, View]]) -> ImageFeatures:
        """Return features of images, each given by its row in the table and its view."""
        # An image that is asked for twice is prepared and encoded once.
        once = list(dict.fromkeys(images))
        source = self.source
        starts = range(0, len(once), _PIECE)
        pieces = (source.prepare(once[start : start + _PIECE]) for start in starts)
        place = {image: number for number, image in enumerate(once)}
        index = torch.tensor([place[image] for image in images], device=self.encoder.device)
        return self.finish(pieces).select(index).to(self.encoder.device, torch.float32)
