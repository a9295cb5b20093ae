"""Shares of sources and tasks: exact, without repetition, a function of seed and epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from calico.config.calico import TrainingConfig
from calico.config.presets import tiny
from calico.config.yaml_io import override, read_config
from calico.dataset.pairs import SampleTable
from calico.dataset.sampling_weights import sampling_groups
from mixedparts.errors import UsageError

SAMPLES = {
    ("ade20k", "common_object"): 10,
    ("ade20k", "common_parts"): 30,
    ("paco", "common_object"): 40,
    ("paco", "common_parts"): 15,
    ("paco", "unique_parts"): 5,
}


def table(samples: dict[tuple[str, str], int] = SAMPLES) -> SampleTable:
    rows = [cell for cell, count in samples.items() for _ in range(count)]
    order = np.random.default_rng(0).permutation(len(rows))
    columns = {
        name: [rows[i][place] for i in order] for place, name in enumerate(("source", "task"))
    }
    return SampleTable(pa.table(columns))


def settings(**weights: dict[str, float]) -> TrainingConfig:
    none: dict[str, dict[str, float]] = {"source_weights": {}, "task_weights": {}}
    return override(tiny(), {"training": {**none, **weights}}, "test").training


def shares(**weights: dict[str, float]) -> dict[tuple[str, str], float]:
    return {
        (one.source, one.task): one.share for one in sampling_groups(table(), settings(**weights))
    }


class TestShares:
    def test_without_weights_they_are_those_of_the_data(self) -> None:
        assert shares() == pytest.approx({cell: count / 100 for cell, count in SAMPLES.items()})

    def test_sources_have_their_weight_and_tasks_are_as_in_each(self) -> None:
        found = shares(source_weights={"ade20k": 3, "paco": 1})
        assert found["ade20k", "common_object"] == pytest.approx(0.75 * 10 / 40)
        assert found["paco", "unique_parts"] == pytest.approx(0.25 * 5 / 60)

    def test_tasks_have_their_weight_and_sources_are_as_in_each(self) -> None:
        found = shares(task_weights={"common_object": 1, "common_parts": 1, "unique_parts": 2})
        assert found["paco", "unique_parts"] == pytest.approx(0.5)
        assert found["paco", "common_object"] == pytest.approx(0.25 * 40 / 50)

    def test_a_build_need_not_have_all_tasks(self) -> None:
        weights = {"common_object": 1.0, "common_parts": 3.0, "unique_parts": 2.0}
        pairs = table({("paco", "common_object"): 4, ("paco", "common_parts"): 4})
        found = sampling_groups(pairs, settings(task_weights=weights))
        assert {one.task: one.share for one in found} == {
            "common_object": 0.25,
            "common_parts": 0.75,
        }

    def test_with_both_each_source_divides_its_share_over_the_tasks_it_has(self) -> None:
        found = shares(
            source_weights={"ade20k": 1, "paco": 1},
            task_weights={"common_object": 1, "common_parts": 3, "unique_parts": 4},
        )
        assert found == pytest.approx(
            {
                ("ade20k", "common_object"): 0.5 / 4,
                ("ade20k", "common_parts"): 1.5 / 4,
                ("paco", "common_object"): 0.5 / 8,
                ("paco", "common_parts"): 1.5 / 8,
                ("paco", "unique_parts"): 2.0 / 8,
            }
        )

    def test_members_are_all_rows_of_the_cell(self) -> None:
        pairs = table()
        for one in sampling_groups(pairs, settings()):
            assert len(one.members) == SAMPLES[one.source, one.task]
            rows = pairs.table.take(pa.array(one.members)).to_pylist()
            assert {(row["source"], row["task"]) for row in rows} == {(one.source, one.task)}


class TestFaults:
    @pytest.mark.parametrize(
        ("weights", "message"),
        [
            ({"source_weights": {"paco": 1, "ade": 1}}, "no source 'ade', but ade20k, paco.*mean"),
            ({"source_weights": {"paco": 1}}, "has no weight for ade20k"),
            ({"task_weights": {"common_objects": 1}}, "no task 'common_objects'"),
            (
                {
                    "source_weights": {"paco": 1, "ade20k": 1},
                    "task_weights": {"common_object": 0, "common_parts": 0, "unique_parts": 1},
                },
                "asks for samples of 'ade20k'",
            ),
        ],
    )
    def test_weights_that_do_not_fit_the_samples(self, weights: Any, message: str) -> None:
        with pytest.raises(UsageError, match=message):
            sampling_groups(table(), settings(**weights))

    def test_a_source_left_out_needs_no_task(self) -> None:
        weights = {"common_object": 0.0, "common_parts": 0.0, "unique_parts": 1.0}
        found = shares(source_weights={"paco": 1, "ade20k": 0}, task_weights=weights)
        assert found["paco", "unique_parts"] == 1
        assert sum(found.values()) == 1

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("source_weights: 3", "source_weights: expected a mapping"),
            ("source_weights: {paco: much}", "source_weights.paco: expected float, got 'much'"),
            ("task_weights: {1: 2}", "task_weights: expected a mapping of names"),
            (
                "task_weights: {common_object: -1}",
                r"task_weights\.common_object: expected float >= 0\.0, got -1\.0",
            ),
            (
                "task_weights: {common_object: .inf}",
                r"task_weights\.common_object: expected a finite number, got inf",
            ),
            ("task_weights: {common_object: 0}", "all weights are 0"),
        ],
    )
    def test_a_file_with_other_values(self, tmp_path: Path, text: str, message: str) -> None:
        file = tmp_path / "my.yaml"
        file.write_text(f"training:\n  {text}\n")
        with pytest.raises(UsageError, match=message):
            read_config(file, tiny())
