"""Compare a published model's configuration with ours, in the values that shapes do not show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from calico.config.calico import CalicoConfig
from mixedparts.errors import InputError, UsageError
from mixedparts.files.opening import is_there
from mixedparts.files.text import read_json


def check_agreement(place: Path, layout: str, config: CalicoConfig) -> None:
    """Compare the `config.json` beside weights, if there is one, with the configuration.

    The numbers of heads, norm constants and rotary bases do not show in the shapes of weights: with
    a wrong value, a model loads without an error and computes nonsense.

    Args:
        place: file or folder of the weights.
        layout: name of their `WeightLayout`.
        config: of the model that they fill.

    Raises:
        InputError: the file is not a JSON object.
        UsageError: values differ; all are listed.
    """
    folder = place if place.is_dir() else place.parent
    path = folder / "config.json"
    if not is_there(path):
        return
    data = read_json(path)
    if not isinstance(data, dict):
        raise InputError(f"{path} is not a JSON object")
    # Only values that the file contains count: transformers leaves out many that are its defaults.
    faults = [
        f"{name}: {theirs!r} there, {ours!r} here"
        for name, theirs, ours in _compared(data, layout, config)
        if theirs is not None and theirs != ours
    ]
    if faults:
        listed = "\n".join(f"  {fault}" for fault in faults)
        raise UsageError(
            f"the weights in {folder} are of another architecture:\n{listed}",
            "Set these values in a --config file.",
        )


def _compared(
    data: Mapping[str, Any], layout: str, config: CalicoConfig
) -> Iterator[tuple[str, Any, Any]]:
    """Yield name, their value (None if the file does not contain it) and ours."""
    if layout in ("CALICO", "GLaMM", "LISA", "language model"):
        yield from _language(data, config)
    if layout == "InstructBLIP":
        yield from _language(_section(data, "text_config"), config)
        seen = _section(data, "vision_config")
        yield "vision.heads", seen.get("num_attention_heads"), config.vision.heads
        asked = _section(data, "qformer_config")
        yield "qformer.heads", asked.get("num_attention_heads"), config.qformer.heads
        if config.qformer.sees_question:
            yield "qformer.vocabulary", asked.get("vocab_size"), config.qformer.vocabulary
        every = config.qformer.cross_attention_every
        yield "qformer.cross_attention_every", asked.get("cross_attention_frequency"), every
    if layout == "DINOv2":
        yield "semantic.heads", data.get("num_attention_heads"), config.semantic.heads
        yield "semantic.patch_size", data.get("patch_size"), config.semantic.patch_size
    if layout == "SAM":
        seen = _section(data, "vision_config")
        yield "sam.heads", seen.get("num_attention_heads"), config.sam.heads
        yield "sam.window", seen.get("window_size"), config.sam.window
        layers = seen.get("global_attn_indexes")
        layers = tuple(layers) if isinstance(layers, list) else layers
        yield "sam.global_layers", layers, config.sam.global_layers


def _section(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a section of the file; an empty one where it has none."""
    value = data.get(name)
    return value if isinstance(value, dict) else {}


def _language(data: Mapping[str, Any], config: CalicoConfig) -> Iterator[tuple[str, Any, Any]]:
    chosen = config.language
    yield "language.heads", data.get("num_attention_heads"), chosen.heads
    # 0 stands for as many key/value heads as query heads.
    heads = chosen.kv_heads or chosen.heads
    yield "language.kv_heads", data.get("num_key_value_heads"), heads
    yield "language.norm_eps", data.get("rms_norm_eps"), chosen.norm_eps
    # transformers 5 moved `rope_theta` into `rope_parameters`; files of either version occur.
    rope = _section(data, "rope_parameters")
    theta = rope.get("rope_theta", data.get("rope_theta"))
    yield "language.rope_theta", theta, chosen.rope_theta
    tied = data.get("tie_word_embeddings")
    yield "language.tie_embeddings", tied, chosen.tie_embeddings
