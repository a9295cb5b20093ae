"""The benchmark of models measures what it says, of models of the sizes that it claims."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.model_speed import main
from benchmarks.model_stages import Measured, Row, counted, measure, operations, stages, table
from benchmarks.model_subject import MEDIUM, SAM_B, Subject, large_subject, small_subject, subject
from calico.config.calico import CalicoConfig
from tests.factories.micro_model import micro_config, micro_tokenizer

META, CPU = torch.device("meta"), torch.device("cpu")


def like_the_large_one() -> CalicoConfig:
    """Return a micro model that is computed as the 7B model is."""
    return micro_config(
        **{part: {"stem": "patch"} for part in ("vision", "semantic", "sam")},
        language={"tuning": "lora", "vocabulary": 4 * len(micro_tokenizer())},
        trained={"qformer": False, "projection": False},
        execution={"precision": "bf16", "activation_checkpointing": True},
    )


@pytest.fixture(scope="module")
def micro() -> Subject:
    return subject(like_the_large_one(), CPU, 2)


def test_models_have_the_sizes_that_it_claims() -> None:
    medium = small_subject(MEDIUM, META).model
    sam = small_subject({"sam": SAM_B}, META).model.encoders.sam
    large = large_subject(META, 1).model
    assert 95e6 < sum(weight.numel() for weight in medium.parameters()) < 110e6
    published = 93_735_472  # SAM ViT-B; less its prompt encoder and mask decoder
    assert sum(weight.numel() for weight in sam.parameters()) == published - 6_220 - 4_058_340
    counts = {True: 0, False: 0}
    kinds = set()
    for weight in large.parameters():
        counts[weight.requires_grad] += weight.numel()
        kinds.add((weight.requires_grad, weight.dtype))
    assert counts == {True: 27_003_108, False: 8_574_101_580}
    assert kinds >= {(True, torch.float32), (False, torch.bfloat16)}
    assert (True, torch.bfloat16) not in kinds
    assert large.execution.activation_checkpointing


def test_every_stage_is_measured(micro: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.model_stages.ANSWER_TOKENS", 3)
    measured = measure(micro, 1)
    assert all(min(row.seconds, row.operations, row.memory) > 0 for row in measured.rows.values())
    rows = measured.rows
    step = [rows[name] for name in ("encoders", "forward", "backward, optimiser")]
    assert rows["training step"].operations == sum(row.operations for row in step)
    assert rows["answer, 4 beams"].operations > rows["greedy answer"].operations
    text = table(micro, measured, 1)
    assert "2 pairs, bf16" in text
    assert all(f"| {name} |" in text for name in rows)


def test_what_checkpointing_computes_again_is_not_counted() -> None:
    found = []
    for switched in (False, True):
        config = like_the_large_one()
        execution = replace(config.execution, activation_checkpointing=switched)
        one = subject(replace(config, execution=execution), CPU, 1)
        encode, forward, backward = stages(one)[:3]
        encode.run()
        done = operations(forward.run) + operations(backward.run)
        found.append((done, counted(one, forward) + counted(one, backward)))
    (plainly, counted_plainly), (twice, counted_once) = found
    assert plainly == counted_plainly == counted_once < twice


def test_the_command_writes_its_section(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "benchmarks.model_speed.small_subject",
        lambda _, device, pairs=1: subject(like_the_large_one(), device, pairs),
    )
    row = Row(0.5, 2_000_000_000, 3_000_000)
    monkeypatch.setattr(
        "benchmarks.model_speed.measure", lambda *_: Measured({"greedy answer": row}, [8e9, 4e9])
    )
    file = tmp_path / "speed.md"
    threads = torch.get_num_threads()
    main(["--device", "cpu", "--rounds", "1", "--threads", str(threads), "--write", str(file)])
    text = file.read_text()
    assert "### Feature cache" in text
    assert "| greedy answer | 0.5 | 2.0 | 50% | 3 |" in text
    assert "| ratio | **" in text
    assert text.count("<!-- begin benchmarks.model_speed -->") == 1
    assert "| greedy answer |" in capsys.readouterr().out
