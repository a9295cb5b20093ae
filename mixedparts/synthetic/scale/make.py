"""Write the annotation files of the three sources in numbers, block by block, in workers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Executor, Future
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mixedparts.errors import UsageError
from mixedparts.pipeline.engines.worker_pool import check_main_module, make_pool
from mixedparts.storage.writer_lock import writing
from mixedparts.synthetic.make import set_up_worker
from mixedparts.synthetic.native import Fragment
from mixedparts.synthetic.output import Spool, faults_explained, prepare, refuse_foreign
from mixedparts.synthetic.scale.ade20k import Ade20kScale
from mixedparts.synthetic.scale.counts import PROFILES, Counts
from mixedparts.synthetic.scale.layouts import Block, ScaleLayout
from mixedparts.synthetic.scale.paco import PacoScale
from mixedparts.synthetic.scale.partimagenet import PartImageNetScale
from mixedparts.synthetic.scale.pictures import POOL, VARIANTS, write_pool
from mixedparts.synthetic.scale.plan import plan_split
from mixedparts.synthetic.scale.random_numbers import generator

MOST_TIMES = 17  # of the full profile: file names have six digits for the index of an image
_BLOCK = 256  # images of one job; part of what decides the random numbers
_AHEAD = 3  # jobs a worker that may be finished or running before their records are stored
_DESCRIPTION = (
    "Synthetic annotations: random outlines in the numbers of the real dataset "
    "(mixedparts sample --annotations-only); the pictures are blurred patterns that images share; "
    "no photograph, no human annotation."
)
_INFO = {"description": _DESCRIPTION, "version": "1", "contributor": "mixedparts sample"}
_LAYOUTS: dict[str, ScaleLayout] = {
    layout.native.source: layout for layout in (PacoScale(), PartImageNetScale(), Ade20kScale())
}

Job = tuple[str, Block]  # source and images


@dataclass(frozen=True, slots=True)
class Order:
    """What is written.

    Attributes:
        profile: a key of `PROFILES`.
        fraction: multiplies the numbers of the profile; above 1 there are more images.
        seed: 0 to 2**64 - 1.
        sources: names of the sources.
    """

    profile: str = "full"
    fraction: float = 1.0
    seed: int = 0
    sources: Collection[str] = tuple(_LAYOUTS)

    def counts(self, source: str) -> dict[str, Counts]:
        """Return the numbers of each split of a source."""
        splits = PROFILES[self.profile][source]
        return {split: counts.times(self.fraction) for split, counts in splits.items()}

    @property
    def images(self) -> int:
        """Number of images of all sources."""
        return sum(counts.images for name in self.sources for counts in self.counts(name).values())


def make_annotations(
    out: Path, order: Order, workers: int, progress: Callable[[int, int], None]
) -> None:
    """Write annotation files in the three native layouts, with links to a few small pictures.

    The same order gives the same bytes with any number of workers. Memory does not grow with the
    number of annotations, except 10 bytes an object. Annotation files are written last: where one
    exists, its images are complete.

    Args:
        out: folder that contains, or will contain, `paco`, `coco`, `PartImageNet` and
            `ADE20KPart234`.
        order: what is written.
        workers: processes that write; with 1, this process writes.
        progress: called with the number of images done and the number in all.

    Raises:
        UsageError: numbers out of range, a script without `if __name__ == "__main__":`, or `out`
            contains files of these layouts that `mixedparts sample` did not write.
        EnvironmentFault: the folder cannot be written, the disk is full, a worker process died, or
            another process writes to the folder.
    """
    _check(order, workers)
    check_main_module(workers)
    with writing(out):
        layouts = [_LAYOUTS[name] for name in _LAYOUTS if name in order.sources]
        for layout in layouts:
            refuse_foreign(out, layout.native)
        with faults_explained(out):
            for layout in layouts:
                _prepare(out, layout, order)
            _write(out, layouts, order, workers, progress)


def _check(order: Order, workers: int) -> None:
    faults = []
    if order.profile not in PROFILES:
        faults.append(f"profile must be one of {', '.join(PROFILES)}, not {order.profile}")
    elif not 0 < order.fraction <= MOST_TIMES:
        faults.append(f"fraction must be above 0 and at most {MOST_TIMES}, not {order.fraction}")
    if not 0 <= order.seed < 1 << 64:
        faults.append(f"seed must be 0 to 2**64 - 1, not {order.seed}")
    if not order.sources or set(order.sources) - set(_LAYOUTS):
        faults.append(f"sources must be some of {', '.join(_LAYOUTS)}")
    if workers < 1:
        faults.append(f"workers must be at least 1, not {workers}")
    if faults:
        raise UsageError("; ".join(faults))


def _prepare(out: Path, layout: ScaleLayout, order: Order) -> None:
    """Mark and empty the folders of a source, and write its pool of pictures."""
    of_each = f"profile: {order.profile}\nfraction: {order.fraction}\nseed: {order.seed}"
    prepare(out, layout.native, f"{_DESCRIPTION}\n\n{of_each}")
    sizes = [size for size, _ in layout.sizes]
    write_pool(out / layout.root / POOL, sizes, _variants(order, layout), order.seed)


def _variants(order: Order, layout: ScaleLayout) -> int:
    images = sum(counts.images for counts in order.counts(layout.native.source).values())
    return min(VARIANTS, 1 + images // 100)


def _write(
    out: Path,
    layouts: Iterable[ScaleLayout],
    order: Order,
    workers: int,
    progress: Callable[[int, int], None],
) -> None:
    done = 0
    progress(done, order.images)
    with ExitStack() as stack:
        run = _here
        if workers > 1:
            pool = make_pool(workers, set_up_worker)
            stack.callback(pool.shutdown, cancel_futures=True)
            run = partial(_in_pool, pool, _AHEAD * workers)
        for layout in layouts:
            # The records of one source at a time lie twice on the disk.
            with Spool(out, layout.native, _INFO) as spool:
                for fragments in run(_blocks(out, layout, order)):
                    for fragment in fragments:
                        spool.add(fragment)
                    done += len(fragments)
                    progress(done, order.images)
                spool.publish()


def _blocks(out: Path, layout: ScaleLayout, order: Order) -> Iterator[Job]:
    """Yield the blocks of all splits of a source; a plan is drawn when its split begins."""
    first_image, first_id = 0, 1
    variants = _variants(order, layout)
    source = layout.native.source
    for split, counts in order.counts(source).items():
        rng = generator(order.seed, f"{source}/{split}/plan")
        plan = plan_split(counts, layout.weights(), layout.most_parts(), layout.most_images, rng)
        for start in range(0, counts.images, _BLOCK):
            stop = min(start + _BLOCK, counts.images)
            part = plan.block(start, stop)
            image = first_image + start
            yield source, Block(out, order.seed, split, image, first_id, part, variants)
            first_id += part.annotations
        first_image += counts.images


def _work(job: Job) -> list[Fragment]:
    source, block = job
    return _LAYOUTS[source].write(block)


def _here(jobs: Iterator[Job]) -> Iterator[list[Fragment]]:
    return map(_work, jobs)


def _in_pool(pool: Executor, ahead: int, jobs: Iterator[Job]) -> Iterator[list[Fragment]]:
    """Yield the results in the order of the jobs; only `ahead` jobs are submitted at a time."""
    waiting: deque[Future[list[Fragment]]] = deque()
    for job in jobs:
        waiting.append(pool.submit(_work, job))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
