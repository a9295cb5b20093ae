"""Options that several commands have."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixedparts.settings.command_parser import CommandParser, add_common_options
from mixedparts.settings.local_paths import local_path

if TYPE_CHECKING:
    from calico.config.calico import CalicoConfig
    from calico.dataset.pairs import BuiltDataset
    from calico.processing.feature_cache import FeatureCache


def positive(text: str, most: int = 2**31 - 1) -> int:
    """Convert text to a whole number above 0.

    Args:
        text: of the option.
        most: largest number; the default is the largest one that every library can count to.

    Raises:
        argparse.ArgumentTypeError: it is less than 1, or too large.
    """
    # argparse reports the ValueError of `int` itself.
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {value}")
    if value > most:
        raise argparse.ArgumentTypeError(f"{value} is more than {most:,}")
    return value


def parallel(text: str) -> int:
    """Convert text to a number of processes or threads; errors as `positive`."""
    return positive(text, 1_024)


def preset_names() -> Iterable[str]:
    """Return the names of all presets, for completion in a shell."""
    from calico.config.presets import PRESETS

    return PRESETS


def add_run_options(parser: CommandParser) -> None:
    """Add the options for dataset, configuration, device and processes of a training command."""
    add = parser.add_argument
    add("--dataset", default=None, help="build folder, address or Hub id (mixedparts)")
    add("--preset", default=None, help="named configuration: tiny, 2b, 7b, … (tiny)")
    parser.names["preset"] = preset_names
    add(
        "--config",
        type=local_path,
        metavar="FILE",
        help="YAML with values that differ from the preset",
    )
    add_device_option(parser)
    add(
        "--processes",
        type=parallel,
        metavar="N",
        help="processes that share a CPU; for GPUs, use torchrun (2 for a small model)",
    )
    add("--threads", type=parallel, metavar="N", help="threads a process (its share of the cores)")
    add("--dry-run", action="store_true", help="check everything, print the plan, write nothing")
    add_common_options(parser)


def add_checkpoint_option(parser: argparse.ArgumentParser) -> None:
    """Add the option for the model that answers."""
    parser.add_argument(
        "--checkpoint",
        type=local_path,
        required=True,
        metavar="DIR",
        help="checkpoint that calico-train wrote",
    )


def add_device_option(parser: argparse.ArgumentParser) -> None:
    """Add the option for the device, which `choose_device` reads."""
    # No `choices`: cuda:N has any number.
    parser.add_argument(
        "--device",
        default="auto",
        metavar="NAME",
        help="cpu, cuda, cuda:N or mps (auto: CUDA if available, else the CPU)",
    )


def add_device_map_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that spread a model over several devices."""
    add = parser.add_argument
    add(
        "--device-map",
        metavar="auto|FILE",
        help="spread the model: auto fills one GPU after the other; a YAML file has module names"
        " and devices, such as encoders: cuda:1; see docs/prediction.md",
    )
    add(
        "--offload-folder",
        type=local_path,
        metavar="DIR",
        help="folder for modules that the map puts on disk",
    )


def read_device_map(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of `Predictor.from_pretrained` that the options name.

    Raises:
        InputError: the file is missing or is not a YAML mapping.
        UsageError: --device is given as well, or a device is neither a name nor a number.
    """
    from mixedparts.errors import UsageError
    from mixedparts.settings.yaml_file import read_yaml_mapping

    wanted = arguments.device_map
    if wanted is None:
        return {}
    if arguments.device != "auto":
        raise UsageError("--device and --device-map exclude each other", "Leave out one of them.")
    if wanted != "auto":
        wanted = read_yaml_mapping(local_path(wanted))
        for name, place in wanted.items():
            if not isinstance(name, str) or not isinstance(place, str | int):
                raise UsageError(
                    f"{arguments.device_map}: {name!r}: {place!r} is not a module and its device"
                )
    return {"device_map": wanted, "offload_folder": arguments.offload_folder}


def add_verify_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that compares all weights of a checkpoint with their digests."""
    parser.add_argument(
        "--verify",
        action="store_true",
        help="also compare frozen weights with their digest (trained weights and settings always"
        " are)",
    )


def add_search_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of generation; without them the checkpoint's configuration is used."""
    add = parser.add_argument
    add("--num-beams", type=positive, metavar="N", help="beam search with N beams; 1 is greedy")
    add("--max-new-tokens", type=positive, metavar="N", help="limit of an answer in tokens")


def add_cache_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the feature cache."""
    add = parser.add_argument
    add(
        "--feature-cache",
        type=local_path,
        metavar="DIR",
        help="keep features of frozen encoders here, shared by all runs; training then encodes"
        " images when a step needs them, as training.features: encode",
    )
    add(
        "--feature-cache-gb",
        type=_gigabytes,
        default=20.0,
        metavar="N",
        help="largest size; the features that were used longest ago are removed first (20)",
    )


def feature_cache(arguments: argparse.Namespace) -> FeatureCache | None:
    """Return the feature cache that the options name, None without one."""
    if arguments.feature_cache is None:
        return None
    from calico.processing.feature_cache import FeatureCache

    return FeatureCache(arguments.feature_cache, int(arguments.feature_cache_gb * 1e9))


def check_output_folder(folder: Path) -> None:
    """Check before any work that a folder can be created or written.

    Raises:
        UsageError: it is a file.
        EnvironmentFault: it may not be written.
    """
    # The nearest folder that exists decides: it is where the others would be created.
    from mixedparts.errors import EnvironmentFault, UsageError

    there = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    if not there.is_dir():
        raise UsageError(f"{folder} cannot be a folder: {there} is a file", "Choose another --out.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise EnvironmentFault(f"{folder} cannot be written: no permission in {there}")


def _gigabytes(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number") from None
    # Not NaN or infinity either: every comparison with NaN is false.
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{text} is not a size in gigabytes above 0")
    return value


def search_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the given values of `add_search_options` by their names in the configuration."""
    # Only given ones: they are part of the origin of answers, and "not given" must stay distinct.
    names = ("num_beams", "max_new_tokens")
    given = {name: getattr(arguments, name) for name in names}
    return {name: value for name, value in given.items() if value is not None}


def read_options(arguments: argparse.Namespace) -> tuple[CalicoConfig, BuiltDataset]:
    """Return the configuration and the dataset that the options name.

    Raises:
        UsageError: the preset is unknown, values cannot work, or the dataset is not on disk.
        InputError: there is no configuration file, or no build.
    """
    return read_configuration(arguments), read_dataset(arguments)


def read_configuration(arguments: argparse.Namespace) -> CalicoConfig:
    """Return the configuration that --preset and --config name; errors as `read_options`."""
    from calico.config.presets import preset
    from calico.config.yaml_io import read_config

    base = preset(arguments.preset or "tiny")
    return base if arguments.config is None else read_config(arguments.config, base)


def read_dataset(arguments: argparse.Namespace) -> BuiltDataset:
    """Return the dataset that --dataset names; errors as `read_options`."""
    # Training reads rows at random, which needs the files of the build on disk.
    from calico.dataset.pairs import BuiltDataset
    from mixedparts.storage.locate import local_build

    return BuiltDataset(local_build(arguments.dataset, "this command"))
