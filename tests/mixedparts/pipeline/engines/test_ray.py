"""The engine `ray`: on a running cluster of two nodes, and what goes wrong there."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mixedparts.errors import EnvironmentFault, MixedPartsError, UsageError
from mixedparts.pipeline.build import build
from mixedparts.pipeline.config import BuildConfig
from mixedparts.pipeline.engines.on_ray import connection
from mixedparts.pipeline.runs.shares import recorded_names
from mixedparts.progress import Silent
from tests.conftest import SOURCES, command
from tests.factories.processes import alive, start, within
from tests.factories.ray_cluster import RayCluster, running_cluster
from tests.oracles.digests import digests

SHARDS = {"read_shard_images": 4, "pair_shard_rows": 30, "image_shard_rows": 6}


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with running_cluster() as cluster:
        cluster.add("first", num_cpus=1)
        yield cluster


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("settings") / "build.yaml"
    file.write_text("".join(f"{name}: {rows}\n" for name, rows in SHARDS.items()))
    return file


@pytest.fixture(scope="module")
def whole(native_root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("whole") / "out"
    config = BuildConfig(sources=SOURCES, root=native_root, out=out, samples=300, **SHARDS)  # type: ignore[arg-type]
    build(config, Silent())
    return digests(out, "log.jsonl")


def words(root: Path, settings: Path, *options: object) -> list[str]:
    """Return a command line that builds into `out`, in a folder of its own."""
    line = [command("mixedparts"), "build", "--sources", *SOURCES, "--root", root, "--out", "out"]
    line += ["--samples", 300, "--config", settings, "--engine", "ray", *options]
    return [str(word) for word in line]


def test_a_node_is_lost_in_mid_build(
    native_root: Path, settings: Path, whole: dict[str, str], cluster: RayCluster, tmp_path: Path
) -> None:
    cluster.add("lost", num_cpus=2)
    # A relative folder: processes of the nodes have another working folder.
    line = words(native_root, settings, "--ray-address", cluster.address)
    process = start(line, tmp_path)
    out = tmp_path / "out"
    assert within(90, lambda: len(recorded_names(out)) >= 6 or process.poll() is not None)
    cluster.kill("lost")
    output, messages = process.communicate(timeout=180)
    assert process.returncode == 0, messages
    assert digests(out, "log.jsonl") == whole
    # Its own lines and no others: nothing of Ray.
    assert messages.splitlines()[0] == "Ray cluster: 4 CPUs, 3 nodes"
    for text in messages.splitlines()[1:]:
        assert text.startswith(("reading: ", "writing: ")), messages
    assert output.splitlines()[-1].startswith("next: calico-train")
    # The tasks ran in processes of the nodes; the command only scheduled them.
    events = [json.loads(text) for text in (out / "_build/log.jsonl").read_text().splitlines()]
    workers = {event["worker"] for event in events if "worker" in event}
    assert len(workers) >= 2
    assert process.pid not in workers


@pytest.mark.slow
def test_an_address_in_the_environment_counts(
    native_root: Path, settings: Path, whole: dict[str, str], cluster: RayCluster, tmp_path: Path
) -> None:
    # Twice the processes that were asked for at most: a running cluster has its own number.
    line = words(native_root, settings, "--workers", 1, "--quiet")
    process = start(line, tmp_path, RAY_ADDRESS=cluster.address)
    _, messages = process.communicate(timeout=180)
    assert (process.returncode, messages) == (0, "")
    assert digests(tmp_path / "out", "log.jsonl") == whole


@pytest.mark.slow
def test_what_shares_have_left_is_finished_on_the_cluster(
    native_root: Path, settings: Path, whole: dict[str, str], cluster: RayCluster, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    config = BuildConfig(sources=SOURCES, root=native_root, out=out, samples=300, **SHARDS)  # type: ignore[arg-type]
    for number in range(2):
        build(replace(config, shard_range=(number, 2)), Silent())
    line = [command("mixedparts"), "finalize", "out", "--engine", "ray", "--quiet"]
    process = start([*line, "--ray-address", cluster.address], tmp_path)
    _, messages = process.communicate(timeout=180)
    assert (process.returncode, messages) == (0, "")
    assert digests(out, "log.jsonl") == whole


ENGINE = """
import os, sys, time
from pathlib import Path
from mixedparts.errors import InputError, MixedPartsError
from mixedparts.pipeline.engines import NodeNeeds, get_engine

def code_of(number):
    import mixedparts
    from mixedparts.sources.contract import get_source
    reader = sys.modules[type(get_source("stranger")).__module__]
    return mixedparts.__file__, reader.__file__, os.environ.get("MIXEDPARTS_MARK")

def fail(number):
    raise InputError(f"task {number} has no file", "Bring it.")

def bug(number):
    return 1 // 0

def die_once(path):
    try:
        Path(path).touch(exist_ok=False)
    except FileExistsError:
        return "alive"
    os._exit(1)

def die(number):
    os._exit(1)

