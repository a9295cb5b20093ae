"""Plain `datasets.load_dataset("mixedparts")` from the root of a checkout.

There the package folder has the dataset's name, so `datasets` takes it for the dataset and reads
its `.huggingface.yaml`. That file is written here after every build into `data/mixedparts` of a
checkout, with just the splits that the build has; git ignores it.
"""

from __future__ import annotations

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


def point_checkout_at(build: Path, manifest: dict[str, Any]) -> None:
    """Make the package folder of a checkout point at the build in its `data/mixedparts`.

    Args:
        build: a whole build; one that lies elsewhere than in a checkout is left alone.
    """
    place = build.resolve()
    checkout = place.parent.parent
    package = checkout / "mixedparts"
    if place != checkout / "data" / "mixedparts" or not (package / "__init__.py").is_file():
        return
    configs = loading_configs(manifest, "../data/mixedparts/")
    write_text(package / POINTER, _HEADER + yaml.safe_dump({"configs": configs}, sort_keys=False))
