"""A GPU that is fed: an H100 that takes the time of a step and computes nothing.

The time follows from the operations that `calico-cost` counts. The encoders run forward; the
language model and everything after the encoders run forward twice (their activations are computed
again) and backward once, which takes as long as a forward pass where weights are frozen. An H100
SXM has 989 TFLOP/s in bf16; at a utilisation of 40 % a step takes that time. A higher utilisation
makes the device faster, so it needs more workers.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from calico.config.calico import CalicoConfig
from calico.config.presets import preset
from calico.cost.flops import Workload, calico_flops
from calico.dataset.pairs import BuiltDataset
from calico.model.vision import ImageFeatures
from calico.processing.feature_encoder import TableImages
from calico.processing.images import ImageProcessor
from calico.processing.prepared import ImagePreparer, PreparedImages
from calico.processing.prompts import PromptEncoder
from calico.processing.tokenizer import build_tokenizer
from calico.training.batches import BatchMaker
from calico.training.feeding.feeder import StepFeeder
from calico.training.setup import dataset_vocabulary
from calico.training.trainer import StepData

H100 = 989e12  # operations a second in bf16, dense
_ENCODERS = ("global encoder (EVA-CLIP)", "semantic encoder (DINOv2)", "SAM image encoder")
_PASSES = 3  # of the rest: forward, forward again, backward


@dataclass(frozen=True, slots=True)
class StepTime:
    """Seconds that a device needs.

    Attributes:
        image: to encode one image.
        rest: of a step, for everything but encoding.
    """

    image: float
    rest: float


@dataclass(frozen=True, slots=True)
class Fed:
    """What a run of steps on the simulated device found.

    Attributes:
        busy: share of the time in which the device computes.
        images: different images a second.
        step: seconds of a step, waiting included.
    """

    busy: float
    images: float
    step: float


def step_time(config: CalicoConfig, utilisation: float) -> StepTime:
    """Return the time of a step of the configured batch on an H100."""
    workload = Workload()
    counts = calico_flops(config, workload)
    encoding = sum(counts[name] for name in _ENCODERS if name in counts) / workload.images
    rest = sum(count for name, count in counts.items() if name not in _ENCODERS)
    speed = H100 * utilisation
    return StepTime(encoding / speed, _PASSES * config.training.batch_size * rest / speed)


class SimulatedFeatures:
    """Features of images whose encoding takes time and nothing else.

    Args:
        source: prepares images.
        seconds: of one image.
    """

    def __init__(self, source: TableImages, seconds: float) -> None:
        self.source = source
        self.seconds = seconds
        self.busy = 0.0
        self.images = 0

    def read(self, images: object) -> ImageFeatures:
        raise NotImplementedError("steps are read through the feeder")

    def finish(self, pieces: Iterable[PreparedImages]) -> ImageFeatures:
        count = 0
        for piece in pieces:
            self.work(piece.count * self.seconds)
            count += piece.count
        self.images += count
        nothing = torch.zeros(count, 1)
        return ImageFeatures(nothing, nothing, nothing)

    def work(self, seconds: float) -> None:
        """Keep the device busy."""
        began = time.perf_counter()
        time.sleep(seconds)
        self.busy += time.perf_counter() - began


def fed(build: Path, workers: int, steps: int, utilisation: float) -> Fed:
    """Feed the simulated device with steps of the 7B model's training.

    Args:
        build: a dataset.
        workers: processes that prepare.
        steps: that are timed, after one that fills the queues.
        utilisation: of the H100.

    Returns:
        What was found.
    """
    config = preset("7b")
    config = replace(config, training=replace(config.training, loader_workers=workers))
    dataset = BuiltDataset(build)
    pairs = dataset.pairs("train")
    processor = ImageProcessor(config)
    words = dataset_vocabulary(pairs, "", dataset.profile)
    prompts = PromptEncoder(
        build_tokenizer(words, config.prompt.max_images), config.prompt, config.image_tokens
    )
    device = step_time(config, utilisation)
    source = TableImages(ImagePreparer(processor), dataset.images("train"))
    features = SimulatedFeatures(source, device.image)
    batches = BatchMaker(pairs, features, prompts, processor, config)
    feeder = StepFeeder(
        StepData(batches, 0, 1, 0),
        features,
        config.training,
        processor.image_bytes,
        torch.device("cpu"),
    )
    began = 0.0
    for step, _ in feeder.steps(0, steps + 1):
        features.work(device.rest)
        if step == 0:
            began, features.busy, features.images = time.perf_counter(), 0.0, 0
    wall = time.perf_counter() - began
    return Fed(features.busy / wall, features.images / wall, wall / steps)
