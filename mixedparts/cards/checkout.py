"""Support for `datasets.load_dataset("mixedparts")` in the root of a checkout.

The package folder `mixedparts` has the same name as the dataset, so `datasets` takes that folder
for the dataset and reads its `.huggingface.yaml`. This module writes the file after every build
into `data/mixedparts` of a checkout, with the splits that the build has; git ignores it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from mixedparts.cards.card import loading_configs
from mixedparts.storage.shards import write_text

POINTER = ".huggingface.yaml"
_HEADER = """\
# Lets `datasets.load_dataset("mixedparts")` find the build in data/mixedparts when it runs in the
# checkout's root, where this package folder has the dataset's name. Written by `mixedparts build`.
"""


def point_checkout_at(build: Path, manifest: Mapping[str, Any]) -> None:
    """Point the package folder of a checkout at the build in `data/mixedparts`.

    A build anywhere else, or without a checkout around it, is left alone.

    Args:
        build: folder of a finished build.
        manifest: its manifest.
    """
    folder = build.resolve()
    checkout = folder.parent.parent
    package = checkout / "mixedparts"
    # `__init__.py` tells a checkout from a folder that only has the same name.
    if folder != checkout / "data" / "mixedparts" or not (package / "__init__.py").is_file():
        return
    # Paths are relative to the package folder, where `datasets` reads the file.
    configs = loading_configs(manifest, "../data/mixedparts/")
    write_text(package / POINTER, _HEADER + yaml.safe_dump({"configs": configs}, sort_keys=False))
