"""Nearest neighbours and warps against fractions and plain loops; no library is an oracle here."""

from __future__ import annotations

from fractions import Fraction
from math import floor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from calico.processing.resampling import (
    Warp,
    bilinear_rows,
    nearest,
    nearest_places,
    warp_labels,
    warp_pixels,
)

Array = np.ndarray[Any, np.dtype[np.uint8]]
MOST = 63

_sizes = st.integers(1, 24)
_planes = arrays(np.uint8, st.tuples(_sizes, _sizes), elements=st.integers(0, 5))
_images = arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3)))
_warps = st.builds(
    Warp,
    st.floats(0.5, 2).flatmap(lambda scale: st.sampled_from((scale, -scale))),
    st.floats(-12, 12),
)


class TestNearest:
    def test_all_pairs_of_sizes_are_as_fractions_say(self) -> None:
        different = 0
        for source in range(1, MOST + 1):
            for target in range(1, MOST + 1):
                ratio = Fraction(source, target)
                expected = [floor((i + Fraction(1, 2)) * ratio) for i in range(target)]
                assert nearest_places(source, target).tolist() == expected, (source, target)
                different += source != target
        assert different == 3906

    @pytest.mark.parametrize(("source", "target"), [(2**20, 3), (3, 2**20), (1, 1), (65_535, 2)])
    def test_places_of_large_sizes_lie_inside(self, source: int, target: int) -> None:
        places = nearest_places(source, target)
        assert 0 <= places[0] <= places[-1] < source
        assert (np.diff(places) >= 0).all()
        for index in (0, target // 2, target - 1):
            assert places[index] == floor((index + Fraction(1, 2)) * source / target)

    @given(_planes, _sizes, _sizes)
    def test_every_pixel_is_the_one_under_its_centre(
        self, plane: Array, height: int, width: int
    ) -> None:
        result = nearest(plane, height, width)
        assert result.shape == (height, width)
        half = Fraction(1, 2)
        for y in range(height):
            for x in range(width):
                row = floor((y + half) * Fraction(plane.shape[0], height))
                column = floor((x + half) * Fraction(plane.shape[1], width))
                assert result[y, x] == plane[row, column]

    @given(_planes, st.integers(1, 4))
    def test_whole_factors_repeat_pixels_and_odd_ones_take_them_back(
        self, plane: Array, factor: int
    ) -> None:
        height, width = plane.shape
        larger = nearest(plane, factor * height, factor * width)
        np.testing.assert_array_equal(larger, np.kron(plane, np.ones((factor, factor), np.uint8)))
        np.testing.assert_array_equal(nearest(larger, height, width), plane)

    @given(_planes, _sizes, _sizes)
    def test_axes_are_resized_alike(self, plane: Array, height: int, width: int) -> None:
        np.testing.assert_array_equal(
            nearest(plane, height, width), nearest(plane.T.copy(), width, height).T
        )

    def test_the_memory_order_does_not_matter(self) -> None:
        plane = np.arange(30, dtype=np.uint8).reshape(5, 6)
        np.testing.assert_array_equal(nearest(np.asfortranarray(plane), 7, 4), nearest(plane, 7, 4))

    def test_a_centre_on_a_border_takes_the_later_pixel(self) -> None:
        """OpenCV 4 and 5, torch and Pillow disagree on some of these."""
        assert nearest_places(4, 2).tolist() == [1, 3]
        assert nearest_places(14, 4).tolist() == [1, 5, 8, 12]
        assert nearest_places(6, 4).tolist() == [0, 2, 3, 5]


class TestWarps:
    @given(_planes, _warps, _warps)
    def test_labels_are_the_nearest_ones_and_0_outside(
        self, plane: Array, down: Warp, right: Warp
    ) -> None:
        result = warp_labels(plane, down, right)
        height, width = plane.shape
        for y in range(height):
            for x in range(width):
                row = floor((y - down.shift) / down.scale + 0.5)
                column = floor((x - right.shift) / right.scale + 0.5)
                inside = 0 <= row < height and 0 <= column < width
                assert result[y, x] == (plane[row, column] if inside else 0)

    @given(_images, _warps, _warps)
    def test_pixels_are_interpolated_and_mirrored_at_the_edges(
        self, pixels: Array, down: Warp, right: Warp
    ) -> None:
        result = warp_pixels(pixels, down, right)
        # Mirrored 40 times to either side, more than any warp of this test reaches.
        wide = np.pad(pixels, ((360, 360), (360, 360), (0, 0)), "symmetric").astype(float)
        for y in range(pixels.shape[0]):
            for x in range(pixels.shape[1]):
                v, u = (y - down.shift) / down.scale, (x - right.shift) / right.scale
                row, column = floor(v), floor(u)
                a, b = v - row, u - column
                corner = wide[360 + row : 362 + row, 360 + column : 362 + column]
                exact = np.einsum("i,j,ijc->c", [1 - a, a], [1 - b, b], corner)
                # Weights in 256ths are up to 1/512 off, on either axis.
                assert np.abs(result[y, x] - exact).max() <= 0.5 + 2 * 255 / 512

    @given(_images)
    def test_nothing_moves_without_a_move(self, pixels: Array) -> None:
        still = Warp(1.0, 0.0)
        np.testing.assert_array_equal(warp_pixels(pixels, still, still), pixels)
        np.testing.assert_array_equal(warp_labels(pixels[..., 0], still, still), pixels[..., 0])

    @given(_images)
    def test_mirroring_is_exact(self, pixels: Array) -> None:
        mirror = Warp(-1.0, pixels.shape[1] - 1.0)
        still = Warp(1.0, 0.0)
        np.testing.assert_array_equal(warp_pixels(pixels, still, mirror), pixels[:, ::-1])
        np.testing.assert_array_equal(
            warp_labels(pixels[..., 0], still, mirror), pixels[:, ::-1, 0]
        )

    def test_an_image_of_several_blocks_is_that_of_its_columns(self) -> None:
        # Columns that are moved alone fit into one block each.
        pixels = np.random.default_rng(0).integers(0, 256, (700, 190, 3), dtype=np.uint8)
        down, still = Warp(1.1, -7.3), Warp(1.0, 0.0)
        whole = warp_pixels(pixels, down, still)
        for column in (0, 77, 189):
            alone = warp_pixels(pixels[:, column : column + 1], down, still)
            np.testing.assert_array_equal(whole[:, column : column + 1], alone)


class TestBilinearRows:
    """Pillow is the definition; the weights of its own code are what is computed again."""

    @pytest.mark.parametrize(
        ("source", "target"),
        [(480, 768), (427, 683), (1, 7), (7, 1), (5, 5), (64, 63), (900, 130), (1300, 100)],
    )
    def test_bytes_are_those_of_pillow(self, source: int, target: int) -> None:
        rng = np.random.default_rng(source)
        noise = rng.integers(0, 256, (source, 9, 3), dtype=np.uint8)
        for pixels in (noise, (noise > 127).astype(np.uint8) * np.uint8(255)):
            expected = Image.fromarray(pixels).resize((9, target), Image.Resampling.BILINEAR)
            np.testing.assert_array_equal(bilinear_rows(pixels, target), np.asarray(expected))

    @given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 2**32 - 1))
    def test_of_any_size(self, source: int, target: int, seed: int) -> None:
        pixels = np.random.default_rng(seed).integers(0, 256, (source, 2, 3), dtype=np.uint8)
        expected = Image.fromarray(pixels).resize((2, target), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(bilinear_rows(pixels, target), np.asarray(expected))
