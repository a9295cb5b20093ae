"""What training code wraps around the weights of a model, in mappings and in names.

A checkpoint of a training run holds the weights under a key (`model`, `state_dict`, `teacher`)
beside the optimizer's state, and the classes that train a model on several GPUs or compile it put
words into the names of its weights.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from torch import Tensor

from calico.weights.name_lists import listed
from mixedparts.errors import InputError

# Keys that hold the weights of a model, the one to take first. DINOv2 evaluates its teacher, the
# average of its student. DeepSpeed has "module", Lightning "state_dict".
_CONTAINERS = ("teacher", "model", "state_dict", "model_state_dict", "module", "student")
# DataParallel and DistributedDataParallel, at the start; torch.compile and FSDP, anywhere.
_OUTER = "module."
_INNER = re.compile(r"(?:^|(?<=\.))(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")


def unpacked(data: Any, origin: str) -> tuple[Mapping[str, Tensor], list[str]]:
    """Return the weights in the content of a file, and what was taken off around them.

    Args:
        data: as torch loaded it.
        origin: of the data, for the error message.

    Raises:
        InputError: it is not a mapping of names to tensors, also without its containers.
    """
    notes: list[str] = []
    while isinstance(data, Mapping) and (key := _container(data)) is not None:
        beside = [str(name) for name in data if name != key]
        left = f", without {listed(beside, 4)} beside it" if beside else ""
        notes.append(f"the container '{key}'{left}")
        data = data[key]
    if not isinstance(data, Mapping):
        raise InputError(f"{origin} does not contain a mapping of names to tensors")
    if not data:
        raise InputError(f"{origin} contains no tensors")
    odd = [
        str(name)
        for name, value in data.items()
        if not isinstance(value, Tensor) or not isinstance(name, str)
    ]
    if odd:
        raise InputError(f"{origin} contains values that are not tensors: {listed(odd)}")
    return data, notes


def _container(data: Mapping[str, Any]) -> str | None:
    for key in _CONTAINERS:
        if isinstance(data.get(key), Mapping):
            return key
    return None


def plain_names(names: Collection[str], origin: str) -> tuple[dict[str, str], list[str]]:
    """Return the names of weights without the words of wrappers.

    Args:
        names: as in the files.
        origin: of the weights, for the error message.

    Returns:
        Plain name -> name in the files, and what was taken off.

    Raises:
        InputError: two names are the same without these words.
    """
    found: dict[str, str] = {}
    words: dict[str, int] = {}
    for name in names:
        plain, taken = _plain(name)
        if plain in found:
            raise InputError(f"{origin} contains {plain} twice: as {found[plain]} and as {name}")
        found[plain] = name
        for word in set(taken):
            words[word] = words.get(word, 0) + 1
    return found, [f"'{word}' in {count} names" for word, count in words.items()]


def _plain(name: str) -> tuple[str, Iterable[str]]:
    taken = [f"{word}." for word in _INNER.findall(name)]
    name = _INNER.sub("", name)
    while name.startswith(_OUTER):
        taken.append(_OUTER)
        name = name.removeprefix(_OUTER)
    return name, taken
