"""Images as far as a worker process prepares them: stored features, or 8-bit pixels to encode.

Pixels travel as uint8, a quarter of the bytes of float32, and are normalised on the device of the
encoders. All images of a piece share one tensor an encoder: a tensor of its own for every image
would need a file descriptor each on its way from a worker process.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from calico.dataset.views import Box
from calico.processing.feature_cache import FeatureCache, entry_key
from calico.processing.images import PARTS, ImageProcessor


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
    """Return a request for an RGB image in memory, identified by its pixels."""
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

    def prepare(self, requests: Sequence[FeatureRequest]) -> PreparedImages:
        """Read the stored features of images; decode and resize the images that lack some.

        Raises:
            InputError: an image cannot be read or decoded.
        """
        stored = [{part: self._stored(part, request) for part in PARTS} for request in requests]
        pixels: list[dict[str, NDArray[np.uint8]]] = []
        sizes: list[tuple[int, int]] = []
        for request, found in zip(requests, stored, strict=True):
            # The image is decoded once for all encoders, and not at all if none has to run.
            parts = [part for part in PARTS if found[part] is None]
            image = request.image() if parts else None
            made = {}
            if image is not None:
                made = self.processor.part_pixels(
                    image, parts, request.global_box, request.mirrored
                )
            pixels.append(made)
            sizes.append((image.height, image.width) if image is not None else (0, 0))
        joined: dict[tuple[int, ...], Tensor] = {}
        parts_of = {
            part: self._piece(part, requests, stored, pixels, sizes, joined) for part in PARTS
        }
        return PreparedImages(len(requests), parts_of)

    def _stored(self, part: str, request: FeatureRequest) -> Tensor | None:
        if self.cache is None or part not in request.cached:
            return None
        return self.cache.get(self.key(part, request))

    def _piece(
        self,
        part: str,
        requests: Sequence[FeatureRequest],
        stored: Sequence[Mapping[str, Tensor | None]],
        pixels: Sequence[Mapping[str, NDArray[np.uint8]]],
        sizes: Sequence[tuple[int, int]],
        joined: dict[tuple[int, ...], Tensor],
    ) -> PartPiece:
        """Return what one encoder needs of the images.

        Args:
            part: the encoder.
            requests: N images.
            stored: features of each that were found, by encoder.
            pixels: of each, by encoder that lacks features.
            sizes: height and width of each as it is shown.
            joined: pixels that another encoder has stacked already, by identity; is added to.

        Returns:
            The piece.
        """
        features = [found[part] for found in stored]
        found = tuple(place for place, one in enumerate(features) if one is not None)
        missing = tuple(place for place, one in enumerate(features) if one is None)
        arrays = [pixels[place][part] for place in missing]
        identity = tuple(id(array) for array in arrays)
        if arrays and identity not in joined:
            joined[identity] = torch.from_numpy(np.stack(arrays))
        keys = [
            self.key(part, requests[place])
            if self.cache is not None and part in requests[place].cached
            else None
            for place in missing
        ]
        return PartPiece(
            found,
            torch.stack([one for one in features if one is not None]) if found else None,
            missing,
            joined[identity] if arrays else None,
            tuple(self.processor.shown(part, *sizes[place]) for place in missing),
            tuple(keys),
        )
