"""Read and write safetensors files, and copy tensors into a model by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from calico.weights.key_names import installed_names
from calico.weights.name_lists import fault_lines
from mixedparts.errors import InputError
from mixedparts.files.opening import check_regular, check_unpacked


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors to a safetensors file, in the order of their names."""
    # safetensors refuses tensors that are not contiguous.
    plain = {name: tensors[name].detach().cpu().contiguous() for name in sorted(tensors)}
    save_file(plain, path, metadata={"format": "pt"})


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return all tensors of a safetensors file, on the CPU.

    Raises:
        InputError: it is missing or broken.
    """
    try:
        check_regular(path)
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        check_unpacked(path, "the weights")
        raise InputError(f"the weights {path} cannot be read: {error}") from error


def fitting(
    into: Mapping[str, Tensor], values: Mapping[str, Tensor], origin: Path
) -> dict[str, Tensor]:
    """Return weights under the names of the model, after a check that they fit it exactly.

    Names of another version of transformers are translated.

    Args:
        into: the model's weights by name.
        values: the weights that fill it.
        origin: of `values`, for the error message.

    Returns:
        All of `values` under the names of `into`: no name is missing or left over, no shape
        differs.

    Raises:
        InputError: names that are missing or unexpected, or shapes that differ, all listed.
    """
    values = installed_names(values, into.keys())
    missing = sorted(into.keys() - values.keys())
    unexpected = sorted(values.keys() - into.keys())
    shapes = [
        f"{name} is {tuple(values[name].shape)} in the file, {tuple(into[name].shape)} in the model"
        for name in sorted(into.keys() & values.keys())
        if into[name].shape != values[name].shape
    ]
    kinds = {"missing": missing, "unexpected": unexpected, "of another shape": shapes}
    if faults := fault_lines(kinds):
        raise InputError(
            f"{origin} does not fit the model:\n" + "\n".join(f"  {fault}" for fault in faults),
            "It belongs to another configuration or another version of the code.",
        )
    return values


def copy_weights(into: Mapping[str, Tensor], values: Mapping[str, Tensor], origin: Path) -> None:
    """Copy weights into a model by name, all of them and no others.

    Args:
        into: the model's weights by name; their values are replaced.
        values: the weights that are copied.
        origin: of `values`, for the error message.

    Raises:
        InputError: as `fitting`.
    """
    # Checked as a whole before the first copy: a model is never filled in part.
    for name, value in fitting(into, values, origin).items():
        # `detach` shares the memory but not the graph: leaves that require gradients refuse
        # changes in place.
        into[name].detach().copy_(value)
