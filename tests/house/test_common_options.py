"""What every command answers: --version, -v, -q, completion, and names close to a misspelt one."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

import mixedparts
from calico.cli.program import COMMANDS
from calico.inference.queries import task_question
from mixedparts.errors import InputError, UsageError, near_names
from mixedparts.pipeline.build import build
from mixedparts.pipeline.config import BuildConfig
from mixedparts.progress import Silent
from mixedparts.settings.command_parser import CommandParser, add_common_options
from mixedparts.storage.hub_ids import check_hub_id
from tests.conftest import SOURCES, command
from tests.oracles.build_tables import iter_rows, read_manifest

Run = Callable[..., "subprocess.CompletedProcess[str]"]

PROGRAMS = (
    "mixedparts", "calico-pretrain", "calico-train", "calico-eval", "calico-cost", "calico-merge",
    "calico-predict", "calico-demo",
)  # fmt: skip
VERBS = (
    "sample", "build", "status", "finalize", "verify", "stats", "view", "export", "import", "push",
    "sources", "env",
)  # fmt: skip


def answer(
    *words: str, cwd: Path | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, capture_output=True, text=True, check=False, env={**os.environ, **variables}, cwd=cwd
    )


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_program_has_version_and_completion(program: str) -> None:
    version = answer(command(program), "--version")
    assert (version.returncode, version.stdout) == (0, f"{program} {mixedparts.__version__}\n")
    for shell in ("bash", "zsh"):
        done = answer(command(program), "--print-completion", shell)
        assert done.returncode == 0, done.stderr
        assert program in done.stdout
    words = answer(command(program), "--help").stdout
    for option in ("--version", "--print-completion {bash,zsh,tcsh}"):
        assert option in words
    if program != "mixedparts":
        assert "-q, --quiet" in words
        assert "-v, --verbose" in words


def test_a_shell_completes_with_the_script(tmp_path: Path) -> None:
    script = tmp_path / "completion"
    script.write_text(answer(command("mixedparts"), "--print-completion", "bash").stdout)
    code = f"""
source {script}
complete_of() {{ COMP_WORDS=(mixedparts "$@"); COMP_CWORD=$#; COMPREPLY=(); _shtab_mixedparts
  echo "${{COMPREPLY[@]}}"; }}
