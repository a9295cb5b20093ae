"""Check a start from published weights as a whole, before the first tensor is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from calico.config.calico import CalicoConfig
from calico.model.inputs import TokenIds
from calico.processing.tokenizer import (
    QUESTION_TOKENIZER,
    extended_tokenizer,
    load_question_tokenizer,
    token_ids,
)
from calico.weights.agreement import agree
from calico.weights.families import EMBEDDINGS
from calico.weights.files import WeightFiles
from calico.weights.matching import Matching, WeightSource, match
from calico.weights.published.segment_anything import check_native_sams
from mixedparts.errors import InputError


@dataclass(frozen=True, slots=True)
class CheckedStart:
    """Published weights that agree with a configuration.

    Attributes:
        config: with the tokenizer's vocabulary size, without open values.
        tokenizer: of the language model, with the grounding tokens.
        ids: of the tokenizer.
        rows: number of tokens that the language model had before.
        files: the sources.
        matching: of the sources.
        notes: lines about SAM's files and the values that were taken from the weights.
    """

    config: CalicoConfig
    tokenizer: PreTrainedTokenizerBase
    ids: TokenIds
    rows: int
    files: list[WeightFiles]
    matching: Matching
    notes: list[str]

    def report(self) -> list[str]:
        """Return lines about the use of every source; complete once the sources are reconciled."""
        return [*self.matching.report(), *self.notes]


def check_start(
    config: CalicoConfig,
    places: Sequence[Path],
    tokenizer: PreTrainedTokenizerBase | None = None,
    rows: int | None = None,
    reader: PreTrainedTokenizerBase | None = None,
) -> CheckedStart:
    """Find what every source gives, and settle the configuration and the tokenizer.

    Args:
        config: of the model.
        places: files or folders; where two have the same part, the later one is used.
        tokenizer: of a checkpoint; by default the tokenizer of the language model, extended.
        rows: number of tokens that the language model had before; given with `tokenizer`.
        reader: tokenizer of the questions, if the Q-Former sees them; by default InstructBLIP's, in
            the folder of one of the places.

    Returns:
        The sources with the configuration that they decide.

    Raises:
        InputError: files are missing or broken, or have names that no layout has.
        UsageError: the configuration of a source that supplies a part differs in values that
            shapes do not show.
    """
    files = [WeightFiles(path) for path in places]
    matching = match(WeightSource(str(one.place), one) for one in files)
    variants = check_native_sams(matching, config.sam)
    agreement = agree(config, matching, files)
    config = agreement.config
    if tokenizer is None or rows is None:
        tokenizer, rows = extended_tokenizer(_language_folder(matching, files), config.prompt)
    config = replace(config, language=replace(config.language, vocabulary=len(tokenizer)))
    ids = token_ids(tokenizer, config.prompt.max_images)
    if config.qformer.sees_question:
        ids = replace(ids, reader=reader or _question_tokenizer(places))
    notes = [*variants, *agreement.report]
    return CheckedStart(config, tokenizer, ids, rows, files, matching, notes)


def _language_folder(matching: Matching, files: Sequence[WeightFiles]) -> Path:
    """Return the folder that the language model comes from, which has its tokenizer too."""
    if EMBEDDINGS not in matching.recipes:
        raise InputError(
            "no --init contains a language model",
            "Add the folder of one, for example GLaMM's or InstructBLIP-Vicuna's.",
        )
    source = files[matching.recipes[EMBEDDINGS][0].source].place
    return source if source.is_dir() else source.parent


def _question_tokenizer(places: Sequence[Path]) -> PreTrainedTokenizerBase:
    """Return the tokenizer of the Q-Former's questions, from the last folder that has one."""
    for path in reversed(places):
        tokenizer = load_question_tokenizer(path if path.is_dir() else path.parent)
        if tokenizer is not None:
            return tokenizer
    raise InputError(
        f"qformer.sees_question is true, and no folder of --init contains {QUESTION_TOKENIZER}",
        "It comes with InstructBLIP's checkpoint; put that folder beside the weights.",
    )
