"""Pixels of the images of a row, read from the `images` table when they are first used."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, Sequence, ValuesView
from functools import partial
from html import escape
from io import BytesIO
from typing import Any, Protocol

from PIL import Image

from mixedparts.errors import InputError, UsageError
from mixedparts.images.opening import image_bytes, rgb_image

PIXELS = "pixels"
_THUMBNAIL = 240  # pixels, in notebooks


class StoredRows(Protocol):
    """Rows of a split's `images` by number: a `datasets.Dataset`, or `ImageShards`."""

    def __getitem__(self, number: int, /) -> Mapping[str, Any]:
        """Return the row with a number; its `image` has `bytes` or `path`, not decoded."""
        ...


class ImageEntry(dict[str, Any]):
    """One entry of a row's `images`, with the key `pixels`, which is read when it is first used.

    In all other respects it is the dictionary with that key: `filter` and `map` with functions that
    do not look at pixels read none.

    Args:
        entry: the stored entry.
        read: returns the image of a row number; None for an entry without pixels.
    """

    def __init__(self, entry: Mapping[str, Any], read: Callable[[int], Image.Image] | None) -> None:
        super().__init__(entry)
        self._read = read

    def __missing__(self, key: str) -> Image.Image:
        """Read the pixels; `dict` calls this for a key that it does not have."""
        if key != PIXELS or self._read is None:
            raise KeyError(key)
        pixels = self._read(super().__getitem__("row"))
        self[PIXELS] = pixels
        return pixels

    def __contains__(self, key: object) -> bool:
        return super().__contains__(key) or (key == PIXELS and self._read is not None)

    def __len__(self) -> int:
        return super().__len__() + (PIXELS in self and not super().__contains__(PIXELS))

    def __iter__(self) -> Iterator[str]:
        yield from (name for name in super().__iter__() if name != PIXELS)
        if PIXELS in self:
            yield PIXELS

    def __delitem__(self, key: str) -> None:
        if key == PIXELS and PIXELS in self:
            self._read = None
            super().pop(PIXELS, None)
        else:
            super().__delitem__(key)

    def pop(self, key: str, *default: Any) -> Any:
        """Remove a key and return its value, `default` if there is no such key."""
        if key not in self:
            return super().pop(key, *default)
        value = self[key]
        del self[key]
        return value

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a key, `default` if there is no such key."""
        # `dict.get` would not call `__missing__`.
        return self[key] if key in self else default  # noqa: SIM401

    def keys(self) -> KeysView[str]:  # type: ignore[override]
        """Return a view of all keys, `pixels` among them."""
        return KeysView(self)

    def values(self) -> ValuesView[Any]:  # type: ignore[override]
        """Return a view of all values; going through it reads the pixels."""
        return ValuesView(self)

    def items(self) -> ItemsView[str, Any]:  # type: ignore[override]
        """Return a view of all items; going through it reads the pixels."""
        return ItemsView(self)

    def copy(self) -> dict[str, Any]:
        """Return an entry that reads its pixels by itself."""
        return ImageEntry(dict(super().items()), self._read)

    def __eq__(self, other: object) -> bool:
        # Two entries with the same values show the same image: no pixels are compared.
        if isinstance(other, ImageEntry):
            return self._stored() == other._stored()
        return isinstance(other, Mapping) and dict(self) == dict(other)

    __hash__ = None  # as every dictionary

    def __reduce__(self) -> tuple[Any, ...]:
        return ImageEntry, (self._stored(), self._read)

    def __repr__(self) -> str:
        listed = ", ".join(f"{name!r}: {value!r}" for name, value in self._stored().items())
        return f"{{{listed}{f', {PIXELS!r}: …' if PIXELS in self else ''}}}"

    def _repr_html_(self) -> str:
        """Return a small image with its name, for notebooks."""
        image = self[PIXELS].copy()
        image.thumbnail((_THUMBNAIL, _THUMBNAIL))
        name = escape(f"{self.get('file_name')}, {self.get('width')} x {self.get('height')}")
        shown = f'<img src="{png_address(image)}" alt="">'
        return f"<figure>{shown}<figcaption>{name}</figcaption></figure>"

    def _stored(self) -> dict[str, Any]:
        return {name: value for name, value in super().items() if name != PIXELS}


def png_address(image: Image.Image) -> str:
    """Return an image as a `data:` address, which pages and notebooks show without a file."""
    file = BytesIO()
    image.save(file, "PNG")
    return f"data:image/png;base64,{b64encode(file.getvalue()).decode()}"


class PixelJoin:
    """Adds `pixels` to each entry of the column `images`.

    Args:
        stored: split -> rows of its `images` table, images undecoded.
    """

    def __init__(self, stored: Mapping[str, StoredRows]) -> None:
        self._stored = stored

    def __call__(self, batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """Return a batch whose entries read their pixels when asked; other columns unchanged."""
        # `select_columns` may have removed either column.
        if "images" not in batch:
            return batch
        splits = batch.get("split") or [None] * len(batch["images"])
        joined = [self._entries(*item) for item in zip(batch["images"], splits, strict=True)]
        return {**batch, "images": joined}

    def row(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return one row whose entries read their pixels when asked."""
        if "images" not in row:
            return row
        return {**row, "images": self._entries(row["images"], row.get("split"))}

    def _entries(self, refs: Sequence[dict[str, Any]], split: str | None) -> list[ImageEntry]:
        """Return the entries of one row of a split; None: of the only split there is."""
        if split is None and len(self._stored) > 1:
            raise UsageError(
                "rows of several splits need the column `split` to find their pixels",
                "Keep that column, or load with pixels=False.",
            )
        table = split or next(iter(self._stored))
        return [ImageEntry(ref, partial(self._image, table)) for ref in refs]

    def _image(self, split: str, number: int) -> Image.Image:
        item = self._stored[split][number]
        return open_stored_image(item["image"], f"{item['image_id']} in row {number} of images")


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
