"""`calico-train`: train CALICO on a built dataset."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from calico.cli.launch import launched, planned_processes, prints_output
from calico.cli.options import (
    add_cache_options,
    add_run_options,
    feature_cache,
    positive,
    read_configuration,
    read_dataset,
    read_options,
)
from mixedparts.errors import MixedPartsError
from mixedparts.exit_codes import run_command
from mixedparts.settings.command_parser import CommandParser
from mixedparts.settings.local_paths import local_path, typed

if TYPE_CHECKING:
    from calico.config.calico import CalicoConfig
    from calico.dataset.pairs import BuiltDataset

_EXAMPLES = """examples:
  calico-train --dataset mixedparts --preset tiny --output-dir runs/tiny
  calico-train --dataset mixedparts --output-dir runs/tiny --resume auto
  calico-train --dataset data/mixedparts --encoders runs/encoders --config my.yaml
  calico-train --dataset mixedparts --preset 7b --init instructblip-vicuna-7b GLaMM dinov2-base
  calico-train --dataset mixedparts --max-steps 4 --output-dir runs/smoke
  torchrun --nproc-per-node 4 -m calico.cli.train --preset 7b --init ... --dataset mixedparts
  calico-train --preset 7b --dry-run                  # memory and time, without weights"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    # Worker processes get the same command line.
    words = sys.argv[1:] if argv is None else list(argv)
    arguments = _parser().parse_args(words)
    return run_command(lambda: _run(arguments, words))


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="calico-train",
        description="Train CALICO. If the preset has no published weights and --encoders is not"
        " given, pretrain encoders first, like calico-pretrain.",
        epilog=_EXAMPLES,
    )
    add_run_options(parser)
    add_cache_options(parser)
    add = parser.add_argument
    add(
        "--output-dir",
        type=local_path,
        default=Path("runs/calico"),
        help="folder of the run (runs/calico)",
    )
    add("--encoders", type=local_path, metavar="DIR", help="folder that calico-pretrain wrote")
    add(
        "--init",
        type=local_path,
        nargs="+",
        default=[],
        metavar="PATH",
        help="published weights: folders or files of InstructBLIP, GLaMM, CALICO, SAM (also .pth),"
        " DINOv2, EVA-CLIP, Q-Former or a language model; of two with the same part, the later"
        " counts",
    )
    add("--resume", choices=["auto"], help="continue from the newest checkpoint in --output-dir")
    add("--max-steps", type=positive, metavar="N", help="stop after N steps of the schedule")
    add(
        "--report-to",
        nargs="+",
        choices=["tensorboard", "wandb"],
        default=[],
        help="trackers beside train.log.jsonl; they must be installed",
    )
    return parser


def _plan(arguments: argparse.Namespace) -> int:
    """Print the configuration and its cost; weights and a dataset are checked where given."""
    from calico.config.yaml_io import dump_config
    from calico.cost.tables import dry_run

    config = read_configuration(arguments)
    try:
        dataset = read_dataset(arguments)
    # Without --dataset the default one may be missing: the costs are of interest all the same.
    except MixedPartsError as error:
        if arguments.dataset is not None:
            raise
        samples = [f"no dataset: {error.message}"]
    else:
        samples = _shares(dataset, config)
    if arguments.init:
        from calico.weights.initial import planned_start

        samples += planned_start(config, arguments.init)
    # The rest is printed as YAML comments, so that the whole output is a --config file.
    print(dump_config(config), end="")
    for line in samples:
        print(f"# {line}")
    print(f"# {config.training.steps} steps into {arguments.output_dir}")
    for line in dry_run(config, planned_processes(config, arguments)):
        print(f"# {line}".rstrip())
    return 0


def _shares(dataset: BuiltDataset, config: CalicoConfig) -> list[str]:
    """Return lines with the number of samples and the share of each source and task in an epoch.

    Raises:
        InputError: the samples differ in their number of images.
        UsageError: the configuration cannot train on them.
    """
    from calico.dataset.sampling_weights import sampling_groups
    from calico.training.batches import check_samples

    pairs = dataset.pairs("train")
    check_samples(pairs, config)
    lines = [f"{len(pairs)} samples of the train split of {dataset.path}, drawn in an epoch:"]
    for group in sampling_groups(pairs, config.training):
        share = f"{100 * group.share:.1f} %"
        lines.append(f"  {group.source} {group.task}: {share} from {len(group.members)} samples")
    return lines


def _run(arguments: argparse.Namespace, words: Sequence[str]) -> int:
    if arguments.dry_run:
        return _plan(arguments)
    config, dataset = read_options(arguments)
    cache = feature_cache(arguments)
    # The cache replaces the feature store, which computes all features before the first step.
    if cache is not None:
        config = replace(config, training=replace(config.training, features="encode"))
    # torch is imported inside: the number of its threads is set first.
    with launched(config, arguments, "calico.cli.train", words) as progress:
        from calico.training.train import RunSettings, train

        settings = RunSettings(
            output=arguments.output_dir,
            encoders=arguments.encoders,
            init=tuple(arguments.init),
            resume=arguments.resume == "auto",
            max_steps=arguments.max_steps,
            cache=cache,
            device=arguments.device,
            report_to=tuple(arguments.report_to),
        )
        checkpoint = train(config, dataset, settings, progress)
    if not prints_output():
        return 0
    print(f"checkpoint: {checkpoint}")
    print(
        f"evaluate:   calico-eval --dataset {typed(dataset.path)} --checkpoint {typed(checkpoint)}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
