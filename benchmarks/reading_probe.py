"""One process of `benchmarks.reading_scale`: loads a build with `datasets` and reads random rows.

Arguments: `plain` or `mixedparts`, the build folder, the number of random rows. The cache of
`datasets` is where HF_DATASETS_CACHE says. Writes one line of JSON.
"""

from __future__ import annotations

import json
import os
import random
import resource
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any


def rate(rows: Sequence[Any], numbers: Sequence[int], use: Callable[[Any], object]) -> float:
    """Return how many rows a second are read at random, given what is done with each."""
    began = time.perf_counter()
    for number in numbers:
        use(rows[number])
    return len(numbers) / (time.perf_counter() - began)


def pixels_of(row: dict[str, Any]) -> int:
    """Decode the images of a row; return the number of their bytes."""
    return sum(len(image["pixels"].tobytes()) for image in row["images"])


def main() -> None:
    """Load the build and read rows of its train split."""
    how, build, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    import datasets

    import mixedparts

    load: Any = mixedparts.load_dataset
    datasets.disable_progress_bars()
    rows: Any
    began = time.perf_counter()
    rows = (datasets.load_dataset if how == "plain" else load)(build)["train"]
    opened = time.perf_counter() - began
    first = rows[0]
    found: dict[str, float] = {"opened": opened, "first": time.perf_counter() - began}
    assert first["id"]
    draw = random.Random(0)
    numbers = [draw.randrange(len(rows)) for _ in range(count)]
    if how == "plain":
        found["rows"] = rate(rows, numbers, len)
    else:
        bare = load(build, pixels=False)["train"]
        found["rows"] = rate(bare, numbers, len)
        found["lazy"] = rate(rows, numbers, len)
        found["pixels"] = rate(rows, numbers[: max(1, count // 10)], pixels_of)
    found["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(found), flush=True)
    os._exit(0)  # closing memory maps of gigabytes is not what is measured


if __name__ == "__main__":
    main()