def caught(run):
    try:
        list(run)
    except Exception as error:
        print(type(error).__name__, repr(str(error)))

if __name__ == "__main__":
    engine = get_engine("ray", 1, sys.argv[1], NodeNeeds(Path("out")))
    print(*next(iter(engine.run(code_of, [0]))))
    caught(engine.run(fail, range(5)))
    caught(engine.run(bug, range(3)))
    print(*sorted(engine.run(die_once, [os.path.abspath(f"once-{n}") for n in range(3)])))
    from mixedparts.pipeline.engines.on_ray import engine as module
    module._RETRIES, module._ROUNDS = 0, 1
    caught(engine.run(die, [0]))
    engine.close()
    print(sorted(os.listdir("out/_build")))
    import logging, ray
    connected = [ray.is_initialized()]
    ray.init(sys.argv[1], log_to_driver=False, logging_level=logging.ERROR)
    engine = get_engine("ray", 1, sys.argv[1])
    connected += engine.run(str, ["given"])
    engine.close()
    print(*connected, ray.is_initialized())
"""
STRANGER = """
class Stranger:
    name, version = "stranger", "1"
"""


def test_tasks_get_the_code_and_settings_and_come_back_with_their_errors(
    cluster: RayCluster, tmp_path: Path
) -> None:
    (tmp_path / "program.py").write_text(ENGINE)
    # A reader that only the environment of this command has registered.
    other = tmp_path / "other"
    (other / "stranger-1.dist-info").mkdir(parents=True)
    (other / "stranger-1.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: stranger\n")
    (other / "stranger-1.dist-info/entry_points.txt").write_text(
        "[mixedparts.sources]\nstranger = strange_reader:Stranger\n"
    )
    (other / "strange_reader.py").write_text(STRANGER)
    path = os.pathsep.join((str(other), str(Path(__file__).parents[4])))
    process = start(
        [sys.executable, "program.py", cluster.address],
        tmp_path,
        PYTHONPATH=path,
        MIXEDPARTS_MARK="7",
        MIXEDPARTS_ROOT="/nowhere",
    )
    output, messages = process.communicate(timeout=180)
    assert (process.returncode, messages) == (0, ""), messages
    lines = output.splitlines()
    assert len(lines) == 7, output
    code, failed, bug, twice, died, left, connected = lines
    package, reader, mark = code.split()
    assert "py_modules_files" in package, "the nodes must run the code of this command"
    assert "py_modules_files" in reader
    assert mark == "7"
    kind, _, text = failed.partition(" ")
    assert kind == "InputError"
    assert text.endswith("has no file\\nBring it.'")
    assert bug == "ZeroDivisionError 'integer division or modulo by zero'"
    assert twice == "alive alive alive"
    assert died.startswith("EnvironmentFault 'Ray lost the task a task 2 times, the last time")
    assert left == "[]"
    # A connection that the program has made itself stays.
    assert connected == "False given True"


@pytest.mark.parametrize(
    ("ending", "code", "told"),
    [
        (signal.SIGINT, 130, ["interrupted; run the same command again to continue"]),
        (signal.SIGTERM, -signal.SIGTERM, []),
    ],
)
@pytest.mark.slow
def test_an_end_by_a_signal_leaves_the_cluster_alone(
    ending: signal.Signals,
    code: int,
    told: list[str],
    native_root: Path,
    settings: Path,
    cluster: RayCluster,
    tmp_path: Path,
) -> None:
    line = words(native_root, settings, "--ray-address", cluster.address, "--quiet")
    process = start(line, tmp_path)
    out = tmp_path / "out"
    assert within(90, lambda: len(recorded_names(out)) >= 2 or process.poll() is not None)
    process.send_signal(ending)
    _, messages = process.communicate(timeout=60)
    assert (process.returncode, messages.splitlines()) == (code, told)
    assert within(5, lambda: alive(process.pid) == [])
    # No process of a node goes on with a task of it.
    program = "import ray; ray.init(log_to_driver=False); print(ray.is_initialized())"
    still = start([sys.executable, "-c", program], tmp_path, RAY_ADDRESS=cluster.address)
    assert "True" in still.communicate(timeout=60)[0]
    done = recorded_names(out)
    time.sleep(1)
    assert recorded_names(out) == done


OTHER_VERSION = """
import sys
if any("ray.init" in word for word in getattr(sys, "orig_argv", [])):
    import ray
    ray.__version__ = "2.9.0"
