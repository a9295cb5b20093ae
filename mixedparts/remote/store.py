"""Objects below one address: list, read, write, copy and remove them.

A write of an object is atomic: readers find the old bytes, the new ones or no object. Nothing is
ever renamed. Objects are sent to processes by their address, and each process opens its own
connections.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from mixedparts.errors import EnvironmentFault, InputError, UsageError
from mixedparts.remote.connect import open_file_system, storage_fault

T = TypeVar("T")
_THREADS = 8  # transfers at a time; each waits for the network
_BATCH = 500  # names of one request to remove objects


class StoredObject(NamedTuple):
    """What a listing says about an object.

    Attributes:
        size: in bytes.
        modified: seconds since 1970 by the clock of the storage; None where it has no times.
        tag: changes when the content changes, such as an ETag; empty where there is none.
    """

    size: int
    modified: float | None
    tag: str


class Store:
    """The objects below an address.

    Names are relative to the address, with `/` between their parts.

    Args:
        address: such as `s3://bucket/folder`, without a slash at its end.
    """

    def __init__(self, address: str) -> None:
        self.address = address

    def __reduce__(self) -> tuple[Any, ...]:
        # Connections stay in their process.
        return Store, (self.address,)

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        return open_file_system(self.address)

    def below(self, name: str) -> Store:
        """Return the store of the objects below a folder of this one."""
        return Store(f"{self.address}/{name}")

    def listing(self, folder: str = "") -> dict[str, StoredObject]:
        """Return all objects below a folder by name, in alphabetical order.

        Raises:
            InputError: there is no such bucket.
            UsageError: the address is that of an object.
            EnvironmentFault: the storage cannot be reached or refuses access.
        """
        files, base = self._opened
        place = f"{base}/{folder}".rstrip("/")

        def find() -> dict[str, dict[str, Any]]:
            files.invalidate_cache()
            found: dict[str, dict[str, Any]] = files.find(place, detail=True)
            return found

        # Some storages say that a folder without objects does not exist.
        try:
            found = self._asked(find, "")
        except InputError as error:
            if not isinstance(error.__cause__, FileNotFoundError) or self._without_bucket():
                raise
            found = {}
        listed = {}
        for path, entry in sorted(found.items()):
            name = path.removeprefix("/")[len(base.removeprefix("/")) + 1 :]
            if not name and len(found) == 1 and entry.get("type") == "file":
                raise UsageError(f"{self.address} is an object, not a folder")
            # Other programs make objects without bytes that stand for folders.
            if entry.get("type") == "file" and name and not name.endswith("/"):
                listed[name] = _described(entry)
        return listed

    def read(self, names: Iterable[str]) -> dict[str, bytes]:
        """Return the bytes of small objects by name, without those that are not there.

        Raises:
            EnvironmentFault: the storage cannot be reached or refuses access.
        """

        def one(name: str) -> tuple[str, bytes | None]:
            files, base = self._opened
            try:
                return name, self._asked(lambda: files.cat_file(f"{base}/{name}"), name)
            except InputError as error:
                if isinstance(error.__cause__, FileNotFoundError):
                    return name, None
                raise

        return {name: data for name, data in _at_once(one, names) if data is not None}

    def write(self, contents: Mapping[str, bytes]) -> None:
        """Write small objects.

        Raises:
            EnvironmentFault: the storage cannot be reached or refuses access.
        """
        files, base = self._opened

        def one(item: tuple[str, bytes]) -> None:
            self._asked(lambda: files.pipe_file(f"{base}/{item[0]}", item[1]), item[0])

        _at_once(one, contents.items())

    def create(self, name: str, content: bytes) -> bool:
        """Write a small object unless there is one of its name; return whether it was written.

        Storages without conditional writes look first: two processes can then both write.

        Raises:
            EnvironmentFault: the storage cannot be reached or refuses access.
        """
        files, base = self._opened
        path = f"{base}/{name}"

        def write() -> bool:
            if files.exists(path):
                return False
            try:
                files.pipe_file(path, content, mode="create")
            except FileExistsError:
                return False
            except (NotImplementedError, TypeError, ValueError):
                files.pipe_file(path, content)
            return True

        return self._asked(write, name)

    def put(self, sources: Mapping[str, Path]) -> None:
        """Write objects with the contents of local files.

        Args:
            sources: name of each object -> the file.

        Raises:
            OSError: a local file cannot be read.
            EnvironmentFault: the storage cannot be reached or refuses access.
        """
        files, base = self._opened

        def one(item: tuple[str, Path]) -> None:
            name, source = item
            # What is wrong with the file here must not be taken for an answer of the storage.
            source.open("rb").close()
            self._asked(lambda: files.put_file(str(source), f"{base}/{name}"), name)

        _at_once(one, sources.items())

    def get(self, name: str, target: Path) -> None:
        """Copy an object into a local file, whose folder exists.

        Raises:
            InputError: there is no such object.
            OSError: the local file cannot be written.
            EnvironmentFault: the storage cannot be reached or refuses access.
        """
        files, base = self._opened
        target.open("wb").close()
        self._asked(lambda: files.get_file(f"{base}/{name}", str(target)), name)

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects; those that are gone already do not matter.

        Raises:
            EnvironmentFault: the storage cannot be reached or refuses access.
        """
        files, base = self._opened
        every = sorted(names)
        if self.address.startswith("hf://"):  # it takes one path at a time

            def one(name: str) -> None:
                self._asked(lambda: files.rm_file(f"{base}/{name}"), name)

            _at_once(one, every)
            return
        for start in range(0, len(every), _BATCH):
            paths = [f"{base}/{name}" for name in every[start : start + _BATCH]]
            try:
                self._asked(lambda paths=paths: files.rm(paths), "")  # type: ignore[misc]
            except InputError:
                # One of them is gone: another run has removed it at the same time.
                still = self.listing()
                for name in (n for n in every[start : start + _BATCH] if n in still):
                    self._asked(lambda name=name: files.rm_file(f"{base}/{name}"), name)  # type: ignore[misc]

    def copy(self, names: Iterable[str], target: Store) -> None:
        """Copy objects to another place of the same storage, without a way through this machine.

        Raises:
            InputError: an object is gone.
            EnvironmentFault: the storage cannot be reached or refuses access.
        """
        files, base = self._opened
        other = target._opened[1]

        def one(name: str) -> None:
            self._asked(lambda: files.cp_file(f"{base}/{name}", f"{other}/{name}"), name)

        _at_once(one, names)

    def end_uploads(self, ours: Callable[[str], bool]) -> None:
        """End uploads in parts that a killed process has started below this address.

        Their parts are in no listing, and the storage keeps them, and charges for them, until
        somebody ends them. Call it when no other process can be uploading. Without the right to
        list or end uploads nothing happens.

        Args:
            ours: returns whether an upload of an object of this name may be ended.

        Raises:
            EnvironmentFault: the storage cannot be reached.
        """
        files, base = self._opened
        # Only S3 has them; uploads of the other storages end by themselves.
        if not hasattr(files, "list_multipart_uploads"):
            return
        bucket, _, folder = base.partition("/")
        prefix = f"{folder}/" if folder else ""

        def end() -> None:
            place: dict[str, str] = {}
            while True:
                answer = files.call_s3(
                    "list_multipart_uploads", Bucket=bucket, Prefix=prefix, **place
                )
                for upload in answer.get("Uploads", ()):
                    key, number = upload["Key"], upload["UploadId"]
                    if ours(key.removeprefix(prefix)):
                        options = {"Bucket": bucket, "Key": key, "UploadId": number}
                        files.call_s3("abort_multipart_upload", **options)
                    place = {"KeyMarker": key, "UploadIdMarker": number}
                if not answer.get("IsTruncated") or not answer.get("Uploads"):
                    return

        try:
            self._asked(end, "")
        except EnvironmentFault as error:
            if not isinstance(error.__cause__, PermissionError):
                raise
        except InputError:  # another run has ended one at the same time
            return

    def _asked(self, ask: Callable[[], T], name: str) -> T:
        """Return what a call of the library returns, with its errors as messages."""
        try:
            return ask()
        except Exception as error:
            address = f"{self.address}/{name}" if name else self.address
            fault = storage_fault(error, address)
            if fault is error:
                raise
            raise fault from error

    def _without_bucket(self) -> bool:
        """Return whether the bucket, or its equivalent, is missing."""
        # The Hub has no message for a missing folder, only for a missing repository.
        if self.address.startswith("hf://"):
            return True
        files, base = self._opened
        bucket = base.removeprefix("/").partition("/")[0]
        # The root of a storage without buckets, such as `memory://`, is always there.
        protocols = (files.protocol,) if isinstance(files.protocol, str) else files.protocol
        if "memory" in protocols:
            return False
        return not self._asked(lambda: files.exists(bucket), "")


def _at_once(work: Callable[[Any], T], items: Iterable[Any]) -> list[T]:
    """Return the results of a call for each item, several at a time."""
    queue = list(items)
    if len(queue) < 2:
        return [work(item) for item in queue]
    with ThreadPoolExecutor(min(_THREADS, len(queue))) as pool:
        return list(pool.map(work, queue))


def _described(entry: Mapping[str, Any]) -> StoredObject:
    """Return what a listing of fsspec says about a file."""
    # Every storage has names of its own for these.
    times = (entry.get(key) for key in ("LastModified", "updated", "mtime", "created"))
    modified = next((seconds for time in times if (seconds := _seconds(time)) is not None), None)
    tags = ("ETag", "etag", "md5Hash", "crc32c", "blob_id", "sha256")
    tag = next((str(entry[key]) for key in tags if entry.get(key)), "")
    return StoredObject(int(entry.get("size") or 0), modified, tag.strip('"'))


def _seconds(time: Any) -> float | None:
    if isinstance(time, datetime):
        return time.timestamp()
    if isinstance(time, int | float):
        return float(time)
    try:
        return datetime.fromisoformat(time).timestamp()
    except (TypeError, ValueError):
        return None
