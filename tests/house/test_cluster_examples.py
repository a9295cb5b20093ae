"""The scripts of examples/clusters run under bash; stand-ins replace the schedulers' commands."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from mixedparts.pipeline.build import build
from mixedparts.pipeline.config import BuildConfig
from mixedparts.pipeline.runs.shares import recorded_names
from mixedparts.progress import Silent
from tests.checkout import ROOT
from tests.conftest import SOURCES, command
from tests.factories.processes import start, within
from tests.oracles.digests import digests

EXAMPLES = ROOT / "examples" / "clusters"
# Runs a job at once, share by share; a dependency on jobs that failed is never satisfied.
SBATCH = r"""#!/bin/bash
array= ; dependency=
while [[ $1 == --* ]]; do
    case $1 in
        --array=*) array=${1#*=} ;;
        --dependency=*) dependency=${1#*=} ;;
        --parsable) ;;
        *) echo "unknown option $1" >&2; exit 1 ;;
    esac
    shift
done
id=$(($(ls "$JOBS" | wc -l) + 100))
echo "$array $dependency $*" > "$JOBS/$id"
echo "$id;cluster"
kind=${dependency%%:*} ; on=${dependency#*:}
if [[ $kind == afterok ]] && grep -qv '^0$' "$CODES/$on"; then exit 0; fi
export SLURM_CPUS_PER_TASK=1 SLURM_JOB_ID=$id
{
    if [[ -z $array ]]; then bash "$@" >&2; echo $?; exit; fi
    export SLURM_ARRAY_JOB_ID=$id SLURM_ARRAY_TASK_COUNT=$((${array#*-} - ${array%-*} + 1))
    for SLURM_ARRAY_TASK_ID in $(seq "${array%-*}" "${array#*-}"); do
        export SLURM_ARRAY_TASK_ID
        bash "$@" >&2
        echo $?
    done
} > "$CODES/$id"
"""


@pytest.fixture(scope="module")
def whole(native_root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("whole") / "out"
    build(BuildConfig(sources=SOURCES, root=native_root, out=out, samples=60), Silent())
    return digests(out, "log.jsonl")


@pytest.fixture
def variables(native_root: Path, tmp_path: Path) -> dict[str, str]:
    """What a user sets, and a folder of stand-ins at the start of PATH."""
    for name in ("bin", "jobs", "codes"):
        (tmp_path / name).mkdir()
    scripts = Path(command("mixedparts")).parent
    return {
        "PATH": os.pathsep.join((str(tmp_path / "bin"), str(scripts), os.environ["PATH"])),
        "SOURCES": " ".join(SOURCES),
        "ROOT": str(native_root),
        "OUT": str(tmp_path / "out"),
        "JOBS": str(tmp_path / "jobs"),
        "CODES": str(tmp_path / "codes"),
    }


def stand_in(folder: Path, name: str, text: str) -> None:
    (folder / "bin" / name).write_text(text)
    (folder / "bin" / name).chmod(0o755)


@pytest.mark.parametrize("script", sorted(EXAMPLES.glob("*.sh")), ids=lambda path: path.name)
def test_bash_parses_every_script(script: Path) -> None:
    done = subprocess.run(["bash", "-n", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert os.access(script, os.X_OK)


def test_slurm_arrays_and_the_last_job_make_the_build(
    variables: dict[str, str], whole: dict[str, str], tmp_path: Path
) -> None:
    stand_in(tmp_path, "sbatch", SBATCH)
    line = ["bash", EXAMPLES / "slurm-submit.sh", "--samples", 60]
    process = start(line, tmp_path, **variables, SHARES="2")
    output, messages = process.communicate(timeout=240)
    assert process.returncode == 0, messages
    assert output.startswith("submitted 100 and 101 (2 shares each), then 102")
    codes = {path.name: path.read_text().split() for path in (tmp_path / "codes").iterdir()}
    # 4 of a share that leaves work to others is success for Slurm.
    assert codes == {"100": ["0", "0"], "101": ["0", "0"], "102": ["0"]}, messages
    jobs = {path.name: path.read_text() for path in (tmp_path / "jobs").iterdir()}
    assert "0-1 afterok:100 " in jobs["101"]
    assert " afterany:101 " in jobs["102"]
    assert digests(tmp_path / "out", "log.jsonl") == whole


def test_a_share_that_fails_stops_the_second_array_and_finalize_says_why(
    variables: dict[str, str], tmp_path: Path
) -> None:
    stand_in(tmp_path, "sbatch", SBATCH)
    variables["ROOT"] = str(tmp_path / "nothing")
    line = ["bash", EXAMPLES / "slurm-submit.sh"]
    process = start(line, tmp_path, **variables, SHARES="2")
    _, messages = process.communicate(timeout=240)
    assert (tmp_path / "codes" / "100").read_text().split() == ["3", "3"]
    assert not (tmp_path / "codes" / "101").exists()
    assert (tmp_path / "codes" / "102").read_text().split() == ["3"]
    assert f"no annotation file under {tmp_path / 'nothing'}" in messages
    assert "contains no build" in messages


def test_a_share_goes_back_into_the_queue_before_its_time_is_up(
    variables: dict[str, str], tmp_path: Path
) -> None:
    stand_in(tmp_path, "scontrol", f'#!/bin/bash\necho "$@" >> {tmp_path / "asked"}\n')
    (tmp_path / "build.yaml").write_text("read_shard_images: 1\n")
    line = ["bash", EXAMPLES / "slurm-share.sh", "--config", tmp_path / "build.yaml"]
    array = {"SLURM_ARRAY_TASK_ID": "0", "SLURM_ARRAY_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "1"}
    process = start(line, tmp_path, **variables, **array, SHARES="2")
    out = tmp_path / "out"
    assert within(60, lambda: len(recorded_names(out)) > 0)
    os.kill(process.pid, signal.SIGUSR1)
    _, messages = process.communicate(timeout=60)
    assert (process.returncode, messages) == (0, "")
    assert (tmp_path / "asked").read_text() == "requeue 7_0\n"
    done = recorded_names(out)
    plan = json.loads((out / "_build/plan.json").read_text())
    share = {task["task"] for task in plan["read"][::2]}
    assert done < share
    again = start(line, tmp_path, **variables, **array, SHARES="2")
    output, messages = again.communicate(timeout=120)
    assert (again.returncode, output) == (0, "waiting: reading\n"), messages
    assert recorded_names(out) == share


def job() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((EXAMPLES / "kubernetes-job.yaml").read_text())
    return found


def test_the_kubernetes_job_is_an_indexed_job_of_all_shares() -> None:
    value = job()
    spec = value["spec"]
    container = spec["template"]["spec"]["containers"][0]
    environment = {item["name"]: item["value"] for item in container["env"]}
    assert (value["kind"], spec["completionMode"]) == ("Job", "Indexed")
    # Pods that wait for each other must all run at the same time.
    assert spec["completions"] == spec["parallelism"] == int(environment["SHARES"])
    failing = spec["podFailurePolicy"]["rules"][1]["onExitCodes"]
    assert failing["containerName"] == container["name"]
    assert 4 not in failing["values"], "a pod that others left alone is tried again"


def test_pods_of_a_kubernetes_job_wait_for_each_other(
    variables: dict[str, str], whole: dict[str, str], tmp_path: Path
) -> None:
    container = job()["spec"]["template"]["spec"]["containers"][0]
    theirs = {item["name"]: item["value"] for item in container["env"]}
    (tmp_path / "build.yaml").write_text("samples: 60\n")
    line = [text.replace("--quiet", "--quiet --config build.yaml") for text in container["command"]]
    given = {**theirs, **variables, "SHARES": "2", "WORKERS": "1"}
    pods = [start(line, tmp_path, **given, JOB_COMPLETION_INDEX=str(n)) for n in range(2)]
    ended = [pod.communicate(timeout=240) for pod in pods]
    assert [pod.returncode for pod in pods] == [0, 0], ended
    assert digests(tmp_path / "out", "log.jsonl") == whole


def test_the_ray_job_submits_a_build(variables: dict[str, str], tmp_path: Path) -> None:
    stand_in(tmp_path, "ray", '#!/bin/bash\nprintf "%s\\n" "$@"\n')
    line = ["bash", EXAMPLES / "ray-job.sh", "--samples", 60]
    output, messages = start(line, tmp_path, **variables).communicate(timeout=60)
    assert messages == ""
    words = output.splitlines()
    assert words[:5] == ["job", "submit", "--", "mixedparts", "build"]
    assert words[words.index("--sources") + 1 :][: len(SOURCES)] == list(SOURCES)
    assert words[-4:] == ["--engine", "ray", "--samples", "60"]


@pytest.mark.slow
def test_the_entrypoint_of_the_ray_job_builds(
    variables: dict[str, str], whole: dict[str, str], tmp_path: Path
) -> None:
    # As Ray's job server runs it: the words after `--`, here with a cluster that it starts itself.
    stand_in(tmp_path, "ray", '#!/bin/bash\nshift 3\nexec "$@"\n')
    line = ["bash", EXAMPLES / "ray-job.sh", "--samples", 60, "--workers", 2]
    process = start(line, tmp_path, **variables)
    _, messages = process.communicate(timeout=240)
    assert process.returncode == 0, messages
    assert digests(tmp_path / "out", "log.jsonl") == whole