"""


@pytest.mark.slow
def test_other_versions_are_named(
    native_root: Path, settings: Path, cluster: RayCluster, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(OTHER_VERSION)
    path = os.pathsep.join((str(tmp_path), str(Path(__file__).parents[4])))
    line = words(native_root, settings, "--ray-address", cluster.address)
    process = start(line, tmp_path, PYTHONPATH=path)
    _, messages = process.communicate(timeout=120)
    assert process.returncode == 3
    first, second = messages.splitlines()
    assert first.startswith(f"error: the Ray cluster at {cluster.address} has other versions than")
    assert "Ray: 2.9.0" in first
    assert second.startswith("Use the versions of Ray and Python here that the nodes have")


@pytest.mark.parametrize(
    ("address", "error", "told"),
    [
        ("127.0.0.1:1", EnvironmentFault, "127.0.0.1:1 cannot be reached: Connection refused"),
        ("ray://127.0.0.1:1", EnvironmentFault, "cannot be reached: Connection refused"),
        ("no.such.host.invalid:6379", EnvironmentFault, "cannot be reached: Name or service"),
        ("127.0.0.1:99999", EnvironmentFault, "cannot be reached"),
        ("[::1]:1", EnvironmentFault, "cannot be reached"),
        ("nonsense", UsageError, "'nonsense' is no address of a Ray cluster"),
        ("http://127.0.0.1:8265", UsageError, "is no address of a Ray cluster"),
    ],
)
def test_an_address_that_is_of_no_use(
    address: str, error: type[MixedPartsError], told: str
) -> None:
    with pytest.raises(error) as raised:
        connection.connect(address, 1, {})
    assert told in str(raised.value)
    assert "--ray-address" in str(raised.value)
    assert len(str(raised.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (("--ray-address", "127.0.0.1:1"), 3, "127.0.0.1:1 cannot be reached: Connection refused"),
        (("--ray-address", "x:1", "--engine", "local"), 2, "add --engine ray"),
    ],
)
def test_the_command_ends_with_one_message(
    options: tuple[str, ...],
    code: int,
    told: str,
    native_root: Path,
    settings: Path,
    tmp_path: Path,
) -> None:
    process = start(words(native_root, settings, *options), tmp_path)
    _, messages = process.communicate(timeout=60)
    assert process.returncode == code, messages
    assert told in messages
    assert len(messages.splitlines()) <= 2, messages


def test_something_else_that_listens_there_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "_TRY_SECONDS", 4)
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(EnvironmentFault, match="no Ray cluster, or is busy for 4 s"):
            connection.connect(address, 1, {})


def test_without_the_package_the_message_has_its_command(
    native_root: Path, settings: Path, tmp_path: Path
) -> None:
    (tmp_path / "ray.py").write_text("raise ModuleNotFoundError('No module named ray', name='ray')")
    path = os.pathsep.join((str(tmp_path), str(Path(__file__).parents[4])))
    process = start(words(native_root, settings), tmp_path, PYTHONPATH=path)
    _, messages = process.communicate(timeout=60)
    assert process.returncode == 3
    assert messages.startswith("error: the engine ray needs the package ray")
    assert "'.[ray]'" in messages


HIDDEN = """
mount -t tmpfs tmpfs {hidden} && exec {ray} start --address {address} --num-cpus 2 --block
"""


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="hiding a folder from a node needs the right to")
def test_a_node_that_does_not_see_the_folder_is_named(
    native_root: Path, settings: Path, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    with running_cluster() as cluster:
        script = textwrap.dedent(
            HIDDEN.format(hidden=shared, ray=command("ray"), address=cluster.address)
        )
        node = start(["unshare", "-m", "bash", "-c", script], tmp_path)
        try:
            if not within(5, lambda: node.poll() is None):
                pytest.skip("this machine does not let root hide a folder")
            count = "import ray; ray.init(log_to_driver=False); print(len(ray.nodes()))"

            def joined() -> bool:
                line = [sys.executable, "-c", count]
                told = start(line, tmp_path, RAY_ADDRESS=cluster.address).communicate()[0]
                return told.strip() == "2"

            assert within(60, joined)
            line = words(native_root, settings, "--ray-address", cluster.address)
            process = start(line, shared)
            _, messages = process.communicate(timeout=120)
        finally:
            os.killpg(node.pid, signal.SIGKILL)
            node.communicate()
    assert process.returncode == 3
    lines = messages.splitlines()
    assert f"of the Ray cluster does not see {shared / 'out'}" in lines[-2]
    assert "--out s3://BUCKET/FOLDER" in lines[-1]
    assert not list((shared / "out").rglob("*.arrow"))


def test_a_cluster_without_cpus_is_reported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from mixedparts.pipeline.engines.on_ray import engine as module

    class Cluster:
        cpus = 0.0

        def cluster_resources(self) -> dict[str, float]:
            return {"CPU": self.cpus} if self.cpus else {}

    notes: list[str] = []
    cluster = Cluster()
    monkeypatch.setattr(module, "ray", cluster)
    engine = module.RayEngine.__new__(module.RayEngine)
    engine._workers, engine._waiting, engine._note = 3, False, notes.append
    assert [engine._most_in_flight(idle) for idle in (0.0, 61.0, 66.0)] == [6, 6, 6]
    assert notes == ["the Ray cluster has no CPU for tasks now; waiting for one"]
    # Tasks follow the CPUs of the cluster as it grows.
    cluster.cpus = 40.0
    assert engine._most_in_flight(70.0) == 80
