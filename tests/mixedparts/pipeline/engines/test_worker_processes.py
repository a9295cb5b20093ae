"""Worker processes end with their command, are deaf to Ctrl-C, and never run a script again."""

from __future__ import annotations

import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import SOURCES, command
from tests.factories.processes import alive, start, within

LONG_TASKS = """
import sys, time
from pathlib import Path
from mixedparts.pipeline.engines.local import LocalEngine

def work(number):
    Path(sys.argv[1], f"started-{number}").touch()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        Path(sys.argv[1], f"written-{number}").write_text(str(time.time()))
        if sys.argv[2] == "busy":
            sum(range(10_000))
        else:
            time.sleep(0.01)

if __name__ == "__main__":
    for _ in LocalEngine(2).run(work, range(4)):
        pass
"""
UNGUARDED = """
from pathlib import Path
from mixedparts.pipeline.build import build
from mixedparts.pipeline.config import BuildConfig
from mixedparts.progress import Silent

{guard}
build(BuildConfig(sources={sources}, root=Path({root!r}), out=Path("out"), workers=2), Silent())
"""


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("state", ["busy", "asleep"])
def test_nothing_outlives_the_command(tmp_path: Path, ending: signal.Signals, state: str) -> None:
    (tmp_path / "program.py").write_text(LONG_TASKS)
    process = start([sys.executable, "program.py", tmp_path, state], tmp_path)
    assert within(60, lambda: len(list(tmp_path.glob("started-*"))) == 2)
    os.kill(process.pid, ending)
    assert within(2, lambda: alive(process.pid) == []), alive(process.pid)
    process.communicate()
    written = {path.name: path.read_text() for path in tmp_path.glob("written-*")}
    time.sleep(0.3)
    assert {path.name: path.read_text() for path in tmp_path.glob("written-*")} == written


def test_a_fork_server_that_is_importing_ends_with_the_command(tmp_path: Path) -> None:
    program = (
        "import time\nfrom mixedparts.pipeline.engines.worker_pool import warm_up\n"
        "warm_up()\nprint('warm', flush=True)\ntime.sleep(60)\n"
    )
    process = start([sys.executable, "-c", program], tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "warm\n"
    os.kill(process.pid, signal.SIGKILL)
    assert within(2, lambda: alive(process.pid) == []), alive(process.pid)
    process.communicate()


WITHOUT_SERVER = """
import os, signal, sys, threading
from multiprocessing import forkserver
from mixedparts.exit_codes import run_command
from mixedparts.pipeline.engines.local import LocalEngine

def double(number):
    return 2 * number

def command():
    engine = LocalEngine(2)
    server = forkserver._forkserver._forkserver_pid
    if sys.argv[1] == "before":
        os.kill(server, signal.SIGKILL)
        os.waitid(os.P_PID, server, os.WEXITED | os.WNOWAIT)
    else:
        os.kill(server, signal.SIGSTOP)
        threading.Timer(0.5, os.kill, (server, signal.SIGKILL)).start()
    print(sorted(engine.run(double, range(6))))
    engine.close()
    return 0

if __name__ == "__main__":
    sys.exit(run_command(command))
"""


@pytest.mark.parametrize(
    ("moment", "code", "printed", "told"),
    [
        ("before", 0, "[0, 2, 4, 6, 8, 10]\n", ""),
        ("meanwhile", 3, "", "error: a worker process died, most likely because memory ran out\n"),
    ],
)
def test_a_fork_server_that_ends_is_replaced_or_named(
    tmp_path: Path, moment: str, code: int, printed: str, told: str
) -> None:
    (tmp_path / "program.py").write_text(WITHOUT_SERVER)
    process = start([sys.executable, "program.py", moment], tmp_path)
    output, messages = process.communicate(timeout=60)
    assert (process.returncode, output) == (code, printed), messages
    assert messages.startswith(told)
    assert "Traceback" not in messages
    assert within(2, lambda: alive(process.pid) == [])


@pytest.mark.parametrize("kind", ["build", "sample"])
def test_a_worker_that_is_killed_is_one_message(
    native_root: Path, tmp_path: Path, kind: str
) -> None:
    words: dict[str, list[object]] = {
        "build": ["build", "--sources", *SOURCES, "--root", native_root, "--samples", 5000],
        "sample": ["sample", "--images", 2000],
    }
    out = tmp_path / "out"
    line = [command("mixedparts"), *words[kind], "--out", out, "--workers", 2, "--quiet"]
    process = start(line, tmp_path)
    workers = partial(grandchildren, process.pid)
    assert within(60, lambda: len(workers()) > 0 or process.poll() is not None)
    os.kill(workers()[0], signal.SIGKILL)
    _, messages = process.communicate(timeout=60)
    assert process.returncode == 3, messages
    first, second = messages.splitlines()
    assert first == "error: a worker process died, most likely because memory ran out"
    assert second.startswith("Run the same command again with fewer --workers; ")
    assert within(2, lambda: alive(process.pid) == [])


def grandchildren(process: int) -> list[int]:
    """Return the processes of a session that a child of its first process has started."""
    return [other for other in alive(process) if parent(other) not in (process, os.getpid(), 0)]


def parent(process: int) -> int:
    try:
        text = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return 0
    return int(text.rpartition(")")[2].split()[1])


@pytest.mark.parametrize("wait", [0.0, 0.1, 0.3, 0.6, 1.0])
def test_ctrl_c_prints_one_line(native_root: Path, tmp_path: Path, wait: float) -> None:
    words = ["build", "--sources", *SOURCES, "--root", native_root, "--workers", "2", "--quiet"]
    process = start([command("mixedparts"), *words], tmp_path)
    # As soon as it has a child it is this program, and not Python itself, that is starting.
    assert within(30, lambda: len(alive(process.pid)) > 1 or process.poll() is not None)
    time.sleep(wait)
    os.killpg(process.pid, signal.SIGINT)
    _, messages = process.communicate(timeout=60)
    assert "Traceback" not in messages
    if process.returncode:  # else the build had ended already
        assert process.returncode == 130
        assert messages.splitlines()[-1].startswith("interrupted; ")
    assert within(2, lambda: alive(process.pid) == [])


@pytest.mark.parametrize("guard", ["", "if __name__ == '__mp_main__':\n    pass\n"])
def test_a_script_without_a_guard_is_told_just_that(
    native_root: Path, tmp_path: Path, guard: str
) -> None:
    text = UNGUARDED.format(sources=SOURCES, root=str(native_root), guard=guard)
    (tmp_path / "script.py").write_text(text)
    process = start([sys.executable, "script.py"], tmp_path)
    _, messages = process.communicate(timeout=120)
    assert process.returncode
    last = messages.strip().splitlines()[-2:]
    assert 'script.py calls this outside of `if __name__ == "__main__":`' in " ".join(last)
    assert "memory" not in messages
    assert "bootstrapping" not in messages
    assert messages.count("Traceback") == 1, messages  # the script lets the error pass
