"""Commands of README and docs run as they stand there, in a folder with what they name.

Each runs in a folder of its own with small synthetic sources, a build, a model of micro size, two
images and predictions. `ELSEWHERE` has the few that need more than that, and what runs them.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from tests.checkout import DOCS
from tests.factories.documented_coco import write_documented_coco
from tests.factories.scenes import write_picture
from tests.house.test_document_code import code
from tests.house.test_document_commands import COMMANDS, PAGES, command_lines

# Pattern of commands -> why they do not run here, and what runs them.
ELSEWHERE = {
    r"make .*": "targets: .ci/run calls setup, docs and test, people call demo and gpu-check",
    r"pip install .*": "a package index; test_document_commands.py compares the names of extras",
    r"python -m benchmarks\..*": "minutes to hours; tests/benchmarks",
    r"torchrun .*": "several GPUs; tests/calico/training/test_processes.py",
    r"calico-demo .*": "gradio; make test-demo",
    r"calico-train .*--init .*": "published weights; tests/calico/cli/test_published_starts.py",
    r"calico-train --dataset (mixedparts|s3:\S+) (?!.*--init).*": "minutes; cli/test_train.py",
    r"calico-cost --preset 2b|calico-train --preset 2b --dry-run": "a minute; test_cost.py",
    r"mixedparts .*s3://b.*": "object storage; tests/mixedparts/pipeline/remote",
    r"mixedparts build .*(--engine ray|--shard-range).*": "a cluster; test_cluster_examples.py",
    r"mixedparts sample .*--annotations-only( --sources paco| --fraction 10)?": "gigabytes",
    r"mixedparts .*teaware.*": "an installed package; tests/house/test_example_source.py",
    r"mixedparts view .*--serve.*": "runs until Ctrl+C; tests/mixedparts/viewer/server",
}


def lines() -> list[str]:
    """Every command of the pages, once."""
    return sorted({shlex.join(words) for page in PAGES for words in command_lines(page)})


def runs_elsewhere(line: str) -> bool:
    return any(re.fullmatch(pattern, line) for pattern in ELSEWHERE)


HERE = [line for line in lines() if not runs_elsewhere(line)]


@pytest.fixture(scope="module")
def desk(
    synthetic_root: Path, synthetic_build: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with everything that the commands name; do not write here."""
    from calico.checkpoints.save_load import save_checkpoint
    from calico.cli import evaluate
    from calico.evaluation.baselines import boxes
    from calico.evaluation.ground_truth import read_ground_truth
    from calico.predictions.files import write_predictions
    from mixedparts.interchange.export.request import ExportRequest, Format
    from mixedparts.interchange.export.run import export
    from mixedparts.progress import Silent
    from mixedparts.storage.build_folder import BuildFolder
    from tests.factories.micro_model import micro_model, micro_tokenizer

    folder = tmp_path_factory.mktemp("desk")
    (folder / "sources").mkdir()
    for path in synthetic_root.iterdir():
        (folder / "sources" / path.name).symlink_to(path)
    (yaml,) = code(DOCS / "coco-parts.md", "yaml")
    write_documented_coco(folder / "sources/coco_parts", yaml)
    shutil.copytree(synthetic_build, folder / "data/mixedparts")
    export(ExportRequest(synthetic_build, Format.PUBLISHED, folder / "Part_Segm"), Silent())
    model, config = micro_model(seed=4)
    for name in ("tiny", "calico"):
        save_checkpoint(folder / "runs" / name, model, config, micro_tokenizer(), 0)
    build = BuildFolder.open(synthetic_build)
    predictions = boxes(build, read_ground_truth(build, "benchmark").samples)
    write_predictions(folder / "predictions.jsonl", predictions)
    (folder / "folder/pair").mkdir(parents=True)
    for seed, name in enumerate(("a.jpg", "b.jpg")):
        write_picture(folder / name, 64, 48, seed)
        shutil.copy(folder / name, folder / "folder/pair")
    (folder / "pairs.csv").write_text("image1,image2\na.jpg,b.jpg\n")
    # Names that pages write for any checkpoint or file.
    (folder / "DIR").symlink_to("runs/tiny")
    (folder / "FILE").symlink_to("predictions.jsonl")
    for name in ("a", "first", "result"):
        score = ["--predictions", folder / "predictions.jsonl", "--json", folder / f"{name}.json"]
        assert evaluate.main(["--dataset", str(synthetic_build), *map(str, score)]) == 0
    for first, second in (("a", "b"), ("first", "second"), ("result", "oracle")):
        shutil.copy(folder / f"{first}.json", folder / f"{second}.json")
    return folder


def test_what_runs_elsewhere_is_on_a_page() -> None:
    assert len(HERE) > 30
    for pattern in ELSEWHERE:
        assert any(re.fullmatch(pattern, line) for line in lines()), pattern


@pytest.mark.parametrize("line", HERE)
def test_a_command_does_what_its_page_says(
    line: str,
    desk: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    here = tmp_path / "here"
    shutil.copytree(desk, here, symlinks=True)
    monkeypatch.chdir(here)
    words = shlex.split(line)
    if words[:2] == ["mixedparts", "build"]:
        shutil.rmtree("data")
    for option in ("--json", "--out", "--plots"):
        # The result of the command, where the folder has one of the same name.
        if option in words:
            Path(words[words.index(option) + 1]).unlink(missing_ok=True)
    if words[0] == "calico-eval" and "--checkpoint" in words:
        words += ["--limit", "6"]  # a split takes minutes
    before = set(here.rglob("*"))
    if words[0] == "python":
        done = subprocess.run([sys.executable, *words[1:]], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()
        return
    code = import_module(COMMANDS[words[0]]).main([*words[1:], *one_worker(words)])
    out, error = capsys.readouterr()
    assert code == 0, error
    assert out.strip() or set(here.rglob("*")) - before


def one_worker(words: list[str]) -> list[str]:
    """The option that keeps a command in this process, if it has one."""
    verbs = ("build", "sample", "verify", "import")
    return ["--workers", "1"] if words[0] == "mixedparts" and words[1] in verbs else []
