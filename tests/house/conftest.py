"""Inputs of the commands that the slow tier kills, or starts twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.factories.commands import MANY_SHARDS, Inputs


@pytest.fixture(scope="session")
def inputs(native_root: Path, built: Path, tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """Tiny inputs of all commands that write; do not write there."""
    # Inside: torch takes seconds, which the other tests of this folder need not wait.
    import torch

    from calico.checkpoints.save_load import save_checkpoint
    from calico.config.yaml_io import write_config
    from calico.dataset.pairs import BuiltDataset
    from mixedparts.interchange.export.request import ExportRequest, Format
    from mixedparts.interchange.export.run import export
    from mixedparts.progress import Silent
    from tests.factories.micro_build import write_build
    from tests.factories.micro_model import (
        micro_config,
        micro_model,
        micro_tokenizer,
        random_cams,
    )

    folder = tmp_path_factory.mktemp("inputs")
    (folder / "build.yaml").write_text(MANY_SHARDS)
    export(ExportRequest(built, Format.PUBLISHED, folder / "bundle"), Silent())
    micro = write_build(folder / "micro", 12, ("train", "validation"), samples=60)
    training = {"steps": 20, "save_every": 4, "log_every": 1, "batch_size": 2}
    pretraining = {"steps": 10, "semantic_steps": 10, "mask_steps": 10, "qformer_steps": 10}
    for name, seed in (("model", 0), ("other", 5)):
        config = micro_config(
            training={**training, "seed": seed}, pretraining={**pretraining, "seed": seed}
        )
        write_config(config, folder / f"{name}.yaml")
    model, config = micro_model(seed=4)
    random_cams(model)
    state = {"random_state": torch.get_rng_state()}
    save_checkpoint(folder / "checkpoint", model, config, micro_tokenizer(), 7, state=state)
    images = BuiltDataset(micro).images("validation")
    (folder / "pairs").mkdir()
    for row in range(12):
        (folder / "pairs" / f"{row}.png").write_bytes(images.read(row))
    lines = [f"{n},{n % 12}.png,{(n + 1 + n // 12) % 12}.png" for n in range(60)]
    (folder / "pairs" / "pairs.csv").write_text("\n".join(["id,image1,image2", *lines]) + "\n")
    return Inputs(
        native_root,
        folder / "build.yaml",
        built,
        folder / "bundle",
        micro,
        folder / "model.yaml",
        folder / "other.yaml",
        folder / "checkpoint",
        folder / "pairs" / "pairs.csv",
    )
