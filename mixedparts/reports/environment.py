"""What a bug report needs: versions of this program and of its libraries, the machine, settings."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from importlib import metadata, resources
from pathlib import Path

from mixedparts._version import __version__
from mixedparts.sources.contract import ENTRY_POINT_GROUP

_SHOWN = ("MIXEDPARTS_", "CALICO_", "HF_", "OMP_", "CUDA_VISIBLE", "PYTORCH_", "TOKENIZERS_")
# A bug report is public: of a variable with a secret or a path, only its presence is shown.
_PLAIN = re.compile(r"[\w.,:=+%-]*")  # no folder, no user at a host, no address
_IN_FOLDER = re.compile(r"(?:[A-Za-z]:)?(?:[\\/~][^\s\\/:'\"]+)+(?=[\\/])")
_PRIVATE = ("TOKEN", "KEY", "SECRET", "PASSWORD", "ROOT", "HOME", "CACHE", "PATH", "DIR")


def environment() -> dict[str, dict[str, str]]:
    """Return section -> name -> value; without names of folders, users or hosts."""
    return {
        "mixedparts": {
            "version": __version__,
            "commit": _commit(),
            "sources": ", ".join(
                sorted({entry.name for entry in metadata.entry_points(group=ENTRY_POINT_GROUP)})
            ),
        },
        "machine": {
            "python": f"{platform.python_implementation()} {platform.python_version()}",
            "system": f"{platform.system()} {platform.release()} ({platform.machine()})",
            "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity")
                         else os.cpu_count()),
            "memory": _memory(),
            "GPUs": _gpus(),
        },
        "packages": _packages(),
        "variables": _variables(),
    }  # fmt: skip


def _packages() -> dict[str, str]:
    """Return the version of each package that this project requires, extras included."""
    versions = {}
    for line in metadata.requires("mixedparts") or []:
        name = line.split(";")[0].split("[")[0]
        name = name.translate(str.maketrans("<>=!~(", "      ")).split()[0]
        if name.lower() == "mixedparts":
            continue
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return dict(sorted(versions.items(), key=lambda item: item[0].lower()))


def _commit() -> str:
    """Return the commit of the checkout that this program runs from."""
    folder = Path(str(resources.files("mixedparts"))).parent
    if not (folder / ".git").exists():
        return "installed without a checkout"
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return "unknown: git does not answer"
    commit: str = done.stdout.strip()
    return commit


def _memory() -> str:
    """Return the size of the machine's memory."""
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf
        return "unknown"
    return f"{size / 2**30:.1f} GiB"


def _gpus() -> str:
    """Return the GPUs that torch sees; another process asks, so that a broken driver ends that."""
    code = (
        "import torch\n"
        "names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]\n"
        "print(', '.join(names) or 'none', '(CUDA', str(torch.version.cuda) + ')')"
    )
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
        )
    except subprocess.CalledProcessError as error:
        reason: str = (error.stderr.strip().splitlines() or ["torch does not start"])[-1]
        # The name of a library that cannot be loaded helps, the folder that it is in is private.
        return f"unknown: {_IN_FOLDER.sub('…', reason)}"
    except (OSError, subprocess.SubprocessError):
        return "unknown: torch does not start"
    names: str = done.stdout.strip()
    return names


def _is_private(name: str) -> bool:
    return any(word in name for word in _PRIVATE)


def _variables() -> dict[str, str]:
    """Return the variables that change what the commands do."""
    return {
        name: value if _PLAIN.fullmatch(value) and not _is_private(name) else "(set)"
        for name, value in sorted(os.environ.items())
        if name.startswith(_SHOWN)
    }
