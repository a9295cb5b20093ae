"""Names of DINOv2's weights, which transformers changed between its versions.

Published files, and modules up to 5.4, call them `attention.attention.query` and so on, and hold a
SwiGLU's gate above its value in one `mlp.weights_in`; newer modules say `attention.q_proj`, and
`mlp.gate_proj` beside `mlp.up_proj`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

_MOVED = (
    (".attention.q_proj.", ".attention.attention.query."),
    (".attention.k_proj.", ".attention.attention.key."),
    (".attention.v_proj.", ".attention.attention.value."),
    (".attention.o_proj.", ".attention.output.dense."),
    (".mlp.down_proj.", ".mlp.weights_out."),
)
JOINED = ".mlp.weights_in."
GATE, UP = HALVES = (".mlp.gate_proj.", ".mlp.up_proj.")


def published_name(name: str) -> str:
    """Return the published name of a weight; halves of a SwiGLU, which have none, keep theirs."""
    for newer, published in _MOVED:
        name = name.replace(newer, published)
    return name


def newer_name(name: str) -> str:
    """Return the newer name of a weight; a joined SwiGLU, which has none, keeps its."""
    for newer, published in _MOVED:
        name = name.replace(published, newer)
    return name


def under_names(values: Mapping[str, Tensor], own: Collection[str]) -> dict[str, Tensor]:
    """Return weights under the names that the installed transformers gives them.

    Args:
        values: by the names of any version.
        own: names of the model to be filled; what is none of them in any version stays as it is.
    """
    found: dict[str, Tensor] = {}
    for name, value in values.items():
        halves = [name.replace(JOINED, half) for half in HALVES]
        if name not in own and halves[0] in own:
            found.update(zip(halves, value.chunk(2), strict=True))
        elif name not in own and (joined := name.replace(GATE, JOINED)) in own:
            up = values.get(name.replace(GATE, UP))
            found[joined] = value if up is None else torch.cat([value, up])
        elif name in own or name.replace(UP, JOINED) not in own:
            names = (name, published_name(name), newer_name(name))
            found[next((one for one in names if one in own), name)] = value
    return found
