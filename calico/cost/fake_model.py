"""The model of a configuration on fake tensors, and batches for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from transformers import BatchEncoding, PreTrainedModel

from calico.config.calico import CalicoConfig, ExecutionConfig
from calico.cost.skeleton import FIRST_TAG, IMAGE, OTHER, SEG, counted_vocabulary, skeleton
from calico.cost.tracing import FakeNumbers, LiveBytes
from calico.cost.workload import Workload, feature_shapes
from calico.model.calico import Calico
from calico.model.inputs import TrainingBatch
from calico.model.original_masks import OriginalMasks, Portion
from calico.model.precision import storage_dtype
from calico.model.quantized import FrozenProduct, Kind, quantizable, quantized_bytes, replace_linear
from calico.model.vision import ImageFeatures

# Parts of the memory, in the order of the tables.
FROZEN, TRAINED = "frozen weights", "trained weights (fp32)"
GRADIENTS, MOMENTS = "gradients", "moments of the optimiser"
AVERAGE = "average of the weights"
INPUTS = "features and masks of the batch"
LANGUAGE = "activations: language model"
IMAGE_SIDE = "activations: Q-Former, CEM and CAMs"
MASKS = "activations: mask decoder"
LOGITS = "logits and losses"
BACKWARD = "backward pass: gradients, layers computed again"
ENCODERS = "activations: image encoders"
UPDATE = "update of the weights"


class FakeModel:
    """The model of a configuration on fake tensors, with every byte counted.

    Args:
        config: of the model.
    """

    def __init__(self, config: CalicoConfig) -> None:
        self.config = counted_vocabulary(config)
        self.numbers = FakeNumbers()
        self.live = LiveBytes()
        model = skeleton(self.config)
        _quantize(model.language, self.config.execution)
        with self.numbers.fake:
            model.to_empty(device="cpu")
            _store(model, self.config.execution)
        if self.config.language.tie_embeddings:
            model.language.tie_weights()
        self.model = model
        for weight in model.parameters():
            self.live.add(weight, TRAINED if weight.requires_grad else FROZEN)
        for buffer in model.buffers():
            self.live.add(buffer, FROZEN)
        self._follow()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the code of the `with` block on fake numbers and count what it makes."""
        with self.numbers, self.live:
            yield

    def batch(self, workload: Workload, samples: int) -> TrainingBatch:
        """Return a batch of equal samples; called while `running`."""
        config, images = self.config, workload.images
        self.model.ids = replace(self.model.ids, reader=_Reader(workload.question))  # type: ignore[arg-type]
        length = workload.text + images * config.image_tokens
        tokens = torch.full((samples, length), OTHER)
        tokens[:, 1 : 1 + images * config.image_tokens] = IMAGE
        answer = torch.zeros(samples, length, dtype=torch.bool)
        answer[:, length - workload.answer :] = True
        # Each [SEG] with its tag; they follow each other from the beginning of the answer.
        for number in range(workload.masks):
            place = length - workload.answer + 2 * number
            tokens[:, place] = SEG
            tokens[:, place + 1] = FIRST_TAG + number % images
        side = config.sam.mask_size
        count = samples * workload.masks
        where = [n * images + m % images for n in range(samples) for m in range(workload.masks)]
        originals = None
        if config.loss.resolution == "original":
            originals, side = self._originals(workload, count), 0
        return TrainingBatch(
            tokens=tokens,
            answer=answer,
            features=fake_features(config, samples * images),
            images=images,
            masks=torch.empty(count, side, side),
            mask_image=torch.tensor(where, dtype=torch.int64),
            extents=torch.full((samples * images, 2), config.sam.mask_size),
            originals=originals,
            questions=("",) * samples,
        )

    def _originals(self, workload: Workload, count: int) -> OriginalMasks:
        height, width = workload.size
        square = self.config.sam.image_size
        factor = square / max(height, width)
        inner = (round(height * factor), round(width * factor))
        bits = torch.empty(count * -(-height * width // 8), dtype=torch.float32)
        with self.numbers.fake:
            bits = bits.to(torch.uint8)
        return _TwoPortions(bits, ((height, width),) * count, (inner,) * count, square)

    def _follow(self) -> None:
        """Count what the modules make under the names of their parts."""
        model, live = self.model, self.live
        live.follow(model.language.model, LANGUAGE)
        live.follow(model.language.lm_head, LOGITS)
        live.follow(model.grounding, MASKS)
        if model.correspondence is not None:
            for module in model.correspondence.modules():
                live.follow(module, IMAGE_SIDE)
        for module in model.bridge.modules():
            live.follow(module, IMAGE_SIDE)


def fake_features(config: CalicoConfig, images: int) -> ImageFeatures:
    """Return the features of a number of images, without values."""
    return ImageFeatures(*(torch.empty(shape) for shape in feature_shapes(config, images)))


def _store(model: Calico, execution: ExecutionConfig) -> None:
    """Give frozen weights the dtype that they are stored in."""
    for name, weight in model.named_parameters():
        if weight.is_floating_point():
            weight.data = weight.data.to(storage_dtype(name, weight.requires_grad, execution))


@dataclass(frozen=True, slots=True)
class _TwoPortions(OriginalMasks):
    """Masks at original size of which one portion stands for all.

    Portions follow each other and each frees what it used, so the others would only take time.
    """

    def portions(self, pixels: int) -> Iterator[Portion]:
        """Yield the first portion, and one of all other masks that takes nothing."""
        first = next(OriginalMasks.portions(self, pixels), None)
        if first is None:
            return
        yield first
        if first.masks.stop < len(self.sizes):
            rest = slice(first.masks.stop, len(self.sizes))
            yield _EmptyPortion(rest, first.bits, first.size, first.inner, first.square)


@dataclass(frozen=True, slots=True)
class _EmptyPortion(Portion):
    """Masks of one pixel."""

    def targets(self) -> Tensor:
        """Return (m, 1, 1) float32."""
        return torch.empty(self.masks.stop - self.masks.start, 1, 1)

    def resized(self, logits: Tensor) -> Tensor:
        """Return (m, 1, 1) float32 of logits (m, g, g)."""
        return logits[:, :1, :1].float()


@dataclass(frozen=True)
class _Reader:
    """In the place of the tokenizer of questions: each question has the same number of tokens."""

    length: int

    def __call__(self, questions: Sequence[str], **_: object) -> BatchEncoding:
        """Return ids (N, length) and their attention."""
        shape = (len(questions), self.length)
        ones = torch.ones(shape, dtype=torch.int64)
        return BatchEncoding({"input_ids": ones, "attention_mask": ones})


class _StandIn(nn.Linear):
    """A quantised Linear in bytes alone: its weight is made for each product and freed after it.

    Args:
        linear: that it stands for.
        kind: of the quantisation.
    """

    def __init__(self, linear: nn.Linear, kind: Kind) -> None:
        rows, columns = linear.out_features, linear.in_features
        super().__init__(columns, rows, bias=False, device="meta")
        self.bias = linear.bias
        size = quantized_bytes(rows, columns, kind)
        packed = torch.empty(size, dtype=torch.uint8, device="meta")
        self.weight = nn.Parameter(packed, requires_grad=False)

    def dequantized(self, dtype: torch.dtype) -> Tensor:
        """Return a weight (out, in)."""
        return torch.empty(self.out_features, self.in_features, dtype=dtype)

    def forward(self, input: Tensor) -> Tensor:
        """Return (..., out) of an input (..., in), in the dtype of the arithmetic."""
        if torch.is_autocast_enabled("cpu"):
            input = input.to(torch.get_autocast_dtype("cpu"))
        product: Tensor = FrozenProduct.apply(input, None, self)
        return product if self.bias is None else product + self.bias.to(product.dtype)


def _quantize(model: PreTrainedModel, execution: ExecutionConfig) -> None:
    """Put stand-ins in the places of the Linears that a configuration quantises."""
    if execution.quantization == "none":
        return
    for name, linear in quantizable(model).items():
        replace_linear(model, name, _StandIn(linear, execution.quantization))
