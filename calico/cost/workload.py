"""The size of the samples that costs are counted for."""

from __future__ import annotations

from dataclasses import dataclass

from calico.config.calico import CalicoConfig

# What a turn of the datasets' own wordings has, in tokens of Llama's tokenizer, rounded up.
_LEAD, _QUESTION, _ANSWER, _MASKS = 40, 24, 64, 6


def feature_shapes(config: CalicoConfig, images: int) -> tuple[tuple[int, ...], ...]:
    """Return the shapes of `ImageFeatures` of a number of images, in the order of its fields."""
    side = config.sam.image_size // config.sam.patch_size
    grid = (config.semantic.image_size // config.semantic.patch_size) ** 2
    width = config.semantic.hidden_size if config.uses_semantic else 0
    tokens = grid + config.semantic.class_token if config.uses_semantic else 0
    return (
        (images, 1 + config.vision.patches, config.vision.hidden_size),
        (images, tokens, width),
        (images, config.sam.prompt_size, side, side),
    )


@dataclass(frozen=True, slots=True)
class Workload:
    """Size of the sample that is counted.

    Attributes:
        images: number of images.
        text: tokens of prompt and answer together, without those of images.
        answer: tokens of the answer, part of `text`; each needs a row of logits.
        masks: number of [SEG] of the answer.
        question: tokens of the question, for a Q-Former that sees it.
        size: height and width of an image in pixels, for a loss at original size.
    """

    images: int = 2
    text: int = _LEAD + _QUESTION + _ANSWER
    answer: int = _ANSWER
    masks: int = _MASKS
    question: int = _QUESTION
    size: tuple[int, int] = (480, 640)

    @classmethod
    def of(cls, config: CalicoConfig) -> Workload:
        """Return the largest sample that a configuration makes of rows of this size.

        With multi-turn conversations a sample has up to `training.max_turns` questions and answers.
        """
        chosen = config.training
        turns = chosen.max_turns if chosen.multi_turn else 1
        return cls(
            text=_LEAD + turns * (_QUESTION + _ANSWER), answer=turns * _ANSWER, masks=turns * _MASKS
        )
