"""One folder, one writer: the second is told who is there, and a dead writer blocks nobody."""

from __future__ import annotations

import errno
import os
import re
import signal
import socket
import sys
import threading
from pathlib import Path

import pytest
from filelock import FileLock

from mixedparts.errors import EnvironmentFault
from mixedparts.storage.writer_lock import sharing, writing
from tests.factories.processes import start

HOLD = """
import sys, time
from pathlib import Path
from mixedparts.storage.writer_lock import writing
with writing(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""
COUNT = """
import sys, time
from pathlib import Path
from mixedparts.errors import EnvironmentFault
from mixedparts.storage.writer_lock import writing
place, mark = Path(sys.argv[1]), Path(sys.argv[2])
done = 0
while done < 25:
    try:
        with writing(place):
            mark.touch(exist_ok=False)  # raises where two are inside
            time.sleep(0.001)
            mark.unlink()
            done += 1
    except EnvironmentFault:
        time.sleep(0.001)
"""


def test_the_second_writer_is_told_who_is_there(tmp_path: Path) -> None:
    place = tmp_path / "out"
    holder = start([sys.executable, "-c", HOLD, place], tmp_path)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(EnvironmentFault) as raised, writing(place):
        pass
    text = str(raised.value)
    assert raised.value.exit_code == 3
    assert f"another process is writing {place}: -c {place}" in text
    assert f"process {holder.pid} on {socket.gethostname()}" in text
    assert re.search(r"since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", text)
    with writing(tmp_path / "other"):
        pass
    os.kill(holder.pid, signal.SIGKILL)
    holder.communicate()
    with writing(place):
        assert sorted(p.name for p in tmp_path.iterdir()) == [".out.lock", ".out.writer"]
    assert list(tmp_path.iterdir()) == []


def test_a_holder_is_named_even_if_it_has_not_said_yet_who_it_is(tmp_path: Path) -> None:
    place = tmp_path / "out"
    with writing(place):
        described = tmp_path / ".out.writer"
        text = described.read_text()
        # As a writer that was killed left it: its process is gone.
        described.write_text(text.replace(str(os.getpid()), str(2**22 + 1)))
        threading.Timer(0.3, lambda: described.write_text(text)).start()
        with (
            pytest.raises(EnvironmentFault, match=rf"\(process {os.getpid()} on "),
            writing(place),
        ):
            pass
        described.write_text("{")
        with pytest.raises(EnvironmentFault, match=rf"is writing {place}\n"), writing(place):
            pass


def test_there_is_never_more_than_one_inside(tmp_path: Path) -> None:
    words = [sys.executable, "-c", COUNT, tmp_path / "out", tmp_path / "inside"]
    writers = [start(words, tmp_path) for _ in range(4)]
    for writer in writers:
        _, messages = writer.communicate(timeout=120)
        assert writer.returncode == 0, messages
    assert list(tmp_path.iterdir()) == []


def test_shares_of_a_folder_are_written_together_but_not_with_the_whole(tmp_path: Path) -> None:
    place = tmp_path / "out"
    with sharing(place, "0-of-2"), sharing(place, "1-of-2"):
        with pytest.raises(EnvironmentFault), sharing(place, "1-of-2"):
            pass
        with pytest.raises(EnvironmentFault), writing(place):
            pass
    with writing(place), pytest.raises(EnvironmentFault), sharing(place, "0-of-2"):
        pass
    with writing(place):
        pass
    assert list(tmp_path.iterdir()) == []


def test_an_error_inside_gives_the_lock_up(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), writing(tmp_path / "out"):
        raise ZeroDivisionError
    with writing(tmp_path / "out"):
        pass


@pytest.mark.parametrize(
    "error", [NotImplementedError("no flock"), OSError(errno.ENOLCK, "No locks available")]
)
def test_a_file_system_without_locks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(self: FileLock, timeout: float) -> None:
        raise error

    monkeypatch.setattr(FileLock, "acquire", refuse)
    lines: list[str] = []
    with writing(tmp_path / "out", lines.append):
        lines.append("written")
    assert len(lines) == 2
    assert "no lock can be held here" in lines[0]
    assert str(tmp_path / "out") in lines[0]


def test_a_file_whose_name_begins_like_a_folder_is_another_place(tmp_path: Path) -> None:
    with (
        writing(tmp_path / "run.json"),
        writing(tmp_path / "run.scores"),
        writing(tmp_path / "run"),
    ):
        assert (tmp_path / ".run.lock").exists()
    assert list(tmp_path.iterdir()) == []
