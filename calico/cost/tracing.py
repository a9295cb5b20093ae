"""Run real code on tensors without memory, and count the bytes that would be in use.

Floating-point tensors are fake (`torch._subclasses.FakeTensorMode`): they have shape, dtype and
device, and no values. Integers and booleans are real, because the model selects states by token
ids, and its shapes follow from them. So a training step of a 7B model, with its own forward
function, autocast, checkpointing and optimiser, takes seconds and hardly any memory.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

_ATEN = torch.ops.aten
_DEVICE = torch.ops.prim.device.default
_INDEXING = {
    *(_ATEN.index.Tensor, _ATEN.index_put.default, _ATEN.index_put_.default),
    _ATEN._index_put_impl_.default,
}
_COUNTING = {_ATEN.arange.default, _ATEN.arange.start, _ATEN.arange.start_step}


class FakeNumbers(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Make every floating-point tensor of the `with` block fake, and leave integers real."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # Real integers meet fake numbers in embeddings, indices and masks.
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = [*_tensors(args), *_tensors(kwargs.values())]
        if not any(isinstance(one, FakeTensor) for one in given):
            if given or _makes_integers(func, args, kwargs.get("dtype")):
                return func(*args, **kwargs)
        elif func is _DEVICE:  # asked so often that it would take most of the time
            return args[0].fake_device
        elif func in _INDEXING:
            args = (args[0], _as_numbers(args[1]), *args[2:])
        with self.fake:
            return func(*args, **kwargs)


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    """Yield the tensors among arguments or results, and those in lists and tuples of them."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _makes_integers(func: Any, args: Any, dtype: torch.dtype | None) -> bool:
    """Return whether a function that takes no tensor makes one of integers or booleans."""
    if dtype is not None:
        return not dtype.is_floating_point
    return func in _COUNTING or (func is _ATEN.full.default and isinstance(args[1], int))


def _as_numbers(indices: Iterable[Tensor | None]) -> list[Tensor | None]:
    """Return indices with real masks replaced by the places where they are true."""
    # How many places a mask selects decides a shape, and only its values show that.
    found: list[Tensor | None] = []
    for one in indices:
        mask = one is not None and one.dtype == torch.bool and not isinstance(one, FakeTensor)
        found += one.nonzero(as_tuple=True) if mask and one is not None else (one,)
    return found


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Count the bytes of tensors that are alive, by label, and keep the counts of the peak.

    Attributes:
        label: of the tensors that are made now.
        now: label -> bytes in use.
        peak: `now` at the moment when most bytes were in use since `restart`.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.label = "other"
        self.now: dict[str, int] = {}
        self.peak: dict[str, int] = {}
        self._total = self._most = 0
        # Of each storage: a reference that does not keep it alive, its bytes and its label.
        self._alive: dict[int, tuple[weakref.ref[Any], int, str]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if func is not _DEVICE:
            for one in _tensors((made,)):
                self.add(one, self.label)
        return made

    def add(self, tensor: Tensor, label: str) -> None:
        """Count a tensor's storage under a label until it is freed."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._alive:
            return
        size = storage.nbytes()
        # A view shares its storage, so the storage is counted and not the tensor.
        self._alive[key] = (weakref.ref(storage, lambda _: self._freed(key)), size, label)
        self._change(label, size)

    def relabel(self, tensor: Tensor, label: str) -> None:
        """Count a tensor's storage under another label from now on."""
        key = tensor.untyped_storage()._cdata
        if key not in self._alive:
            self.add(tensor, label)
            return
        reference, size, before = self._alive[key]
        self._alive[key] = (reference, size, label)
        self._change(before, -size)
        self._change(label, size)

    def restart(self) -> None:
        """Forget the peak so far."""
        self.peak, self._most = dict(self.now), self._total

    @contextmanager
    def labelled(self, label: str) -> Iterator[None]:
        """Count what is made inside the `with` block under a label."""
        before, self.label = self.label, label
        try:
            yield
        finally:
            self.label = before

    def follow(self, module: nn.Module, label: str) -> None:
        """Count what a module makes in its forward function under a label."""
        outer: list[str] = []

        def enter(*_: object) -> None:
            outer.append(self.label)
            self.label = label

        def leave(*_: object) -> None:
            self.label = outer.pop()

        module.register_forward_pre_hook(enter)
        module.register_forward_hook(leave)

    def _freed(self, key: int) -> None:
        _, size, label = self._alive.pop(key)
        self._change(label, -size)

    def _change(self, label: str, size: int) -> None:
        self.now[label] = self.now.get(label, 0) + size
        self._total += size
        if self._total > self._most:
            self._most, self.peak = self._total, dict(self.now)
