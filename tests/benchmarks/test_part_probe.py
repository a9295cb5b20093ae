"""The probe of a model's states: its figures, and one run at micro size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import part_probe
from benchmarks.other_image import Shown, questions
from benchmarks.part_probe import Labels, choice, mean_auc, scores, train_probe
from calico.dataset.pairs import BuiltDataset
from calico.pretraining.pretrain import pretrain
from calico.training.train import RunSettings, train
from mixedparts.progress import Silent
from mixedparts.records import Task
from tests.factories.micro_model import micro_config


def shown(row: int, parts: str, name: str = "bus") -> Shown:
    return Shown("paco", "train", row, (name,), (frozenset(parts),))


IMAGES = (shown(0, "abc"), shown(1, "ad"), shown(2, "bd"))


def test_labels_are_unknown_for_other_classes() -> None:
    labels = Labels.of([*IMAGES, shown(3, "x", "car")])
    assert list(labels.numbers) == [
        ("bus", "a"),
        ("bus", "b"),
        ("bus", "c"),
        ("bus", "d"),
        ("car", "x"),
    ]
    assert labels.targets([IMAGES[1], shown(4, "", "car")]).tolist() == [
        [1, 0, 0, 1, -1],
        [-1, -1, -1, -1, 0],
    ]


def test_auc_is_the_share_of_pairs_in_order() -> None:
    logits = np.array([[0.1, 5.0, 1.0], [0.4, 3.0, 1.0], [0.3, 4.0, 1.0], [0.2, 9.0, 1.0]])
    targets = np.array([[1, 0, 1], [1, 1, 1], [0, -1, 1], [0, 1, 1]], np.int8)
    # The first column: 2 of 4 pairs in order. The second: 1 of 2. The third has one value only.
    assert mean_auc(logits, targets) == pytest.approx(0.5)
    random = np.random.default_rng(0)
    values, truth = random.normal(size=200), random.random(200) < 0.4
    pairs = [(a > b) + 0.5 * (a == b) for a in values[truth] for b in values[~truth]]
    found = mean_auc(values[:, None], truth.astype(np.int8)[:, None])
    assert found == pytest.approx(np.mean(pairs))


def test_choice_follows_from_the_scores_of_both_images() -> None:
    asked = questions(Task.UNIQUE_PARTS, [IMAGES])
    labels = Labels.of(IMAGES)
    right = np.stack([2.0 * labels.targets(one.images).numpy() - 1 for one in asked])
    assert choice(asked, right, labels) == 1.0
    # Scores that do not depend on the image name no unique part: every choice is a tie.
    assert choice(asked, np.ones_like(right), labels) == 0.5
    assert choice(asked, right[:, ::-1], labels) <= 0.5


@pytest.mark.parametrize("tokens", [3, 20])
def test_a_probe_reads_what_a_line_separates(tokens: int) -> None:
    torch.manual_seed(0)
    targets = (torch.rand(400, 4) < 0.5).to(torch.int8)
    states = 0.3 * torch.randn(400, tokens, 16)
    # Each label is shown by a direction of its own, in one of the tokens.
    place = torch.randint(tokens, (400,)) if tokens > 16 else torch.zeros(400, dtype=torch.int64)
    states[:, :, 8:] += 3.0  # every token; only some deviate
    states[torch.arange(400), place, :4] += 4.0 * targets.float()
    targets[:, 3] = -1
    probe = train_probe(states[:300], targets[:300], 0)
    found = scores(probe, states[300:])
    assert mean_auc(found[:, :3], targets[300:, :3].numpy()) > 0.9


def test_a_run_has_a_row_for_every_stage(
    built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = micro_config(training={"steps": 2})
    encoders = pretrain(config, BuiltDataset(built), tmp_path / "encoders", Silent())
    checkpoint = train(
        config, BuiltDataset(built), RunSettings(tmp_path / "run", encoders), Silent()
    )
    document = tmp_path / "a.md"
    arguments = ["--checkpoint", f"first={checkpoint}", "--checkpoint", f"again={checkpoint}"]
    arguments += ["--checkpoint", f"encoders={encoders}"]
    arguments += ["--dataset", str(built), "--test-dataset", str(built), "--pairs", "8"]
    arguments += ["--triangles", "1", "--threads", "1", "--write", str(document)]
    assert part_probe.main(arguments) == 0
    text = document.read_text()
    assert "6 questions" in text
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("| ")]
    assert [row[0].strip() for row in rows] == ["states", *part_probe.BY_IMAGE, *part_probe.BY_PAIR]
    for row in rows[1:]:
        # The same checkpoint has the same figures twice.
        assert row[1:3] == row[3:5]
        assert all(0 <= float(cell) <= 100 for cell in row[1:5])
        # Encoders are not trained with the model. Without it they have these stages alone.
        name = row[0].strip()
        if name in ("global features", "semantic features"):
            assert row[5:] == row[1:3]
        elif name == "image tokens":
            assert all(0 <= float(cell) <= 100 for cell in row[5:])
        else:
            assert not any(cell.strip() for cell in row[5:])
    assert capsys.readouterr().out.strip() in text
