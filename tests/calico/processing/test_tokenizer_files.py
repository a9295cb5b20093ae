"""Tokenizers of language models as they ship, with sentencepiece itself as the oracle."""

from __future__ import annotations

from pathlib import Path

import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from calico.config.calico import PromptConfig
from calico.processing.prompts import PromptEncoder
from calico.processing.tokenizer import (
    PHRASE,
    PHRASE_END,
    SEG,
    decode,
    extended_tokenizer,
    load_tokenizer,
    token_ids,
)
from mixedparts.errors import InputError
from mixedparts.text.questions import QUESTIONS
from tests.factories.sentencepieces import (
    PIECES,
    instructblip_files,
    llama_files,
    pieces,
    qwen_files,
)

ANSWER = "Both are <p> a mug </p> [SEG] (IMAGE1) [SEG] (IMAGE2), the lid is <p> open </p>."
ORACLE = sentencepiece.SentencePieceProcessor(model_proto=pieces())
KINDS = ("legacy", "not legacy", "unsaid", "both files")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("tokenizers")
    found = {name: root / name for name in KINDS}
    for path in found.values():
        path.mkdir()
    llama_files(found["legacy"], ["[SEG]"], legacy=True)
    llama_files(found["not legacy"], ["[SEG]"], legacy=False)
    llama_files(found["unsaid"], ["[SEG]"])
    instructblip_files(found["both files"])
    return found


def by_pieces(text: str, ids: dict[str, int]) -> list[int]:
    """Return the ids of a text with grounding tokens by sentencepiece.

    It puts a space before every text. What follows a token is therefore encoded behind a word,
    whose own ids are cut off, as Llama's slow tokenizer did.
    """
    word = ORACLE.encode("<unk>")
    found: list[int] = []
    for number, part in enumerate(split(text, list(ids))):
        if part in ids:
            found.append(ids[part])
        elif number == 0:
            found += ORACLE.encode(part)
        else:
            found += ORACLE.encode(f"<unk>{part}")[len(word) :]
    return found


def split(text: str, marks: list[str]) -> list[str]:
    for mark in marks:
        text = text.replace(mark, f"\0{mark}\0")
    return [part for part in text.split("\0") if part]


@pytest.mark.parametrize("kind", KINDS)
def test_plain_text_has_the_ids_of_sentencepiece(folders: dict[str, Path], kind: str) -> None:
    tokenizer, before = extended_tokenizer(folders[kind], PromptConfig())
    assert before == PIECES + 1
    texts = [text for texts in QUESTIONS.values() for text in texts]
    texts += ["naïve ☃ mug", "two\nlines\tand  two spaces", "1234 é", "trailing space "]
    for text in texts:
        assert tokenizer(text, add_special_tokens=False).input_ids == ORACLE.encode(text), text


@pytest.mark.parametrize("kind", KINDS)
def test_text_around_grounding_tokens_has_the_ids_of_sentencepiece(
    folders: dict[str, Path], kind: str
) -> None:
    tokenizer, _ = extended_tokenizer(folders[kind], PromptConfig())
    marks = {mark: tokenizer.convert_tokens_to_ids(mark) for mark in (SEG, PHRASE, PHRASE_END)}
    assert tokenizer(ANSWER, add_special_tokens=False).input_ids == by_pieces(ANSWER, marks)
    # The tag behind [SEG] is what answers are searched for.
    ids = token_ids(tokenizer, 2)
    for number in (1, 2):
        expected = ORACLE.encode(f"(IMAGE{number}")
        assert list(ids.segments.tags[number - 1]) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_tokenizer_is_the_same(folders: dict[str, Path], kind: str, tmp_path: Path) -> None:
    tokenizer, _ = extended_tokenizer(folders[kind], PromptConfig())
    tokenizer.save_pretrained(str(tmp_path / "first"))
    again = load_tokenizer(tmp_path / "first")
    ids = tokenizer(ANSWER, add_special_tokens=False).input_ids
    assert again(ANSWER, add_special_tokens=False).input_ids == ids
    assert decode(again, ids) == ANSWER
    assert (again.bos_token_id, again.pad_token_id) == (
        tokenizer.bos_token_id,
        tokenizer.pad_token_id,
    )
    again.save_pretrained(str(tmp_path / "second"))
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes(), path.name


def test_any_text_that_starts_with_a_word_has_the_ids_of_sentencepiece(
    folders: dict[str, Path],
) -> None:
    tokenizer, _ = extended_tokenizer(folders["not legacy"], PromptConfig())

    @given(st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"])))
    def check(text: str) -> None:
        ids = tokenizer(f"a{text}", add_special_tokens=False).input_ids
        assert ids == ORACLE.encode(f"a{text}")

    check()


@pytest.mark.parametrize(
    ("kind", "begin", "end", "pad"),
    [("not legacy", 1, 2, 0), ("both files", 2, 2, PIECES)],
)
def test_begin_end_and_padding_are_those_of_the_files(
    folders: dict[str, Path], kind: str, begin: int, end: int, pad: int
) -> None:
    tokenizer, _ = extended_tokenizer(folders[kind], PromptConfig())
    assert tokenizer.bos_token_id == begin
    assert tokenizer.eos_token_id == end
    assert tokenizer.pad_token_id == pad
    assert PromptEncoder(tokenizer, PromptConfig(), 4).prompt("What?", 2)[0] == begin


def test_qwen_has_no_begin_token_and_its_own_end_and_padding(tmp_path: Path) -> None:
    count = qwen_files(tmp_path)
    tokenizer, before = extended_tokenizer(tmp_path, PromptConfig())
    assert before == count
    ids = token_ids(tokenizer, 2)
    assert tokenizer.bos_token_id is None
    assert tokenizer.convert_ids_to_tokens([ids.end, ids.pad]) == ["<|im_end|>", "<|endoftext|>"]
    assert ids.segments.seg == count
    sample = PromptEncoder(tokenizer, PromptConfig(), 4).sample("Which parts?", ANSWER, 2)
    assert sample.tokens[-1] == ids.end
    assert decode(tokenizer, sample.tokens[sample.answers[0][0] :]) == ANSWER
    # The slow pair of files alone gives the same.
    slow = tmp_path / "slow"
    slow.mkdir()
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        (slow / name).write_bytes((tmp_path / name).read_bytes())
    other, _ = extended_tokenizer(slow, PromptConfig())
    assert other(ANSWER).input_ids == tokenizer(ANSWER).input_ids


@pytest.mark.parametrize("content", [b"", b"rubbish", b"PK\x03\x04"])
def test_a_broken_model_of_sentencepiece_is_one_message(tmp_path: Path, content: bytes) -> None:
    llama_files(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(content)
    with pytest.raises(InputError) as raised:
        extended_tokenizer(tmp_path, PromptConfig())
    assert "tokenizer.model" in str(raised.value)
    assert "tiktoken" not in str(raised.value)


def test_a_folder_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="but no tokenizer"):
        extended_tokenizer(tmp_path, PromptConfig())
