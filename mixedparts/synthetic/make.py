"""Make the three synthetic sources: check the folders, draw in workers, write annotations last."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path

import cv2

from mixedparts.errors import UsageError
from mixedparts.pipeline.engines.follow_parent import follow_parent
from mixedparts.pipeline.engines.worker_pool import check_main_module, make_pool
from mixedparts.storage.writer_lock import writing
from mixedparts.synthetic.native import DESCRIPTION, INFO, Fragment, NativeLayout
from mixedparts.synthetic.native_ade20k import Ade20kLayout
from mixedparts.synthetic.native_paco import PacoLayout
from mixedparts.synthetic.native_partimagenet import PartImageNetLayout
from mixedparts.synthetic.output import Spool, faults_explained, prepare, refuse_foreign

MOST_IMAGES = 1_000_000  # file names have six digits for the index
_CHUNK = 16  # images of one job
_LAYOUTS: dict[str, NativeLayout] = {
    layout.source: layout for layout in (PacoLayout(), PartImageNetLayout(), Ade20kLayout())
}

Job = tuple[str, str, int, int, int]  # source, output folder, seed, first index, end


def make_sources(
    out: Path,
    images: int,
    seed: int,
    workers: int,
    progress: Callable[[int, int], None],
) -> None:
    """Draw images for each source and write them in the three native layouts under `out`.

    Image i of a source depends on the seed and i alone. The same arguments give the same bytes,
    with any number of workers, also over the remains of an interrupted run, and under every allowed
    version of NumPy, OpenCV and Pillow. Another version of shapely (GEOS) may cut shapes a little
    differently. Annotation files are written last: where one exists, its images are complete.

    Args:
        out: folder that contains, or will contain, `paco`, `coco`, `PartImageNet` and
            `ADE20KPart234`.
        images: number of images of each source.
        seed: 0 to 2**64 - 1.
        workers: processes that draw; with 1, this process draws.
        progress: called with the number of images done and the number in all.

    Raises:
        UsageError: numbers out of range, a script without `if __name__ == "__main__":`, or `out`
            contains files of these layouts that this function did not write.
        EnvironmentFault: the folder cannot be written, the disk is full, a worker process died, or
            another process writes to the folder.
    """
    _check_numbers(images, seed, workers)
    check_main_module(workers)
    with writing(out):
        _make(out, images, seed, workers, progress)


def _make(
    out: Path, images: int, seed: int, workers: int, progress: Callable[[int, int], None]
) -> None:
    for layout in _LAYOUTS.values():
        refuse_foreign(out, layout)
    with faults_explained(out):
        for layout in _LAYOUTS.values():
            prepare(out, layout, f"{DESCRIPTION}\n\nimages: {images}\nseed: {seed}")
        _draw(out, images, seed, workers, progress)


def _check_numbers(images: int, seed: int, workers: int) -> None:
    faults = []
    if not 1 <= images <= MOST_IMAGES:
        faults.append(f"images must be 1 to {MOST_IMAGES:,}, not {images}")
    if not 0 <= seed < 1 << 64:
        faults.append(f"seed must be 0 to 2**64 - 1, not {seed}")
    if workers < 1:
        faults.append(f"workers must be at least 1, not {workers}")
    if faults:
        raise UsageError("; ".join(faults))


def _draw(
    out: Path, images: int, seed: int, workers: int, progress: Callable[[int, int], None]
) -> None:
    """Run all jobs and write the annotation files of each source when its images are done."""
    jobs = [
        (source, str(out), seed, start, min(start + _CHUNK, images))
        for source in _LAYOUTS
        for start in range(0, images, _CHUNK)
    ]
    total = len(_LAYOUTS) * images
    done = 0
    progress(done, total)
    with ExitStack() as stack:
        results: Iterable[list[Fragment]] = map(_work, jobs)
        if workers > 1:
            pool = make_pool(workers, set_up_worker)
            stack.callback(pool.shutdown, cancel_futures=True)
            results = pool.map(_work, jobs)
        # `map` keeps the order of the jobs, so annotations do not depend on the workers.
        fragments = iter(results)
        for layout in _LAYOUTS.values():
            spool = stack.enter_context(Spool(out, layout, INFO))
            for _ in range(0, images, _CHUNK):
                for fragment in next(fragments):
                    spool.add(fragment)
                    done += 1
                progress(done, total)
            spool.publish()


def set_up_worker() -> None:
    """Prepare a worker process of `mixedparts sample`."""
    follow_parent()
    # The processes already fill all cores; OpenCV's own threads would compete with them.
    cv2.setNumThreads(1)


def _work(job: Job) -> list[Fragment]:
    source, out, seed, start, stop = job
    layout = _LAYOUTS[source]
    return [layout.write(Path(out), seed, index) for index in range(start, stop)]
