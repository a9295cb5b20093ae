"""CALICO as a transformers model, for AutoConfig, AutoModel and AutoProcessor.

Importing this module registers the model:

    import calico.inference.transformers_auto
    model = AutoModel.from_pretrained("calico-tiny")  # what calico-merge wrote
    processor = AutoProcessor.from_pretrained("calico-tiny")
    prediction = model.answer([first, second], "Which parts do both have?")
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoProcessor,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from calico.checkpoints.save_load import (
    CONFIG,
    find_checkpoint,
    load_checkpoint,
    read_checkpoint_metadata,
    save_checkpoint,
)
from calico.config.calico import CalicoConfig
from calico.config.yaml_io import override, read_config
from calico.inference.predictor import Predictor
from calico.inference.queries import AnyImage, Query, rgb_image
from calico.model.calico import Calico
from calico.model.generation import Generated, generate
from calico.model.inputs import PromptBatch, TrainingBatch
from calico.model.losses import Losses
from calico.model.precision import arithmetic, store
from calico.model.vision import ImageInputs
from calico.predictions.types import SYNTHETIC_NOTE, Prediction
from calico.processing.images import ImageProcessor
from calico.processing.prompts import PromptEncoder
from calico.processing.tokenizer import load_tokenizer
from calico.runtime.device import choose_device
from mixedparts.errors import InputError, UsageError

LOG = logging.getLogger(__name__)
# The precisions of `ExecutionConfig`; callers pass torch's dtype or its name.
_DTYPES: dict[object, Literal["fp32", "bf16"]] = {
    torch.float32: "fp32",
    torch.bfloat16: "bf16",
    "float32": "fp32",
    "bfloat16": "bf16",
}


class CalicoSettings(PreTrainedConfig):  # type: ignore[no-untyped-call]
    """The configuration as transformers stores it in config.json.

    Args:
        settings: all values of `CalicoConfig`, as plain JSON values.
        **kwargs: values that every transformers configuration has.
    """

    model_type = "calico"

    def __init__(self, settings: dict[str, Any] | None = None, **kwargs: Any) -> None:
        self.settings = settings or {}
        super().__init__(**kwargs)

    def calico(self) -> CalicoConfig:
        """Return the configuration as `CalicoConfig`."""
        return override(CalicoConfig(), self.settings, "config.json")


@dataclass(frozen=True, slots=True)
class CalicoInputs:
    """Questions of B samples and their images.

    Attributes:
        prompts: padded on the left.
        images: pixels of all images in sample order.
    """

    prompts: PromptBatch
    images: ImageInputs


class CalicoProcessor:
    """Turns images and questions into inputs of the model.

    Args:
        config: of the model.
        tokenizer: that goes with it.
    """

    def __init__(self, config: CalicoConfig, tokenizer: PreTrainedTokenizerBase) -> None:
        self.config = config
        self.tokenizer = tokenizer
        self.image_processor = ImageProcessor(config)
        self.prompts = PromptEncoder(tokenizer, config.prompt, config.image_tokens)

    def __call__(self, images: Sequence[Sequence[AnyImage]], text: Sequence[str]) -> CalicoInputs:
        """Prepare B samples.

        Args:
            images: of every sample, the same number for all: files, images of Pillow, or arrays
                (H, W) or (H, W, 3). All become RGB by one rule.
            text: question of every sample.

        Returns:
            Inputs of `CalicoModel.generate`, on the CPU.

        Raises:
            InputError: samples differ in their number of images, questions are missing, or an image
                cannot be read or decoded.
        """
        counts = {len(own) for own in images}
        if len(counts) != 1 or len(images) != len(text):
            raise InputError("every sample needs a question and the same number of images")
        shown = [rgb_image(image) for own in images for image in own]
        pixels = [self.image_processor.pixels(image) for image in shown]
        prompts = self.prompts.batch(text, counts.pop())
        return CalicoInputs(prompts, self.image_processor.inputs(pixels))

    @classmethod
    def from_pretrained(cls, place: str | Path, **_: Any) -> CalicoProcessor:
        """Load the processor of a checkpoint.

        Raises:
            InputError: there is no checkpoint, or its tokenizer or configuration is broken.
        """
        folder = find_checkpoint(Path(place))
        return cls(read_config(folder / CONFIG), load_tokenizer(folder))


class CalicoModel(PreTrainedModel):  # type: ignore[no-untyped-call]
    """A checkpoint as a transformers model.

    Args:
        config: as transformers stores it.
        model: with its weights.
        tokenizer: that goes with it.
        metadata: content of the checkpoint's `checkpoint.json`.
    """

    config_class = CalicoSettings

    def __init__(
        self,
        config: CalicoSettings,
        model: Calico,
        tokenizer: PreTrainedTokenizerBase,
        metadata: dict[str, Any],
    ) -> None:
        super().__init__(config)
        # No `post_init`: it would replace weights of CEM and CAMs by random ones.
        self.calico = model
        self.chosen = config.calico()
        self.tokenizer = tokenizer
        self.metadata = metadata

    @classmethod
    def from_pretrained(cls, place: str | Path, *_: Any, **kwargs: Any) -> CalicoModel:  # type: ignore[override]
        """Load a checkpoint, or the newest one of a run's folder, in evaluation mode.

        Args:
            place: the folder.
            *_: ignored, as the other arguments of transformers.
            **kwargs: `dtype`, torch.float32 or torch.bfloat16, of frozen weights and products;
                `device_map`, one device for the whole model, by default the CPU ("auto": CUDA
                if there is a GPU).

        Returns:
            The model on its device.

        Raises:
            InputError: there is no checkpoint, or names or shapes do not fit.
            UsageError: another dtype is asked for, or there is no such kind of device.
            EnvironmentFault: this machine has no such device.
        """
        device = choose_device(str(kwargs.get("device_map") or "cpu"))
        folder = find_checkpoint(Path(place))
        model, config, tokenizer = load_checkpoint(folder)
        # Older versions of transformers pass AutoModel's `dtype` in the configuration only.
        dtype = kwargs.get("dtype") or getattr(kwargs.get("config"), "dtype", None)
        # "auto" is the precision of the checkpoint's own configuration.
        if dtype not in ("auto", None):
            if dtype not in _DTYPES:
                raise UsageError(f"dtype {dtype} is not offered", "float32 and bfloat16 are.")
            execution = replace(config.execution, precision=_DTYPES[dtype])
            config = replace(config, execution=execution)
            model.execution = execution
            store(model, execution)
        metadata = read_checkpoint_metadata(folder)
        if metadata.get("synthetic"):
            LOG.warning("note: the model %s %s", folder, SYNTHETIC_NOTE)
        loaded = cls(described(config), model, tokenizer, metadata)
        loaded.train(False)
        loaded.calico.to(device)
        return loaded

    def save_pretrained(self, save_directory: str | Path, **_: Any) -> None:  # type: ignore[override]
        """Write a checkpoint: trained weights, and frozen ones that no published model has.

        Raises:
            UsageError: the folder exists.
        """
        folder = Path(save_directory)
        if folder.exists():
            raise UsageError(f"{folder} exists already")
        # The record of published weights and of merging decides how the checkpoint is read again.
        passed_on = ("init", "merged", "synthetic")
        extra = {name: value for name, value in self.metadata.items() if name in passed_on}
        step = int(self.metadata["step"])
        save_checkpoint(folder, self.calico, self.chosen, self.tokenizer, step, extra)

    def forward(self, batch: TrainingBatch) -> Losses:
        """Return the losses of a batch."""
        with arithmetic(self.chosen.execution, self.device):
            losses: Losses = self.calico(batch.to(self.device))
        return losses

    @torch.inference_mode()
    def generate(self, inputs: CalicoInputs, max_new_tokens: int | None = None) -> Generated:
        """Answer a batch of prepared samples."""
        limit = max_new_tokens or self.chosen.generation.max_new_tokens
        with arithmetic(self.chosen.execution, self.device):
            features = self.calico.encoders(inputs.images.to(self.device, torch.float32))
            return generate(self.calico, inputs.prompts.to(self.device), features, limit)

    def answer(self, images: Sequence[AnyImage], question: str) -> Prediction:
        """Answer a question about some images, with a mask for every phrase.

        Raises:
            InputError: an image cannot be read or decoded.
        """
        shown = tuple(rgb_image(image) for image in images)
        # Through the predictor and not `generate`: it also reads the text and decodes the masks.
        synthetic = bool(self.metadata.get("synthetic"))
        predictor = Predictor(self.calico, self.chosen, self.tokenizer, synthetic)
        (prediction,) = predictor.predict([Query("0", question, shown)])
        return prediction


def described(config: CalicoConfig) -> CalicoSettings:
    """Return a configuration as transformers stores it."""
    from calico.config.yaml_io import plain_config

    return CalicoSettings(plain_config(config), architectures=["CalicoModel"])


AutoConfig.register("calico", CalicoSettings)
AutoModel.register(CalicoSettings, CalicoModel)
AutoProcessor.register(CalicoSettings, CalicoProcessor)  # type: ignore[no-untyped-call]
