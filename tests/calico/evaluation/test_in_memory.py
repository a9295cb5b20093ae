"""Evaluation between two training steps: right numbers, and nothing is left behind."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from calico.dataset.pairs import BuiltDataset
from calico.evaluation import in_memory
from calico.evaluation.ground_truth import read_ground_truth
from calico.evaluation.in_memory import OVERALL, REPORTED, evaluate_model
from calico.inference.predictor import Predictor
from calico.inference.queries import Query
from calico.model.calico import Calico
from calico.model.losses import Losses
from calico.predictions.types import Prediction
from calico.processing.feature_cache import FeatureCache
from calico.processing.images import open_image
from mixedparts.errors import UsageError
from tests.factories.evaluation import LetterModel, answered
from tests.factories.micro_batches import training_batch
from tests.factories.micro_model import micro_model, micro_tokenizer

DROPOUT = {"tuning": "lora", "lora_dropout": 0.3, "vocabulary": len(micro_tokenizer())}


def knowing(dataset: BuiltDataset, wrong: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Make the predictor answer with the truth, but for one sample; return whom it was asked."""
    truths = {
        sample.id: sample for sample in read_ground_truth(dataset.build, "validation").samples
    }
    asked = []

    def predict(_: object, queries: Iterable[Query]) -> Iterator[Prediction]:
        for query in queries:
            truth = truths[query.id]
            assert [(p.height, p.width) for p in query.images] == list(truth.sizes)
            asked.append(query.id)
            yield Prediction(query.id, "", ()) if query.id == wrong else answered(truth)

    monkeypatch.setattr(in_memory.Predictor, "predict", predict)
    return asked


def test_tasks_and_their_mean(dataset: BuiltDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    model, config = micro_model()
    asked = knowing(dataset, "validation-1", monkeypatch)
    found = evaluate_model(
        model, micro_tokenizer(), config, dataset, "validation", text_model=LetterModel()
    )
    assert asked == [f"validation-{number}" for number in range(6)]
    assert found["common_object"] == found["unique_parts"] == dict.fromkeys(REPORTED, 1.0)
    # One of its two samples, with half of the masks, is answered by nothing.
    assert found["common_parts"] == {
        "ap50": pytest.approx(51 / 101, abs=1e-6),
        "miou": 0.5,
        "recall_glamm": 0.5,
        "ss_b": 0.5,
        "s_iou_b": 0.5,
        "miou_strict": 0.5,
        "label_f1": pytest.approx(2 / 3, abs=1e-6),
    }
    assert found[OVERALL]["miou"] == pytest.approx(2.5 / 3, abs=1e-6)


def test_a_limit_is_spread_over_the_split(
    dataset: BuiltDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, config = micro_model()
    asked = knowing(dataset, "", monkeypatch)
    evaluate_model(
        model, micro_tokenizer(), config, dataset, "validation", 2, text_model=LetterModel()
    )
    assert asked == ["validation-1", "validation-4"]


def step(model: Calico, config: object) -> Losses:
    losses: Losses = model(training_batch(config))
    losses.total.backward()
    return losses


def states() -> tuple[object, ...]:
    name, keys, *rest = np.random.get_state()
    return random.getstate(), name, keys.tolist(), rest, torch.get_rng_state().tolist()


@pytest.mark.parametrize("fails", [False, True])
def test_training_goes_on_as_if_nothing_had_been(
    dataset: BuiltDataset, fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, config = micro_model(language=DROPOUT)
    model.train()
    torch.manual_seed(5)
    step(model, config)
    twin, twin_state = copy.deepcopy(model), torch.get_rng_state()
    gradients = {
        name: weight.grad.clone()
        for name, weight in model.named_parameters()
        if weight.grad is not None
    }
    flags = {name: module.training for name, module in model.named_modules()}
    assert {True, False} == set(flags.values())  # frozen parts do not train
    before = states()
    if fails:
        monkeypatch.setattr(in_memory, "_packaged_text_model", lambda: torch.rand(3))
        with pytest.raises(UsageError, match="no split 'none'"):
            evaluate_model(model, micro_tokenizer(), config, dataset, "none")
        monkeypatch.setattr(in_memory, "open_image", lambda *_: 1 / int(torch.zeros(1)))
        with pytest.raises(ZeroDivisionError):
            evaluate_model(model, micro_tokenizer(), config, dataset, "validation")
    else:
        found = evaluate_model(
            model, micro_tokenizer(), config, dataset, "validation", 4, text_model=LetterModel()
        )
        assert all(0 <= value <= 1 for group in found.values() for value in group.values())
    assert states() == before
    assert {name: module.training for name, module in model.named_modules()} == flags
    for (name, mine), (_, other) in zip(
        model.named_parameters(), twin.named_parameters(), strict=True
    ):
        assert torch.equal(mine, other), name
        assert mine.requires_grad == other.requires_grad
        assert (mine.grad is None) == (name not in gradients)
        assert mine.grad is None or torch.equal(mine.grad, gradients[name])
    mine = step(model, config)
    torch.set_rng_state(twin_state)
    assert torch.equal(mine.total, step(twin, config).total)


def test_a_model_in_evaluation_mode_stays_so(dataset: BuiltDataset) -> None:
    model, config = micro_model()
    model.eval()
    evaluate_model(model, micro_tokenizer(), config, dataset, "train", 1, text_model=LetterModel())
    assert not any(module.training for module in model.modules())


def test_the_answers_are_those_of_a_predictor(
    dataset: BuiltDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, config = micro_model(language=DROPOUT)
    for name, weight in model.named_parameters():
        if "lora" in name:
            torch.nn.init.normal_(weight, std=0.5)  # else dropout would not show
    seen: list[dict[str, Prediction]] = []
    scored = in_memory.score

    def score(samples: Any, predictions: dict[str, Prediction], *models: Any) -> Any:
        seen.append(predictions)
        return scored(samples, predictions, *models)

    monkeypatch.setattr(in_memory, "score", score)
    cache = FeatureCache(tmp_path / "cache", 1 << 26)
    for kept in (None, cache, cache):
        model.train()
        evaluate_model(
            model, micro_tokenizer(), config, dataset, "validation",
            text_model=LetterModel(), cache=kept,
        )  # fmt: skip
    table = dataset.images("validation")
    queries = [
        Query(
            sample.id,
            sample.question,
            tuple(open_image(table.read(ref.row), "") for ref in sample.images),
        )
        for sample in dataset.pairs("validation")
    ]
    predictor = Predictor(model, config, micro_tokenizer())
    assert {one.answer for one in predictor.predict(queries)} != {
        one.answer for one in seen[0].values()
    }  # in training mode
    model.eval()
    expected = {one.id: one for one in predictor.predict(queries)}
    assert seen == [expected] * 3
