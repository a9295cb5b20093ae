"""The values in a published model's `config.json` that the shapes of its weights do not show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mixedparts.errors import InputError
from mixedparts.files.opening import is_there
from mixedparts.files.text import read_json

Data = Mapping[str, Any]
# Name -> value; None where the file does not contain it: transformers leaves out many defaults.
Values = Iterator[tuple[str, Any]]

# Layouts that are a language model with other things around it. Their `model_type` (llava, …) is
# that of the whole, so it does not tell the family of the language model.
_COMPOSITE = ("CALICO", "GLaMM", "LISA")
_WITH_QFORMER = ("InstructBLIP", "BLIP-2")


def read_published_config(place: Path) -> Data:
    """Return the `config.json` beside weights, empty where there is none.

    Args:
        place: file or folder of the weights.

    Raises:
        InputError: the file is not a JSON object.
    """
    folder = place if place.is_dir() else place.parent
    path = folder / "config.json"
    if not is_there(path):
        return {}
    data = read_json(path)
    if not isinstance(data, dict):
        raise InputError(f"{path} is not a JSON object")
    return data


def published_values(data: Data, layout: str, part: str) -> Values:
    """Yield the values of one part of the model.

    Args:
        data: content of a `config.json`.
        layout: name of the weights' `WeightLayout`.
        part: `vision`, `semantic`, `qformer`, `sam` or `language`.

    Yields:
        Dotted names of `calico.config.calico.CalicoConfig`, or of values that this model fixes (see
        `calico.weights.agreement`), with their values.
    """
    if part == "language":
        inner = _section(data, "text_config") if layout in _WITH_QFORMER else data
        if layout not in _COMPOSITE:
            yield "language.family", inner.get("model_type")
        yield from _language(inner)
    elif part == "vision" and layout in (*_WITH_QFORMER, "EVA-CLIP"):
        inner = _section(data, "vision_config") if layout in _WITH_QFORMER else data
        yield from _encoder("vision", inner)
    elif part == "qformer" and layout in (*_WITH_QFORMER, "Q-Former"):
        inner = _section(data, "qformer_config") if layout in _WITH_QFORMER else data
        yield from _encoder("qformer", inner)
        yield "qformer.cross_attention_every", inner.get("cross_attention_frequency")
        yield "qformer.vocabulary", inner.get("vocab_size")
        yield "qformer.positions", inner.get("position_embedding_type")
    elif part == "semantic" and layout == "DINOv2":
        yield from _encoder("semantic", data)
        yield "semantic.patch_size", data.get("patch_size")
        yield "semantic.registers", data.get("num_register_tokens")
    elif part == "sam" and layout == "SAM":
        yield from _sam(data)


def _section(data: Data, name: str) -> Data:
    """Return a section of the file; an empty one where it has none."""
    value = data.get(name)
    return value if isinstance(value, dict) else {}


def _encoder(part: str, data: Data) -> Values:
    yield f"{part}.heads", data.get("num_attention_heads")
    yield f"{part}.norm_eps", data.get("layer_norm_eps")
    yield f"{part}.activation", data.get("hidden_act")


def _sam(data: Data) -> Values:
    seen = _section(data, "vision_config")
    yield from _encoder("sam", seen)
    yield "sam.window", seen.get("window_size")
    layers = seen.get("global_attn_indexes")
    yield "sam.global_layers", tuple(layers) if isinstance(layers, list) else layers
    yield "sam.decoder_heads", _section(data, "mask_decoder_config").get("num_attention_heads")


def _language(data: Data) -> Values:
    yield "language.heads", data.get("num_attention_heads")
    yield "language.kv_heads", data.get("num_key_value_heads")
    yield "language.head_size", data.get("head_dim")
    yield "language.norm_eps", data.get("rms_norm_eps")
    yield "language.activation", data.get("hidden_act")
    yield "language.tie_embeddings", data.get("tie_word_embeddings")
    # transformers 5 moved the rotary values into `rope_parameters`; files of either version occur.
    rope = _section(data, "rope_parameters")
    yield "language.rope_theta", rope.get("rope_theta", data.get("rope_theta"))
    scaling = rope or _section(data, "rope_scaling")
    yield "language.rope_scaling", scaling.get("rope_type", scaling.get("type"))
    yield (
        "language.rotary_share",
        rope.get("partial_rotary_factor", data.get("partial_rotary_factor")),
    )
    yield "language.window", _window(data)


def _window(data: Data) -> Any:
    """Return how many positions back some layer attends, None for all of them."""
    kinds = data.get("layer_types")
    windowed = isinstance(kinds, list) and "sliding_attention" in kinds
    # Qwen's files have a window that is switched off.
    if windowed or data.get("use_sliding_window", data.get("model_type") == "mistral"):
        return data.get("sliding_window")
    return None
