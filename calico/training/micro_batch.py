"""How many samples a process computes at once, where the configuration leaves it open.

The choice is made once, when a run starts, and is part of the run's configuration. A resumed run
takes it from there, also on a device that would hold another number: the parts of a step decide
which units dropout removes, so the same parts give the same losses. On another kind of device they
are equal up to the rounding of its kernels.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from accelerate import Accelerator
from transformers import PreTrainedTokenizerBase

from calico.config.calico import CalicoConfig
from calico.cost.fitting import Fit, fit_step, usable
from calico.cost.workload import Workload
from calico.dataset.pairs import SampleTable
from calico.processing.prompts import PromptEncoder
from calico.training.augmented_samples import SampleAugmenter
from mixedparts.errors import EnvironmentFault
from mixedparts.progress import Progress

_STEPS = 4  # of which the samples are looked at
_GIB = 1 << 30


def with_micro_batch(
    config: CalicoConfig,
    tokenizer: PreTrainedTokenizerBase,
    pairs: SampleTable,
    accelerator: Accelerator,
    progress: Progress,
) -> CalicoConfig:
    """Return a configuration with a number of samples in place of "auto"; every process calls it.

    Args:
        config: of the run, with the final vocabulary size.
        tokenizer: of the model.
        pairs: samples of the train split.
        accelerator: knows the device and the other processes.
        progress: receives a line about the choice.

    Returns:
        The configuration; on a device other than a GPU, with no limit.

    Raises:
        EnvironmentFault: not even one sample fits the device.
    """
    if config.training.micro_batch != "auto":
        return config
    if accelerator.device.type != "cuda":
        return replace(config, training=replace(config.training, micro_batch=0))
    free, _ = torch.cuda.mem_get_info(accelerator.device)
    # All processes must cut their shares alike, so the one with the least memory decides.
    every = accelerator.gather(torch.tensor([free], device=accelerator.device))
    room = int(every.min())
    return chosen_for(
        config, sampled_workload(config, tokenizer, pairs), room, accelerator, progress
    )


def chosen_for(
    config: CalicoConfig,
    workload: Workload,
    free: int,
    accelerator: Accelerator,
    progress: Progress,
) -> CalicoConfig:
    """Return a configuration with the samples that fit into some free memory of each device.

    Args:
        config: of the run.
        workload: one sample.
        free: bytes of the device with the least.
        accelerator: knows the number of processes.
        progress: receives a line about the choice.

    Returns:
        The configuration with a number.

    Raises:
        EnvironmentFault: not even one sample fits.
    """
    (fit,) = fit_step(config, workload, [usable(free)], accelerator.num_processes)
    if not fit.micro_batch:
        raise EnvironmentFault(
            f"a step with one sample at once needs {fit.needed / _GIB:.1f} GiB, the device has"
            f" {free / _GIB:.1f} GiB free, of which {usable(free) / _GIB:.1f} can be planned with",
            "Set execution.quantization: nf4 (or int8) and execution.activation_checkpointing: true"
            " in --config, or training.micro_batch: 1 to try anyway.",
        )
    progress.log(_line(fit, free))
    return fit.applied(config)


def sampled_workload(
    config: CalicoConfig, tokenizer: PreTrainedTokenizerBase, pairs: SampleTable
) -> Workload:
    """Return the size of a sample to plan with, from the samples of the first steps.

    The longest text, because a batch is padded to it; masks of a sample above the average, because
    those of a batch add up; the largest image.

    Args:
        config: of the run.
        tokenizer: of the model.
        pairs: samples of the train split.

    Returns:
        The sample.
    """
    prompts = PromptEncoder(tokenizer, config.prompt, config.image_tokens)
    augmenter = SampleAugmenter(pairs, config.training)
    samples = [one for step in range(_STEPS) for one in augmenter.samples(step)]
    images = len(samples[0].images)
    encoded = prompts.conversations(
        [[(turn.question, turn.answer) for turn in one.turns] for one in samples], images
    )
    masks = np.array([sum(1 for _ in one.targets) for one in samples])
    questions = [len(tokenizer(one.turns[0].question).input_ids) for one in samples]
    sizes = [(ref.height, ref.width) for one in samples for ref in one.images]
    return Workload(
        images=images,
        text=max(len(one.tokens) for one in encoded) - images * config.image_tokens,
        answer=max(sum(stop - start for start, stop in one.answers) for one in encoded),
        masks=int(np.ceil(masks.mean() + masks.std())),
        question=max(questions),
        size=max(sizes, key=lambda size: size[0] * size[1]),
    )


def _line(fit: Fit, free: int) -> str:
    alone = ", encoders one image at once" if fit.one_image else ""
    return (
        f"micro_batch {fit.micro_batch} chosen, {fit.parts} parts a step{alone}: about"
        f" {fit.needed / _GIB:.1f} of {free / _GIB:.1f} GiB"
    )
