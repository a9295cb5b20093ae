"""The folders of the synthetic sources, and how their annotation files are written."""

from __future__ import annotations

import errno
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, cast

from mixedparts.errors import EnvironmentFault, UsageError
from mixedparts.files.folders import list_folder
from mixedparts.pipeline.engines.worker_pool import worker_died
from mixedparts.synthetic.native import Fragment, NativeLayout, encode

MARKER = "SYNTHETIC.md"


def refuse_foreign(out: Path, layout: NativeLayout) -> None:
    """Raise UsageError where a folder of the layout contains files of another origin."""
    # `prepare` deletes files. A folder without the marker may be a real dataset.
    for root in layout.roots:
        folder = out / root
        if folder.is_dir() and not (folder / MARKER).is_file() and list_folder(folder):
            raise UsageError(
                f"{folder} contains files but no {MARKER}: `mixedparts sample` did not make them.",
                "Choose an empty folder with --out.",
            )
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder} is not a folder.", "Choose an empty folder with --out.")


def prepare(out: Path, layout: NativeLayout, text: str) -> None:
    """Mark the folders as synthetic, then remove what an earlier run left, annotations first.

    Args:
        out: folder of the sources.
        layout: the layout whose folders are prepared.
        text: of the mark: what the data are and how they were made.
    """
    for root in layout.roots:
        (out / root).mkdir(parents=True, exist_ok=True)
        mark = f"# Synthetic data\n\n{text}\n"
        (out / root / MARKER).write_text(mark, encoding="utf-8")
    # If the run ends here, no annotation file refers to images of another seed or number.
    for file in layout.files.values():
        (out / file).unlink(missing_ok=True)
    for pattern in layout.image_file_globs:
        for path in out.glob(pattern):
            path.unlink()
    for folder in layout.folders():
        (out / folder).mkdir(parents=True, exist_ok=True)


@contextmanager
def faults_explained(out: Path) -> Iterator[None]:
    """Raise EnvironmentFault where the folder cannot be written or a worker process dies."""
    try:
        yield
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


class Spool:
    """Collects the records of one layout in unnamed files, then joins them, split by split.

    Records wait on disk and not in memory. The system removes unnamed files when a process ends,
    even if it is killed.

    Args:
        out: folder of the sources.
        layout: the layout that is written.
        info: the block `info` of the annotation files.
    """

    def __init__(self, out: Path, layout: NativeLayout, info: Mapping[str, str]) -> None:
        self._out = out
        self._layout = layout
        self._info = info
        self._lists: dict[tuple[str, str], BinaryIO] = {}
        self._train: Counter[int] = Counter()
        self._train_images: Counter[int] = Counter()

    def __enter__(self) -> Spool:
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
                joined.write(b'{"info":' + encode(self._info) + b',"licenses":[]')
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
