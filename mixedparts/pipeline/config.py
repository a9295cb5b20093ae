"""Every choice of a build in one validated value: from options, from YAML, or from Python.

A field of `BuildConfig` states its type, its range and its help text once; parsing, validation and
the options of `mixedparts build` follow from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta

from mixedparts.errors import UsageError
from mixedparts.pipeline.reject_limit import parse_limit
from mixedparts.records import Task
from mixedparts.settings.fields import Count, Option, Share, converted, value_faults
from mixedparts.settings.options import result_fields
from mixedparts.settings.yaml_file import read_yaml_mapping
from mixedparts.sources.contract import available, get_source
from mixedparts.sources.manifests import FULL, profile_for, profiles

MOST_IMAGES = 4  # of a sample
SAMPLES_AN_IMAGE = 27  # 2.4M samples of the paper over the ~89K annotated images of its sources

_Seed = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
_ImagesPerSample = Annotated[int, Meta(ge=2, le=MOST_IMAGES)]


@dataclass(frozen=True, slots=True)
class BuildConfig:
    """What a build is asked for.

    Attributes:
        sources: names of registered readers.
        root: folder that contains the upstream archives as they unpack.
        source_roots: other folders for single sources.
        out: the build folder.
        samples: rows over all splits and tasks; None: 27 for every image with a selected entity,
            the paper's 2.4M samples on the full sources.
        seed: of every draw.
        tasks: the tasks to make rows for.
        classes: canonical names of the object classes to use; none: all of them.
        min_object_area, min_part_area: least share of the image, in [0, 1].
        profile: which classes and names of `manifests/profiles.yaml` are used; `full` is all of
            them, `published` what is known of the authors' bundle.
        per_image_limit: most samples of one source and task that an image may be in; None: twice
            the even use, raised where rows are short of it
            (`mixedparts.pairing.balanced_sampler`).
        images_per_sample: 2 to 4.
        cross_source: also make samples of images of two sources.
        ade20k_test: `hash` divides ADE's validation images between validation and test;
            `official` puts all of them in both, as the authors' bundle does.
        images: `embed` stores the bytes of the images, `reference` only their paths.
        max_rejects: rejected records over which a build fails: a share (`5%`, `0.05`) or a number;
            by default more than half, which points to a wrong folder rather than to bad records.
        read_shard_images, pair_shard_rows, image_shard_rows: sizes of the shards.
        workers, engine, shard_range: where and how much runs; they never change the result.
    """

    sources: Annotated[
        tuple[str, ...], Option("see `mixedparts sources`; also one of yours", "NAME")
    ]
    root: Annotated[
        Path, Option("sources' folder (./sources, $MIXEDPARTS_ROOT)", "DIR", result=False)
    ] = Path("sources")
    source_roots: Annotated[Mapping[str, Path], Option(result=False, command_line=False)] = field(
        default_factory=dict
    )
    out: Annotated[Path, Option("build folder (data/mixedparts)", "DIR", result=False)] = Path(
        "data/mixedparts"
    )
    samples: Annotated[Count | None, Option("rows over all splits (27 an image)", "N")] = None
    seed: Annotated[_Seed, Option("seed of the sampler (0)", "S")] = 0
    tasks: Annotated[
        tuple[str, ...], Option("common_object, common_parts, unique_parts", "TASK")
    ] = tuple(Task)
    classes: Annotated[
        tuple[str, ...], Option("these object classes only, by canonical name", "NAME")
    ] = ()
    min_object_area: Annotated[Share, Option("least share of the image (0.02)", "F")] = 0.02
    min_part_area: Annotated[Share, Option("least share of the image (0.001)", "F")] = 0.001
    profile: Annotated[str, Option("classes and names: full, or published (full)", "NAME")] = FULL
    per_image_limit: Annotated[
        Count | None,
        Option(
            "an image is in at most N samples of a source and task; rows can then be fewer than"
            " --samples (without it: twice the even use, raised only if rows would be missing)",
            "N",
        ),
    ] = None
    images_per_sample: Annotated[_ImagesPerSample, Option("2 to 4 (2)", "N")] = 2
    cross_source: Annotated[
        bool,
        Option("also samples of images of two sources, as a PACO dog with a PartImageNet dog"),
    ] = False
    ade20k_test: Annotated[
        Literal["hash", "official"], Option("how ADE's validation split is divided (hash)")
    ] = "hash"
    images: Annotated[
        Literal["embed", "reference"], Option("store images, or only their paths (embed)")
    ] = "embed"
    max_rejects: Annotated[
        str,
        Option(
            "fail when more records are rejected: a share (5%%, 0.05) or a number (50%%)",
            "LIMIT",
            result=False,
        ),
    ] = "50%"
    read_shard_images: Count = 256
    pair_shard_rows: Count = 10_000
    image_shard_rows: Count = 1_000
    workers: Annotated[Count, Option("processes (all cores)", "N", result=False)] = 1
    engine: Annotated[Literal["local", "ray"], Option("where tasks run (local)", result=False)] = (
        "local"
    )
    shard_range: Annotated[
        tuple[int, int] | None,
        Option("do the i-th of N shares of the shards, from 0", "i/N", result=False),
    ] = None

    def __post_init__(self) -> None:
        faults = [*value_faults(self), *self._faults()]
        if faults:
            raise UsageError("\n".join(faults))
        for name in self.sources:
            get_source(name)
            profile_for(name, self.profile)

    def _faults(self) -> Iterator[str]:
        """Yield a sentence for each choice that does not fit the others or what is installed."""
        if not self.sources:
            yield f"name at least one source: {', '.join(available())}"
        if len(set(self.sources)) != len(self.sources):
            yield f"a source is named twice: {' '.join(self.sources)}"
        for name in self.source_roots:
            if name not in self.sources:
                yield f"a folder is given for '{name}', which is not among the sources"
        if self.profile not in profiles():
            yield f"profile must be one of {', '.join(profiles())}"
        if not self.tasks:
            yield f"tasks must be some of {', '.join(Task)}"
        for name in self.tasks:
            if name not in set(Task):
                yield unknown_name("task", name, tuple(Task))
        if self.cross_source and len(set(self.sources)) < 2:
            yield "cross_source wants at least two sources"
        try:
            parse_limit(self.max_rejects)
        except ValueError as error:
            yield f"max_rejects: {error}"
        if self.shard_range and not 0 <= self.shard_range[0] < self.shard_range[1]:
            yield "shard range must be i/N with 0 <= i < N"

    def source_root(self, name: str) -> Path:
        """Return the folder that a source's layout starts from."""
        return self.source_roots.get(name, self.root)

    def variant(self, name: str) -> str:
        """Return the source's own choice, as `ReadShard.variant` carries it."""
        ade = name in ("ade20k", "ade20k_full")
        return "official" if ade and self.ade20k_test == "official" else ""

    def identity(self) -> dict[str, Any]:
        """Return the choices that decide the result, as JSON values; folders are not among them."""
        every = asdict(self)
        known = {name: every[name] for name in result_fields(BuildConfig)}
        known["sources"] = sorted(self.sources)
        known["tasks"] = [task for task in Task if task in self.tasks]
        known["classes"] = sorted(set(self.classes))
        if self.images == "reference":
            known["source_roots"] = {n: str(self.source_root(n).resolve()) for n in self.sources}
        return known


