"""Plain `datasets.load_dataset("mixedparts")` from the root of a checkout.

There the package folder has the dataset's name, so `datasets` takes it for the dataset and reads
its `.huggingface.yaml`. That file is written here after every build into `data/mixedparts` of the
checkout, with just the splits that the build has.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from mixedparts.card import loading_configs
from mixedparts.shards import write_text

POINTER = ".huggingface.yaml"
_HEADER = """\
# Lets `datasets.load_dataset("mixedparts")` find the build in data/mixedparts when it runs in the
# checkout's root, where this package folder has the dataset's name. Written by `mixedparts build`.
"""


def point_checkout_at(build: Path, manifest: dict[str, Any]) -> None:
    """Make the package folder of a checkout point at its build; elsewhere do nothing.

    Args:
        build: a whole build; one outside the checkout's `data/mixedparts` is left alone.
    """
    package = Path(__file__).resolve().parent
    checkout = package.parent
    if not (checkout / "pyproject.toml").is_file():
        return
    if build.resolve() != checkout / "data" / "mixedparts":
        return
    text = _HEADER + yaml.safe_dump(
        {"configs": loading_configs(manifest, "../data/mixedparts/")}, sort_keys=False
    )
    pointer = package / POINTER
    if not pointer.is_file() or pointer.read_text(encoding="utf-8") != text:
        write_text(pointer, text)
