"""Tokenizers: word-level ones made from a dataset's own words, and pretrained ones, extended.

The grounding vocabulary ([SEG], <p>, </p>, <image>, and (IMAGE1) … in word-level tokenizers)
consists of special tokens, so that no pre-tokenizer splits them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers
from transformers import (
    PreTrainedConfig,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from calico.config.calico import PromptConfig
from calico.model.inputs import TokenIds
from calico.model.segments import SegVocabulary
from calico.processing.tokenizer_files import read_language_tokenizer, read_tokenizer
from mixedparts.errors import InputError

PAD, BEGIN, END, UNKNOWN = "<pad>", "<s>", "</s>", "<unk>"
SEG, PHRASE, PHRASE_END, IMAGE = "[SEG]", "<p>", "</p>", "<image>"
IMAGE_START, IMAGE_END = "<im_start>", "<im_end>"
# Folder of the tokenizer for the Q-Former's questions, in InstructBLIP's checkpoints and in ours.
QUESTION_TOKENIZER = "qformer_tokenizer"
_PUNCTUATION = ".,?!:;"


def image_tag(number: int) -> str:
    """Return the tag of an image, `number` counting from 0."""
    return f"(IMAGE{number + 1})"


def build_tokenizer(texts: Iterable[str], max_images: int) -> PreTrainedTokenizerFast:
    """Return a tokenizer that knows every word of `texts`.

    Texts are split at white space, and each of `. , ? ! : ;` is a token of its own. Case is kept.
    The ids depend only on the words and on how often each occurs.
    """
    grounding = [SEG, PHRASE, PHRASE_END, IMAGE, *map(image_tag, range(max_images))]
    special = [PAD, BEGIN, END, UNKNOWN, *grounding]
    marks = re.compile("|".join(map(re.escape, grounding)))
    splitter = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Split(Regex(f"[{_PUNCTUATION}]"), "isolated"),
        ]
    )
    # Grounding tokens are cut out first, or `<p>` and `(IMAGE1)` would be counted as words too.
    counts: Counter[str] = Counter()
    # Millions of samples share their questions and most answers: each text is split once.
    for text, times in Counter(texts).items():
        for word, _ in splitter.pre_tokenize_str(marks.sub(" ", text)):
            counts[word] += times
    # Ties are broken by the word itself: the order of the texts must not change any id.
    words = sorted(counts, key=lambda word: (-counts[word], word))
    vocabulary = {word: index for index, word in enumerate([*special, *words])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    backend.pre_tokenizer = splitter
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend,
        pad_token=PAD,
        bos_token=BEGIN,
        eos_token=END,
        unk_token=UNKNOWN,
        extra_special_tokens=grounding,
    )


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a checkpoint folder.

    Raises:
        InputError: there is none or it cannot be read.
    """
    if not (folder / "tokenizer.json").is_file():
        raise InputError(f"{folder} has no tokenizer.json: it is not a complete checkpoint")
    # Without `config`, transformers reads the model's config.json, which it does not know.
    tokenizer = read_tokenizer(folder, config=PreTrainedConfig())
    if tokenizer.pad_token_id is None or tokenizer.eos_token_id is None:
        raise InputError(
            f"the tokenizer in {folder} has no token for padding or for the end of a text"
        )
    return tokenizer


def load_question_tokenizer(folder: Path) -> PreTrainedTokenizerBase | None:
    """Return the tokenizer of a Q-Former that sees the question; None if the folder has none.

    Raises:
        InputError: it cannot be read.
    """
    if not (folder / QUESTION_TOKENIZER).is_dir():
        return None
    return read_tokenizer(folder / QUESTION_TOKENIZER, config=PreTrainedConfig())


