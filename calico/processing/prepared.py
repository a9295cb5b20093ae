"""Images as far as a worker process prepares them: stored features, or 8-bit pixels to encode.

Pixels travel as uint8, a quarter of the bytes of float32, and are normalised on the device of the
encoders. All images of a piece share one tensor an encoder: a tensor of its own for every image
would need a file descriptor each on its way from a worker process.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from PIL import Image
from torch import Tensor

from calico.dataset.views import Box
from calico.processing.feature_cache import FeatureCache, entry_key
from calico.processing.images import PARTS, ImageProcessor

Allocate = Callable[[tuple[int, ...]], Tensor]  # returns memory of a shape, uint8


@dataclass(frozen=True, slots=True)
class FeatureRequest:
    """An image whose features are needed.

    Attributes:
        digest: of its content; equal only for equal images.
        mirrored: whether left and right are exchanged.
        image: returns the image as it is shown, not mirrored yet; called only if an encoder must
            run.
        cached: encoders for which the same request can come again, so that a cache should store
            their features.
        global_box: what the global encoder sees of the image, None for all.
    """

    digest: str
    mirrored: bool
    image: Callable[[], Image.Image]
    cached: tuple[str, ...] = PARTS
    global_box: Box | None = None


def image_request(image: Image.Image, processor: ImageProcessor | None = None) -> FeatureRequest:
    """Return a request for an RGB image in memory, identified by its pixels; not by `processor`."""
    # The size too: a 2 x 8 and an 8 x 2 image can have the same bytes.
    digest = hashlib.sha256(f"{image.size}".encode())
    digest.update(image.tobytes())
    return FeatureRequest(f"pixels:{digest.hexdigest()}", False, lambda: image)


@dataclass(frozen=True, slots=True)
class PartPiece:
    """What one encoder needs of the images of a piece.

    Attributes:
        found: places in the piece of the images whose features were stored.
        features: (found, …) as they were stored; None if there are none.
        missing: places of the images to encode.
        pixels: (missing, side, side, 3) uint8 RGB; None if there are none.
        inner: rows and columns of each of these that are not padding.
        keys: under which a cache stores the features of each of these; None: not stored.
    """

    found: tuple[int, ...]
    features: Tensor | None
    missing: tuple[int, ...]
    pixels: Tensor | None
    inner: tuple[tuple[int, int], ...]
    keys: tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class PreparedImages:
    """A piece of the images of a batch.

    Attributes:
        count: number of images.
        parts: what each encoder needs of them.
    """

    count: int
    parts: Mapping[str, PartPiece]

    def to(self, device: torch.device) -> PreparedImages:
        """Return the same on another device; a copy from pinned memory is not waited for."""
        return self._mapped(lambda values: values.to(device, non_blocking=True))

    def pin_memory(self) -> PreparedImages:
        """Return the same in pinned memory; the loader calls it."""
        return self._mapped(Tensor.pin_memory)

    def tensors(self) -> list[Tensor]:
        """Return every tensor once."""
        values = [one for part in self.parts.values() for one in (part.features, part.pixels)]
        return list({id(one): one for one in values if one is not None}.values())

    def _mapped(self, change: Callable[[Tensor], Tensor]) -> PreparedImages:
        # Two encoders that see the same pixels share a tensor, which is copied once.
        changed = {id(values): change(values) for values in self.tensors()}
        parts = {
            name: replace(
                part,
                features=None if part.features is None else changed[id(part.features)],
                pixels=None if part.pixels is None else changed[id(part.pixels)],
            )
            for name, part in self.parts.items()
        }
        return replace(self, parts=parts)


class ImagePreparer:
    """Prepares images for the encoders in any process; it has no weights.

    Args:
        processor: resizes images.
        cache: of features; None encodes every image again.
        descriptions: what the features of each encoder depend on besides the image, for the keys
            of the cache.
    """

    def __init__(
        self,
        processor: ImageProcessor,
        cache: FeatureCache | None = None,
        descriptions: Mapping[str, Mapping[str, object]] | None = None,
    ) -> None:
        self.processor = processor
        self.cache = cache
        self.descriptions = descriptions or {}

    def key(self, part: str, request: FeatureRequest) -> str:
        """Return the cache key of one encoder's features of an image."""
        # The names "picture" and "mirrored" are hashed too: other names would miss every entry.
        image = {"picture": request.digest, "mirrored": request.mirrored}
        return entry_key({**self.descriptions[part], **image})

    def prepare(
        self, requests: Sequence[FeatureRequest], allocate: Allocate | None = None
    ) -> PreparedImages:
        """Read the stored features of images; decode and resize the images that lack some.

        Args:
            requests: N images.
            allocate: returns memory for the pixels, of a shape; new memory by default.

        Returns:
            The piece of N images.

        Raises:
            InputError: an image cannot be read or decoded.
        """
        stored = [{part: self._stored(part, request) for part in PARTS} for request in requests]
        missing = {
            part: [place for place, found in enumerate(stored) if found[part] is None]
            for part in PARTS
        }
        pixels = self._memory(requests, missing, allocate or _new)
        arrays = {part: values.numpy() for part, values in pixels.items()}
        sizes: dict[int, tuple[int, int]] = {}
        for place, request in enumerate(requests):
            # The image is decoded once for all encoders, and not at all if none has to run.
            parts = [part for part in PARTS if stored[place][part] is None]
            if not parts:
                continue
            image = request.image()
            sizes[place] = (image.height, image.width)
            into = {part: arrays[part][missing[part].index(place)] for part in parts}
            self.processor.part_pixels(image, parts, request.global_box, request.mirrored, into)
        pieces = {}
        for part in PARTS:
            places = missing[part]
            features = [found[part] for found in stored if found[part] is not None]
            pieces[part] = PartPiece(
                tuple(place for place in range(len(requests)) if place not in places),
                torch.stack([one for one in features if one is not None]) if features else None,
                tuple(places),
                pixels.get(part),
                tuple(self.processor.shown(part, *sizes[place]) for place in places),
                tuple(self._key_to_store(part, requests[place]) for place in places),
            )
        return PreparedImages(len(requests), pieces)

    def _memory(
        self,
        requests: Sequence[FeatureRequest],
        missing: Mapping[str, Sequence[int]],
        allocate: Allocate,
    ) -> dict[str, Tensor]:
        """Return memory for the pixels of each encoder, one for two that see the same."""
        processor = self.processor
        pixels: dict[str, Tensor] = {}
        for part, places in missing.items():
            side = processor.shown(part, 1, 1)[0]
            alike = part == "semantic" and side == processor.vision_size
            alike = alike and places == missing["vision"]
            if places and alike and all(requests[place].global_box is None for place in places):
                pixels[part] = pixels["vision"]
            elif places:
                pixels[part] = allocate((len(places), side, side, 3))
        return pixels

    def _stored(self, part: str, request: FeatureRequest) -> Tensor | None:
        key = self._key_to_store(part, request)
        return None if key is None or self.cache is None else self.cache.get(key)

    def _key_to_store(self, part: str, request: FeatureRequest) -> str | None:
        """Return the key under which a cache stores features; None where it does not."""
        if self.cache is None or part not in request.cached:
            return None
        return self.key(part, request)


def _new(shape: tuple[int, ...]) -> Tensor:
    return torch.empty(shape, dtype=torch.uint8)
