"""A device that is not there, played by the CPU: what is made beside it cannot be mixed with it.

Inside `Elsewhere()` the device `cuda:0` can be used on a machine without one. Its tensors lie in
ordinary memory, but every storage carries the mark of a device, reports it, and is refused where
CUDA refuses it. Marks follow each operation of ATen, those of the backward pass and of optimisers
included.

What CUDA does with tensors of two devices, as `TensorIterator.cpp`, `TensorAdvancedIndexing.cpp`
and the kernels of optimisers have it:

- A scalar tensor (no dimension) of the CPU may be an input of an elementwise operation with tensors
  of the GPU, one at most. It may not be the tensor that is written.
- A tensor of the GPU may be indexed by one of the CPU, set to a scalar of the CPU, and filled by
  one. A tensor of the CPU takes no index of the GPU.
- `copy_` and `to` go from one to the other.
- Everything else is refused, scalars too: products, `cat` and `stack`, `gather` and `index_select`,
  embeddings, the `_foreach` functions, and the step counters of fused optimisers.

What torch makes inside of C++ from no tensor carries no mark, and fits either side until it meets
one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

HERE, THERE = torch.device("cpu"), torch.device("cuda", 0)
_TO_NUMPY = ("numpy", "__array__")
# Python functions that wait for the device and read a number, and operations whose result has a
# size that only the device knows.
_READS = ("tolist", "item", "__bool__", "__int__", "__float__", "__index__")
_WAITS = ("nonzero", "masked_select", "equal", "_unique2", "unique_dim", "bincount")
_INDEXED = ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index")
_ACROSS = ("copy_", "_to_copy", "set_", "_copy_from")
_FILLED = ("fill_", "masked_fill", "masked_fill_", "index_fill", "index_fill_")


# Of optimisers, by versions of torch: whether a CUDA graph is being recorded.
_CHECKS = {"_accelerator_graph_capture_health_check", "_cuda_graph_capture_health_check"}
# Of storages by their address. Shared by all blocks: a cache may hold a tensor of an earlier one. A
# weak reference keeps the address from being given to another storage.
_KNOWN: dict[int, tuple[StorageWeakRef, torch.device]] = {}


class Elsewhere:
    """Marks while its `with` block runs.

    Attributes:
        moved: tensors that were brought to the other side.
        waits: how often the program waited for the device, by what it read.
    """

    def __init__(self) -> None:
        self.moved = 0
        self.waits: Counter[str] = Counter()
        self._stack = ExitStack()

    def __enter__(self) -> Elsewhere:
        grouped = torch._C._group_tensors_by_device_and_dtype
        self._stack.enter_context(
            patch.object(torch._C, "_group_tensors_by_device_and_dtype", self._groups(grouped))
        )
        for name, stand_in in _cuda().items():
            self._stack.enter_context(patch.object(torch.cuda, name, stand_in))
        self._stack.enter_context(patch.object(Tensor, "record_stream", lambda *_: None))
        for name in _CHECKS & vars(torch.optim.Optimizer).keys():
            self._stack.enter_context(patch.object(torch.optim.Optimizer, name, lambda _: None))
        self._stack.enter_context(_Functions(self))
        self._stack.enter_context(_Operations(self))
        for address in [one for one, (storage, _) in _KNOWN.items() if storage.expired()]:
            del _KNOWN[address]
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.close()

    def place(self, tensor: Tensor) -> torch.device | None:
        """Return where a tensor lies, None where nobody has said."""
        try:
            storage = tensor.untyped_storage()
        except (NotImplementedError, RuntimeError):  # a wrapper, such as those of vmap
            return None
        return _KNOWN.get(storage._cdata, (None, None))[1]

    def mark(self, tensor: Tensor, place: torch.device) -> None:
        """Note where the memory of a tensor lies, and with it that of all views of it."""
        try:
            storage = tensor.untyped_storage()
        except (NotImplementedError, RuntimeError):
            return
        _KNOWN[storage._cdata] = (StorageWeakRef(storage), place)

    def places(self, value: Any) -> set[torch.device]:
        """Return the marks of all tensors in arguments."""
        return {place for one in tensors(value) if (place := self.place(one)) is not None}

    def brought(self, tensor: Tensor, place: torch.device) -> Tensor:
        """Return a copy that lies in `place`, or the tensor itself if it does already."""
        if (self.place(tensor) or HERE) == place:
            self.mark(tensor, place)
            return tensor
        self.moved += 1
        if place == HERE:
            self.waits["copy to the CPU"] += 1
        moved: Tensor = _Move.apply(tensor, self, place)
        return moved

    def _groups(self, grouped: Callable[..., Any]) -> Callable[..., Any]:
        """Return torch's grouping of tensors by device, with the marks in place of devices."""

        def by_mark(lists: list[list[Tensor]], *rest: Any) -> Any:
            found = grouped(lists, *rest)
            place = next(iter(self.places(lists[0])), HERE)
            return {(place, dtype): group for (_, dtype), group in found.items()}

        return by_mark


