"""Folders that bring their own code: it never runs, and nobody is asked whether it may."""

from __future__ import annotations

import builtins
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from calico.config.calico import PromptConfig
from calico.evaluation.text import load_text_model
from calico.processing.tokenizer import (
    QUESTION_TOKENIZER,
    extended_tokenizer,
    load_question_tokenizer,
    load_tokenizer,
)
from mixedparts.errors import InputError
from tests.factories.micro_model import micro_tokenizer

CODE = """\
from pathlib import Path

Path(__file__).with_name("ran").touch()
raise SystemExit("code of a model ran")
"""


def with_code(folder: Path) -> Path:
    """A tokenizer and a model whose classes are in a file beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    micro_tokenizer().save_pretrained(str(folder))
    (folder / "own.py").write_text(CODE)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings |= {
        "tokenizer_class": "OwnTokenizer",
        "auto_map": {"AutoTokenizer": ["own.OwnTokenizer", "own.OwnTokenizer"]},
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    model = {
        "model_type": "own",
        "auto_map": {"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel"},
    }
    (folder / "config.json").write_text(json.dumps(model))
    return folder


READERS: dict[str, Callable[[Path], object]] = {
    "checkpoint": lambda folder: load_tokenizer(with_code(folder)),
    "question": lambda folder: (
        with_code(folder / QUESTION_TOKENIZER) and load_question_tokenizer(folder)
    ),
    "language model": lambda folder: extended_tokenizer(with_code(folder), PromptConfig()),
    "text model": lambda folder: load_text_model(str(with_code(folder))),
}


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_code_of_a_folder_never_runs(
    reader: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def answer(prompt: str = "") -> str:
        asked.append(prompt)
        return "y"

    monkeypatch.setattr(builtins, "input", answer)
    with pytest.raises(InputError, match="cannot be"):
        reader(tmp_path)
    assert asked == []
    assert not list(tmp_path.rglob("ran"))
