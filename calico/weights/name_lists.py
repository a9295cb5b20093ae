"""Names of weights in messages: the first few, and how many there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_SHOWN = 8


def listed(names: Sequence[str], shown: int = _SHOWN) -> str:
    """Return the first `shown` names, and the number of all if there are more."""
    more = f", … {len(names)} in all" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def fault_lines(kinds: Mapping[str, Sequence[str]]) -> list[str]:
    """Return a line for each kind of fault that has names, such as `missing`."""
    return [f"{kind}: {listed(names)}" for kind, names in kinds.items() if names]
