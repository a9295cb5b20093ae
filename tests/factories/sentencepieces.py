"""Tokenizers as language models ship them: a `tokenizer.model` alone, and Qwen's files."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import sentencepiece
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaTokenizer

from mixedparts.text.questions import QUESTIONS

PIECES = 420
QWEN_PIECES = 400
_ANSWERS = [
    "A chat between a curious human and an artificial intelligence assistant. USER: ASSISTANT:",
    "Both contain a mug and a kettle (IMAGE1), the lid and the handle (IMAGE2).",
]


@cache
def pieces() -> bytes:
    """Return a sentencepiece model with the settings of Llama's, of `PIECES` pieces."""
    texts = [text for texts in QUESTIONS.values() for text in texts] + _ANSWERS
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=written,
        vocab_size=PIECES,
        model_type="bpe",
        byte_fallback=True,
        split_digits=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=True,
        allow_whitespace_only_pieces=True,
        num_threads=1,
        minloglevel=2,
    )
    return written.getvalue()


def llama_files(
    folder: Path, added: Sequence[str] = (), legacy: bool | None = None, pad: str | None = "<unk>"
) -> None:
    """Write the files of a slow Llama tokenizer: those of Vicuna, LISA and GLaMM."""
    (folder / "tokenizer.model").write_bytes(pieces())
    settings: dict[str, Any] = {
        "add_bos_token": True,
        "add_eos_token": False,
        "bos_token": _token("<s>"),
        "clean_up_tokenization_spaces": False,
        "eos_token": _token("</s>"),
        "model_max_length": 2048,
        "pad_token": None,
        "padding_side": "right",
        "sp_model_kwargs": {},
        "tokenizer_class": "LlamaTokenizer",
        "unk_token": _token("<unk>"),
    }
    if legacy is not None:
        settings["legacy"] = legacy
    _write(folder / "tokenizer_config.json", settings)
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    _write(folder / "special_tokens_map.json", special | ({"pad_token": pad} if pad else {}))
    if added:
        ids = {token: PIECES + number for number, token in enumerate(added)}
        _write(folder / "added_tokens.json", ids)


def instructblip_files(folder: Path) -> None:
    """Write the tokenizer of InstructBLIP-Vicuna: both kinds of file, every mark is </s>."""
    llama_files(folder, ["[PAD]"])
    content = json.loads(LlamaTokenizer.from_pretrained(str(folder)).backend_tokenizer.to_str())
    # As files of transformers 4 do it: a normalizer in place of a pre-tokenizer.
    content["pre_tokenizer"] = None
    space = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    steps = [{"type": "Prepend", "prepend": "▁"}, space]
    content["normalizer"] = {"type": "Sequence", "normalizers": steps}
    _write(folder / "tokenizer.json", content)
    marks = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "</s>")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings |= {name: _token(mark) for name, mark in marks.items()}
    _write(folder / "tokenizer_config.json", settings)
    _write(folder / "special_tokens_map.json", marks | {"pad_token": "[PAD]"})


def qwen_files(folder: Path) -> int:
    """Write the files of Qwen2's tokenizer; return its number of tokens. It has no BOS."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    texts = [text for texts in QUESTIONS.values() for text in texts] + _ANSWERS
    trainer = trainers.BpeTrainer(
        vocab_size=QWEN_PIECES,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    model = json.loads(backend.to_str())["model"]
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    first = len(model["vocab"])
    backend.add_special_tokens(special)
    backend.save(str(folder / "tokenizer.json"))
    _write(folder / "vocab.json", model["vocab"])
    merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in model["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    settings = {
        "add_bos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": {
            str(first + number): _token(token) | {"special": True}
            for number, token in enumerate(special)
        },
        "additional_special_tokens": special[1:],
        "bos_token": None,
        "eos_token": "<|im_end|>",
        "errors": "replace",
        "pad_token": "<|endoftext|>",
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }
    _write(folder / "tokenizer_config.json", settings)
    return first + len(special)


def _token(content: str) -> dict[str, Any]:
    flags = dict.fromkeys(("lstrip", "normalized", "rstrip", "single_word"), False)
    return {"__type": "AddedToken", "content": content, **flags}


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")