def token_ids(tokenizer: PreTrainedTokenizerBase, max_images: int) -> TokenIds:
    """Return the ids that the model needs; the same tokenizer reads questions for the Q-Former.

    Raises:
        InputError: a token is not in the vocabulary, or two tags cannot be distinguished.
    """
    names = [SEG, IMAGE, PHRASE, PHRASE_END, IMAGE_START, IMAGE_END]
    seg, image, *others = (_token_id(tokenizer, name) for name in names)
    missing = [name for name, index in ((SEG, seg), (IMAGE, image)) if index is None]
    if seg is None or image is None:
        raise InputError(f"the tokenizer does not know {', '.join(missing)}")
    tags = tuple(_tag_ids(tokenizer, image_tag(number), seg) for number in range(max_images))
    unknown = [image_tag(number) for number, ids in enumerate(tags) if not ids]
    if unknown:
        raise InputError(f"the tokenizer does not know {', '.join(unknown)}")
    # A tag that is a prefix of another one would match wherever the other one is generated.
    if any(sum(other[: len(tag)] == tag for other in tags) > 1 for tag in tags):
        listed = ", ".join(map(image_tag, range(max_images)))
        raise InputError(f"the tokenizer cannot distinguish {listed}")
    single = [tag[0] for tag in tags if len(tag) == 1]
    new = sorted({seg, *single, *(index for index in others if index is not None)})
    pad, end = tokenizer.pad_token_id, tokenizer.eos_token_id
    # Markers occur in prompts only: the begin token and those around images, not `<p>` and `</p>`.
    wrapping = (tokenizer.bos_token_id, *others[2:])
    markers = tuple(index for index in wrapping if index is not None)
    return TokenIds(pad, end, image, SegVocabulary(seg, tags), tuple(new), markers, tokenizer)


def _token_id(tokenizer: PreTrainedTokenizerBase, token: str) -> int | None:
    """Return the id of a single token, None if the vocabulary does not contain it."""
    # Not by tokenising its text: old Llama tokenizers put a space token (29871) before it, and an
    # unknown token would be split into pieces. Slow tokenizers return the unknown token's id.
    index = tokenizer.convert_tokens_to_ids(token)
    return index if isinstance(index, int) and index != tokenizer.unk_token_id else None


def _tag_ids(tokenizer: PreTrainedTokenizerBase, tag: str, seg: int) -> tuple[int, ...]:
    """Return the ids that follow a [SEG] with this tag; empty if the tag has unknown tokens.

    A pretrained tokenizer has no token for a tag. It then consists of several tokens of plain text,
    and its closing bracket is left out, as the authors' code does too.
    """
    single = _token_id(tokenizer, tag)
    if single is not None:
        return (single,)
    # Tokenised behind [SEG], as in answers: alone, the tag could start with another space token.
    ids: list[int] = tokenizer(f"{SEG} {tag}", add_special_tokens=False).input_ids
    after = ids[ids.index(seg) + 1 :]
    # A bracket may be one token with what follows it, such as "),": it cannot be matched.
    while after and ")" in str(tokenizer.decode(after[-1:])):
        after.pop()
    return () if tokenizer.unk_token_id in after else tuple(after)


def decode(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    """Return generated ids as text, up to the end token, without spaces before punctuation."""
    generated: list[int] = []
    for index in ids:
        if index == tokenizer.eos_token_id:
            break
        if index != tokenizer.pad_token_id:
            generated.append(index)
    # The library's own clean-up would also change the spaces of apostrophes and contractions.
    text = tokenizer.decode(generated, clean_up_tokenization_spaces=False)
    return re.sub(rf" ([{_PUNCTUATION}])", r"\1", str(text)).strip()


def extended_tokenizer(folder: Path, prompt: PromptConfig) -> tuple[PreTrainedTokenizerBase, int]:
    """Load the tokenizer of a pretrained language model and add the grounding tokens to it.

    Image tags stay plain text, as in the authors' code. A tokenizer without a padding token pads
    with its unknown token, or with its end token if it has no unknown token either.

    Returns:
        The tokenizer, and the number of tokens that it had before.

    Raises:
        InputError: there is no tokenizer, or it cannot be read.
    """
    tokenizer = read_language_tokenizer(folder)
    before = len(tokenizer)
    markers = [IMAGE_START, IMAGE_END] if prompt.image_markers else []
    needed = [SEG, PHRASE, PHRASE_END, IMAGE, *markers]
    # LISA's and GLaMM's tokenizers have some of them already; those keep their trained embeddings.
    new = [AddedToken(name, special=True) for name in needed if _token_id(tokenizer, name) is None]
    tokenizer.add_tokens(new, special_tokens=True)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    return tokenizer, before
