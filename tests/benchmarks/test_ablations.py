"""The ablation study at micro size: runs, what is kept, what is refused, and its tables."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks import ablations
from benchmarks.ablation_run import VARIANTS, run, variant_config
from benchmarks.ablation_table import excludes_zero, tables
from benchmarks.cpu_meter import CpuMeter, Metered
from calico.config.yaml_io import plain_config
from calico.dataset.pairs import BuiltDataset
from calico.pretraining.pretrain import pretrain
from mixedparts.progress import Silent
from mixedparts.records import Task
from tests.factories.micro_model import micro_config

STEPS = 3


@pytest.fixture(scope="module")
def study(built: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The arguments of a study that is finished; its folder is `--out`."""
    folder = tmp_path_factory.mktemp("study")
    config = micro_config(training={"log_every": 1}, generation={"max_new_tokens": 8})
    (folder / "micro.yaml").write_text(yaml.safe_dump(plain_config(config)))
    encoders = pretrain(config, BuiltDataset(built), folder / "encoders", Silent())
    arguments = ["--dataset", built, "--test-dataset", built, "--encoders", encoders]
    arguments += ["--config", folder / "micro.yaml", "--steps", STEPS, "--limit", 6]
    arguments += ["--triangles", 1, "--jobs", 2, "--out", folder / "out"]
    arguments += ["--seeds", 0, "--variants", "full", "neither"]
    texts = [str(argument) for argument in arguments]
    assert ablations.main([*texts, "--write", str(folder / "a.md")]) == 0
    return texts


def out_of(study: list[str]) -> Path:
    return Path(study[study.index("--out") + 1])


def test_every_run_leaves_its_numbers(study: list[str]) -> None:
    out = out_of(study)
    names = {"full-0", "neither-0"}
    assert {path.parent.name for path in out.glob("*/result.json")} == names
    for name in names:
        result = json.loads((out / name / "result.json").read_text())
        assert set(result["metrics"]) == {"overall", *map(str, Task)}
        assert result["other_image"]["unique_parts"]["pairs"] == 6
        assert "common_object" not in result["other_image"]  # the images show no such triangle
        assert result["cpu"]["train"] > 0
        assert result["cpu"]["evaluate"] > 0
    text = (out.parent / "a.md").read_text()
    assert "| full | 1 |" in text
    assert "| neither | 1 |" in text
    assert "Differences to `full`" in text
    assert "(6 of unique_parts; see above)" in text


def test_a_finished_run_is_not_done_again(
    study: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in out_of(study).glob("*/*.json")}
    assert ablations.main(study) == 0
    told = capsys.readouterr()
    assert "2 of 2 runs are finished already" in told.err
    assert "started" not in told.err
    results = [path for path in before if path.name == "result.json"]
    assert all(path.stat().st_mtime_ns == before[path] for path in results)


def test_an_interrupted_run_goes_on_to_the_same_result(study: list[str], tmp_path: Path) -> None:
    """What a kill between training and the result leaves is finished from its checkpoint."""
    whole = out_of(study) / "full-0"
    shutil.copytree(whole, tmp_path / "full-0")
    (tmp_path / "full-0" / "result.json").unlink()
    again = run(tmp_path / "full-0")
    first = json.loads((whole / "result.json").read_text())
    assert again["metrics"] == first["metrics"]
    assert again["other_image"] == first["other_image"]
    assert again["cpu"]["train"] >= first["cpu"]["train"]
    log = (tmp_path / "full-0" / "training" / "train.log.jsonl").read_text().splitlines()
    assert sum(json.loads(line).get("event") is None for line in log) == STEPS


