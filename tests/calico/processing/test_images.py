"""Pictures to the encoders and masks to the decoder's grid and back."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from calico.config.presets import seven_b, tiny
from calico.dataset.views import View
from calico.processing import images
from calico.processing.images import CLIP, IMAGENET, ImageProcessor, open_image
from mixedparts.errors import InputError
from mixedparts.masks import Rle, decode, from_dense, iou


def picture(height: int, width: int) -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 255, (height, width, 3), dtype=np.uint8))


def disc(height: int, width: int, radius: float) -> Rle:
    y, x = np.mgrid[:height, :width]
    inside = (y - height * 0.6) ** 2 + (x - width * 0.4) ** 2 < radius**2
    return from_dense(inside.astype(np.uint8))


@pytest.mark.parametrize(("height", "width"), [(150, 100), (90, 180), (128, 128), (301, 77)])
class TestGeometry:
    def test_padding_is_zero_after_normalisation(self, height: int, width: int) -> None:
        processor = ImageProcessor(tiny())
        pixels = processor.pixels(picture(height, width))
        rows, columns = pixels.inner
        assert max(rows, columns) == 128
        assert abs(rows / columns - height / width) < 0.01 * height / width + 0.01
        sam = processor.inputs([pixels]).sam[0]
        assert not sam[:, rows:].any()
        assert not sam[:, :, columns:].any()
        assert sam[:, :rows, :columns].std() > 0.2

    def test_masks_survive_the_way_to_the_grid_and_back(self, height: int, width: int) -> None:
        processor = ImageProcessor(tiny())
        mask = disc(height, width, min(height, width) / 4)
        grid = torch.from_numpy(processor.patch_mask(mask)).float() / 255
        (back,) = processor.original_masks((grid - 0.5)[None], height, width)
        assert (back.height, back.width) == (height, width)
        assert iou([mask], [back])[0, 0] > 0.85

    def test_masks_stay_within_the_extent(self, height: int, width: int) -> None:
        processor = ImageProcessor(tiny())
        full = from_dense(np.ones((height, width), np.uint8))
        grid = processor.patch_mask(full)
        rows, columns = processor.extent(height, width)
        assert not grid[rows:].any()
        assert not grid[:, columns:].any()
        assert (grid[: rows - 1, : columns - 1] == 255).all()

    def test_mirrored_masks_lie_on_mirrored_pixels(self, height: int, width: int) -> None:
        processor = ImageProcessor(tiny())
        mask = disc(height, width, min(height, width) / 5)
        white = Image.fromarray(np.repeat(decode(mask)[..., None] * 255, 3, 2))
        flipped = processor.pixels(white).flipped()
        grid = processor.patch_mask(mask, View(mirrored=True)) / 255
        step = processor.square_size // processor.grid_size
        shown = flipped.square[..., 0].reshape(len(grid), step, len(grid), step).mean((1, 3)) / 255
        unmirrored = np.abs(processor.patch_mask(mask) / 255 - shown).mean()
        assert np.abs(grid - shown).mean() < 0.3 * unmirrored


def test_normalisations_are_those_of_the_encoders() -> None:
    processor = ImageProcessor(tiny())
    grey = Image.new("RGB", (64, 64), (128, 128, 128))
    inputs = processor.inputs([processor.pixels(grey)])
    for tensor, (mean, deviation) in ((inputs.vision, CLIP), (inputs.semantic, IMAGENET)):
        expected = (128 / 255 - torch.tensor(mean)) / torch.tensor(deviation)
        torch.testing.assert_close(tensor[0, :, 5, 5], expected)


def test_the_7b_sizes() -> None:
    processor = ImageProcessor(seven_b())
    pixels = processor.pixels(picture(300, 400))
    assert pixels.vision.shape == pixels.semantic.shape == (224, 224, 3)
    assert pixels.inner == (768, 1024)
    assert processor.extent(300, 400) == (192, 256)


def test_bytes_that_are_no_picture_are_one_message() -> None:
    with pytest.raises(InputError, match=r"holiday\.jpg"):
        open_image(b"not a picture", "holiday.jpg")


def test_a_cut_picture_is_one_message() -> None:
    file = io.BytesIO()
    picture(60, 60).save(file, "PNG")
    with pytest.raises(InputError, match="cannot be decoded"):
        open_image(file.getvalue()[:900], "cut.png")


class TestRecordedValues:
    """What training targets and inputs are made of: the same under every allowed version."""

    def test_masks_on_the_grid(self) -> None:
        processor, rng = ImageProcessor(seven_b()), np.random.Generator(np.random.Philox(3))
        digest = hashlib.sha256()
        for _ in range(30):
            height, width = rng.integers(20, 900, 2).tolist()
            noise = from_dense(rng.random((height, width)) < 0.5)
            digest.update(processor.patch_mask(noise))
            digest.update(processor.patch_mask(disc(height, width, min(height, width) / 5)))
        assert digest.hexdigest()[:16] == "918633ee70236d69"

    def test_a_patch_is_the_covered_share(self) -> None:
        """Two columns of a patch four wide: half of it, also after the way through the square."""
        processor = ImageProcessor(tiny())
        side, step = processor.square_size, processor.square_size // processor.grid_size
        dense = np.zeros((side, side), np.uint8)
        dense[: step * 3, : step + step // 2] = 1
        grid = processor.patch_mask(from_dense(dense))
        assert grid[:4, :3].tolist() == [[255, 128, 0]] * 3 + [[0, 0, 0]]

    def test_resized_images(self) -> None:
        """Tall images too, whose rows Pillow 13 would resize before their columns."""
        processor, rng = ImageProcessor(tiny()), np.random.Generator(np.random.Philox(4))
        digest = hashlib.sha256()
        for height, width in ((150, 100), (61, 180), (224, 224), (301, 77)):
            noise = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
            pixels = processor.pixels(Image.fromarray(noise))
            for array in (pixels.vision, pixels.semantic, pixels.square):
                digest.update(array)
        assert digest.hexdigest()[:16] == "26293c4f2c14a845"

    def test_columns_are_resized_before_rows(self) -> None:
        """Stripes whose overshoot is clipped before the rows are mixed."""
        stripes = np.zeros((600, 40, 3), np.uint8)
        stripes[:, 20:] = stripes[::7] = 255
        image, side = Image.fromarray(stripes), ImageProcessor(tiny()).vision_size
        narrowed = image.resize((side, 600), Image.Resampling.BICUBIC)
        expected = np.asarray(narrowed.resize((side, side), Image.Resampling.BICUBIC))
        found = ImageProcessor(tiny()).pixels(image).vision
        np.testing.assert_array_equal(found, expected)
        assert found[0, 60:66, 0].tolist() == [39, 39, 43, 106, 188, 252]

    @pytest.mark.parametrize(("height", "width"), [(150, 100), (37, 211)])
    def test_decoded_masks_follow_a_computation_in_float64(self, height: int, width: int) -> None:
        processor = ImageProcessor(tiny())
        grid, side = processor.grid_size, processor.square_size
        logits = torch.randn(2, grid, grid, generator=torch.Generator().manual_seed(5))
        rows, columns = processor.inner_size(height, width)
        square = linear(linear(logits.double().numpy(), 1, side), 2, side)
        full = linear(linear(square[:, :rows, :columns], 1, height), 2, width)
        # Float32 may decide otherwise only next to zero.
        clear = np.abs(full) > 1e-4
        assert clear.mean() > 0.99
        found = np.stack([decode(m) for m in processor.original_masks(logits, height, width)])
        np.testing.assert_array_equal(found[clear], full[clear] > 0)


def linear(values: np.ndarray, axis: int, size: int) -> np.ndarray:
    """Resize one axis by linear interpolation at pixel centres; edges are repeated."""
    length = values.shape[axis]
    places = np.clip((np.arange(size) + 0.5) * length / size - 0.5, 0, length - 1)
    first = np.floor(places).astype(int)
    share = (places - first).reshape([-1 if each == axis else 1 for each in range(values.ndim)])
    second = np.minimum(first + 1, length - 1)
    return values.take(first, axis) * (1 - share) + values.take(second, axis) * share


class TestPortions:
    """Decoded masks are resized a few at a time, or 100 of a large photograph take 5 GB."""

    @pytest.mark.parametrize(("height", "width"), [(150, 100), (90, 180), (40, 30)])
    @pytest.mark.parametrize("limit", [1, 300_000, 1 << 30])
    def test_they_are_the_same_in_any_portions(
        self, monkeypatch: pytest.MonkeyPatch, height: int, width: int, limit: int
    ) -> None:
        processor = ImageProcessor(tiny())
        grid = processor.grid_size
        logits = torch.randn(7, grid, grid, generator=torch.Generator().manual_seed(0))
        square = F.interpolate(logits[None], (128, 128), mode="bilinear", align_corners=False)
        rows, columns = processor.inner_size(height, width)
        shown = square[:, :, :rows, :columns]
        whole = F.interpolate(shown, (height, width), mode="bilinear", align_corners=False)[0] > 0
        monkeypatch.setattr(images, "RESIZED_BYTES", limit)
        found = processor.original_masks(logits, height, width)
        assert len(found) == 7
        for mask, expected in zip(found, whole, strict=True):
            assert torch.equal(torch.from_numpy(decode(mask)).bool(), expected)

    def test_a_large_photograph_stays_within_the_limit(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        processor = ImageProcessor(seven_b())
        grid, height, width = processor.grid_size, 3000, 4000
        taken = []

        class Sizes(TorchDispatchMode):
            """The memory of the resized masks of a portion, all steps together."""

            def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
                found = func(*args, **(kwargs or {}))
                if isinstance(found, torch.Tensor) and found.ndim == 4:
                    taken.append(found.nbytes)
                return found

        monkeypatch.setattr(images, "from_dense", lambda mask: mask.shape)
        with Sizes():
            found = processor.original_masks(torch.randn(9, grid, grid), height, width)
        assert found == [(height, width)] * 9
        assert images.RESIZED_BYTES == 256 << 20
        assert max(taken) <= images.RESIZED_BYTES
        # As many at a time as fit: with one a portion there would be nine.
        assert len([size for size in taken if size >= 4 * height * width]) == 3

    def test_no_mask_is_no_work(self) -> None:
        processor = ImageProcessor(tiny())
        grid = processor.grid_size
        assert processor.original_masks(torch.zeros(0, grid, grid), 30, 40) == []
