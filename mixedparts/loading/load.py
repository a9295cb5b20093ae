"""`load_dataset`: a build by name, folder or Hub id, in memory maps or as a stream."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import datasets

from mixedparts.errors import UsageError, near_names
from mixedparts.files.opening import open_file
from mixedparts.loading.image_shards import ImageShards
from mixedparts.loading.pixels import PixelJoin
from mixedparts.loading.rows import with_pixels
from mixedparts.loading.tables import ALL, load_table, split_names
from mixedparts.records import BENCHMARK, SPLITS
from mixedparts.storage.build_folder import BuildFolder, shard_pattern
from mixedparts.storage.copies import fetch
from mixedparts.storage.hub_ids import check_hub_id
from mixedparts.storage.locate import resolve_build
from mixedparts.storage.schema import CONFIGS


def load_dataset(
    name_or_path: str | os.PathLike[str] | None = None,
    config: str = "pairs",
    split: str | Sequence[str] | datasets.ReadInstruction | None = None,
    pixels: bool = True,
    streaming: bool = False,
) -> (
    datasets.Dataset
    | datasets.DatasetDict
    | datasets.IterableDataset
    | datasets.IterableDatasetDict
    | list[Any]
):
    """Load a built dataset.

    Args:
        name_or_path: a build folder, an address such as `s3://bucket/folder`, a Hub id, or
            `mixedparts` (also None), which looks for the build in `$MIXEDPARTS_HOME`,
            `./data/mixedparts`, and the folder of the last build.
        config: `pairs`, `images`, `entities` or `preview`.
        split: one split, or an expression of `datasets` such as `train[:10%]+test`; several in a
            list; None for all splits.
        pixels: in `pairs`, give every entry of `images` the key `pixels`: a PIL image, RGB, on the
            stored grid that the masks lie on. An image is read when its `pixels` are first used:
            `filter` and `map` with functions that do not use them read none.
        streaming: read rows one after the other from the files, without preparing a copy of them.

    Returns:
        A `Dataset` for one split, a list of them for several, else a `DatasetDict`; with
        `streaming` the iterable ones. A notebook shows a row of a `Dataset` of pairs as an image.

    Raises:
        InputError: the folder or Hub id has no complete build, or a file of it is damaged.
        UsageError: there is no such config or split.
    """
    if config not in CONFIGS:
        near = near_names(config, CONFIGS)
        raise UsageError(f"there is no config '{config}'.{near}", f"Known: {', '.join(CONFIGS)}")
    if isinstance(split, list | tuple):
        return [load_dataset(name_or_path, config, one, pixels, streaming) for one in split]
    place = resolve_build(name_or_path)
    if isinstance(place, str):
        check_hub_id(place)
    expression = _expression(split)
    loaded = load_table(place, config, expression, streaming)
    if config != "pairs" or not pixels:
        return loaded
    if isinstance(loaded, datasets.DatasetDict | datasets.IterableDatasetDict):
        return type(loaded)({name: _join(place, [name], rows) for name, rows in loaded.items()})
    names = SPLITS if expression in (None, ALL) else split_names(expression or "")
    return _join(place, names, loaded)


def _expression(split: Any) -> str | None:
    """Return what a caller gives as a split as text.

    Raises:
        UsageError: it is neither text nor a split of `datasets`.
    """
    if split is None:
        return None
    if isinstance(split, datasets.ReadInstruction):
        return str(split.to_spec())
    if isinstance(split, str | datasets.NamedSplit):
        return str(split)
    raise UsageError(f"a split is a text such as 'train[:10%]', not {type(split).__name__}")


def _join(place: Path | str, splits: Sequence[str], pairs: Any) -> Any:
    """Return the rows with `pixels` in their `images`."""
    # The benchmark is a subset of the test pairs and has no image table of its own.
    tables = sorted({"test" if split == BENCHMARK else split for split in splits})
    if isinstance(place, Path):  # an expression such as `all` names splits that are not there
        tables = [table for table in tables if table in BuildFolder.open(place).splits("images")]
    if isinstance(pairs, datasets.IterableDataset):
        return pairs.map(PixelJoin({table: _shards(place, table) for table in tables}).row)
    return with_pixels(place, tables, pairs)


def _shards(place: Path | str, table: str) -> ImageShards:
    if isinstance(place, Path):
        shards = BuildFolder.open(place).table_shards("images", table)
        fetch(place, shards)
        return ImageShards([str(place / shard.path) for shard in shards], open_path)
    from huggingface_hub import HfFileSystem

    files = HfFileSystem()
    pattern = f"datasets/{place}/{shard_pattern('images', table)}"
    return ImageShards(sorted(files.glob(pattern)), partial(files.open, mode="rb"))


def open_path(path: str) -> BinaryIO:
    """Open a shard on disk; an `InputError` names what is wrong with it."""
    return open_file(Path(path), "the shard")
