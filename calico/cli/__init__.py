"""The commands of CALICO, one module each; heavy imports are inside the functions that run them.

The console scripts start here: the module of a command is imported inside `start_command`, where
Ctrl-C and a missing package end in one message.
"""

from __future__ import annotations

import os

from mixedparts.exit_codes import start_command

# Threads that wait for each other must not take a core from others: by default OpenMP's spin. The
# library reads this once, when torch loads it; a value that the user set stays.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# A worker process of a training command imports torch for seconds; it must not outlive the command
# in that time either.
if os.environ.get("CALICO_WORKER", "").isdigit():
    from mixedparts.pipeline.engines.follow_parent import die_with_parent

    die_with_parent(int(os.environ["CALICO_WORKER"]))


def main() -> int:
    """Run `python -m calico`."""
    return start_command("calico.cli.program")


def run_pretrain() -> int:
    """Run `calico-pretrain`."""
    return start_command("calico.cli.pretrain")


def run_train() -> int:
    """Run `calico-train`."""
    return start_command("calico.cli.train")


def run_eval() -> int:
    """Run `calico-eval`."""
    return start_command("calico.cli.evaluate")


def run_cost() -> int:
    """Run `calico-cost`."""
    return start_command("calico.cli.cost")


def run_merge() -> int:
    """Run `calico-merge`."""
    return start_command("calico.cli.merge")


def run_predict() -> int:
    """Run `calico-predict`."""
    return start_command("calico.cli.predict")


def run_demo() -> int:
    """Run `calico-demo`."""
    return start_command("calico.cli.demo")
