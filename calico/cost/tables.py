"""Tables of `calico-cost`: parameters, operations, memory and time of a configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from calico.config.calico import CalicoConfig
from calico.cost.flops import Workload, calico_flops
from calico.cost.memory import memory, with_checkpointing
from calico.cost.peers import GLAMM, LISA, peer_flops
from calico.cost.skeleton import ASSUMED_VOCABULARY, parts, skeleton

PAPER_REDUCTION = 32.6  # per cent of GLaMM's operations, as the paper reports it
IMAGES_OF_MIXEDPARTS = 44_000
# Dense bf16 peaks in operations a second, from the makers' data sheets.
DEVICES = {"A40": 149.7e12, "A100": 312e12, "H100": 989.4e12}
UTILISATION = 0.4  # of the peak; assumed, not measured
# Passes over a part in a training step: forward, gradient of the input, gradient of the weights,
# each about as many operations as the forward pass. Frozen parts that no gradient passes through
# have one pass; the frozen Q-Former passes gradients on to its queries.
_PASSES = {
    "Q-Former and projection": 2,
    "CEM": 3,
    "CAMs, with the Q-Former again": 3,
    "[SEG] projection and SAM mask decoder": 3,
}
_GIB = 1 << 30


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, its first column left-aligned and the others right-aligned."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = [cells[0].ljust(widths[0])]
        padded += [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([line(head), line(rule), *map(line, rows)])


def parameter_table(config: CalicoConfig) -> str:
    """Return the table of parameters and trained parameters of every part."""
    listed = parts(skeleton(config))
    total = sum(part.count for part in listed)
    trained = sum(part.trained for part in listed)
    rows = [[part.name, f"{part.count:,}", f"{part.trained:,}"] for part in listed]
    rows.append(["all", f"{total:,}", f"{trained:,} ({100 * trained / total:.3f} %)"])
    return table(["part", "parameters", "trained"], rows)


def flops_table(config: CalicoConfig, workload: Workload) -> str:
    """Return the table of a forward pass beside the layouts of GLaMM and LISA."""
    columns = {
        "CALICO": calico_flops(config, workload),
        GLAMM.name: peer_flops(GLAMM, config, workload),
        LISA.name: peer_flops(LISA, config, workload),
    }
    names = list(dict.fromkeys(name for column in columns.values() for name in column))
    rows = [[name, *(_giga(column.get(name)) for column in columns.values())] for name in names]
    totals = {name: sum(column.values()) for name, column in columns.items()}
    rows.append(["all", *(_giga(total) for total in totals.values())])
    own = totals["CALICO"]
    against = [f"{100 * (own / totals[name] - 1):+.1f} %" for name in (GLAMM.name, LISA.name)]
    rows.append(["CALICO against it", "", *against])
    tokens = (config.image_tokens, GLAMM.tokens, LISA.tokens)
    rows.append(["image tokens", *(str(workload.images * count) for count in tokens)])
    return table(["GFLOPs", *columns], rows)


def answer_table(config: CalicoConfig, workload: Workload, lengths: Sequence[int]) -> str:
    """Return the table of the reduction against GLaMM when answers are generated token by token.

    Args:
        config: of the model.
        workload: one sample; its forward pass stands for the prefill.
        lengths: numbers of generated tokens.

    Returns:
        A Markdown table.
    """
    # A generated token costs the same in both models, so longer answers lower the reduction.
    own = sum(calico_flops(config, workload).values())
    other = sum(peer_flops(GLAMM, config, workload).values())
    step = decoding_flops(config)
    rows = []
    for length in lengths:
        reduction = 100 * ((own + length * step) / (other + length * step) - 1)
        rows.append([str(length), f"{reduction:+.1f} %"])
    return table(["generated tokens", "CALICO against GLaMM"], rows)


def decoding_flops(config: CalicoConfig) -> int:
    """Return the operations of one generated token, without attention to the cache."""
    # One more token of text and of logits in a full pass is what one cached step computes.
    short = calico_flops(config, Workload(text=128, answer=1))
    long = calico_flops(config, Workload(text=129, answer=2))
    return long["language model"] - short["language model"]


def memory_table(config: CalicoConfig, workload: Workload, batch: int) -> str:
    """Return the table of memory with and without activation checkpointing.

    Args:
        config: of the model and its training.
        workload: one sample.
        batch: samples of a step on one device.

    Returns:
        A Markdown table with a note on the feature cache.
    """
    on, off = (memory(with_checkpointing(config, way), workload, batch) for way in (True, False))
    names = {
        "frozen": f"frozen weights ({config.execution.precision})",
        "trained": "trained weights (fp32)",
        "gradients": "gradients",
        "moments": "moments of the optimiser",
        "language": "activations of the language model",
        "others": "other activations and logits",
        "features": "features of the images",
        "training": "a training step",
        "cache": "keys and values of one sample",
        "generation": "generation, one sample",
    }
    rows = [[text, _gib(getattr(on, n)), _gib(getattr(off, n))] for n, text in names.items()]
    head = ["GiB", "checkpointing", "none"]
    every = on.stored * IMAGES_OF_MIXEDPARTS / _GIB
    note = (
        f"A feature cache takes {on.stored / (1 << 20):.2f} MiB an image, "
        f"{every:,.0f} GiB for {IMAGES_OF_MIXEDPARTS:,} images."
    )
    return f"{table(head, rows)}\n\n{note}"


def step_flops(config: CalicoConfig, workload: Workload, cached: bool) -> int:
    """Return the operations of one sample's training step.

    Args:
        config: of the model and its training.
        workload: one sample.
        cached: whether features of the frozen encoders come from a cache.

    Returns:
        Operations of forward and backward pass.
    """
    counts = calico_flops(config, workload)
    # Gradients always pass through the language model, to the image tokens. Those of its weights
    # are computed with full tuning only, and checkpointing adds a second forward pass.
    trained = config.language.tuning == "full"
    passes: Mapping[str, int] = {
        **_PASSES,
        "language model": 2 + trained + config.execution.activation_checkpointing,
    }
    return sum(count * passes.get(name, 0 if cached else 1) for name, count in counts.items())


def time_table(config: CalicoConfig, workload: Workload) -> str:
    """Return the table of seconds of a training step and hours of a run on one device."""
    rows = []
    for name, peak in DEVICES.items():
        cells = [name]
        for cached in (False, True):
            count = step_flops(config, workload, cached) * config.training.batch_size
            seconds = count / (peak * UTILISATION)
            cells += [f"{seconds:.2f}", f"{seconds * config.training.steps / 3600:.1f}"]
        rows.append(cells)
    head = ["one device", "s a step", "h a run", "s a step, cached", "h a run, cached"]
    return table(head, rows)


def dry_run(config: CalicoConfig, batch: int = 2) -> Iterator[str]:
    """Yield the lines that `calico-train --dry-run` prints about memory and time."""
    workload = Workload()
    yield f"Memory of a training step of {batch} samples on one device:"
    yield from memory_table(config, workload, batch).splitlines()
    yield f"Features of images {_features(config)}"
    yield f"Time of a step of {config.training.batch_size} samples at {UTILISATION:.0%} of the peak"
    yield f"(assumed), {config.training.steps} steps a run:"
    yield from time_table(config, workload).splitlines()
    if config.language.vocabulary == 0:
        yield f"Counted with {ASSUMED_VOCABULARY} words; the dataset's own words decide."


def _features(config: CalicoConfig) -> str:
    if config.training.features == "store":
        return "(training.features: store): all computed first and stored in the run's folder."
    return (
        "(training.features: encode): computed when a step asks for them;"
        " --feature-cache keeps them, bounded."
    )


def _giga(count: int | None) -> str:
    return "" if count is None else f"{count / 1e9:,.1f}"


def _gib(count: int) -> str:
    return f"{count / _GIB:,.3f}"
