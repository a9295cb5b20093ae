"""A model whose parts are on several devices, by accelerate.

The layers of the language model and the three image encoders can be on any device. The model's own
code reads everything else outside of the modules' forward functions, so it stays together on the
*main* device: embeddings, final norm and output layer, Q-Former, CEM and CAMs, mask decoder.
accelerate moves hidden states to the device of each layer; a CAM brings them to the main device and
fuses there (`Correspondence.attached`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import nn

from calico.model.calico import Calico
from calico.model.language import decoder_layers
from calico.runtime.device import choose_device
from mixedparts.errors import UsageError

DISK = "disk"
_LAYERS = "language.model.layers"
# Share of a device that weights may fill; activations, keys and values need the rest.
_FILLED = 0.8

DeviceMap = str | Mapping[str, str | int]


def dispatched(model: Calico, wanted: DeviceMap, offload: Path | None = None) -> Calico:
    """Put the parts of a model on their devices, in place.

    Args:
        model: on the CPU, in evaluation mode.
        wanted: "auto" fills one GPU after the other; or a mapping of module names, such as
            "encoders.sam" or "language.model.layers.3", to devices ("cuda:1", 1, "cpu", "disk").
            The name "" stands for everything that is not named; without it, that is the first GPU.
        offload: folder for modules on "disk"; it is read again for each pass.

    Returns:
        The model, which takes inputs on its main device.

    Raises:
        UsageError: a name or device is unknown, or parts that belong together are apart.
        EnvironmentFault: this machine has no such device.
    """
    from accelerate import dispatch_model

    if isinstance(wanted, str) and wanted != "auto":
        raise UsageError(
            f"there is no device map '{wanted}'", "Give auto, or module names with their devices."
        )
    places = _automatic(model) if isinstance(wanted, str) else _given(model, wanted)
    main = places["bridge"]
    if DISK in places.values() and offload is None:
        raise UsageError(
            "the device map puts weights on disk, and there is no folder for them",
            "Give one: offload_folder in Python, --offload-folder on the command line.",
        )
    dispatch_model(
        model,
        device_map=places,
        main_device=main,
        offload_dir=offload,
        # A cache belongs to all layers: each keeps its keys and values where it lies.
        skip_keys=["past_key_values", "cache"],
        force_hooks=True,
    )
    model.encoders.home = torch.device(main)
    return model


def movable(model: Calico) -> list[str]:
    """Return the names of the modules that may be on any device."""
    encoders = [f"encoders.{name}" for name, _ in model.encoders.named_children()]
    return [*encoders, *(f"{_LAYERS}.{n}" for n in range(len(decoder_layers(model.language))))]


def _given(model: Calico, wanted: Mapping[str, str | int]) -> dict[str, str]:
    """Return a place for every module, from a mapping that may name some.

    Raises:
        UsageError: a name is unknown, or names a module that must stay on the main device.
    """
    names = movable(model)
    groups = {"", "encoders", "language", "language.model", _LAYERS}
    unknown = sorted(set(wanted) - groups - set(names))
    if unknown:
        raise UsageError(
            f"the device map names {', '.join(unknown)}, which cannot be on a device of its own",
            f"These can: encoders, {_LAYERS}, and {', '.join(names[:4])}, …",
        )
    devices = {name: _device(value) for name, value in wanted.items()}
    main = devices.get("", _device("auto"))
    if main == DISK:
        raise UsageError("the device map puts everything on disk", "Give a device for the rest.")
    # The longest name that a module's own name starts with decides.
    places = dict.fromkeys(_together(model), main)
    for name in names:
        fitting = [one for one in devices if name == one or name.startswith(f"{one}.") or not one]
        places[name] = devices[max(fitting, key=len)] if fitting else main
    return places


def _automatic(model: Calico) -> dict[str, str]:
    """Return places that fill one GPU after the other, and the CPU with what is left."""
    from accelerate.utils import get_max_memory

    room = {
        f"cuda:{device}" if isinstance(device, int) else str(device): int(size * _FILLED)
        for device, size in get_max_memory().items()
    }
    order = list(room)
    places = dict.fromkeys(_together(model), order[0])
    room[order[0]] -= sum(_bytes(model.get_submodule(name)) for name in places)
    # Layers first: hidden states pass through all of them for every token.
    for name in sorted(movable(model), key=lambda one: not one.startswith(_LAYERS)):
        size = _bytes(model.get_submodule(name))
        # Never back to an earlier device: neighbouring layers lie together.
        while len(order) > 1 and room[order[0]] < size:
            order.pop(0)
        places[name] = order[0]
        room[order[0]] -= size
    return places


def _together(model: Calico) -> Iterable[str]:
    """Return the names of the modules that stay on the main device."""
    inner = [name for name, _ in model.language.model.named_children() if name != "layers"]
    outer = [name for name, _ in model.language.named_children() if name != "model"]
    children = [name for name, _ in model.named_children() if name not in ("encoders", "language")]
    yield from (f"language.model.{name}" for name in inner)
    yield from (f"language.{name}" for name in outer)
    yield from children


def _bytes(module: nn.Module) -> int:
    tensors = [*module.parameters(), *module.buffers()]
    return sum(one.numel() * one.element_size() for one in tensors)


def _device(value: str | int) -> str:
    """Return the name of a device.

    Raises:
        UsageError: there is no such kind of device.
        EnvironmentFault: this machine has no such device.
    """
    if value == DISK:
        return DISK
    return str(choose_device(f"cuda:{value}" if isinstance(value, int) else value))
