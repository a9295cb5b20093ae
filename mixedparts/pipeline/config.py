"""The configuration of a build, validated as one value: from options, from YAML, or from Python.

A field of `BuildConfig` states its type, its range and its help text once; parsing, validation and
the options of `mixedparts build` follow from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta

from mixedparts.errors import UsageError, near_names
from mixedparts.pipeline.reject_limit import parse_limit
from mixedparts.records import Task
from mixedparts.settings.fields import (
    Count,
    Option,
    Share,
    ZeroOrMore,
    converted,
    value_faults,
)
from mixedparts.settings.local_paths import is_address
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
    """The choices of a build.

    Attributes:
        sources: names of registered source readers.
        root: folder that contains the upstream archives as they unpack.
        source_roots: other folders for single sources.
        out: the build folder.
        samples: rows over all splits and tasks; None: 27 for every image with a selected entity,
            the paper's 2.4M samples on the full sources.
        seed: of the sampler.
        tasks: the tasks to make rows for.
        classes: canonical names of the object classes to use; empty: all of them.
        min_object_area, min_part_area: least share of the image's area that an object or a part
            covers, in [0, 1]; smaller ones are dropped.
        profile: which classes and names of `manifests/profiles.yaml` are used; `full` is all of
            them, `published` those known from the authors' bundle.
        per_image_limit: most samples of one source and task that an image may be in; None: twice
            the even use, raised where rows are short of it
            (`mixedparts.pairing.balanced_sampler`).
        images_per_sample: number of images of each sample, 2 to 4.
        contrast: share of the samples of each source and task that are to contrast with another
            one: one image is the same, the other image and the answer are not
            (`mixedparts.pairing.contrast`).
        cross_source: also make samples of images of two sources.
        ade20k_test: `hash` divides ADE's validation images between validation and test;
            `official` puts all of them in both, as the authors' bundle does.
        images: `embed` stores the bytes of the images, `reference` only their paths.
        max_rejects: rejected records over which a build fails: a share (`5%`, `0.05`) or a number;
            by default more than half, which points to a wrong folder rather than to bad records.
        limit_images: images of each source to read, spread over its splits and files, for a quick
            trial; None: all of them.
        read_shard_images, pair_shard_rows, image_shard_rows: most images or rows of a shard.
        workers: number of processes.
        engine: where tasks run, `local` or `ray`.
        ray_address: Ray cluster to attach to; None: `RAY_ADDRESS`, else one is started here.
        wait: with a shard range, wait for the other shares until none of them has finished a task
            for so many seconds; None: end where they are not done.
        shard_range: (i, N): run only every N-th task, from the i-th on; None: all of them. Like
            workers and engine, it never changes the result.

    Raises:
        UsageError: values are out of range or do not fit each other (all of them in one message),
            or a source is unknown or not covered by the profile.
        InputError: the package of a source cannot be imported.
    """

    sources: Annotated[
        tuple[str, ...], Option("sources to read, also your own; see `mixedparts sources`", "NAME")
    ]
    root: Annotated[
        Path,
        Option(
            "sources' folder or address (./sources, $MIXEDPARTS_ROOT)",
            "DIR",
            result=False,
            address=True,
        ),
    ] = Path("sources")
    source_roots: Annotated[
        Mapping[str, Annotated[Path, Option(address=True)]],
        Option(result=False, command_line=False),
    ] = field(default_factory=dict)
    out: Annotated[
        Path,
        Option(
            "build folder, or an address such as s3://bucket/folder (data/mixedparts)",
            "DIR",
            result=False,
            address=True,
        ),
    ] = Path("data/mixedparts")
    samples: Annotated[Count | None, Option("rows over all splits (27 an image)", "N")] = None
    seed: Annotated[_Seed, Option("seed of the sampler (0)", "S")] = 0
    tasks: Annotated[
        tuple[str, ...], Option("common_object, common_parts, unique_parts", "TASK")
    ] = tuple(Task)
    classes: Annotated[
        tuple[str, ...], Option("these object classes only, by canonical name", "NAME")
    ] = ()
    min_object_area: Annotated[Share, Option("smallest share of the image (0.02)", "F")] = 0.02
    min_part_area: Annotated[Share, Option("smallest share of the image (0.001)", "F")] = 0.001
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
    contrast: Annotated[
        Share,
        Option(
            "share of the samples that have another one with the same image, another partner and"
            " another answer (0)",
            "SHARE",
        ),
    ] = 0.0
    cross_source: Annotated[
        bool,
        Option("also samples across two sources, such as a PACO dog with a PartImageNet dog"),
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
    limit_images: Annotated[
        Count | None,
        Option("read only N images of each source, from all of its splits, to try a build", "N"),
    ] = None
    read_shard_images: Count = 256
    pair_shard_rows: Count = 10_000
    image_shard_rows: Count = 1_000
    workers: Annotated[Count, Option("processes (all cores)", "N", result=False)] = 1
    engine: Annotated[Literal["local", "ray"], Option("where tasks run (local)", result=False)] = (
        "local"
    )
    ray_address: Annotated[
        str | None,
        Option(
            "running Ray cluster, as HOST:6379 or auto ($RAY_ADDRESS; else one is started here)",
            "ADDRESS",
            result=False,
        ),
    ] = None
    shard_range: Annotated[
        tuple[int, int] | None,
        Option("run share i of N, counted from 0", "i/N", result=False),
    ] = None
    wait: Annotated[ZeroOrMore | None, Option(result=False, command_line=False)] = None

    def __post_init__(self) -> None:
        # All faults together, so that correcting one fault does not reveal the next.
        faults = [*value_faults(self), *self._faults()]
        if faults:
            raise UsageError("\n".join(faults))
        # These two raise errors of their own, with a hint for the source.
        for name in self.sources:
            get_source(name)
            profile_for(name, self.profile)

    def _faults(self) -> Iterator[str]:
        """Yield a sentence for each value that does not fit the others or what is installed."""
        if not self.sources:
            yield f"name at least one source: {', '.join(available())}"
        if len(set(self.sources)) != len(self.sources):
            yield f"a source is named twice: {' '.join(self.sources)}"
        for name in self.source_roots:
            if name not in self.sources:
                near = near_names(name, self.sources)
                yield f"a folder is given for '{name}', which is not among the sources.{near}"
        if self.profile not in profiles():
            yield unknown_name("profile", self.profile, tuple(profiles()))
        if not self.tasks:
            yield f"tasks must be some of {', '.join(Task)}"
        for name in self.tasks:
            if name not in set(Task):
                yield unknown_name("task", name, tuple(Task))
        if self.cross_source and len(set(self.sources)) < 2:
            yield "cross_source needs at least two sources"
        if self.contrast and self.images_per_sample != 2:
            yield "contrast needs samples of two images: leave out images_per_sample"
        roots = map(self.source_root, self.sources)
        if self.images == "reference" and any(is_address(root) for root in roots):
            yield "images: reference stores paths of local images, and a source is at an address"
        try:
            parse_limit(self.max_rejects)
        except ValueError as error:
            yield f"max_rejects: {error}"
        if self.ray_address is not None and self.engine != "ray":
            yield "a Ray address is for the engine ray: add --engine ray"
        if self.wait is not None and self.shard_range is None:
            yield "only a run with a shard range waits for others: add --shard-range i/N"
        if self.shard_range and not 0 <= self.shard_range[0] < self.shard_range[1]:
            yield "shard range must be i/N with 0 <= i < N"

    def source_root(self, name: str) -> Path:
        """Return the folder that the layout of a source starts from."""
        return self.source_roots.get(name, self.root)

    def variant(self, name: str) -> str:
        """Return the value of `ReadShard.variant` for a source; empty for its default."""
        ade = name in ("ade20k", "ade20k_full")
        return "official" if ade and self.ade20k_test == "official" else ""

    def identity(self) -> dict[str, Any]:
        """Return the choices that decide the result, as JSON values; folders are not among them."""
        every = asdict(self)
        choices = {name: every[name] for name in result_fields(BuildConfig)}
        # The order of names, and a class named twice, do not change the result. In one order they
        # give one build id.
        choices["sources"] = sorted(self.sources)
        # Builds without it keep the id that they had before this choice existed.
        if not self.contrast:
            del choices["contrast"]
        choices["tasks"] = [task for task in Task if task in self.tasks]
        choices["classes"] = sorted(set(self.classes))
        # Without embedded bytes the table `images` contains absolute paths, so that the folders
        # decide the result too.
        if self.images == "reference":
            choices["source_roots"] = {n: str(self.source_root(n).resolve()) for n in self.sources}
        return choices


def unknown_name(kind: str, name: str, known: Sequence[str]) -> str:
    """Return the sentences about a name that does not exist, with close ones or with examples.

    Args:
        kind: what the name is of, such as `class`.
        name: the unknown name.
        known: all names.

    Returns:
        Text without a line break.
    """
    if near := near_names(name, known):
        return f"there is no {kind} '{name}'.{near}"
    examples = ", ".join(known[:10]) + (", …" if len(known) > 10 else "")
    return f"there is no {kind} '{name}'. Known: {examples}"


def read_config(path: Path) -> dict[str, Any]:
    """Read values of some fields of `BuildConfig` from a YAML file, by field name.

    Raises:
        InputError: the file is missing or is not YAML.
        UsageError: it contains unknown keys or values of another type; the message names all.
    """
    return config_values(read_yaml_mapping(path), f"the configuration {path}", f"{path}: ")


def config_values(given: Mapping[str, Any], subject: str, place: str = "") -> dict[str, Any]:
    """Convert plain values of some fields of `BuildConfig`, by field name.

    Args:
        given: as YAML or a caller has them.
        subject: what the message about faults is about.
        place: put before the name of a field in a message about its form.

    Returns:
        The values in the types of the fields.

    Raises:
        UsageError: there are unknown keys or values of another type; the message names all.
    """
    data = dict(given)
    # The limit is parsed as text later. YAML reads 5% as text, but 0.05 and 100 as numbers.
    if isinstance(data.get("max_rejects"), int | float):
        data["max_rejects"] = str(data["max_rejects"])
    if isinstance(text := data.get("shard_range"), str):
        data["shard_range"] = parse_shard_range(text, f"{place}shard_range")
    faults: list[str] = []
    values = converted(BuildConfig, data, faults)
    if faults:
        listed = "\n".join(f"  {fault}" for fault in faults)
        raise UsageError(f"{subject} cannot be used:\n{listed}")
    return values


def parse_shard_range(text: str, origin: str) -> tuple[int, int]:
    """Return (i, N) of `i/N`.

    Raises:
        UsageError: the text is not of this form; the message names `origin`.
    """
    part, _, whole = text.partition("/")
    try:
        return int(part), int(whole)
    except ValueError:
        raise UsageError(f"{origin} must be i/N, not '{text}'") from None
