"""Load a built dataset in Python: find it by name, read it with `datasets`, join pixels lazily."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import datasets
from PIL import Image

from mixedparts.errors import InputError, UsageError, near_names
from mixedparts.images.opening import image_bytes, rgb_image
from mixedparts.storage.build_folder import BuildFolder
from mixedparts.storage.hub_ids import check_hub_id
from mixedparts.storage.locate import BUILD_HINT, resolve_build
from mixedparts.storage.schema import CONFIGS

__all__ = ["PixelJoin", "load_dataset", "open_picture", "open_stored_image", "resolve_build"]


def load_dataset(
    name_or_path: str | os.PathLike[str] | None = None,
    config: str = "pairs",
    split: str | None = None,
    pixels: bool = True,
) -> datasets.Dataset | datasets.DatasetDict:
    """Load a built dataset.

    Args:
        name_or_path: a build folder, a Hub id, or `mixedparts` (also None), which looks for the
            build in `$MIXEDPARTS_HOME`, `./data/mixedparts`, and the folder of the last build.
        config: `pairs`, `images`, `entities` or `preview`.
        split: one split; None for all of them.
        pixels: in `pairs`, add to every entry of `images` the key `pixels`: a PIL image, RGB, on
            the stored grid that the masks lie on. An image is read when its row is read.

    Returns:
        A `Dataset` for one split, else a `DatasetDict`.

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
    loaded = _load(place, config, split)
    if config != "pairs" or not pixels:
        return loaded
    if isinstance(loaded, datasets.DatasetDict):
        joined = {name: _join(place, name, rows) for name, rows in loaded.items()}
        return datasets.DatasetDict(joined)
    return _join(place, split or "train", loaded)


def _load(
    place: Path | str, config: str, split: str | None
) -> datasets.Dataset | datasets.DatasetDict:
    try:
        return datasets.load_dataset(str(place), config, split=split)
    except ValueError as error:
        # `datasets` has no error class of its own for an unknown split, only this text.
        if split is not None and "split" in str(error).lower():
            if isinstance(place, Path):
                # `split` may be an expression of `datasets`, such as train[:10%] or train+test.
                for name in re.findall(r"[\w-]+(?=\[|\+|$)", split):
                    BuildFolder.open(place).check_split(name, config)
            raise UsageError(f"{place} has no split '{split}' in '{config}': {error}") from error
        raise InputError(f"{place} cannot be loaded: {error}") from error
    except (OSError, datasets.exceptions.DatasetNotFoundError) as error:
        raise InputError(f"{place} cannot be loaded: {error}", BUILD_HINT) from error


def _join(place: Path | str, split: str, pairs: datasets.Dataset) -> datasets.Dataset:
    """Return the rows with a transform that adds pixels to `images`."""
    # The benchmark is a subset of the test pairs and has no image table of its own.
    table = "test" if split == "benchmark" else split
    stored = _load(place, "images", table)
    assert isinstance(stored, datasets.Dataset)
    # Undecoded: `datasets` would apply the EXIF orientation, and the masks lie on the stored grid.
    return pairs.with_transform(
        PixelJoin(stored.cast_column("image", datasets.Image(decode=False)))
    )


class PixelJoin:
    """Adds `pixels` to each entry of a batch's `images` column.

    Args:
        stored: the split's `images` table with undecoded images.
    """

    def __init__(self, stored: datasets.Dataset) -> None:
        self._stored = stored

    def __call__(self, batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """Return the batch with pixels; other columns are unchanged."""
        # `select_columns` may have removed the column.
        if "images" not in batch:
            return batch
        joined = [
            [{**ref, "pixels": self._image(ref["row"])} for ref in refs] for refs in batch["images"]
        ]
        return {**batch, "images": joined}

    def _image(self, row: int) -> Image.Image:
        item = self._stored[row]
        return open_stored_image(item["image"], f"{item['image_id']} in row {row} of images")


def open_stored_image(stored: dict[str, Any] | None, name: str = "") -> Image.Image:
    """Return a stored image as RGB on the stored grid, EXIF orientation not applied.

    Args:
        stored: a value of the `image` column, undecoded: `bytes` or `path`.
        name: for the message of an error; by default the path.

    Raises:
        InputError: the copy of the build has no pixels, or the image cannot be read or decoded.
    """
    if stored is None:
        raise InputError(
            "this copy of the dataset has no pixels",
            "Load it with pixels=False, or build it from the sources: mixedparts build --help",
        )
    name = name or str(stored["path"])
    data = stored["bytes"] if stored["bytes"] is not None else image_bytes(stored["path"] or "")
    return rgb_image(data, name)


open_picture = open_stored_image  # the name in earlier versions
