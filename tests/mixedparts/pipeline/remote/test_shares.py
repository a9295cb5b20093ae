"""Shares, status and the last step of a build at an address, each as if on another machine."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mixedparts.errors import InputError
from mixedparts.files.cache import cache_folder
from mixedparts.pipeline.build import build
from mixedparts.pipeline.config import BuildConfig
from mixedparts.pipeline.remote import in_store
from mixedparts.pipeline.remote.unfinished import InStorePlace
from mixedparts.pipeline.runs.completion import CompletionRequest, finalize_build
from mixedparts.pipeline.runs.status import build_status
from mixedparts.progress import Silent
from tests.factories.object_store import BUCKET, ObjectStore
from tests.mixedparts.pipeline.remote.conftest import at
from tests.mixedparts.pipeline.remote.test_build import Heard, assert_equal


@pytest.fixture
def on_machine(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Go to another machine: one with this name and without any file of an earlier run."""

    def go(name: str) -> None:
        shutil.rmtree(cache_folder(), ignore_errors=True)
        monkeypatch.setattr(socket, "gethostname", lambda: name)

    return go


def test_shares_of_three_machines_leave_one_build_and_one_log(
    object_store: ObjectStore, config: BuildConfig, local: dict[str, str],
    on_machine: Callable[[str], None],
) -> None:  # fmt: skip
    share = replace(at(config, "shares"), shard_range=(0, 3))
    ended = []
    for number in (0, 1, 2, 0, 1):
        on_machine(f"machine-{number}")
        ended.append(build(replace(share, shard_range=(number, 3)), Silent()))
        status = build_status(InStorePlace(f"s3://{BUCKET}/shares"))
        assert status.state == ("finished" if number == 1 and len(ended) == 5 else "unfinished")
    assert ["waiting" in result for result in ended] == [True, True, True, True, False]
    assert_equal(object_store, "shares", local)
    log = object_store.objects("shares")["_build/log.jsonl"].decode().splitlines()
    begun = [event for text in log if (event := json.loads(text))["event"] == "begin"]
    assert sorted(event["host"] for event in begun) == sorted(
        f"machine-{number}" for number in (0, 1, 2, 0, 1)
    )


def test_status_names_the_machines_and_finalize_does_the_rest(
    object_store: ObjectStore, config: BuildConfig, local: dict[str, str],
    on_machine: Callable[[str], None],
) -> None:  # fmt: skip
    address = f"s3://{BUCKET}/rest"
    assert build_status(InStorePlace(address)).state == "no build"
    with pytest.raises(InputError, match=f"{address} contains no build"):
        finalize_build(CompletionRequest(Path(f"s3:/{BUCKET}/rest")), Silent())
    heard = Heard()
    for number in (0, 1):
        on_machine(f"machine-{number}")
        build(replace(at(config, "rest"), shard_range=(number, 3)), heard)
    assert f"`mixedparts finalize {address}` does all that is left" in heard.lines[-1]
    # What is known of share 0/3 comes from the log of another machine; it is done here.
    assert "share 2/3: " in heard.lines[-1]
    assert "no sign of it in the log" in heard.lines[-1]
    before = object_store.objects("rest")
    status = build_status(InStorePlace(address))
    assert object_store.objects("rest") == before
    reading = status.stages[0]
    assert [(worker.host, worker.share) for worker in reading.by] == [
        ("machine-0", "0/3"),
        ("machine-1", "1/3"),
    ]
    assert reading.left is not None
    assert reading.left > 0
    assert status.next == f"mixedparts finalize {address}"
    on_machine("machine-2")
    finalize_build(CompletionRequest(Path(f"s3:/{BUCKET}/rest")), Silent())
    assert_equal(object_store, "rest", local)


def test_the_log_can_be_read_while_a_share_is_at_work(
    object_store: ObjectStore, config: BuildConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_store, "_LOG_SECONDS", 0.0)
    seen = []

    class Looks(Silent):
        """Asks for the status whenever a task has ended."""

        def advance(self, amount: int = 1) -> None:
            status = build_status(InStorePlace(f"s3://{BUCKET}/live"))
            seen.append(sum(worker.tasks for stage in status.stages for worker in stage.by))

    build(replace(at(config, "live"), shard_range=(0, 2)), Looks())
    # The event of a task is kept after its progress is shown.
    assert seen[-1] == len(seen) - 2


def test_a_share_says_from_which_machine_another_one_was_last_heard_of(
    object_store: ObjectStore, config: BuildConfig, on_machine: Callable[[str], None]
) -> None:
    on_machine("machine-0")
    first = replace(at(config, "heard"), shard_range=(0, 2))

    class Dies(Silent):
        """Ends the run after two tasks."""

        def advance(self, amount: int = 1) -> None:
            self.calls = getattr(self, "calls", 0) + 1
            if self.calls > 2:
                raise InputError("the disk is on fire")

    with pytest.raises(InputError, match="on fire"):
        build(first, Dies())
    on_machine("machine-1")
    result = build(replace(first, shard_range=(1, 2)), Silent())
    (line,) = result["left"]
    assert line.startswith("share 0/2: ")
    assert "last heard of at 20" in line
    assert "from machine-0, process" in line
    assert line.endswith("which stopped: the disk is on fire")