class _Stream:
    """A stream in which everything is finished at once."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def wait_stream(self, stream: Any) -> None:
        """Wait for nothing."""


def _cuda() -> dict[str, Any]:
    """Return what stands in for functions of `torch.cuda`, by name."""
    random = torch.Generator()
    return {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "Stream": _Stream,
        "stream": lambda _: nullcontext(),
        "current_stream": _Stream,
        "synchronize": lambda *_: None,
        "mem_get_info": lambda *_: (1 << 34, 1 << 34),
        "get_rng_state": lambda *_: random.get_state(),
        "set_rng_state": lambda state, *_: random.set_state(state),
    }


class _Move(torch.autograd.Function):
    """A copy to the other side; its gradient goes back."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, elsewhere: Elsewhere, place: torch.device) -> Tensor:
        ctx.way = elsewhere, elsewhere.place(tensor) or HERE
        copied = tensor.clone()
        elsewhere.mark(copied, place)
        return copied

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        elsewhere, place = ctx.way
        back = gradient.clone()
        elsewhere.mark(back, place)
        return back, None, None


def tensors(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in arguments."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for one in value:
            yield from tensors(one)
    elif isinstance(value, dict):
        yield from tensors(list(value.values()))


class _Functions(TorchFunctionMode):
    """What Python asks for: devices by name, reads, and where new tensors lie."""

    def __init__(self, elsewhere: Elsewhere) -> None:
        super().__init__()
        self.elsewhere = elsewhere

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        elsewhere, name = self.elsewhere, getattr(func, "__name__", "")
        for one in tensors([args, kwargs]):
            # Made before the block, or by a library that is no part of torch.
            if elsewhere.place(one) is None:
                elsewhere.mark(one, HERE)
        if name == "__get__":
            attribute = getattr(func, "__self__", None)
            place = elsewhere.place(args[0]) or HERE
            reported = {Tensor.device: place, Tensor.is_cuda: place == THERE}
            if attribute in reported:
                return reported[attribute]
        if name in ("to", "cuda", "cpu"):
            return self._moved(name, args, kwargs)
        if name == "pin_memory":
            return args[0]
        if name in _TO_NUMPY and elsewhere.place(args[0]) == THERE:
            raise AssertionError("a tensor of the device was read into numpy")
        if name in _READS and elsewhere.place(args[0]) == THERE:
            elsewhere.waits[name] += 1
        wanted = _place(kwargs.pop("device", None))
        found = func(*args, **kwargs)
        given = elsewhere.places([args, kwargs])
        for one in tensors(found):
            if wanted is not None and elsewhere.place(one) not in (None, wanted):
                # `as_tensor` and `asarray` return the tensor that they are given.
                return elsewhere.brought(one, wanted)
            if elsewhere.place(one) is None or wanted is not None:
                elsewhere.mark(one, wanted or (THERE if THERE in given else HERE))
        return found

    def _moved(self, name: str, args: Any, kwargs: dict[str, Any]) -> Tensor:
        """Move as `Tensor.to`, `cuda` and `cpu` do."""
        own, *rest = args
        wanted = _place(kwargs.pop("device", None))
        if name != "to":
            wanted, rest = (THERE if name == "cuda" else HERE), []
        kept = []
        for one in rest:
            if isinstance(one, torch.device | str):
                wanted = _place(one)
            elif isinstance(one, Tensor):
                wanted = self.elsewhere.place(one) or HERE
                kept.append(one.dtype)
            elif isinstance(one, torch.dtype):
                kept.append(one)
        found = own.to(*kept, **kwargs) if kept or kwargs else own
        place = wanted or self.elsewhere.place(own) or HERE
        return self.elsewhere.brought(found, place)


class _Operations(TorchDispatchMode):
    """What ATen computes: which devices it takes together, and where its results lie."""

    def __init__(self, elsewhere: Elsewhere) -> None:
        super().__init__()
        self.elsewhere = elsewhere

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        elsewhere = self.elsewhere
        name = func._schema.name.removeprefix("aten::")
        given = elsewhere.places([args, kwargs])
        if len(given) > 1 and not self._taken(func, name, args, kwargs):
            raise AssertionError(f"{name} takes tensors of two devices")
        if name in _WAITS and THERE in given:
            elsewhere.waits[name] += 1
        found = func(*args, **kwargs)
        place = THERE if THERE in given else HERE
        for one in tensors([found, args, kwargs]) if given else ():
            if elsewhere.place(one) is None:
                elsewhere.mark(one, place)
        return found

    def _taken(self, func: Any, name: str, args: Any, kwargs: Any) -> bool:
        """Return whether CUDA takes these tensors of two devices together."""
        if name in _ACROSS:
            return True
        here = [one for one in tensors([args, kwargs]) if self.elsewhere.place(one) == HERE]
        scalars = all(one.ndim == 0 for one in here)
        first = self.elsewhere.place(args[0]) if isinstance(args[0], Tensor) else None
        if name in _INDEXED:
            values = [one for one in tensors(args[2:3]) if self.elsewhere.place(one) == HERE]
            return first != HERE and all(one.ndim == 0 for one in values)
        if name in _FILLED:
            # The value, which is the last argument, and nothing else.
            return first != HERE and len(here) == 1 and scalars and args[-1] is here[0]
        written = [
            value
            for argument, value in zip(func._schema.arguments, args, strict=False)
            if argument.alias_info is not None and argument.alias_info.is_write
        ]
        alone = scalars and len(here) == 1 and not any(one is here[0] for one in tensors(written))
        return torch.Tag.pointwise in func.tags and alone


def _place(value: Any) -> torch.device | None:
    if value is None:
        return None
    return THERE if torch.device(value).type == "cuda" else HERE
