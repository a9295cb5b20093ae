"""A Ray cluster of several nodes on this machine, in processes of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

# Commands come as lines of JSON, and answers go back as such. In a process of its own, so that a
# test can never be the driver by accident, and whatever is left ends with it.
_SERVER = """\
import json, os, sys
import ray._private.services, ray._private.worker
from ray.cluster_utils import Cluster

out = os.dup(1)
os.dup2(2, 1)  # what Ray prints
cluster = Cluster(initialize_head=True, head_node_args=json.loads(sys.argv[1]))
nodes = {}
os.write(out, (json.dumps(cluster.address) + "\\n").encode())
for line in sys.stdin:
    do, name, options = json.loads(line)
    if do == "add":
        nodes[name] = cluster.add_node(**options)
        cluster.wait_for_nodes()
    elif do == "kill":
        cluster.remove_node(nodes.pop(name), allow_graceful=False)
    os.write(out, b"null\\n")
cluster.shutdown()
"""


@dataclass
class RayCluster:
    """A running cluster.

    Attributes:
        address: to attach to.
    """

    address: str
    _process: subprocess.Popen[str]

    def add(self, name: str, **options: Any) -> None:
        """Start one more node."""
        self._do("add", name, options)

    def kill(self, name: str) -> None:
        """End a node and everything that runs on it, with SIGKILL."""
        self._do("kill", name, {})

    def _do(self, what: str, name: str, options: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([what, name, options]) + "\n")
        self._process.stdin.flush()
        self.answer()

    def answer(self) -> Any:
        """Return the next answer of the process."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the process of the cluster has ended"
        return json.loads(line)


@contextmanager
def running_cluster(**head: Any) -> Iterator[RayCluster]:
    """Run a cluster of one node while the block runs.

    Args:
        **head: options of the node (`ray._private.parameter.RayParams`), such as `num_cpus`.
    """
    options = {"include_dashboard": False, "num_cpus": 1, **head}
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVER, json.dumps(options)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    cluster = RayCluster("", process)
    try:
        cluster.address = cluster.answer()
        yield cluster
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(timeout=30)
        finally:
            process.kill()
            process.wait()
