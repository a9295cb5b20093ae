"""One training of the ablation study: a variant and a seed, trained and evaluated.

    python -m benchmarks.ablation_run DIR

DIR holds `plan.json`, which `benchmarks.ablations` writes. A run that was interrupted goes on from
its newest checkpoint; `result.json` is the last thing it writes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.cpu_meter import CpuMeter, Metered
from benchmarks.other_image import Asked, asked_questions, part_names, shown_images
from benchmarks.other_image_marks import Marks, mark
from calico.checkpoints.save_load import load_checkpoint
from calico.config.calico import CalicoConfig
from calico.config.presets import tiny
from calico.config.yaml_io import override, read_config
from calico.dataset.images import ImageTable
from calico.dataset.pairs import BuiltDataset
from calico.evaluation.in_memory import evaluate_model
from calico.inference.predictor import Predictor
from calico.inference.queries import Query
from calico.pretraining.encoder_files import WEIGHTS
from calico.processing.feature_cache import FeatureCache
from calico.processing.images import open_image
from calico.runtime.device import prepare_process
from calico.training.train import RunSettings, train
from mixedparts.errors import InputError
from mixedparts.exit_codes import run_command
from mixedparts.progress import Lines, Progress
from mixedparts.records import Task
from mixedparts.storage.build_folder import BuildFolder
from mixedparts.storage.shards import write_text

# By configuration alone. The first five are of the paper (`CorrespondenceConfig`);
# the others leave out what the preset adds to it.
VARIANTS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "full": {},
    "no CAM": {"correspondence": {"conditioning": False}},
    "no CEM": {"correspondence": {"extraction": False, "requery": False}},
    "neither": {"correspondence": {"layers": []}},
    "no DINO": {"correspondence": {"extraction": False}},
    "no contrast": {"training": {"contrast": {}}},
    "no presence": {"loss": {"presence": 0.0}},
}
PLAN, RESULT, CPU = "plan.json", "result.json", "cpu.json"
_CACHE_BYTES = 16_000_000_000


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that the numbers of a run depend on, but for where things lie.

    Attributes:
        variant: one of `VARIANTS`.
        seed: of weights, order and draws of the training; the encoders are the same for all.
        config: of the whole model, with steps, seed and variant.
        dataset, test_dataset: build ids.
        encoders: sha256 of the pretrained weights.
        test_split: that is evaluated.
        limit: samples of it at most.
        triangles: of `benchmarks.other_image`, for each of its tasks at most.
    """

    variant: str
    seed: int
    config: str
    dataset: str
    test_dataset: str
    encoders: str
    test_split: str
    limit: int
    triangles: int


@dataclass(frozen=True, slots=True)
class Places:
    """Where a run finds what its plan names."""

    dataset: Path
    test_dataset: Path
    encoders: Path
    cache: Path


def variant_config(
    base: CalicoConfig, variant: str, seed: int, steps: int | None = None
) -> CalicoConfig:
    """Return the configuration of a run; without `steps`, it has those of `base`.

    Features are read through a cache that all runs share, so that no picture is encoded twice.
    """
    training = {
        "seed": seed,
        "steps": steps or base.training.steps,
        "features": "encode",
        "loader_workers": 0,
        "save_every": 100,
        "keep": 1,
        "eval_every": 0,  # the last checkpoint counts, for every variant
    }
    changes: dict[str, dict[str, Any]] = {"training": training}
    for section, values in VARIANTS[variant].items():
        changes[section] = {**changes.get(section, {}), **values}
    return override(base, changes, f"of the variant '{variant}'")


def base_config(path: Path | None) -> CalicoConfig:
    """Return the tiny preset with the values of a YAML file, where one is given."""
    return tiny() if path is None else read_config(path, tiny())


def encoders_digest(folder: Path) -> str:
    """Return the sha256 of pretrained encoders.

    Raises:
        InputError: there are none.
    """
    try:
        with (folder / WEIGHTS).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(
            f"{folder} holds no pretrained encoders ({WEIGHTS}): {error.strerror or error}",
            "Make them with: calico-pretrain --dataset DIR --output-dir DIR",
        ) from error


def run(folder: Path) -> dict[str, Any]:
    """Carry out the plan of a folder; return and write its result."""
    written = json.loads((folder / PLAN).read_text(encoding="utf-8"))
    plan = Plan(**written["plan"])
    places = Places(**{name: Path(path) for name, path in written["places"].items()})
    config = override(tiny(), json.loads(plan.config), str(folder / PLAN))
    meter = CpuMeter(folder / CPU)
    cache = FeatureCache(places.cache, _CACHE_BYTES)
    settings = RunSettings(folder / "training", places.encoders, resume=True, cache=cache)
    told = Metered(Lines(30), meter, "train")
    checkpoint = train(config, BuiltDataset(places.dataset), settings, told)
    meter.add("train")
    model, config, tokenizer = load_checkpoint(checkpoint)
    test = BuiltDataset(places.test_dataset)
    told = Metered(Lines(30), meter, "evaluate")
    metrics = evaluate_model(
        model, tokenizer, config, test, plan.test_split, plan.limit, cache=cache, progress=told
    )
    predictor = Predictor(model, config, tokenizer)
    predictor.use_cache(cache)
    marks = other_image_marks(predictor, test, plan.triangles, told)
    other = {task: asdict(of_task) for task, of_task in marks.items()}
    meter.add("evaluate")
    result = {"plan": asdict(plan), "metrics": metrics, "other_image": other, "cpu": meter.spent}
    write_text(folder / RESULT, json.dumps(result, indent=1) + "\n")
    return result


def other_image_marks(
    predictor: Predictor, dataset: BuiltDataset, triangles: int, progress: Progress
) -> dict[Task, Marks]:
    """Return a model's marks for questions that need the other image, by tasks that have any."""
    images = shown_images(dataset)
    names = part_names(images)
    return {
        task: mark(asked, answer_all(predictor, dataset, asked, progress), names)
        for task, asked in asked_questions(images, triangles).items()
        if asked
    }


def answer_all(
    predictor: Predictor, dataset: BuiltDataset, asked: Sequence[Asked], progress: Progress
) -> dict[str, str]:
    """Return a model's answers by the ids of the questions."""
    tables: dict[str, ImageTable] = {}
    queries = []
    for one in asked:
        pictures = []
        for image in one.images:
            table = tables.setdefault(image.split, dataset.images(image.split))
            pictures.append(open_image(table.read(image.row), image.key))
        keys = tuple(image.key for image in one.images)
        queries.append(Query(one.id, one.question, tuple(pictures), keys))
    progress.start("questions about the other image", len(asked), "samples")
    answers = {}
    for prediction in predictor.predict(queries):
        answers[prediction.id] = prediction.answer
        progress.advance()
    progress.finish()
    return answers


def plan_of(places: Places, config: CalicoConfig, variant: str, seed: int, **chosen: Any) -> Plan:
    """Return the plan of a run; `chosen` are `test_split`, `limit` and `triangles`."""
    from calico.config.yaml_io import plain_config

    return Plan(
        variant,
        seed,
        json.dumps(plain_config(config)),
        BuildFolder.open(places.dataset).build_id,
        BuildFolder.open(places.test_dataset).build_id,
        encoders_digest(places.encoders),
        **chosen,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out one run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("folder", type=Path, metavar="DIR", help="holds plan.json")
    folder: Path = parser.parse_args(argv).folder

    def command() -> int:
        prepare_process(1)
        run(folder)
        return 0

    return run_command(command)


if __name__ == "__main__":
    raise SystemExit(main())
