"""The tables of scores: every metric of the JSON follows from them, each row is what it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import calico.evaluation
from calico.evaluation.average_precision import MAX_DETECTIONS
from calico.evaluation.ground_truth import SampleGroundTruth
from calico.evaluation.report import write_json
from calico.evaluation.scoring import ScoreTable, Sum, score
from calico.evaluation.summary import METRICS, RATIOS, Summary, summarise
from calico.evaluation.tables.collect import ScoreRecorder
from calico.evaluation.tables.columns import REGIONS, SAMPLES
from calico.evaluation.tables.folder import ScoreFrames, default_folder, read_tables, write_scores
from calico.evaluation.tables.rebuild import score_table
from calico.predictions.types import COUNTED, Prediction, Segment
from mixedparts.errors import InputError
from tests.factories.evaluation import LetterModel, box, predicted, truth
from tests.factories.scored_runs import random_answers, random_samples

MODEL = LetterModel()
METADATA = {"dataset": {"build_id": "b" * 64, "split": "test"}, "name": "mine"}


def scored(
    samples: list[SampleGroundTruth], answers: dict[str, Prediction], folder: Path
) -> tuple[ScoreTable, ScoreFrames]:
    recorder = ScoreRecorder("test")
    table = score(samples, answers, MODEL, MODEL, recorder.record)
    write_scores(folder, recorder.finish(table, samples, answers), METADATA)
    return table, read_tables(folder)[0]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[ScoreTable, ScoreFrames]:
    samples = random_samples(60, seed=1)
    return scored(samples, random_answers(samples, seed=2), tmp_path_factory.mktemp("scores"))


@pytest.fixture(scope="module")
def summary(run: tuple[ScoreTable, ScoreFrames]) -> Summary:
    return summarise(run[0], replicates=0)


def ap50(regions: pd.DataFrame, hit: str, by_score: bool) -> float:
    """Return the AP of COCO's definition from the rows, written without the product's code."""
    said = regions[regions["predicted_order"].notna()]
    said = said.sort_values(["id", "image_id", "image", "predicted_order"], kind="stable")
    if by_score:
        said = said.sort_values("score", ascending=False, kind="stable")
    hits = said[hit].dropna().astype(float).cumsum()
    precision = hits / np.arange(1, len(hits) + 1)
    recall = hits / regions["name"].notna().sum()
    return float(
        np.mean([precision[recall >= level].max() if (recall >= level).any() else 0.0
                 for level in np.linspace(0, 1, 101)])
    )  # fmt: skip


def test_ratios_of_groups_follow_from_the_samples(
    run: tuple[ScoreTable, ScoreFrames], summary: Summary
) -> None:
    totals = run[1].samples.groupby("task")[[c for c in SAMPLES.names if c[:4] == "sum_"]].sum()
    for task, group in summary.tasks.items():
        for metric, (above, below) in RATIOS.items():
            row = totals.loc[task]
            value = row[f"sum_{above.name.lower()}"] / row[f"sum_{below.name.lower()}"]
            assert value == pytest.approx(group.metrics[metric].value, abs=1e-12), metric


def test_metrics_of_masks_follow_from_the_regions(
    run: tuple[ScoreTable, ScoreFrames], summary: Summary
) -> None:
    for task, group in summary.tasks.items():
        regions = run[1].regions[run[1].regions["task"] == task]
        samples = run[1].samples[run[1].samples["task"] == task]
        value = {metric: estimate.value for metric, estimate in group.metrics.items()}
        units = regions.groupby(["id", "image"])
        number = 2 * len(samples)  # every sample has two images with ground truth
        annotated, said = units["name"].count(), units["predicted_name"].count()
        total = units["iou"].sum()
        strict = (total / np.maximum(annotated, said)).sum() / number
        assert strict == pytest.approx(value["miou_strict"])
        matched = regions[regions["match"] == "matched"]
        greedy = matched.groupby(["id", "image"])["iou"].mean().sum() / number
        assert greedy == pytest.approx(value["miou"])
        targets = regions["name"].notna().sum()
        for metric in ("recall_glamm", "recall_fixed"):
            assert regions[f"{metric}_hit"].sum() / targets == pytest.approx(value[metric])
        assert matched["text_similarity"].sum() / targets == pytest.approx(value["ss_a"])
        assert matched["word_iou"].sum() / targets == pytest.approx(value["s_iou_a"])
        assert ap50(regions, "ap50_hit", by_score=False) == pytest.approx(value["ap50"])
        assert ap50(regions, "ap50_scored_hit", by_score=True) == pytest.approx(
            value["ap50_scored"]
        )
        true = regions.dropna(subset="name").groupby(["id", "image"])["name_key"].agg(set)
        mine = regions.dropna(subset="predicted_name").groupby(["id", "image"])["predicted_key"]
        sets = pd.concat([true, mine.agg(set)], axis=1)
        sets = sets.map(lambda value: value if isinstance(value, set) else set())
        both = sum(len(a & b) for a, b in sets.to_numpy())
        every = sum(len(a) + len(b) for a, b in sets.to_numpy())
        assert 2 * both / every == pytest.approx(value["label_f1"])


def test_the_tables_are_the_sums_again(run: tuple[ScoreTable, ScoreFrames]) -> None:
    table, frames = run
    again = score_table(frames)
    assert again.ids == table.ids
    np.testing.assert_array_equal(again.sums, table.sums)
    assert (again.missing, again.segments, again.untagged) == (
        table.missing, table.segments, table.untagged
    )  # fmt: skip
    assert summarise(again, 3, 40) == summarise(table, 3, 40)
    shuffled = ScoreFrames(*(frame.sample(frac=1, random_state=5) for frame in frames))
    assert summarise(score_table(shuffled), 3, 40) == summarise(table, 3, 40)


def test_a_sample_by_hand(tmp_path: Path) -> None:
    cup, lid = box(0, 0, 8, 8), box(10, 0, 4, 8)
    handle = box(0, 8, 8, 4)
    sample = truth("s", [Segment("cup", 0, cup), Segment("the_lid", 0, lid),
                         Segment("handle", 0, handle), Segment("pan", 1, cup)])  # fmt: skip
    answer = predicted("s", [
        Segment("cup", 0, cup), Segment("tap", 0, box(10, 0, 4, 7)),
        Segment("pan", 1, box(0, 0, 4, 7)), Segment("pan", 1, lid, 0.25),
    ], untagged=2)  # fmt: skip
    _, frames = scored([sample], {"s": answer}, tmp_path)
    rows = frames.regions.set_index(["image", "outcome"])
    assert sorted(rows.index) == [
        (0, "found"), (0, "missed"), (0, "wrong_name"), (1, "false_positive"), (1, "poor_mask"),
    ]  # fmt: skip
    wrong = rows.loc[(0, "wrong_name")]
    assert (wrong["name"], wrong["name_key"], wrong["predicted_name"]) == ("the_lid", "lid", "tap")
    assert wrong["iou"] == pytest.approx(28 / 32)
    assert (wrong["area"], wrong["predicted_area"]) == (32, 28)
    assert wrong["area_share"] == pytest.approx(32 / (12 * 16))
    assert (list(wrong["bbox"]), list(wrong["predicted_bbox"])) == ([10, 0, 4, 8], [10, 0, 4, 7])
    assert not wrong["same_name"]
    assert wrong["word_iou"] == 0
    assert wrong["ap50_hit"]
    extra = rows.loc[(1, "false_positive")]
    assert (extra["predicted_name"], extra["score"], extra["iou"]) == ("pan", 0.25, 0)
    assert pd.isna(extra["name"])
    assert pd.isna(extra["recall_fixed_hit"])
    assert extra["predicted_mask"] == lid.counts.decode()
    assert rows.loc[(1, "poor_mask"), "iou"] == pytest.approx(28 / 64)
    (row,) = frames.samples.to_dict("records")
    counts = ("annotated", "predicted", "found", "wrong_name", "poor_mask", "missed",
              "false_positive", "untagged")  # fmt: skip
    assert [row[name] for name in counts] == [4, 4, 1, 1, 1, 1, 1, 2]
    assert row["miou_strict"] == pytest.approx(((1 + 28 / 32) / 3 + 28 / 64 / 2) / 2)
    assert row["class_pair"] == "cup / pan"


def test_a_sample_without_a_prediction_and_masks_beyond_the_limit(tmp_path: Path) -> None:
    one = [Segment("cup", 0, box(0, 0, 8, 8)), Segment("pan", 1, box(0, 0, 8, 8))]
    many = [Segment("cup", 0, box(0, 0, 8, 8))] * (MAX_DETECTIONS + 3)
    _, frames = scored([truth("a", one), truth("b", one)], {"b": predicted("b", many)}, tmp_path)
    samples = frames.samples.set_index("id")
    assert list(samples["answered"]) == [False, True]
    assert (samples.loc["a", "missed"], samples.loc["a", "miou"]) == (2, 0)
    assert frames.regions["ap50_hit"].isna().sum() == 3 + 3  # two of `a` and one of `b` have none
    assert frames.regions["predicted_order"].notna().sum() == MAX_DETECTIONS + 3


def test_kinds_are_those_of_the_ground_truth(tmp_path: Path) -> None:
    one = [Segment("cup", 0, box(0, 0, 8, 8)), Segment("lid", 1, box(0, 0, 8, 8)),
           Segment("rim", 0, box(0, 0, 2, 2))]  # fmt: skip
    sample = truth("a", one)
    object.__setattr__(sample, "kinds", ("object", "common_part", "unique_part"))
    _, frames = scored([sample], {}, tmp_path)
    kinds = frames.regions.set_index("name")["kind"]
    assert kinds.to_dict() == {"cup": "object", "lid": "common_part", "rim": "unique_part"}


def test_scores_are_found_beside_the_json(tmp_path: Path) -> None:
    samples = random_samples(4, seed=0)
    result = tmp_path / "a" / "result.json"
    folder = default_folder(result)
    assert folder == tmp_path / "a" / "result.scores"
    recorder = ScoreRecorder("test")
    table = score(samples, {}, MODEL, MODEL, recorder.record)
    digests = write_scores(folder, recorder.finish(table, samples, {}), METADATA)
    content = {"format": "calico-eval/1", "scores": {"folder": "result.scores", **digests}}
    write_json(result, content)
    (tmp_path / "a").rename(tmp_path / "moved")
    for place in ("result.json", "result.scores"):
        frames = calico.evaluation.scores(tmp_path / "moved" / place)
        assert isinstance(frames.samples, pd.DataFrame)
        assert list(frames.samples.columns) == SAMPLES.names
        assert list(frames.regions.columns) == REGIONS.names
        assert len(frames.samples) == 4


def faulty(folder: Path, fault: str) -> None:
    samples, regions = (
        folder / "result.scores/samples.parquet",
        folder / "result.scores/regions.parquet",
    )
    if fault == "no tables":
        regions.unlink()
    elif fault == "damaged":
        data = samples.read_bytes()
        samples.write_bytes(data[:60] + bytes(40) + data[100:])
    elif fault == "replaced":
        table = pq.read_table(samples)
        pq.write_table(table.slice(0, 1).replace_schema_metadata(table.schema.metadata), samples)
    elif fault == "foreign":
        pq.write_table(pq.read_table(samples).replace_schema_metadata(None), samples)
    elif fault == "old JSON":
        write_json(folder / "result.json", {"format": "calico-eval/1"})
    elif fault == "other JSON":
        write_json(folder / "result.json", {"format": "coco"})


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("no tables", "regions.parquet cannot be read: it is not there"),
        ("damaged", "samples.parquet"),
        ("replaced", "another one was written there later"),
        ("foreign", "is not a table of scores of calico-eval"),
        ("old JSON", "names no tables of scores"),
        ("other JSON", "is not the JSON of an evaluation"),
    ],
)
def test_faults_are_one_message_with_the_next_command(
    tmp_path: Path, fault: str, says: str
) -> None:
    samples = random_samples(4, seed=0)
    recorder = ScoreRecorder("test")
    table = score(samples, {}, MODEL, MODEL, recorder.record)
    rows = recorder.finish(table, samples, {})
    digests = write_scores(tmp_path / "result.scores", rows, METADATA)
    content = {"format": "calico-eval/1", "scores": {"folder": "result.scores", **digests}}
    write_json(tmp_path / "result.json", content)
    faulty(tmp_path, fault)
    with pytest.raises(InputError, match=says) as caught:
        calico.evaluation.scores(tmp_path / "result.json")
    assert "--json FILE" in str(caught.value)


def test_every_column_has_a_line_in_the_documentation() -> None:
    text = (Path(__file__).parents[4] / "docs/evaluation.md").read_text()
    section = text.partition("## Scores of samples and regions")[2].partition("\n## ")[0]
    generated = {*RATIOS, *COUNTED, *(f"sum_{s.name.lower()}" for s in Sum)}
    undocumented = [
        name
        for name in (*SAMPLES.names, *REGIONS.names)
        if f"`{name}`" not in section and name not in generated
    ]
    assert undocumented == []
    assert set(METRICS) >= set(RATIOS)
