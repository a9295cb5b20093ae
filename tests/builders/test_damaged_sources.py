"""Whatever is damaged in a source: a build refuses it, or is finished and verifies.

The slow tier reads MUTATIONS (how many, 1400) and MUTATION_SEED (the first seed, 0) from the
environment. A failure prints its seed and its damage; the same seed gives the same damage again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from mixedparts.pipeline.build import build
from mixedparts.pipeline.config import BuildConfig
from mixedparts.progress import Silent
from tests.factories.ade20k import write_ade20k
from tests.factories.ade20k_full import write_ade20k_full
from tests.factories.coco_parts import write_coco_parts
from tests.factories.mutations import attempt, attempt_many
from tests.factories.paco import write_paco
from tests.factories.partimagenet import write_partimagenet
from tests.factories.partinventory import write_partinventory
from tests.factories.pascal_part import write_pascal_part

COUNTS = {"train": 4, "validation": 2, "test": 2}
WRITERS: dict[str, Callable[[Path], object]] = {
    "ade20k": lambda root: write_ade20k(root, 4, 5),
    "ade20k_full": lambda root: write_ade20k_full(root, 4, 5),
    "coco_parts": lambda root: write_coco_parts(root, COUNTS),
    "paco": lambda root: write_paco(root, COUNTS),
    "partimagenet": lambda root: write_partimagenet(root, COUNTS),
    "partinventory": lambda root: write_partinventory(root, COUNTS),
    "pascal_part": lambda root: write_pascal_part(root, {"train": 4, "val": 4}),
}


def made(source: str, root: Path, out: Path) -> None:
    """Build one source with every sample that it has, whatever is rejected."""
    config = BuildConfig(sources=(source,), root=root, out=out, samples=60, max_rejects="100%")
    build(config, Silent())


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each source alone in a folder; do not write here."""
    folder = tmp_path_factory.mktemp("sources")
    for source, write in WRITERS.items():
        write(folder / source)
    return {source: folder / source for source in WRITERS}


@pytest.mark.parametrize("source", WRITERS)
@pytest.mark.parametrize("kind", ["json", "mask", "file", "image"])
def test_damaged_sources_are_refused_or_verify(
    roots: dict[str, Path], tmp_path: Path, source: str, kind: str
) -> None:
    if kind in ("json", "mask") and source == "pascal_part":
        pytest.skip("a source without JSON")
    if kind == "mask" and source == "ade20k_full":
        pytest.skip("its masks are images")
    for seed in range(3):
        run = partial(made, source)
        outcome = attempt(roots[source], tmp_path / str(seed), seed, run, (kind,), changes=2)
        assert outcome.damages
        assert outcome.result != "fault", outcome


@pytest.mark.slow
@pytest.mark.parametrize("source", WRITERS)
def test_many_damaged_sources_are_refused_or_verify(
    roots: dict[str, Path], tmp_path: Path, source: str
) -> None:
    results, faults, count = attempt_many(
        roots[source], tmp_path, partial(made, source), len(WRITERS), default=1400
    )
    print(f"{source}: {dict(results)}")
    assert results.total() == count
    assert not faults, "\n".join(map(str, faults[:20]))
    # Most damage is to one record of many, and must not cost the rest of the source.
    assert results["clean"] > results["refused"]
