"""Lines of several processes in one log stay whole."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
from pathlib import Path

import pytest

from mixedparts.errors import InputError
from mixedparts.pipeline.runs.event_log import EVENTS, event_log, read_events

_LINES, _PROCESSES = 150, 4


def _write(out: Path, number: int) -> None:
    # Longer than the buffers of Python and of a pipe.
    with event_log(out, f"{number}/{_PROCESSES}") as log:
        for line in range(_LINES):
            log("reading", task=f"{number}-{line}", text="x" * (1 + line % 7 * 3_000))


def test_lines_of_processes_do_not_mix(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    runs = [context.Process(target=_write, args=(tmp_path, n)) for n in range(_PROCESSES)]
    for run in runs:
        run.start()
    for run in runs:
        run.join(timeout=120)
    lines = (tmp_path / EVENTS).read_text().splitlines()
    events = [json.loads(line) for line in lines]
    assert len(events) == _LINES * _PROCESSES
    assert {event["process"] for event in events} == {run.pid for run in runs}
    for event in events:
        number, line = event["task"].split("-")
        assert event["share"] == f"{number}/{_PROCESSES}"
        assert len(event["text"]) == 1 + int(line) % 7 * 3_000


def test_every_line_says_who_and_when(tmp_path: Path) -> None:
    with event_log(tmp_path) as log:
        log("begin", build_id="b")
    (event,) = read_events(tmp_path)
    assert (event["host"], event["process"]) == (socket.gethostname(), os.getpid())
    assert event["time"].endswith("+0000")
    assert "share" not in event


def test_a_line_that_was_cut_off_costs_only_itself(tmp_path: Path) -> None:
    with event_log(tmp_path) as log:
        log("first")
    with (tmp_path / EVENTS).open("a") as file:
        file.write('{"event": "cut o')
    with event_log(tmp_path) as log:
        log("second")
    assert [event["event"] for event in read_events(tmp_path)] == ["first", "second"]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (InputError("what", "hint"), "what\nhint"),
        (KeyboardInterrupt(), "interrupted"),
        (ZeroDivisionError("by zero"), "unexpected ZeroDivisionError: by zero"),
    ],
)
def test_what_ends_a_run_is_logged(error: BaseException, text: str, tmp_path: Path) -> None:
    with pytest.raises(type(error)), event_log(tmp_path):
        raise error
    (event,) = read_events(tmp_path)
    assert event["event"] == "stopped"
    assert event["error"].startswith(text)
