"""`load_dataset`: a build by name, folder or Hub id, in memory maps or as a stream."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import datasets

from mixedparts.errors import InputError, UsageError, near_names
from mixedparts.files.opening import open_file
from mixedparts.loading.image_shards import ImageShards
from mixedparts.loading.pixels import PixelJoin, StoredRows
from mixedparts.storage.build_folder import BuildFolder, shard_pattern
from mixedparts.storage.hub_ids import check_hub_id
from mixedparts.storage.locate import BUILD_HINT, resolve_build
from mixedparts.storage.schema import CONFIGS


def load_dataset(
    name_or_path: str | os.PathLike[str] | None = None,
    config: str = "pairs",
    split: str | None = None,
    pixels: bool = True,
    streaming: bool = False,
) -> (
    datasets.Dataset
    | datasets.DatasetDict
    | datasets.IterableDataset
    | datasets.IterableDatasetDict
):
    """Load a built dataset.

    Args:
        name_or_path: a build folder, a Hub id, or `mixedparts` (also None), which looks for the
            build in `$MIXEDPARTS_HOME`, `./data/mixedparts`, and the folder of the last build.
        config: `pairs`, `images`, `entities` or `preview`.
        split: one split, or an expression of `datasets` such as `train[:10%]`; None for all splits.
        pixels: in `pairs`, give every entry of `images` the key `pixels`: a PIL image, RGB, on the
            stored grid that the masks lie on. An image is read when its `pixels` are first used:
            `filter` and `map` with functions that do not use them read none.
        streaming: read rows one after the other from the files, without preparing a copy of them.

    Returns:
        A `Dataset` for one split, else a `DatasetDict`; with `streaming` the iterable ones.

    Raises:
        InputError: the folder or Hub id has no complete build.
        UsageError: there is no such config or split.
    """
    if config not in CONFIGS:
        near = near_names(config, CONFIGS)
        raise UsageError(f"there is no config '{config}'.{near}", f"Known: {', '.join(CONFIGS)}")
    place = resolve_build(name_or_path)
    if isinstance(place, str):
        check_hub_id(place)
    loaded = _load(place, config, split, streaming)
    if config != "pairs" or not pixels:
        return loaded
    if isinstance(loaded, datasets.DatasetDict | datasets.IterableDatasetDict):
        return type(loaded)({name: _join(place, [name], rows) for name, rows in loaded.items()})
    return _join(place, _split_names(split or "train"), loaded)


def _load(place: Path | str, config: str, split: str | None, streaming: bool = False) -> Any:
    try:
        return datasets.load_dataset(str(place), config, split=split, streaming=streaming)
    except ValueError as error:
        # `datasets` has no error class of its own for an unknown split, only this text.
        if split is not None and "split" in str(error).lower():
            if isinstance(place, Path):
                for name in _split_names(split):
                    BuildFolder.open(place).check_split(name, config)
            raise UsageError(f"{place} has no split '{split}' in '{config}': {error}") from error
        raise InputError(f"{place} cannot be loaded: {error}") from error
    except (OSError, datasets.exceptions.DatasetNotFoundError) as error:
        raise InputError(f"{place} cannot be loaded: {error}", BUILD_HINT) from error


def _split_names(expression: str) -> list[str]:
    """Return the splits in an expression of `datasets`, such as `train[:10%]+test`."""
    return re.findall(r"[\w-]+(?=\[|\+|$)", expression)


def _join(place: Path | str, splits: Sequence[str], pairs: Any) -> Any:
    """Return the rows with `pixels` in their `images`."""
    # The benchmark is a subset of the test pairs and has no image table of its own.
    tables = sorted({"test" if split == "benchmark" else split for split in splits})
    if isinstance(pairs, datasets.IterableDataset):
        return pairs.map(PixelJoin({table: _shards(place, table) for table in tables}).row)
    return pairs.with_transform(PixelJoin({table: _stored(place, table) for table in tables}))


def _stored(place: Path | str, table: str) -> StoredRows:
    stored = _load(place, "images", table)
    # Undecoded: `datasets` would apply the EXIF orientation, and the masks lie on the stored grid.
    undecoded: StoredRows = stored.cast_column("image", datasets.Image(decode=False))
    return undecoded


def _shards(place: Path | str, table: str) -> ImageShards:
    if isinstance(place, Path):
        shards = BuildFolder.open(place).table_shards("images", table)
        return ImageShards([str(place / shard.path) for shard in shards], open_path)
    from huggingface_hub import HfFileSystem

    files = HfFileSystem()
    pattern = f"datasets/{place}/{shard_pattern('images', table)}"
    return ImageShards(sorted(files.glob(pattern)), partial(files.open, mode="rb"))


def open_path(path: str) -> BinaryIO:
    """Open a shard on disk; an `InputError` names what is wrong with it."""
    return open_file(Path(path), "the shard")
