"""What a build sets in its process is as before when it ends."""

from __future__ import annotations

import gc

import pyarrow as pa

from mixedparts.pipeline.arrow_setup import system_allocator
from mixedparts.pipeline.engines.local import RARELY, LocalEngine, rare_collection


def test_arrow_data_is_made_by_the_systems_allocator_within_the_context_only() -> None:
    before = pa.default_memory_pool().backend_name
    with system_allocator():
        assert pa.default_memory_pool().backend_name == "system"
    assert pa.default_memory_pool().backend_name == before


def test_thresholds_of_the_collector_are_restored() -> None:
    before = gc.get_threshold()
    with rare_collection():
        assert gc.get_threshold() == RARELY
    assert gc.get_threshold() == before
    (seen,) = LocalEngine(1).run(lambda task: gc.get_threshold(), ["task"])
    assert seen == RARELY
    assert gc.get_threshold() == before
