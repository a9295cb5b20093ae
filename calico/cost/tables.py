"""Tables of parameters, operations and time, and the plan of `calico-train --dry-run`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from calico.config.calico import CalicoConfig
from calico.cost.flops import calico_flops
from calico.cost.markdown import table
from calico.cost.memory_tables import margin_note, planned_steps, step_table
from calico.cost.peers import GLAMM, LISA, peer_flops
from calico.cost.skeleton import ASSUMED_VOCABULARY, parts, skeleton
from calico.cost.workload import Workload

PAPER_REDUCTION = 32.6  # per cent of GLaMM's operations, as the paper reports it
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


def dry_run(config: CalicoConfig, processes: int = 1) -> Iterator[str]:
    """Yield the lines that `calico-train --dry-run` prints about memory and time.

    Args:
        config: of the model and its training.
        processes: that share a step.

    Yields:
        Lines of text.
    """
    workload = Workload.of(config)
    execution, chosen = config.execution, config.training
    shared = f"{processes} process{'es' * (processes > 1)}"
    if processes > 1 or execution.parallel == "fsdp":
        shared += f" ({execution.parallel})"
    switched = "on" if execution.activation_checkpointing else "off"
    yield (
        f"Memory of a step on one device: {chosen.batch_size} samples, {shared},"
        f" {execution.precision}, quantization {execution.quantization}, activation checkpointing"
        f" {switched}, features {chosen.features}, micro_batch {chosen.micro_batch}."
    )
    yield (
        f"A sample: {workload.images} images, {workload.text} tokens of text of which"
        f" {workload.answer} are answers, {workload.masks} masks."
    )
    steps, cards = planned_steps(config, workload, processes)
    yield from step_table(steps).splitlines()
    yield from cards
    yield margin_note()
    if chosen.micro_batch == "auto":
        yield "micro_batch auto: on a GPU, what its free memory holds; on a CPU, the whole share."
    yield f"Features of images {_features(config)}"
    yield f"Time of a step of {chosen.batch_size} samples at {UTILISATION:.0%} of the peak"
    yield f"(assumed), {chosen.steps} steps a run:"
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
