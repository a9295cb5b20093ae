"""One training process of `benchmarks.reading_scale`: opens a build and makes samples of steps.

Runs as a script with the code of any commit on PYTHONPATH, so it imports nothing of this package.
It writes one line of JSON when it is ready, and ends when its input ends.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
import time
from pathlib import Path
from typing import Any


def augmenter(pairs: Any) -> Any:
    """Return what makes the samples of a step, with the settings of the 7B model."""
    try:
        from calico.config.presets import seven_b
        from calico.training.augmented_samples import SampleAugmenter
    except ImportError:  # names of earlier commits
        from calico.presets import seven_b  # type: ignore[no-redef]
        from calico.training.variation import (  # type: ignore[no-redef]
            SampleDrawer as SampleAugmenter,
        )
    return SampleAugmenter(pairs, seven_b().training)


def opened(build: Path) -> Any:
    """Return the train split of a build, checked as training checks it."""
    try:
        from calico.dataset.pairs import BuiltDataset
    except ImportError:
        from calico.data import BuiltDataset  # type: ignore[no-redef]
    pairs = BuiltDataset(build).pairs("train")
    assert pairs.images_per_sample == 2
    return pairs


def identity(pairs: Any) -> str:
    """Return the digest of the ids that a checkpoint records."""
    if hasattr(pairs, "digest"):
        return str(pairs.digest())
    from calico.training.batches import data_digest  # type: ignore[attr-defined]

    return str(data_digest(pairs.ids()))


def plain(sample: Any) -> list[Any]:
    """Return what a sample holds, whatever its classes are called in a commit."""
    regions = [[r.label, r.image, *map(str, r.mask), r.is_part] for r in sample.regions]
    targets = [sample.regions.index(target) for target in sample.targets]
    return [sample.id, sample.source, sample.task, sample.question, sample.answer, regions, targets]


def rows_a_second(pairs: Any) -> float:
    """Return how many random rows become samples in a CPU second, eight at a time."""
    draw = random.Random(1)
    batches = [[draw.randrange(len(pairs)) for _ in range(8)] for _ in range(1000)]
    for batch in batches[:500]:
        pairs.take(batch)
    began = time.process_time()
    for batch in batches[500:]:
        pairs.take(batch)
    return 4000 / (time.process_time() - began)


def main() -> None:
    """Open the build of the first argument and make the samples of some steps."""
    build, steps, rank, count = Path(sys.argv[1]), *map(int, sys.argv[2:5])
    # Libraries are loaded before the clock starts.
    try:
        import calico.training.augmented_samples
    except ImportError:
        import calico.training.variation  # noqa: F401
    began, cpu = time.perf_counter(), time.process_time()
    pairs = opened(build)
    digest = identity(pairs)
    made = augmenter(pairs)
    made.samples(0)
    start, start_cpu = time.perf_counter() - began, time.process_time() - cpu
    content = hashlib.sha256()
    indices = range(rank, len(pairs), max(1, len(pairs) // 500))
    for sample in pairs.take(list(indices)):
        content.update(json.dumps(plain(sample)).encode())
    order = hashlib.sha256()
    for step in range(rank, steps * count, count):
        samples = made.samples(step)
        order.update(json.dumps([turn.id for one in samples for turn in one.turns]).encode())
    print(
        json.dumps(
            {
                "rows": len(pairs),
                "start": start,
                "start_cpu": start_cpu,
                "rate": rows_a_second(pairs),
                "ids": digest,
                "content": content.hexdigest()[:16],
                "order": order.hexdigest()[:16],
            }
        ),
        flush=True,
    )
    sys.stdin.read()


if __name__ == "__main__":
    main()
