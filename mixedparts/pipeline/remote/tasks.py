"""Tasks and their files in object storage: which are done, and how they get there and back.

A task writes its files in a scratch folder. Then they become objects, and last of all its commit
record becomes one: where the record is, the files are. No object is renamed; a shard goes straight
to its final name, and working files go below `_build/work`.

A task counts as done if its record is there, every file has the recorded size, and no file is newer
than the record. So a run on another machine, with an empty scratch folder, continues where any run
has stopped. Working files that a later stage reads are fetched then, and compared with the SHA-256
in the record.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Generic

from filelock import FileLock

from mixedparts.errors import EnvironmentFault
from mixedparts.pipeline.destination import T
from mixedparts.pipeline.read import ReadTask
from mixedparts.pipeline.remote.sources import Addresses, roots_here
from mixedparts.pipeline.workspace import READY, WORK
from mixedparts.remote.cache import folder_of
from mixedparts.remote.store import Store, StoredObject
from mixedparts.storage.shards import (
    COMMITS,
    Commit,
    WrittenFile,
    commit,
    intact,
    read_commit,
    sha256_of,
    written_beside,
)

_THREADS = 8
_WORKING = (".arrow", ".npy")  # names of working files end so, those of shards do not
# Files that this process has compared with their digest: (path, digest).
_compared: set[tuple[Path, str]] = set()


def scratch_folder(store: Store, build_id: str) -> Path:
    """Return the scratch folder of a build on this machine; it may not exist."""
    return folder_of(store.address, f"scratch-{build_id[:16]}")


def is_shard(file: WrittenFile) -> bool:
    """Return whether a file of a task belongs to the dataset, and is no working file."""
    return not file.path.endswith(_WORKING)


def object_name(file: WrittenFile) -> str:
    """Return the name of the object of a task's file."""
    return file.path if is_shard(file) else f"{WORK.as_posix()}/{file.path}"


def record_name(task: str) -> str:
    """Return the name of the object of a task's commit record."""
    return f"{COMMITS.as_posix()}/{task}.json"


def finished_tasks(store: Store, build: Path, tasks: Sequence[str]) -> dict[str, Commit]:
    """Return the records of those tasks that are done in a store, by name.

    Args:
        store: of the build.
        build: the scratch folder; gets the records.
        tasks: names of tasks.

    Returns:
        The records, in the order of `tasks`.

    Raises:
        EnvironmentFault: the storage cannot be reached or refuses access.
    """
    listed = store.listing()
    names = {record_name(task): task for task in tasks if record_name(task) in listed}
    for name, content in store.read(names).items():
        with written_beside(build / name, flush=False) as temporary:
            temporary.write_bytes(content)
    done = {}
    for name, task in names.items():
        record = read_commit(build, task)
        if record is not None and _is_whole(record, listed, listed[name]):
            done[task] = record
    return done


def _is_whole(record: Commit, listed: Mapping[str, StoredObject], stored: StoredObject) -> bool:
    """Return whether the files of a record are as they were when the record was written."""
    for file in record.files:
        found = listed.get(object_name(file))
        if found is None or found.size != file.bytes:
            return False
        # By one clock, that of the storage. It can be as coarse as a second.
        if found.modified and stored.modified and found.modified > stored.modified:
            return False
    return True


def publish(store: Store, build: Path, record: Commit) -> Commit:
    """Put the files of a finished task into a store, then its commit record.

    Shards are removed from the scratch folder afterwards; nothing here reads them again.

    Args:
        store: of the build.
        build: the scratch folder with the files.
        record: commit record of the task.

    Returns:
        The record.

    Raises:
        EnvironmentFault: the storage cannot be reached or refuses access.
    """
    places = {
        file: build / (READY if is_shard(file) else WORK) / file.path for file in record.files
    }
    store.put({object_name(file): place for file, place in places.items()})
    name = record_name(record.task)
    store.write({name: (build / name).read_bytes()})
    for file, place in places.items():
        if is_shard(file):
            place.unlink(missing_ok=True)
    return record


def bring(store: Store, build: Path, files: Iterable[WrittenFile]) -> None:
    """Fetch working files that are not in the scratch folder.

    Args:
        store: of the build.
        build: the scratch folder.
        files: what a stage reads.

    Raises:
        InputError: an object is gone.
        EnvironmentFault: an object is damaged, or the storage cannot be reached.
    """
    base = build / WORK
    missing = [file for file in files if not _is_here(base, file)]
    if not missing:
        return
    base.mkdir(parents=True, exist_ok=True)
    # One process of a machine fetches what several need.
    with FileLock(base.parent / "bring.lock"), ThreadPoolExecutor(_THREADS) as pool:
        missing = [file for file in missing if not _is_here(base, file)]
        list(pool.map(partial(_fetch, store, base), missing))


def _is_here(base: Path, file: WrittenFile) -> bool:
    # Compared once in each process: hashing gigabytes for every task would take longer than it.
    key = (base / file.path, file.sha256)
    if key in _compared and key[0].exists():
        return True
    if not intact(base, file):
        return False
    _compared.add(key)
    return True


def _fetch(store: Store, base: Path, file: WrittenFile) -> None:
    name = object_name(file)
    with written_beside(base / file.path, flush=False) as temporary:
        store.get(name, temporary)
        if temporary.stat().st_size != file.bytes or sha256_of(temporary) != file.sha256:
            raise EnvironmentFault(
                f"{store.address}/{name} is not what its commit record says",
                "Remove that object and run the same command again.",
            )
    _compared.add((base / file.path, file.sha256))


@dataclass(frozen=True, slots=True)
class RunInStore(Generic[T]):
    """Runs a task on any machine, given the address of the build alone.

    Attributes:
        store: of the build.
        build_id: of the build, which names the scratch folder.
        run: runs a task in a local folder.
        needs: working files that `run` reads.
        sources: name and address of each source that is at one.
        host: the machine that has planned the tasks, where the copies of sources are up to date.
    """

    store: Store
    build_id: str
    run: Callable[[T], Commit]
    needs: tuple[WrittenFile, ...]
    sources: Addresses = ()
    host: str = ""

    def __call__(self, task: T) -> Commit:
        """Run one task in the scratch folder of this machine, and publish what it wrote."""
        # The folder of the machine that has planned the task may not exist here.
        build = scratch_folder(self.store, self.build_id)
        bring(self.store, build, self.needs)
        here = replace(task, build=build)
        if self.host != socket.gethostname():
            here = _with_roots(here, roots_here(self.sources))
        return publish(self.store, build, self.run(here))


def _with_roots(task: T, roots: Mapping[str, Path]) -> T:
    """Return a task that reads its source, or its images, in the folders of this machine."""
    if isinstance(task, ReadTask):
        root = roots.get(task.shard.source)
        return task if root is None else replace(task, shard=replace(task.shard, root=str(root)))
    sources = (
        (name, replace(item, root=roots.get(name, item.root))) for name, item in task.sources
    )
    return replace(task, sources=tuple(sources))


def restate(build: Path, records: Iterable[Commit]) -> None:
    """Write the commit records of all tasks into the scratch folder, whichever machine ran them."""
    for record in records:
        if read_commit(build, record.task) != record:
            commit(build, record)
