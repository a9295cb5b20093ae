"""The files of tokenizers, as checkpoints and published language models have them."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from transformers import (
    CONFIG_MAPPING,
    AutoTokenizer,
    LlamaTokenizer,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
)

from mixedparts.errors import InputError, missing_package
from mixedparts.files.folders import check_plain_files
from mixedparts.files.opening import check_regular, check_unpacked, is_there
from mixedparts.files.text import read_json

SENTENCEPIECE = "tokenizer.model"


def read_tokenizer(
    folder: Path, kind: type[Any] = AutoTokenizer, **options: Any
) -> PreTrainedTokenizerBase:
    """Return the tokenizer in a folder; `options` are those of transformers, `kind` its class.

    Raises:
        InputError: it cannot be read, or only code that the folder brings can read it.
    """
    check_plain_files(folder)
    # Without the last argument transformers asks on the terminal whether code from the folder may
    # run, and waits for an answer. Such code never runs here.
    try:
        tokenizer: PreTrainedTokenizerBase = kind.from_pretrained(
            str(folder), trust_remote_code=False, **options
        )
    except Exception as error:  # transformers raises errors of many types on broken files
        reason = str(error).strip().split("\n")[0]
        raise InputError(f"the tokenizer in {folder} cannot be read: {reason}") from error
    # How it was read is no part of it: a resumed run saves the same files as an undisturbed one.
    for name in ("is_local", "local_files_only"):
        tokenizer.init_kwargs.pop(name, None)
    return tokenizer


def read_language_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a published language model.

    Raises:
        InputError: there is none, or it cannot be read.
        EnvironmentFault: a package is absent that reads it.
    """
    whole = (folder / "tokenizer.json").is_file()
    # Vicuna, LISA and GLaMM ship `tokenizer.model` alone, InstructBLIP both files. Their class is
    # named here: beside a config.json of type llava, AutoTokenizer takes another one, which drops
    # the space before the first word (transformers 5.4) or puts a second one behind every grounding
    # token (5.24).
    if (folder / SENTENCEPIECE).is_file() and (not whole or _is_llama(folder)):
        if not whole:
            _check_pieces(folder / SENTENCEPIECE)
        # `legacy` would put a space between a grounding token and a full stop behind it, and is not
        # saved: a resumed run would tokenise otherwise.
        return read_tokenizer(folder, kind=LlamaTokenizer, legacy=False)
    # Qwen's slow files are GPT-2's pair of vocabulary and merges.
    if whole or all((folder / name).is_file() for name in ("vocab.json", "merges.txt")):
        return read_tokenizer(folder, **_unknown_kind(folder))
    raise InputError(
        f"{folder} contains the language model but no tokenizer (tokenizer.json, {SENTENCEPIECE},"
        " or vocab.json with merges.txt)"
    )


def _is_llama(folder: Path) -> bool:
    kind = _json(folder / "tokenizer_config.json").get("tokenizer_class")
    return kind in ("LlamaTokenizer", "LlamaTokenizerFast")


def _unknown_kind(folder: Path) -> dict[str, Any]:
    """Return the option to read a tokenizer beside a config.json of a model of others."""
    # transformers looks there for the class of the tokenizer, and stops at a model that it does not
    # know, such as CALICO's or LISA's own.
    described = _json(folder / "config.json")
    known = not described or described.get("model_type") in CONFIG_MAPPING
    return {} if known else {"config": PreTrainedConfig()}


def _json(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file, empty if it is not there or not an object."""
    data = read_json(path) if is_there(path) else {}
    return data if isinstance(data, dict) else {}


def _check_pieces(path: Path) -> None:
    """Check that a `tokenizer.model` is one of sentencepiece, and that its readers are installed.

    Raises:
        InputError: it is another file, or broken.
        EnvironmentFault: a package cannot be imported.
    """
    # In either case transformers tries another package, and its message asks for that one.
    for name in ("sentencepiece", "google.protobuf"):
        try:
            import_module(name)
        except ImportError as error:
            lacking = ImportError(str(error), name=name.removeprefix("google."))
            raise missing_package(lacking, str(path), "train") or lacking from error
    from sentencepiece import SentencePieceProcessor

    try:
        check_regular(path)
        SentencePieceProcessor(model_file=str(path))
    except (RuntimeError, OSError) as error:
        check_unpacked(path, "the tokenizer")
        raise InputError(f"the tokenizer {path} is not a model of sentencepiece") from error
