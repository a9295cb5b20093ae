"""The loader benchmark compares like with like: both loaders make the same tensors."""

from __future__ import annotations

import pytest
import torch

from benchmarks.loader_speed import Bench, assemble, check, own_seconds, prepare
from benchmarks.native_loader import NativeLoader


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    work = tmp_path_factory.mktemp("loader")
    return assemble(work, prepare(work, 12, shaped=True))


def test_the_peer_makes_the_same_words_and_masks(bench: Bench) -> None:
    peer, told = check(bench, 2)
    assert len(told) == 2
    batch = peer.batch(told[0], pictures=True)
    assert batch.inputs is not None
    assert len(batch.inputs.sam) == 2 * bench.config.training.batch_size
    assert own_seconds(bench.ours(), 0, 1) > 0


def test_other_masks_are_noticed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = NativeLoader.batch

    def shifted(self: NativeLoader, *given: object, **named: object) -> object:
        batch = honest(self, *given, **named)  # type: ignore[arg-type]
        object.__setattr__(batch, "masks", torch.roll(batch.masks, 1, 0))
        return batch

    monkeypatch.setattr(NativeLoader, "batch", shifted)
    with pytest.raises(SystemExit, match="masks of the two loaders differ"):
        check(bench, 1)
