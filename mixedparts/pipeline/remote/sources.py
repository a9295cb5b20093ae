"""Sources at an address: a local copy of the files that a build reads.

Which files these are, a reader finds out from names. So it is asked about a folder that has the
names of all objects and no bytes; then its annotation files and the folders of its images and maps
are fetched. The next build fetches only those that have changed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path, PurePosixPath

from mixedparts.errors import MixedPartsError
from mixedparts.pipeline.config import BuildConfig
from mixedparts.pipeline.plan import SYNTHETIC_MARK
from mixedparts.progress import Progress, Silent
from mixedparts.remote.cache import folder_of
from mixedparts.remote.mirror import Mirror
from mixedparts.remote.store import Store, StoredObject
from mixedparts.settings.local_paths import address_of
from mixedparts.sources.contract import get_source

Addresses = tuple[tuple[str, str], ...]  # name and address of each source that is at one
_DESCRIPTION = 1 << 20  # bytes; smaller files at the top can describe a source, and are fetched


def with_local_sources(config: BuildConfig, progress: Progress) -> BuildConfig:
    """Return a configuration whose sources are in local folders, after copying those that are not.

    Args:
        config: of the build.
        progress: shows the files that are fetched.

    Raises:
        InputError: there is no such bucket.
        EnvironmentFault: the storage cannot be reached or refuses access.
    """
    roots = local_roots(source_addresses(config), progress)
    if not roots:
        return config
    own = {name: config.source_root(name) for name in config.sources}
    return replace(config, root=Path("sources"), source_roots=own | roots)


def source_addresses(config: BuildConfig) -> Addresses:
    """Return name and address of each source that is at one."""
    addresses = ((name, address_of(config.source_root(name))) for name in sorted(config.sources))
    return tuple((name, address) for name, address in addresses if address is not None)


def local_roots(
    addresses: Iterable[tuple[str, str]], progress: Progress | None = None
) -> dict[str, Path]:
    """Return the local folder of each source that is at an address, after updating the copies.

    Args:
        addresses: name and address of each source.
        progress: shows the files that are fetched.

    Raises:
        InputError: there is no such bucket.
        EnvironmentFault: the storage cannot be reached or refuses access.
    """
    roots = {}
    for name, address in addresses:
        store = Store(address)
        # One copy for each source: what one of them no longer needs, another may.
        mirror = Mirror(store, folder_of(address, f"source-{name}"))
        listed = store.listing()
        mirror.update(_needed(name, store, listed), progress or Silent())
        for folder in {str(PurePosixPath(path).parent) for path in listed}:
            (mirror.folder / folder).mkdir(parents=True, exist_ok=True)
        roots[name] = mirror.folder
    return roots


@lru_cache(maxsize=8)
def roots_here(addresses: Addresses) -> Mapping[str, Path]:
    """Return the same, once in each process that runs tasks."""
    return local_roots(addresses)


def _needed(name: str, store: Store, listed: Mapping[str, StoredObject]) -> dict[str, StoredObject]:
    """Return the objects below an address that a source is read from."""
    with tempfile.TemporaryDirectory(prefix="mixedparts-names-") as folder:
        root = Path(folder)
        for path, item in listed.items():
            place = root / path
            place.parent.mkdir(parents=True, exist_ok=True)
            if "/" not in path and item.size < _DESCRIPTION:
                store.get(path, place)
            else:
                place.touch()
        source = get_source(name)
        try:
            required = {
                path for split in source.splits(root) for path in source.required_files(root, split)
            }
        # The reader needs more than names, or misses something: let it see everything.
        except MixedPartsError:
            return dict(listed)
    return {path: item for path, item in listed.items() if _is_needed(path, required)}


def _is_needed(path: str, required: set[str]) -> bool:
    """Return whether a file is required, in a required folder, or about the source as a whole."""
    parents = {str(parent) for parent in PurePosixPath(path).parents}
    return (
        path in required
        or not parents.isdisjoint(required)
        or "/" not in path
        or (PurePosixPath(path).name == SYNTHETIC_MARK and path.count("/") == 1)
    )
