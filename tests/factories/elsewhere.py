"""A device that is not there, played by the CPU: what is made beside it cannot be mixed with it.

Inside `Elsewhere()` the device `cuda:0` can be used on a machine without one. Its tensors lie in
ordinary memory but carry a mark, report that device, and behave as on a real one where it matters:
an operation that takes tensors of both sides fails, and so does reading numbers into numpy. What
torch makes without telling (inside C++, or under vmap) carries no mark and fits either side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode, resolve_name

HERE, THERE = torch.device("cpu"), torch.device("cuda", 0)
_MADE = {
    *(torch.tensor, torch.as_tensor, torch.from_numpy, torch.arange, torch.linspace, torch.eye),
    *(torch.zeros, torch.ones, torch.empty, torch.full, torch.rand, torch.randn, torch.randint),
    *(torch.zeros_like, torch.ones_like, torch.empty_like, torch.full_like, torch.randperm),
}
_READ = ("numpy", "__array__")
_ACROSS = ("__set__", "copy_", "_has_compatible_shallow_copy_type")


def mark(value: Any, place: torch.device) -> Any:
    """Mark a tensor, or all tensors of a list or tuple, as lying somewhere."""
    if isinstance(value, Tensor):
        value.lies = place  # type: ignore[attr-defined]
    elif isinstance(value, list | tuple):
        for one in value:
            mark(one, place)
    return value


def tensors(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in arguments."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for one in value:
            yield from tensors(one)
    elif isinstance(value, dict):
        yield from tensors(list(value.values()))


class Elsewhere(TorchFunctionMode):
    """The mode; `moved` counts tensors that were brought to the other side."""

    def __init__(self) -> None:
        super().__init__()
        self.moved = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        name, attribute = getattr(func, "__name__", ""), getattr(func, "__self__", None)
        if name == "__get__" and attribute is Tensor.device:
            return getattr(args[0], "lies", HERE)
        wanted = _place(kwargs.pop("device", None))
        if name in ("to", "cuda", "cpu"):
            return self._moved(func, name, args, kwargs, wanted)
        if name in _READ and getattr(args[0], "lies", HERE) == THERE:
            raise AssertionError("a tensor of the device was read into numpy")
        # As on a real device, an index may lie here, and so may a number.
        mixed = [args[0], *args[2:]] if name in ("__getitem__", "__setitem__") else [args, kwargs]
        lies = [(one.ndim, one.lies) for one in tensors(mixed) if hasattr(one, "lies")]
        given = {place for size, place in lies if size or place == THERE}
        if len(given) > 1 and name not in _ACROSS:
            raise AssertionError(f"{resolve_name(func)} takes tensors of two devices")
        found = func(*args, **kwargs)
        if name == "__set__":
            if attribute is Tensor.data:
                mark(args[0], getattr(args[1], "lies", HERE))
        elif wanted is not None or func in _MADE:
            made = given.pop() if given else HERE
            mark(found, wanted or made)
        elif given:
            mark(found, given.pop())
        return found

    def _moved(
        self,
        func: Callable[..., Any],
        name: str,
        args: Any,
        kwargs: dict[str, Any],
        wanted: torch.device | None,
    ) -> Any:
        """Move as `Tensor.to`, `cuda` and `cpu` do: a copy where the place changes."""
        own, *rest = args
        lies = getattr(own, "lies", HERE)
        if name != "to":
            wanted, rest = (THERE if name == "cuda" else HERE), []
        for one in rest:
            if isinstance(one, torch.device | str):
                wanted = _place(one)
            elif isinstance(one, Tensor):
                wanted = getattr(one, "lies", HERE)
        rest = [HERE if isinstance(one, torch.device | str) else one for one in rest]
        target = wanted or lies
        found = own.to(*rest, **kwargs) if rest or kwargs else own
        if target != lies:
            self.moved += 1
            found = found.clone() if found is own else found
        elif found is own:
            return own
        return mark(found, target)


def _place(value: Any) -> torch.device | None:
    if value is None:
        return None
    return THERE if torch.device(value).type == "cuda" else HERE
