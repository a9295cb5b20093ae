"""A word-level tokenizer made from a dataset's own words, for models without a pretrained one.

The grounding vocabulary ([SEG], <p>, </p>, <image>, (IMAGE1) …) are special tokens, so that no
pre-tokenizer splits them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers
from transformers import (
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from calico.config.calico import PromptConfig
from calico.model.inputs import TokenIds
from calico.model.segments import SegVocabulary
from mixedparts.errors import InputError

PAD, BEGIN, END, UNKNOWN = "<pad>", "<s>", "</s>", "<unk>"
SEG, PHRASE, PHRASE_END, IMAGE = "[SEG]", "<p>", "</p>", "<image>"
IMAGE_START, IMAGE_END = "<im_start>", "<im_end>"
READER = "qformer_tokenizer"  # the folder's name in InstructBLIP's checkpoints, and in ours
_PUNCTUATION = ".,?!:;"


def image_tag(number: int) -> str:
    """Return the tag of an image, `number` counting from 0."""
    return f"(IMAGE{number + 1})"


def build_tokenizer(texts: Iterable[str], max_images: int) -> PreTrainedTokenizerFast:
    """Build a tokenizer that knows every word of `texts`.

    Words are split at white space, and `. , ? ! : ;` stand alone. Case counts. The ids depend on
    nothing but the words and how often each occurs.
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
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(word for word, _ in splitter.pre_tokenize_str(marks.sub(" ", text)))
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
    """Load the tokenizer that lies beside a checkpoint.

    Raises:
        InputError: there is none or it cannot be read.
    """
    if not (folder / "tokenizer.json").is_file():
        raise InputError(f"{folder} holds no tokenizer.json: it is no complete checkpoint")
    try:
        # Without a configuration it would look into the model's, and warn that it is CALICO's.
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            str(folder), config=PreTrainedConfig()
        )
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"the tokenizer in {folder} cannot be read: {error}") from error
    return tokenizer


def question_reader(folder: Path) -> PreTrainedTokenizerBase | None:
    """Load the tokenizer of a Q-Former that sees the question; None where there is none.

    Raises:
        InputError: it cannot be read.
    """
    if not (folder / READER).is_dir():
        return None
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            str(folder / READER), config=PreTrainedConfig()
        )
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().split("\n")[0]
        raise InputError(f"the tokenizer in {folder / READER} cannot be read: {reason}") from error
    return tokenizer


def token_ids(tokenizer: PreTrainedTokenizerBase, max_images: int) -> TokenIds:
    """Return what the model has to know of its tokenizer, which reads questions too.

    Raises:
        InputError: a token is not in the vocabulary, or tags cannot be told apart.
    """
    names = [SEG, IMAGE, PHRASE, PHRASE_END, IMAGE_START, IMAGE_END]
    seg, image, *others = (_known(tokenizer, name) for name in names)
    missing = [name for name, index in ((SEG, seg), (IMAGE, image)) if index is None]
    if seg is None or image is None:
        raise InputError(f"the tokenizer does not know {', '.join(missing)}")
    tags = tuple(_tag_ids(tokenizer, image_tag(number), seg) for number in range(max_images))
    unknown = [image_tag(number) for number, ids in enumerate(tags) if not ids]
    if unknown:
        raise InputError(f"the tokenizer does not know {', '.join(unknown)}")
    if any(sum(other[: len(one)] == one for other in tags) > 1 for one in tags):
        listed = ", ".join(map(image_tag, range(max_images)))
        raise InputError(f"the tokenizer does not tell {listed} apart")
    single = [tag[0] for tag in tags if len(tag) == 1]
    new = sorted({seg, *single, *(index for index in others if index is not None)})
    pad, end = tokenizer.pad_token_id, tokenizer.eos_token_id
    wrapping = (tokenizer.bos_token_id, *others[2:])
    markers = tuple(index for index in wrapping if index is not None)
    return TokenIds(pad, end, image, SegVocabulary(seg, tags), tuple(new), markers, tokenizer)


def _known(tokenizer: PreTrainedTokenizerBase, token: str) -> int | None:
    """Return the id of a token; tokenising its text could split it or put a space before it."""
    index = tokenizer.convert_tokens_to_ids(token)
    return index if isinstance(index, int) and index != tokenizer.unk_token_id else None


def _tag_ids(tokenizer: PreTrainedTokenizerBase, tag: str, seg: int) -> tuple[int, ...]:
    """Return the ids that follow a [SEG] with this tag.

    A pretrained tokenizer has no token for it: there the tag is plain text, without its closing
    bracket, which may be joined to what follows. Nothing is returned where words are not known.
    """
    single = _known(tokenizer, tag)
    if single is not None:
        return (single,)
    ids: list[int] = tokenizer(f"{SEG} {tag}", add_special_tokens=False).input_ids
    after = ids[ids.index(seg) + 1 :]
    while after and ")" in str(tokenizer.decode(after[-1:])):
        after.pop()
    return () if tokenizer.unk_token_id in after else tuple(after)


def decode(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    """Return generated ids as text, up to the end token, punctuation joined to its word."""
    kept: list[int] = []
    for index in ids:
        if index == tokenizer.eos_token_id:
            break
        if index != tokenizer.pad_token_id:
            kept.append(index)
    text = tokenizer.decode(kept, clean_up_tokenization_spaces=False)
    return re.sub(rf" ([{_PUNCTUATION}])", r"\1", str(text)).strip()


def extended_tokenizer(folder: Path, prompt: PromptConfig) -> tuple[PreTrainedTokenizerBase, int]:
    """Load the tokenizer of a pretrained language model and add the grounding tokens to it.

    Tags stay plain text, as the model reads them; padding is the unknown token where there is none.

    Returns:
        the tokenizer, and how many tokens it had before.

    Raises:
        InputError: there is no tokenizer, or it cannot be read.
    """
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
        raise InputError(
            f"{folder} holds the language model but no tokenizer (tokenizer.json, tokenizer.model)"
        )
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(str(folder))
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = str(error).strip().split("\n")[0]
        raise InputError(f"the tokenizer in {folder} cannot be read: {reason}") from error
    before = len(tokenizer)
    markers = [IMAGE_START, IMAGE_END] if prompt.image_markers else []
    wanted = [SEG, PHRASE, PHRASE_END, IMAGE, *markers]
    new = [AddedToken(name, special=True) for name in wanted if _known(tokenizer, name) is None]
    tokenizer.add_tokens(new, special_tokens=True)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    return tokenizer, before