def test_another_plan_in_the_same_folder_is_refused(
    study: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    changed = list(study)
    changed[changed.index("--steps") + 1] = str(STEPS + 1)
    assert ablations.main(changed) == 2
    assert "run of another study: config differ" in capsys.readouterr().err


def test_a_failing_run_is_one_message(
    study: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = list(study)
    broken[broken.index("--out") + 1] = str(tmp_path / "out")
    encoders = tmp_path / "encoders"
    shutil.copytree(study[study.index("--encoders") + 1], encoders)
    (encoders / "encoders.safetensors").write_bytes(b"nothing")
    broken[broken.index("--encoders") + 1] = str(encoders)
    assert ablations.main([*broken, "--jobs", "1"]) == 1
    said = capsys.readouterr().err
    assert "full, seed 0" in said
    assert "encoders.safetensors" in said
    assert "Traceback" not in said


def test_a_report_needs_a_finished_run(
    study: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = list(study)
    empty[empty.index("--out") + 1] = str(tmp_path)
    assert ablations.main([*empty, "--report"]) == 3
    assert "no run" in capsys.readouterr().err


def test_a_dataset_that_cannot_be_evaluated_on_is_refused_before_training(
    study: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = [*study, "--test-split", "nowhere"]
    changed[changed.index("--out") + 1] = str(tmp_path / "out")
    assert ablations.main(changed) == 2
    assert "no split 'nowhere'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_missing_encoders_are_one_message(
    study: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = list(study)
    changed[changed.index("--encoders") + 1] = str(tmp_path)
    assert ablations.main(changed) == 3
    assert "calico-pretrain" in capsys.readouterr().err


def test_variants_differ_in_what_they_leave_out_alone() -> None:
    base = micro_config(
        loss={"presence": 1.0}, training={"contrast": {"unique_parts": 0.5, "common_parts": 0.2}}
    )
    configs = {name: variant_config(base, name, 0, 5) for name in VARIANTS}
    full = plain_config(configs["full"])
    for name, config in configs.items():
        plain = plain_config(config)
        changed = {part for part in full if plain[part] != full[part]}
        sections = {"full": set(), "no contrast": {"training"}, "no presence": {"loss"}}
        assert changed == sections.get(name, {"correspondence"})
    assert configs["full"].training.contrast == base.training.contrast
    assert configs["no contrast"].training.contrast == {}
    assert configs["no contrast"].training.steps == 5
    assert variant_config(base, "full", 0).training.steps == base.training.steps
    assert len({str(plain_config(config)) for config in configs.values()}) == len(VARIANTS)
    readers = {name for name, config in configs.items() if config.uses_semantic}
    assert readers == {"full", "no CAM", "no contrast", "no presence"}


def test_cpu_time_is_added_over_interruptions(tmp_path: Path) -> None:
    path = tmp_path / "cpu.json"
    path.write_text('{"train": 1000.0}')
    progress = Metered(Silent(), CpuMeter(path), "train", every=2)
    progress.start("training", 3, "steps")
    progress.advance()
    assert json.loads(path.read_text()) == {"train": 1000.0}
    sum(number * number for number in range(200_000))
    progress.advance()
    assert 1000.0 < json.loads(path.read_text())["train"] < 1100.0


def result(variant: str, seed: int, value: float) -> dict[str, Any]:
    names = ("ap50", "miou", "recall_glamm", "ss_b", "s_iou_b", "miou_strict", "label_f1")
    tasks = ("overall", "common_object", "common_parts", "unique_parts")
    return {
        "plan": {"variant": variant, "seed": seed},
        "metrics": {task: dict.fromkeys(names, value) for task in tasks},
        "other_image": {
            task: {"pairs": 6, "exact": value, "choice": value}
            for task in ("common_object", "unique_parts")
        },
        "cpu": {"train": 100.0 + seed},
    }


def test_tables_hold_means_spreads_and_paired_differences() -> None:
    full = [result("full", seed, value) for seed, value in enumerate((0.50, 0.60, 0.70))]
    less = [result("neither", seed, value) for seed, value in enumerate((0.39, 0.50, 0.61))]
    text = tables([*full, *less])
    assert "| full | 3 | 101 | 60.0 ± 10.0 |" in text
    assert "| neither | 3 | -10.0 ± 1.0 * |" in text  # though the two ranges overlap
    assert "8 of 8 differences have a star" in text


def test_a_difference_without_spread_to_judge_by_has_no_star() -> None:
    text = tables([result("full", 0, 0.5), result("no CAM", 0, 0.4)])
    assert "| no CAM | 1 | -10.0 |" in text
    assert "star (" not in text
    assert not excludes_zero([3.0])
    assert not excludes_zero([1.0, -1.0, 2.0])
    assert excludes_zero([1.0, 1.1, 0.9])