complete_of ve
complete_of build --per
"""
    done = answer("bash", "-c", code)
    assert done.stdout.splitlines() == ["verify", "--per-image-limit"], done.stderr


# The words before the cursor, and what a shell offers for the last one. `work` holds a file and a
# folder of each name.
COMPLETED = (
    ("mixedparts", "verify work/bui", "work/build"),
    ("mixedparts", "build --root work/sou", "work/sources"),
    ("mixedparts", "view work/build --predictions work/pre", "work/predictions.jsonl"),
    ("mixedparts", "build --sources partim", "partimagenet"),
    ("mixedparts", "sources show partinv", "partinventory"),
    ("mixedparts", "view work/build --split bench", "benchmark"),
    ("mixedparts", "build --tasks common_o", "common_object"),
    ("mixedparts", "build --profile pub", "published"),
    ("calico-train", "--preset tin", "tiny"),
    ("calico-train", "--output-dir work/sou", "work/sources"),
    ("calico-eval", "--json work/pre", "work/predictions.jsonl"),
    ("calico-eval", "--split vali", "validation"),
    ("calico-eval", "--dataset work/bui", "work/build"),
    ("calico-predict", "work/pre", "work/predictions.jsonl"),
    ("calico-demo", "--checkpoint work/sou", "work/sources"),
    ("calico-merge", "work/bui", "work/build"),
    ("calico-cost", "--preset 2", "2b"),
    ("calico-pretrain", "--config work/pre", "work/predictions.jsonl"),
)


def test_a_shell_completes_files_folders_and_names(tmp_path: Path) -> None:
    """Options whose values are no choices too: a script without them completes no file at all."""
    for folder in ("build", "sources"):
        (tmp_path / "work" / folder).mkdir(parents=True)
    (tmp_path / "work" / "predictions.jsonl").touch()
    lines = [
        "complete_of() { local program=$1; shift; COMP_WORDS=($program $1); COMPREPLY=()",
        "  COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))",
        '  _shtab_${program//-/_} $program "${COMP_WORDS[-1]}" "${COMP_WORDS[-2]}"',
        '  echo "${COMPREPLY[@]}"; }',
    ]
    for program in PROGRAMS:
        (tmp_path / program).write_text(
            answer(command(program), "--print-completion", "bash").stdout
        )
        lines.append(f"source {tmp_path / program}")
    lines += [f"complete_of {program} '{words}'" for program, words, _ in COMPLETED]
    done = answer("bash", "-c", "\n".join([f"cd {tmp_path}", *lines]))
    offered = [line.rstrip("/ ") for line in done.stdout.splitlines()]
    assert offered == [word for _, _, word in COMPLETED], done.stderr


@pytest.mark.parametrize("verb", VERBS)
def test_every_subcommand_has_the_common_options(verb: str, run_mixedparts: Run) -> None:
    words = run_mixedparts(verb, "--help").stdout
    for option in ("-q, --quiet", "-v, --verbose", "--version"):
        assert option in words
    assert run_mixedparts(verb, "--version").stdout == f"mixedparts {mixedparts.__version__}\n"


def test_the_packages_run_as_modules() -> None:
    for package in ("mixedparts", "calico"):
        done = answer(sys.executable, "-m", package, "--version")
        assert done.stdout == f"{package} {mixedparts.__version__}\n"
    for words, code, text in (
        (("eval", "--version"), 0, f"calico-eval {mixedparts.__version__}"),
        (("predict", "--help"), 0, "usage: calico-predict"),
        (("evl",), 2, "Did you mean 'eval'?"),
        (("merge", "nowhere", "--out", "x"), 3, "nowhere"),
    ):
        done = answer(sys.executable, "-m", "calico", *words)
        assert done.returncode == code, done.stderr
        assert text in done.stdout + done.stderr
    scripts = [name.removeprefix("calico-") for name in PROGRAMS if name != "mixedparts"]
    assert sorted(COMMANDS) == sorted(scripts)


def test_quiet_switches_off_the_bars_of_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("HF_DATASETS_DISABLE_PROGRESS_BARS", "HF_HUB_DISABLE_PROGRESS_BARS")
    for words, value in (([], None), (["-q"], "1")):
        for name in names:
            monkeypatch.delenv(name, raising=False)
        parser = CommandParser()
        add_common_options(parser)
        parser.parse_args(words)
        assert [os.environ.get(name) for name in names] == [value, value]
    for name in names:
        monkeypatch.delenv(name)


def test_dashes_do_not_make_options_alike() -> None:
    options = ("--json", "--version", "--seed", "--workers", "--out")
    assert near_names("--jsn", options) == " Did you mean '--json'?"
    assert near_names("--limit", options) == ""


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (("biuld",), "'build'"),
        (("verfy", "x"), "'verify'"),
        (("build", "--smaples", "3"), "'--samples'"),
        (("build", "--engine", "lokal", "--sources", "paco"), "'local'"),
        (("build", "--sources", "pacco"), "'paco'"),
        (("build", "--sources", "paco", "--profile", "publishd"), "'published'"),
        (("build", "--sources", "paco", "--source-root", "pacco=x"), "'paco'"),
        (("sources", "shwo", "paco"), "'show'"),
        (("export", "x", "--format", "cocoo", "--out", "y"), "'coco'"),
    ],
)
def test_a_misspelt_word_gets_a_suggestion(
    words: tuple[str, ...], near: str, run_mixedparts: Run
) -> None:
    done = run_mixedparts(*words)
    assert done.returncode == 2
    assert re.search(f"Did you mean [^?]*{near}", done.stderr), done.stderr


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (("calico-cost", "--preset", "tinny"), "'tiny'"),
        (("calico-train", "--prest", "tiny"), "'--preset'"),
        (("calico-predict", "a", "b", "--checkpoint", "c", "--task", "unique"), "'unique_parts'"),
    ],
)
def test_so_does_one_of_a_calico_command(words: tuple[str, ...], near: str) -> None:
    done = answer(command(words[0]), *words[1:])
    assert done.returncode == 2
    assert re.search(f"Did you mean [^?]*{near}", done.stderr), done.stderr


def test_names_of_load_dataset_too(built: Path) -> None:
    with pytest.raises(UsageError, match=r"no config 'pair'\. Did you mean 'pairs'"):
        mixedparts.load_dataset(built, "pair")
    with pytest.raises(UsageError, match="Did you mean 'validation'"):
        mixedparts.load_dataset(built, split="validtion")


def test_names_in_python_and_in_files_too(built: Path, tmp_path: Path, run_mixedparts: Run) -> None:
    with pytest.raises(UsageError, match=r"no level 'ful'\. Did you mean 'full'"):
        mixedparts.verify(built, level="ful")
    with pytest.raises(UsageError, match=r"no task 'comon_parts'\. Did you mean 'common_parts'"):
        task_question("comon_parts")
    (tmp_path / "build.yaml").write_text("engine: lokal\n")
    done = run_mixedparts("build", "--sources", "paco", "--config", tmp_path / "build.yaml")
    assert done.returncode == 2
    assert "engine: 'lokal', choose from local, ray. Did you mean 'local'?" in done.stderr


def test_verbose_logs_what_a_build_does(native_root: Path, tmp_path: Path) -> None:
    words = [
        command("mixedparts"), "build", "--sources", "paco", "--root", str(native_root),
        "--samples", "60", "--workers", "1", "-q",
    ]  # fmt: skip
    silent = answer(*words, "--out", str(tmp_path / "a"))
    assert (silent.returncode, silent.stderr) == (0, "")
    logged = answer(*words, "--out", str(tmp_path / "b"), "-v")
    assert "reading {'task'" in logged.stderr
    assert f"mixedparts {mixedparts.__version__}" in logged.stderr


def test_the_environment_for_a_bug_report(run_mixedparts: Run, tmp_path: Path) -> None:
    secret = answer(
        command("mixedparts"), "env", "--json", HF_TOKEN="hf_abc", MIXEDPARTS_ROOT=str(tmp_path),
        OMP_NUM_THREADS="2", HF_ENDPOINT="https://me:hf_abc@hub.example",
        MIXEDPARTS_X=f"a:{tmp_path}", CALICO_X="C:\\Users\\jo",
        PYTORCH_CUDA_ALLOC_CONF="expandable_segments:True,max=1.5",
    )  # fmt: skip
    found = json.loads(secret.stdout)
    assert found["mixedparts"]["version"] == mixedparts.__version__
    assert found["packages"]["numpy"] == __import__("numpy").__version__
    assert found["packages"]["transformers"] == __import__("transformers").__version__
    assert found["variables"]["OMP_NUM_THREADS"] == "2"
    # A bug report is public.
    assert found["variables"]["HF_TOKEN"] == found["variables"]["MIXEDPARTS_ROOT"] == "(set)"
    for name in ("HF_ENDPOINT", "MIXEDPARTS_X", "CALICO_X"):
        assert found["variables"][name] == "(set)"
    allocation = found["variables"]["PYTORCH_CUDA_ALLOC_CONF"]
    assert allocation == "expandable_segments:True,max=1.5"
    assert "hf_abc" not in secret.stdout
    assert str(tmp_path) not in secret.stdout
    assert f"numpy {found['packages']['numpy']}" in " ".join(run_mixedparts("env").stdout.split())


def test_a_library_that_does_not_load_is_named_without_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torch").mkdir()
    fault = f"ImportError('{tmp_path}/lib/libtorch.so: undefined symbol: x')"
    (tmp_path / "torch" / "__init__.py").write_text(f"raise {fault}\n")
    found = answer(command("mixedparts"), "env", "--json", PYTHONPATH=str(tmp_path))
    gpus = json.loads(found.stdout)["machine"]["GPUs"]
    assert gpus == "unknown: ImportError: …/libtorch.so: undefined symbol: x"


@pytest.mark.parametrize("limit", [7, 20, 1000])
def test_a_trial_build_reads_only_so_many_images_of_each_source(
    limit: int, native_root: Path, tmp_path: Path
) -> None:
    config = BuildConfig(
        sources=SOURCES, root=native_root, out=tmp_path / "out", limit_images=limit,
        read_shard_images=5, max_rejects="100%",
    )  # fmt: skip
    build(config, Silent())
    plan = json.loads((tmp_path / "out" / "_build" / "plan.json").read_text())
    read = Counter[str]()
    for shard in plan["read"]:
        read[shard["file"].split("/")[0]] += shard["images"][1] - shard["images"][0]
    # The factories write 32 images of each source; ADE's second half is read for two splits.
    every = {"paco": 32, "PartImageNet": 32, "ADE20KPart234": 48}
    assert read == {name: min(limit, number) for name, number in every.items()}
    manifest = read_manifest(tmp_path / "out")
    assert manifest is not None
    assert manifest["configuration"]["limit_images"] == limit
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"Only {limit} images of each source were read" in card


def test_a_trial_of_too_few_images_names_its_limit(
    native_root: Path, tmp_path: Path, run_mixedparts: Run
) -> None:
    words = ("build", "--sources", "paco", "--root", native_root, "--out", tmp_path / "out")
    done = run_mixedparts(*words, "--limit-images", "1")
    assert done.returncode == 3
    assert "Read more than 1 images of a source: --limit-images." in done.stderr
    for wrong in ("0", "-1", "many"):
        assert run_mixedparts(*words, "--limit-images", wrong).returncode == 2


def test_all_missing_sources_are_named_at_once(native_root: Path, run_mixedparts: Run) -> None:
    done = run_mixedparts(
        "build", "--sources", "paco", "pascal_part", "partinventory", "--root", native_root
    )
    assert done.returncode == 3
    assert done.stderr.count("error:") == 1
    for name in ("pascal_part", "partinventory"):
        assert f"source '{name}': no annotation file under" in done.stderr
    assert "source 'paco'" not in done.stderr
    assert "--source-root NAME=DIR" in done.stderr


def test_a_build_prints_what_comes_next(native_root: Path, tmp_path: Path) -> None:
    out = tmp_path / "-my 'build' \"of\" `today`"
    done = answer(
        command("mixedparts"), "build", "--sources", "paco", "--root", str(native_root),
        "--samples", "60", f"--out={out.name}", "-q", cwd=tmp_path,
    )  # fmt: skip
    lines = dict(line.split(":", 1) for line in done.stdout.splitlines()[-4:])
    assert list(lines) == ["load", "verify", "view", "next"]
    python = lines["load"].strip().replace("python", sys.executable, 1)
    loaded = answer("bash", "-c", python, cwd=tmp_path)
    assert "DatasetDict" in loaded.stdout, loaded.stderr
    scripts = os.path.dirname(command("mixedparts"))
    for name in ("verify", "view"):
        done = answer("bash", "-c", f"cd {tmp_path} && {scripts}/{lines[name].strip()}")
        assert done.returncode == 0, done.stderr
    done = answer("bash", "-c", f"cd {tmp_path} && {scripts}/{lines['next'].strip()} --dry-run")
    assert done.returncode == 0, done.stderr
    assert len(list(iter_rows(out, "pairs", "train"))) > 0


class TestHubIds:
    def test_an_unreachable_hub_is_one_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answer_with(monkeypatch, ConnectionError("Name or service not known"))
        with pytest.raises(InputError, match="it cannot be reached: Name or service") as raised:
            mixedparts.load_dataset("somebody/parts")
        assert "HF_HUB_OFFLINE=1" in str(raised.value)

    def test_a_folder_of_a_similar_name_is_suggested(
        self, built: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.answer_with(monkeypatch, ConnectionError("no network"))
        monkeypatch.chdir(built.parent.parent)
        near = f"{built.parent.name}/mixedparts"
        with pytest.raises(InputError, match=f"Did you mean '{near}'"):
            mixedparts.load_dataset(f"{built.parent.name}/mixedpart")

    def test_offline_the_cache_is_left_to_datasets(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answer_with(monkeypatch, AssertionError("asked"))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        check_hub_id("somebody/parts")

    def test_so_is_a_folder_of_a_name_without_owner(
        self, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "dataset-of-dogs").mkdir()
        monkeypatch.chdir(tmp_path)
        for wrong, near in (("dataset-of-dog", "dataset-of-dogs"), ("mixedprts", "mixedparts")):
            with pytest.raises(InputError, match=f"(?s)no build folder.*Did you mean '{near}'"):
                mixedparts.load_dataset(wrong)

    def answer_with(self, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
        def dataset_info(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", dataset_info)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
