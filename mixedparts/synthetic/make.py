"""Make the three synthetic sources: check the folders, draw in workers, write annotations last."""

from __future__ import annotations

import errno
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, cast

import cv2

from mixedparts.errors import EnvironmentFault, UsageError
from mixedparts.files.folders import list_folder
from mixedparts.pipeline.engines.follow_parent import follow_parent
from mixedparts.pipeline.engines.worker_pool import check_main_module, make_pool, worker_died
from mixedparts.storage.writer_lock import writing
from mixedparts.synthetic.native import DESCRIPTION, INFO, Fragment, NativeLayout, encode
from mixedparts.synthetic.native_ade20k import Ade20kLayout
from mixedparts.synthetic.native_paco import PacoLayout
from mixedparts.synthetic.native_partimagenet import PartImageNetLayout

MARKER = "SYNTHETIC.md"
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
        _refuse_foreign(out, layout)
    try:
        for layout in _LAYOUTS.values():
            _prepare(out, layout, images, seed)
        _draw(out, images, seed, workers, progress)
    except BrokenProcessPool:
        raise worker_died((), "it starts over") from None
    except OSError as error:
        # Of too many open files, the message for every command says more.
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise
        where = error.filename or out
        raise EnvironmentFault(
            f"the sample sources could not be written: {where}: {error.strerror or error}",
            "Free space or choose another folder with --out; a second run starts over.",
        ) from error


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


def _refuse_foreign(out: Path, layout: NativeLayout) -> None:
    """Raise UsageError where a folder of the layout holds files of another origin."""
    # `_prepare` deletes files. A folder without the marker may be a real dataset.
    for root in layout.roots:
        folder = out / root
        if folder.is_dir() and not (folder / MARKER).is_file() and list_folder(folder):
            raise UsageError(
                f"{folder} holds files and no {MARKER}: they were not made by `mixedparts sample`.",
                "Choose an empty folder with --out.",
            )
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder} is not a folder.", "Choose an empty folder with --out.")


def _prepare(out: Path, layout: NativeLayout, images: int, seed: int) -> None:
    """Mark the folders as synthetic, then remove what an earlier run left, annotations first."""
    for root in layout.roots:
        (out / root).mkdir(parents=True, exist_ok=True)
        text = f"# Synthetic data\n\n{DESCRIPTION}\n\nimages: {images}\nseed: {seed}\n"
        (out / root / MARKER).write_text(text, encoding="utf-8")
    # If the run ends here, no annotation file refers to images of another seed or number.
    for file in layout.files.values():
        (out / file).unlink(missing_ok=True)
    for pattern in layout.image_file_globs:
        for path in out.glob(pattern):
            path.unlink()
    for folder in layout.folders():
        (out / folder).mkdir(parents=True, exist_ok=True)


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
            pool = make_pool(workers, _set_up_worker)
            stack.callback(pool.shutdown, cancel_futures=True)
            results = pool.map(_work, jobs)
        # `map` keeps the order of the jobs, so annotations do not depend on the workers.
        fragments = iter(results)
        for layout in _LAYOUTS.values():
            spool = stack.enter_context(_Spool(out, layout))
            for _ in range(0, images, _CHUNK):
                for fragment in next(fragments):
                    spool.add(fragment)
                    done += 1
                progress(done, total)
            spool.publish()


def _set_up_worker() -> None:
    follow_parent()
    # The processes already fill all cores; OpenCV's own threads would compete with them.
    cv2.setNumThreads(1)


def _work(job: Job) -> list[Fragment]:
    source, out, seed, start, stop = job
    layout = _LAYOUTS[source]
    return [layout.write(Path(out), seed, index) for index in range(start, stop)]


class _Spool:
    """Collects the records of one layout in unnamed files, then joins them, split by split.

    Records wait on disk and not in memory. The system removes unnamed files when a process ends,
    even if it is killed.

    Args:
        out: folder of the sources.
        layout: the layout that is written.
    """

    def __init__(self, out: Path, layout: NativeLayout) -> None:
        self._out = out
        self._layout = layout
        self._lists: dict[tuple[str, str], BinaryIO] = {}
        self._train: Counter[int] = Counter()
        self._train_images: Counter[int] = Counter()

    def __enter__(self) -> _Spool:
        for split in self._layout.files:
            for key in ("images", "annotations"):
                folder = self._joined(split).parent
                self._lists[split, key] = cast(BinaryIO, TemporaryFile(dir=folder))
        return self

    def __exit__(self, *_: object) -> None:
        for split in self._layout.files:
            self._joined(split).unlink(missing_ok=True)
        for file in self._lists.values():
            with suppress(OSError):  # closing flushes, which fails on a full disk
                file.close()

    def _joined(self, split: str) -> Path:
        target = self._out / self._layout.files[split]
        return target.with_name(f".{target.name}.tmp")

    def add(self, fragment: Fragment) -> None:
        """Append the records of one image, and count the categories of train images."""
        self._append(fragment.split, "images", (fragment.image,))
        self._append(fragment.split, "annotations", fragment.annotations)
        if fragment.split == "train":
            self._train.update(fragment.categories)
            self._train_images.update(set(fragment.categories))

    def _append(self, split: str, key: str, records: Iterable[bytes]) -> None:
        file = self._lists[split, key]
        for record in records:
            file.write(record if file.tell() == 0 else b",\n" + record)

    def publish(self) -> None:
        """Write every annotation file under a temporary name, then rename all of them."""
        blocks = self._layout.blocks(self._train, self._train_images)
        for split in self._layout.files:
            with self._joined(split).open("wb") as joined:
                joined.write(b'{"info":' + encode(INFO) + b',"licenses":[]')
                for key in ("images", "annotations"):
                    joined.write(b',"' + key.encode() + b'":[')
                    records = self._lists[split, key]
                    records.seek(0)
                    shutil.copyfileobj(records, joined)
                    joined.write(b"]")
                for key, value in blocks.items():
                    joined.write(b',"' + key.encode() + b'":' + encode(value))
                joined.write(b"}\n")
                # On disk before the rename, so that the final name never shows a partial file.
                joined.flush()
                os.fsync(joined.fileno())
        for split, file in self._layout.files.items():
            os.replace(self._joined(split), self._out / file)
