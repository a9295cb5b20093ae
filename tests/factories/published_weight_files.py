"""Small published checkpoints as files, with the tokenizer of their language model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from calico.config.calico import CalicoConfig
from calico.config.yaml_io import override
from tests.factories import published_weights as published
from tests.factories.micro_model import micro_config

State = dict[str, Tensor]


def plain_tokenizer() -> PreTrainedTokenizerFast:
    """Return a word tokenizer as a language model has it: no grounding tokens."""
    words = [
        "<s>",
        "</s>",
        "<unk>",
        *["(", ")", "IMAGE1", "IMAGE2", "a", "mug", "Both", "contain", "Which", "object", "?"],
    ]
    backend = Tokenizer(models.WordLevel({w: n for n, w in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.Punctuation()]
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def small(**changes: Any) -> CalicoConfig:
    """Return a micro configuration that published weights could have."""
    parts = {name: {"stem": "patch"} for name in ("vision", "semantic", "sam")}
    language = {"tuning": "lora", "new_token_rows": "trained"}
    fixed = {"qformer": False, "projection": False, "seg_projection": True}
    base = micro_config(**parts, language=language, trained=fixed, qformer={"layers": 2})
    return override(base, changes, "test")


def write(folder: Path, state: State, tokenizer: Any = None, config: Any = None) -> Path:
    folder.mkdir()
    plain = {name: value.detach().clone().contiguous() for name, value in state.items()}
    save_file(plain, folder / "model.safetensors")
    if tokenizer is not None:
        tokenizer.save_pretrained(str(folder))
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return folder


def small_parts(tmp_path: Path) -> tuple[CalicoConfig, dict[str, Any], list[Path]]:
    """InstructBLIP, DINOv2 and native SAM of micro size, as models and as files."""
    torch.manual_seed(0)
    config = small()
    tokenizer = plain_tokenizer()
    made: dict[str, Any] = {
        "blip": published.instructblip(config, len(tokenizer) + 3),
        "dino": published.dinov2(config),
        "sam": published.segment_anything(config.sam),
    }
    paths = [
        write(tmp_path / "blip", made["blip"].state_dict(), tokenizer),
        write(tmp_path / "dino", made["dino"].state_dict()),
        tmp_path / "sam_vit_h.pth",
    ]
    torch.save(made["sam"].state_dict(), paths[-1])
    return config, made, paths


def bert_like() -> PreTrainedTokenizerFast:
    """Return a small tokenizer of the kind that InstructBLIP's Q-Former has."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[DEC]", "which", "object", "parts", "both", "?"]
    backend = Tokenizer(models.WordPiece({w: n for n, w in enumerate(words)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]"
    )
