"""A log that is not a regular file is named, and a pipe is never waited for."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from calico.runtime.run_log import RunLog
from mixedparts.errors import EnvironmentFault
from mixedparts.files.opening import open_to_append
from mixedparts.pipeline.runs.event_log import event_log


def test_text_is_added_to_what_is_there(tmp_path: Path) -> None:
    for text in ("first é\n", "second\n"):
        with open_to_append(tmp_path / "log") as file:
            file.write(text)
    assert (tmp_path / "log").read_bytes() == "first é\nsecond\n".encode()


def log_of_a_build(path: Path) -> None:
    with event_log(path.parent.parent) as log:
        log("start")


def log_of_a_run(path: Path) -> None:
    RunLog(path, every=1).write({"step": 1})


@pytest.mark.parametrize("write", [log_of_a_build, log_of_a_run])
@pytest.mark.parametrize(
    ("make", "kind"), [(os.mkfifo, "a pipe"), (os.mkdir, "a folder")], ids=["pipe", "folder"]
)
def test_what_is_not_a_file_is_named(
    write: Callable[[Path], None], make: Callable[[Path], None], kind: str, tmp_path: Path
) -> None:
    path = tmp_path / "_build" / "log.jsonl"
    path.parent.mkdir()
    make(path)
    with pytest.raises(EnvironmentFault, match=f"log.jsonl cannot be written: it is {kind}"):
        write(path)
