"""`calico-cost`: count parameters, operations and memory of a configuration without weights."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from calico.cli.options import positive, preset_names, read_configuration
from mixedparts.errors import EnvironmentFault
from mixedparts.exit_codes import run_command
from mixedparts.settings.command_parser import CommandParser, add_common_options
from mixedparts.settings.local_paths import local_path

if TYPE_CHECKING:
    from calico.config.calico import CalicoConfig

_EXAMPLES = """examples:
  calico-cost --preset 7b
  calico-cost --preset 7b-dinov2-giant --config my.yaml --batch-size 4
  calico-cost --preset 7b --write docs/cost.md"""

# Presets whose tables of cards stand beside those of another one.
_BESIDE = {"7b": ("2b",)}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = _parser().parse_args(argv)
    return run_command(lambda: _run(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="calico-cost",
        description="Count parameters, floating-point operations and memory of a configuration on"
        " tensors without memory, beside GLaMM's and LISA's layout.",
        epilog=_EXAMPLES,
    )
    add = parser.add_argument
    add("--preset", default="7b", help="named configuration (7b)")
    parser.names["preset"] = preset_names
    add(
        "--config",
        type=local_path,
        metavar="FILE",
        help="YAML with values that differ from the preset",
    )
    add("--batch-size", type=_size, default=2, metavar="N", help="samples on one device (2)")
    add("--text", type=_size, metavar="N", help="tokens of prompt and answer (128)")
    add("--write", type=local_path, metavar="FILE", help="write the tables here as Markdown")
    add_common_options(parser)
    return parser


def _size(text: str) -> int:
    # Their products are numbers of elements of tensors, which 64 bits must hold.
    return positive(text, 100_000)


def _run(arguments: argparse.Namespace) -> int:
    config = read_configuration(arguments)
    text = _document(config, arguments)
    if arguments.write is None:
        print(text)
        return 0
    try:
        arguments.write.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise EnvironmentFault(f"{arguments.write} cannot be written: {error}") from error
    print(f"written: {arguments.write}")
    return 0


# docs/cost.md is the output of this function: change both together.
def _document(config: CalicoConfig, arguments: argparse.Namespace) -> str:
    from calico.cost import memory_tables, tables
    from calico.cost.memory import answer_memory, step_memory, with_checkpointing
    from calico.cost.workload import Workload

    # Half of the text is taken as the answer; only its tokens need logits.
    text = arguments.text or Workload().text
    workload = Workload(text=text, answer=max(1, text // 2))
    batch = arguments.batch_size
    settings = (("checkpointing", True), ("none", False))
    steps = [
        (head, step_memory(with_checkpointing(config, way), workload, batch))
        for head, way in settings
    ]
    command = f"calico-cost --preset {arguments.preset} --write docs/cost.md"
    return "\n\n".join(
        [
            "# What CALICO costs",
            f"Written by `{command}` for the configuration `{config.name}`. All numbers are counted"
            " on tensors without memory. Nothing was timed.",
            "## Parameters",
            tables.parameter_table(config),
            "## Operations of a forward pass",
            f"One sample: {workload.images} images, {workload.text} tokens of text,"
            f" {workload.masks} masks. All three layouts have the same language model and SAM and"
            " are counted by `torch.utils.flop_counter`; a multiply-add is two operations.",
            tables.flops_table(config, workload),
            f"The paper reports {tables.PAPER_REDUCTION} % fewer operations than GLaMM and does not"
            " state what it counted. Long answers cost every model the same, so they lower the"
            " difference:",
            tables.answer_table(config, workload, (0, 64, 256, 512)),
            "## Memory",
            "Counted by running the model's own step on tensors without memory: forward and"
            " backward pass, update, encoding of images. The table shows the parts at the moment of"
            f" highest use, for {batch} such samples at once, of a step of"
            f" {config.training.batch_size} on one device, with and without activation"
            " checkpointing:",
            memory_tables.step_table(steps),
            memory_tables.feature_note(answer_memory(config, workload, 1)),
            "## Which card holds what",
            *_cards(config),
            memory_tables.margin_note(),
            *(part for name in _BESIDE.get(config.name, ()) for part in _beside(name)),
            "## Time, estimated",
            f"A step of {config.training.batch_size} samples and a run of"
            f" {config.training.steps} steps, if one device reached"
            f' {tables.UTILISATION:.0%} of its dense bf16 peak (assumed). "Cached": the frozen'
            " encoders' features are read from a cache.",
            tables.time_table(config, workload),
        ]
    )


def _cards(config: CalicoConfig) -> list[str]:
    """Return the paragraphs about the cards that hold a configuration's settings."""
    from calico.cost import memory_tables
    from calico.cost.workload import Workload

    # Training may put several questions about two images into one sample.
    largest = Workload.of(config)
    return [
        f"`{config.name}`: samples at once (`training.micro_batch`) in a step of"
        f" {config.training.batch_size} samples on one device, the rest accumulated. A sample has"
        f" {largest.images} images, {largest.text} tokens of text and {largest.masks} masks, the"
        " most that the configuration makes of rows of usual size. int8 and nf4 are values of"
        " `execution.quantization`. A * means encoders that take one image at once"
        " (`execution.encode_batch`).",
        memory_tables.cards_table(config, largest),
        f"Answers of up to {config.generation.max_new_tokens} tokens:",
        memory_tables.answers_table(config, Workload()),
    ]


def _beside(name: str) -> list[str]:
    """Return the same paragraphs for another preset, with its parameters."""
    from calico.config.presets import preset
    from calico.cost.tables import parameter_table

    config = preset(name)
    return [f"## The preset {name}", parameter_table(config), *_cards(config)]
