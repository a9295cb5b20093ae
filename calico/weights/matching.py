"""Which published tensor fills which weight of the model; nothing is left over silently."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from calico.config.calico import CalicoConfig
from calico.weights.families import Ignored, Shape
from calico.weights.files import WeightFiles
from calico.weights.layouts import recognise
from mixedparts.errors import InputError

_SHOWN = 8  # names that a message lists
_VOCABULARY = ("language.model.embed_tokens.weight", "language.lm_head.weight")
_TEXT_PATH = re.compile(
    r"bridge\.qformer\.((word|position)_embeddings|encoder\.layer\.\d+\.(intermediate|output))\."
)
_CAM = re.compile(r"(correspondence\.adaptive)\.(\d+)\.")


@dataclass(frozen=True, slots=True)
class WeightSource:
    """One published model.

    Attributes:
        origin: where it lies.
        weights: its tensors.
        rows: tokens that its tokenizer knows; further rows of its embeddings mean nothing.
    """

    origin: str
    weights: Mapping[str, Tensor]
    rows: int | None = None


@dataclass(frozen=True, slots=True)
class Ingredient:
    """One tensor of one source, and which of `share[1]` equal parts of its first dimension."""

    source: int
    name: str
    order: int
    of: int
    share: tuple[int, int]


@dataclass(slots=True)
class Matching:
    """What fills what.

    Attributes:
        sources: in the order given; a later one comes before an earlier one.
        recipes: the model's stable name -> ingredients.
        used: names of the tensors that each source gives.
        ignored: by source, names of tensors without use, by reason.
    """

    sources: tuple[WeightSource, ...]
    layouts: list[str] = field(default_factory=list)
    recipes: dict[str, list[Ingredient]] = field(default_factory=dict)
    used: list[set[str]] = field(default_factory=list)
    ignored: list[dict[str, list[str]]] = field(default_factory=list)

    def shape(self, target: str) -> Shape:
        """Return the shape that a weight gets."""
        parts = self.recipes[target]
        first = parts[0]
        shape = _shape(self.sources[first.source], first.name)
        rows = shape[0] // first.share[1] * first.of if shape else 0
        return (rows, *shape[1:]) if shape else shape

    def value(self, target: str) -> Tensor:
        """Read a weight."""
        parts = {part.order: part for part in self.recipes[target]}
        read = {order: self._read(part) for order, part in parts.items()}
        if len(parts) == 1 and 0 in parts and parts[0].of == 1:
            return read[0]
        like = next(iter(read.values()))
        count = next(iter(parts.values())).of
        return torch.cat([read.get(order, torch.zeros_like(like)) for order in range(count)])

    def _read(self, part: Ingredient) -> Tensor:
        value = self.sources[part.source].weights[part.name]
        number, count = part.share
        return value if count == 1 else value.chunk(count)[number]

    def report(self) -> list[str]:
        """Return lines that say what every source was used for."""
        lines = []
        for number, source in enumerate(self.sources):
            lines.append(f"{source.origin}: {self.layouts[number]}, {len(self.used[number])} used")
            for reason, names in self.ignored[number].items():
                lines.append(f"  {len(names)} ignored: {reason} ({_listed(names, 2)})")
        return lines


def match(sources: Iterable[WeightSource]) -> Matching:
    """Name every tensor of every source.

    Raises:
        InputError: tensors that their layout does not know, all named.
    """
    found = Matching(tuple(sources))
    faults: list[str] = []
    for number, source in enumerate(found.sources):
        layout = recognise(source.weights, source.origin)
        recipes: defaultdict[str, list[Ingredient]] = defaultdict(list)
        ignored: defaultdict[str, list[str]] = defaultdict(list)
        unknown = []
        for name in source.weights:
            pieces = layout.find(name, _shape(source, name))
            if pieces is None:
                unknown.append(name)
            elif isinstance(pieces, Ignored):
                ignored[pieces.reason].append(name)
            else:
                for piece in pieces:
                    part = Ingredient(number, name, piece.order, piece.of, piece.share)
                    recipes[piece.target].append(part)
        if unknown:
            faults.append(f"{source.origin} ({layout.name}): unexpected {_listed(unknown)}")
        found.layouts.append(layout.name)
        found.ignored.append(dict(ignored))
        found.used.append(set())
        found.recipes.update(_ranked(recipes))
    if faults:
        raise InputError(
            "weights that nothing is known to do with:\n" + "\n".join(f"  {one}" for one in faults)
        )
    return found


def _ranked(recipes: Mapping[str, list[Ingredient]]) -> dict[str, list[Ingredient]]:
    """Return recipes with CAMs counted from 0; they may be named by their layers (11, 22)."""
    matches = [(name, _CAM.match(name)) for name in recipes]
    numbers = sorted({int(one[2]) for _, one in matches if one is not None})
    return {
        name
        if one is None
        else f"{one[1]}.{numbers.index(int(one[2]))}.{name[one.end() :]}": recipe
        for (name, one), recipe in zip(matches, recipes.values(), strict=True)
    }


def reconcile(
    matching: Matching, wanted: Mapping[str, Shape], config: CalicoConfig
) -> frozenset[str]:
    """Check that every weight is filled and every tensor used, and count.

    Args:
        matching: of the sources.
        wanted: shapes of the model's weights by stable name.
        config: of the model; says what may start fresh, and which parts it does not have.

    Returns:
        the names that start fresh.

    Raises:
        InputError: weights that nothing fills, tensors without a place, shapes that differ.
    """
    missing = [name for name in wanted if name not in matching.recipes]
    fresh = {name for name in missing if _may_be_fresh(name, config)}
    faults = [f"missing: {_listed([n for n in missing if n not in fresh])}"] * (
        len(missing) > len(fresh)
    )
    homeless = []
    for name, recipe in matching.recipes.items():
        reason = None if name in wanted else _reason(name, config)
        if name in wanted:
            for part in recipe:
                matching.used[part.source].add(part.name)
        elif reason is None:
            homeless.append(recipe[0].name)
        else:
            for part in recipe:
                matching.ignored[part.source].setdefault(reason, []).append(part.name)
    _supersede(matching)
    if homeless:
        faults.append(f"unexpected: {_listed(homeless)}")
    shapes = [
        f"{matching.recipes[name][0].name} is {matching.shape(name)}, {name} needs {shape}"
        for name, shape in wanted.items()
        if name in matching.recipes and not _fits(name, matching.shape(name), shape)
    ]
    faults += [f"of another shape: {_listed(shapes)}"] * bool(shapes)
    if faults:
        raise InputError(
            f"the weights do not fill the model '{config.name}':\n"
            + "\n".join(f"  {fault}" for fault in faults),
            "It takes EVA-CLIP, Q-Former, a language model, DINOv2 and SAM; give several --init.",
        )
    return frozenset(fresh)


def _fits(name: str, found: Shape, wanted: Shape) -> bool:
    """Compare shapes; embeddings may have other numbers of rows, which are settled by token."""
    return found[1:] == wanted[1:] if name in _VOCABULARY else found == wanted


def _may_be_fresh(name: str, config: CalicoConfig) -> bool:
    if name.startswith("correspondence."):
        return True
    if name.startswith("grounding.projection."):
        return config.trained.seg_projection
    linear = config.qformer.kind == "linear" and config.trained.projection
    return linear and name.startswith("bridge.projection.")


def _reason(name: str, config: CalicoConfig) -> str | None:
    """Return why a known part has no place in this model; None if it should have one."""
    if name.startswith("encoders.semantic.") and not config.uses_semantic:
        return "this ablation has no semantic encoder"
    if name.startswith("bridge.") and config.qformer.kind == "linear":
        return "this ablation has no Q-Former"
    if _TEXT_PATH.match(name) and not config.qformer.sees_question:
        return "the Q-Former's text path: it sees queries only"
    if name.startswith("correspondence.") and not config.correspondence.layers:
        return "this ablation has no correspondence modules"
    if name == _VOCABULARY[1] and config.language.tie_embeddings:
        return "tied to the input embeddings"
    return None


def _supersede(matching: Matching) -> None:
    """Count what a later source gives as well."""
    taken = {(part.source, part.name) for recipe in matching.recipes.values() for part in recipe}
    for number, source in enumerate(matching.sources):
        known = {name for names in matching.ignored[number].values() for name in names}
        over = [n for n in source.weights if (number, n) not in taken and n not in known]
        if over:
            matching.ignored[number]["a later --init holds it as well"] = over


def _shape(source: WeightSource, name: str) -> Shape:
    if isinstance(source.weights, WeightFiles):
        return source.weights.shape(name)  # without reading the tensor
    return tuple(source.weights[name].shape)


def _listed(names: list[str], shown: int = _SHOWN) -> str:
    more = f", … {len(names)} in all" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
