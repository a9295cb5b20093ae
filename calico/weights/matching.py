"""Match published tensors with the weights of the model, and report everything that is left over.

Weights are matched by name in both directions: every weight of the model must be filled, and every
tensor of every source must be used or ignored for a named reason. A missing key is the most
expensive fault of this family of models. `from_pretrained` fills it with random values and prints a
table, training runs on, and the scores are near zero (LISA's issues 41, 56 and 103). A tensor
without a use is as suspicious: it usually means that a prefix was misunderstood.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from calico.config.calico import CalicoConfig
from calico.weights.families import EMBEDDINGS, VOCABULARY, Ignored, Shape
from calico.weights.files import WeightFiles
from calico.weights.layouts import recognise
from calico.weights.name_lists import fault_lines, listed
from mixedparts.errors import InputError

_PROJECTION = "bridge.projection."
# Weights of a Q-Former that only its text tokens pass through.
_TEXT_PATH = re.compile(
    r"bridge\.qformer\.((word|position)_embeddings|encoder\.layer\.\d+\.(intermediate|output))\."
)
# Parts that come from one source as a whole, with a weight that each has: a language model with an
# output layer of its own must not leave it to a later one without, nor DINOv2 its registers.
_WHOLE = {"language.": EMBEDDINGS, "encoders.semantic.": "encoders.semantic.embeddings.cls_token"}
_CAM = re.compile(r"(correspondence\.adaptive)\.(\d+)\.")


@dataclass(frozen=True, slots=True)
class WeightSource:
    """One published model.

    Attributes:
        origin: file or folder, for reports.
        weights: its tensors by name.
    """

    origin: str
    weights: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Ingredient:
    """A part of a tensor of a source, from which a weight is put together.

    Attributes:
        source: index in `Matching.sources`.
        name: of the tensor in its source.
        order: as `Piece.order`.
        of: as `Piece.of`.
        share: as `Piece.share`.
    """

    source: int
    name: str
    order: int
    of: int
    share: tuple[int, int]


@dataclass(slots=True)
class Matching:
    """Which tensors fill which weights.

    Attributes:
        sources: in the order given; where two have the same weight, the later one is used.
        layouts: name of each source's layout.
        recipes: stable name of a weight -> the parts that it is joined from.
        used: for each source, the names of the tensors that are used.
        fresh: names of the weights that start from initial values.
        ignored: for each source, reason -> names of the tensors that are ignored for it.
    """

    sources: tuple[WeightSource, ...]
    layouts: list[str] = field(default_factory=list)
    recipes: dict[str, list[Ingredient]] = field(default_factory=dict)
    used: list[set[str]] = field(default_factory=list)
    ignored: list[dict[str, list[str]]] = field(default_factory=list)
    fresh: frozenset[str] = frozenset()

    def suppliers(self, prefixes: tuple[str, ...]) -> list[int]:
        """Return the sources that give a weight with one of the prefixes, in their order."""
        recipes = (one for name, one in self.recipes.items() if name.startswith(prefixes))
        return sorted({part.source for recipe in recipes for part in recipe})

    def shape(self, target: str) -> Shape:
        """Return the shape of a weight that its parts give, without reading them."""
        parts = self.recipes[target]
        # All parts of a weight have the same shape, so one of them is enough.
        first = parts[0]
        shape = shape_of(self.sources[first.source], first.name)
        rows = shape[0] // first.share[1] * first.of if shape else 0
        return (rows, *shape[1:]) if shape else shape

    def value(self, target: str) -> Tensor:
        """Read the parts of a weight and return them joined along the first dimension."""
        parts = {part.order: part for part in self.recipes[target]}
        read = {order: self._read(part) for order, part in parts.items()}
        # The usual case returns the source's tensor itself: `cat` would copy gigabytes.
        if len(parts) == 1 and 0 in parts and parts[0].of == 1:
            return read[0]
        like = next(iter(read.values()))
        count = next(iter(parts.values())).of
        # Missing parts are zero: the key's bias of LAVIS's EVA-CLIP.
        return torch.cat([read.get(order, torch.zeros_like(like)) for order in range(count)])

    def _read(self, part: Ingredient) -> Tensor:
        value = self.sources[part.source].weights[part.name]
        number, count = part.share
        return value if count == 1 else value.chunk(count)[number]

    def report(self) -> list[str]:
        """Return lines about the use of every source: its layout, and what was used or ignored."""
        lines = []
        for number, source in enumerate(self.sources):
            lines.append(f"{source.origin}: {self.layouts[number]}, {len(self.used[number])} used")
            if isinstance(source.weights, WeightFiles) and source.weights.notes:
                lines.append(f"  taken off: {', '.join(source.weights.notes)}")
            for reason, names in self.ignored[number].items():
                lines.append(f"  {len(names)} ignored: {reason} ({listed(names, 2)})")
        if self.fresh:
            lines.append(
                f"{len(self.fresh)} weights start anew: {listed(sorted(_parts(self.fresh)))}"
            )
        return lines


def _parts(names: Iterable[str]) -> set[str]:
    return {".".join(name.split(".")[:2]) for name in names}


def match(sources: Iterable[WeightSource]) -> Matching:
    """Find the layout of every source and the stable name of every tensor.

    Raises:
        InputError: a source has no known layout, or tensors have names that their layout does not
            have; all are listed.
    """
    matching = Matching(tuple(sources))
    faults: list[str] = []
    for number, source in enumerate(matching.sources):
        layout = recognise(source.weights, source.origin)
        recipes: defaultdict[str, list[Ingredient]] = defaultdict(list)
        ignored: defaultdict[str, list[str]] = defaultdict(list)
        unknown = []
        for name in source.weights:
            pieces = layout.find(name, shape_of(source, name))
            if pieces is None:
                unknown.append(name)
            elif isinstance(pieces, Ignored):
                ignored[pieces.reason].append(name)
            else:
                for piece in pieces:
                    part = Ingredient(number, name, piece.order, piece.of, piece.share)
                    recipes[piece.target].append(part)
        if unknown:
            faults.append(f"{source.origin} ({layout.name}): unexpected {listed(unknown)}")
        matching.layouts.append(layout.name)
        matching.ignored.append(dict(ignored))
        matching.used.append(set())
        for prefix, first in _WHOLE.items():
            if first in recipes:
                _drop(matching.recipes, prefix)
        # A whole recipe replaces an earlier source's, so no weight mixes parts of two sources.
        matching.recipes.update(_ranked(recipes))
    if faults:
        raise InputError(
            "the layouts of these weights do not have these names:\n"
            + "\n".join(f"  {fault}" for fault in faults)
        )
    return matching


def _drop(recipes: dict[str, list[Ingredient]], prefix: str) -> None:
    for name in [name for name in recipes if name.startswith(prefix)]:
        del recipes[name]


def _ranked(recipes: Mapping[str, list[Ingredient]]) -> dict[str, list[Ingredient]]:
    """Return recipes with CAMs numbered from 0, as the model numbers them."""
    # A checkpoint may number them by their layers (11, 22): only the order counts.
    matches = [(name, _CAM.match(name)) for name in recipes]
    numbers = sorted({int(cam[2]) for _, cam in matches if cam is not None})
    return {
        name
        if cam is None
        else f"{cam[1]}.{numbers.index(int(cam[2]))}.{name[cam.end() :]}": recipe
        for (name, cam), recipe in zip(matches, recipes.values(), strict=True)
    }


def reconcile(
    matching: Matching, wanted: Mapping[str, Shape], config: CalicoConfig
) -> frozenset[str]:
    """Check that every weight is filled and every tensor is used; record the use in `matching`.

    Args:
        matching: of the sources; its `used` and `ignored` are completed.
        wanted: shapes of the model's weights by stable name.
        config: of the model: which weights may start fresh, and which parts it does not have.

    Returns:
        The names of the weights that start fresh.

    Raises:
        InputError: weights are missing, tensors have no weight to fill, or shapes differ.
    """
    _leave_out_projection(matching, wanted, config)
    missing = [name for name in wanted if name not in matching.recipes]
    fresh = {name for name in missing if _may_be_fresh(name, config)}
    unexpected = []
    for name, recipe in matching.recipes.items():
        reason = None if name in wanted else _reason(name, config)
        if name in wanted:
            for part in recipe:
                matching.used[part.source].add(part.name)
        elif reason is None:
            unexpected.append(recipe[0].name)
        else:
            for part in recipe:
                matching.ignored[part.source].setdefault(reason, []).append(part.name)
    _supersede(matching)
    # Only a check of the shapes shows a model of another size: its names are the same.
    shapes = [
        f"{matching.recipes[name][0].name} is {matching.shape(name)}, {name} needs {shape}"
        for name, shape in wanted.items()
        if name in matching.recipes and not _fits(name, matching.shape(name), shape)
    ]
    needed = [name for name in missing if name not in fresh]
    kinds = {"missing": needed, "unexpected": unexpected, "of another shape": shapes}
    if faults := fault_lines(kinds):
        raise InputError(
            f"the weights do not fill the model '{config.name}':\n"
            + "\n".join(f"  {fault}" for fault in faults),
            _hint(needed),
        )
    matching.fresh = frozenset(fresh)
    return matching.fresh


def _hint(needed: Sequence[str]) -> str:
    """Return what helps where weights are missing."""
    parts = {"grounding.projection.": "seg_projection", _PROJECTION: "projection"}
    trained = [name for prefix, name in parts.items() if any(n.startswith(prefix) for n in needed)]
    if trained and all(name.startswith(tuple(parts)) for name in needed):
        values = ", ".join(f"{name}: true" for name in trained)
        return f"To train them from initial values, set trained: {{{values}}} in a --config file."
    return "It takes EVA-CLIP, Q-Former, a language model, DINOv2 and SAM; give several --init."


def _leave_out_projection(
    matching: Matching, wanted: Mapping[str, Shape], config: CalicoConfig
) -> None:
    """Leave out a projection to the language model of its own source, where another one is used."""
    weight = f"{_PROJECTION}weight"
    if weight not in matching.recipes or weight not in wanted or not config.trained.projection:
        return
    source = matching.recipes[weight][0].source
    elsewhere = source not in matching.suppliers(("language.",))
    if elsewhere and matching.shape(weight) != wanted[weight]:
        names = [name for name in matching.recipes if name.startswith(_PROJECTION)]
        reason = "the projection leads to another language model, so a new one is trained"
        parts = [part.name for name in names for part in matching.recipes.pop(name)]
        matching.ignored[source][reason] = parts


def _fits(name: str, given: Shape, wanted: Shape) -> bool:
    # The rows of the vocabulary follow from the tokenizers; `initial` cuts them or adds new ones.
    return given[1:] == wanted[1:] if name in VOCABULARY else given == wanted


def _may_be_fresh(name: str, config: CalicoConfig) -> bool:
    # CEM and CAMs are what the paper adds: no source has them but CALICO's own checkpoint. The
    # reader of the presence loss is what this project adds. All else may start from random values
    # only if it is trained afterwards.
    if name.startswith(("correspondence.", "presence.")):
        return True
    if name.startswith("grounding.projection."):
        return config.trained.seg_projection
    return config.trained.projection and name.startswith(_PROJECTION)


def _reason(name: str, config: CalicoConfig) -> str | None:
    """Return why this model does not have a weight of a known part; None for an unknown one."""
    if name.startswith("encoders.semantic.") and not config.uses_semantic:
        return "this ablation has no semantic encoder"
    if name.startswith("bridge.") and config.qformer.kind == "linear":
        return "this ablation has no Q-Former"
    if _TEXT_PATH.match(name) and not config.qformer.sees_question:
        return "the Q-Former's text path: it sees queries only"
    if name.startswith("correspondence.") and not config.correspondence.layers:
        return "this ablation has no correspondence modules"
    if name.startswith("presence.") and not config.loss.presence:
        return "this run has no loss of presence"
    if name == VOCABULARY[1] and config.language.tie_embeddings:
        return "tied to the input embeddings"
    return None


def _supersede(matching: Matching) -> None:
    """Record the tensors whose recipes a later source has replaced."""
    taken = {(part.source, part.name) for recipe in matching.recipes.values() for part in recipe}
    for number, source in enumerate(matching.sources):
        ignored = {name for names in matching.ignored[number].values() for name in names}
        replaced = [n for n in source.weights if (number, n) not in taken and n not in ignored]
        if replaced:
            matching.ignored[number]["a later --init holds it as well"] = replaced


def shape_of(source: WeightSource, name: str) -> Shape:
    """Return the shape of a tensor, where possible without reading it."""
    if isinstance(source.weights, WeightFiles):
        return source.weights.shape(name)
    return tuple(source.weights[name].shape)
