"""How images become batches of the encoders: sizes, waiting images, copies to the device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from calico.config.calico import ExecutionConfig
from calico.model.vision import ImageEncoders
from calico.processing.images import PARTS, ImageProcessor
from calico.processing.prepared import PartPiece, PreparedImages

# Patches that occupy an accelerator, and the most images of a batch: 4 images of 64 x 64 patches,
# 32 of 16 x 16.
_PATCHES = 1 << 14
_MOST = 32


def batch_sizes(
    encoders: ImageEncoders,
    processor: ImageProcessor,
    execution: ExecutionConfig,
    device: torch.device,
) -> dict[str, int]:
    """Return how many images each encoder takes at once.

    Args:
        encoders: of the model.
        processor: has the sizes of their inputs.
        execution: `encode_batch` decides where it names an encoder.
        device: of the encoders.

    Returns:
        Images by encoder. By default one on a CPU, which more do not make faster, and on other
        devices as many as have 16,384 patches together, at most 32.
    """
    sizes = {}
    for part in PARTS:
        encoder = getattr(encoders, part)
        size = execution.encode_batch.get(part, 0)
        if encoder is None or (not size and device.type == "cpu"):
            size = 1
        elif not size:
            side, _ = processor.shown(part, 1, 1)
            size = min(_MOST, max(1, _PATCHES // (side // encoder.config.patch_size) ** 2))
        sizes[part] = size
    return sizes


@dataclass(slots=True)
class PendingImages:
    """Images on the device that wait until there are enough for a batch of one encoder.

    Attributes:
        size: images of a batch.
        keys: under which a cache stores features, by place of the image.
    """

    size: int
    keys: dict[int, str] = field(default_factory=dict)
    _waiting: list[tuple[int, Tensor, tuple[int, int]]] = field(default_factory=list)

    def add(self, piece: PartPiece, first: int) -> None:
        """Add the images of a piece whose features are missing.

        Args:
            piece: on the device.
            first: place of its first image among all images.
        """
        if piece.pixels is None:
            return
        for place, pixels, inner, key in zip(
            piece.missing, piece.pixels, piece.inner, piece.keys, strict=True
        ):
            self._waiting.append((first + place, pixels, inner))
            if key is not None:
                self.keys[first + place] = key

    def detach(self) -> None:
        """Copy the waiting images out of their piece, whose memory may be used again."""
        self._waiting = [(place, one.clone(), inner) for place, one, inner in self._waiting]

    def batches(self, rest: bool) -> Iterator[tuple[list[int], Tensor, Sequence[tuple[int, int]]]]:
        """Yield places, pixels (size, side, side, 3) uint8 and shown sizes of whole batches.

        Args:
            rest: also of a last batch that is filled up with its last image; it has fewer places.
        """
        while len(self._waiting) >= self.size or (rest and self._waiting):
            batch = self._waiting[: self.size]
            del self._waiting[: self.size]
            places = [place for place, _, _ in batch]
            batch += [batch[-1]] * (self.size - len(batch))
            yield (
                places,
                torch.stack([pixels for _, pixels, _ in batch]),
                [inner for _, _, inner in batch],
            )


def uploaded(pieces: Iterable[PreparedImages], device: torch.device) -> Iterator[PreparedImages]:
    """Yield pieces on the device; a copy runs while the device computes with earlier pieces.

    Args:
        pieces: on the CPU, in pinned memory for copies that are not waited for.
        device: to copy to.
    """
    if device.type != "cuda":
        for piece in pieces:
            yield piece.to(device)
        return
    # A stream of its own: on the stream of the encoders a copy would wait for them.
    copies = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    for piece in pieces:
        with torch.cuda.stream(copies):
            moved = piece.to(device)
        computing = torch.cuda.current_stream(device)
        computing.wait_stream(copies)
        for values in moved.tensors():
            # The memory is not given to another copy while the encoders may still read it.
            values.record_stream(computing)
        yield moved