def unknown_name(kind: str, name: str, known: Sequence[str]) -> str:
    """Return the sentence about a name that is not known, with the names near to it."""
    near = get_close_matches(name.lower(), known, n=3)
    if near:
        guess = " or ".join(f"'{one}'" for one in near)
        return f"there is no {kind} '{name}'; did you mean {guess}?"
    some = ", ".join(known[:10]) + (", …" if len(known) > 10 else "")
    return f"there is no {kind} '{name}'; known: {some}"


def read_config(path: Path) -> dict[str, Any]:
    """Read choices from a YAML file; keys are the fields of `BuildConfig`.

    Raises:
        InputError: the file is missing or is not YAML.
        UsageError: it contains unknown keys or values of another type; all of them are named.
    """
    data = read_yaml_mapping(path)
    # YAML reads 5% as text, but 0.05 and 100 as numbers.
    if isinstance(data.get("max_rejects"), int | float):
        data["max_rejects"] = str(data["max_rejects"])
    if isinstance(text := data.get("shard_range"), str):
        data["shard_range"] = parse_shard_range(text, f"{path}: shard_range")
    faults: list[str] = []
    values = converted(BuildConfig, data, faults)
    if faults:
        listed = "\n".join(f"  {fault}" for fault in faults)
        raise UsageError(f"the configuration {path} cannot be used:\n{listed}")
    return values


def parse_shard_range(text: str, origin: str) -> tuple[int, int]:
    """Return (i, N) of `i/N`.

    Raises:
        UsageError: it is not of this form; `origin` is named in the message.
    """
    part, _, whole = text.partition("/")
    try:
        return int(part), int(whole)
    except ValueError:
        raise UsageError(f"{origin} wants i/N, not '{text}'") from None
