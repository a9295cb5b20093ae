"""Connect to a Ray cluster: one that is running, or one that is started on this machine.

Ray waits 80 s for an address where nothing answers, writes lines of its own meanwhile, and then
ends the process. So an address is tried in another process first, which has a time limit.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from mixedparts.errors import EnvironmentFault, UsageError

# Read by Ray when it is loaded: no report of use, and no warning about GPUs on stderr.
for _name, _value in (
    ("RAY_USAGE_STATS_ENABLED", "0"),
    ("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0"),
):
    os.environ.setdefault(_name, _value)

# Half of its functions have no types.
ray: Any = import_module("ray")

RAY_ADDRESS = "RAY_ADDRESS"
_CONNECT_SECONDS = 10  # for a first answer of the host
_TRY_SECONDS = 60  # for everything that Ray does to connect
_HOST_PORT = re.compile(r"(?:ray://)?\[?([^\[\]/]+?)\]?:([0-9]{1,5})")
_FAULT = "RAY-FAULT "  # before the type and the text of an error, in the output of `_TRY`
_TRY = f"""
import logging, sys
try:
    import ray
    ray.init(address=sys.argv[1], log_to_driver=False, logging_level=logging.CRITICAL)
    ray.shutdown()
except BaseException as error:
    text = " ".join(str(error).split())
    print({_FAULT!r} + type(error).__name__ + " " + text)
    sys.exit(1)
"""


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Ray from printing about lost tasks and nodes on stdout while the block runs."""
    # It does so from a thread, whatever `log_to_driver` says, and there is no option for it. Its
    # own debugger uses this switch.
    worker = import_module("ray._private.worker")
    before = getattr(worker, "_worker_logs_enabled", True)
    worker._worker_logs_enabled = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        worker._worker_logs_enabled = before  # type: ignore[attr-defined]


def address_of_cluster(given: str | None) -> str | None:
    """Return the address of the cluster to attach to; None to start one here.

    Args:
        given: the option; else `RAY_ADDRESS` counts, which Ray's own job launcher sets.
    """
    address = given or os.environ.get(RAY_ADDRESS, "")
    return None if address in ("", "local") else address


def connect(address: str | None, workers: int, environment: Mapping[str, Any]) -> bool:
    """Connect this process to a cluster.

    Args:
        address: of a running cluster, `auto` for the one of this machine; None: start one here.
        workers: number of CPUs of a cluster that is started here.
        environment: Ray's runtime environment for the processes of a running cluster.

    Returns:
        Whether this call has connected, so that its caller disconnects. False if the process was
        connected already.

    Raises:
        UsageError: the address is not one of Ray's.
        EnvironmentFault: nothing answers there in time, it runs other versions, or a cluster cannot
            be started here.
    """
    if ray.is_initialized():
        return False
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if address is None:
        options |= {"address": "local", "num_cpus": workers, "include_dashboard": False}
    else:
        _try_out(address)
        # A running cluster has its CPUs: Ray refuses to be given a number.
        options |= {"address": address, "runtime_env": dict(environment)}
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(**options)
        # Ray's handler prints the stack of its libraries.
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
    # Ray raises RuntimeError, ConnectionError, ValueError and OSError, and ends the process where
    # its own processes do not start.
    except (Exception, SystemExit) as error:
        raise _fault(address, type(error).__name__, " ".join(str(error).split())) from None
    return True


def _try_out(address: str) -> None:
    """Connect to a cluster and disconnect again, in a process with a time limit.

    Raises:
        UsageError: the address is not one of Ray's.
        EnvironmentFault: it cannot be connected to.
    """
    place = _HOST_PORT.fullmatch(address)
    if place is None and address != "auto":
        raise UsageError(
            f"'{address}' is no address of a Ray cluster",
            "Write --ray-address HOST:6379, ray://HOST:10001, or auto for the one of this machine.",
        )
    if place is not None:
        try:
            socket.create_connection((place[1], int(place[2])), _CONNECT_SECONDS).close()
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise _unreachable(address, reason) from None
    try:
        done = subprocess.run(
            [sys.executable, "-c", _TRY, address],
            capture_output=True,
            text=True,
            timeout=_TRY_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        reason = f"what answers there is no Ray cluster, or is busy for {_TRY_SECONDS} s"
        raise _unreachable(address, reason) from None
    if done.returncode:
        told = [line for line in done.stdout.splitlines() if line.startswith(_FAULT)]
        kind, _, text = told[-1].removeprefix(_FAULT).partition(" ") if told else ("", "", "")
        raise _fault(address, kind, text or f"Ray ended with code {done.returncode}")


def _unreachable(address: str, reason: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"the Ray cluster at {address} cannot be reached: {reason}",
        "Check --ray-address and RAY_ADDRESS with: ray status --address ADDRESS. Without both, a"
        " cluster is started on this machine.",
    )


def _fault(address: str | None, kind: str, text: str) -> EnvironmentFault:
    """Return the error for what Ray has raised while connecting."""
    if address is None:
        return EnvironmentFault(
            f"Ray does not start on this machine: {text or kind}",
            "Build with --engine local; it writes the same files.",
        )
    if "ersion mismatch" in text:
        return EnvironmentFault(
            f"the Ray cluster at {address} has other versions than this environment: {text}",
            "Use the versions of Ray and Python here that the nodes have: pip install ray==VERSION",
        )
    if kind == "SystemExit":
        text = "nothing that speaks Ray's protocol answers"
    return _unreachable(address, text or kind)
