"""Drawn predictions: masks in the colour of their words."""

from __future__ import annotations

import numpy as np

from calico.inference.drawing import draw_prediction
from calico.predictions.types import Prediction, Segment
from mixedparts.masks import Rle, from_dense
from tests.factories.noise import noise_images


def test_the_picture_shows_masks_in_the_colour_of_their_words() -> None:
    shown = noise_images(2)
    masks = []
    for picture in shown:
        dense = np.zeros((picture.height, picture.width), np.uint8)
        dense[5:20, 5:30] = 1
        masks.append(from_dense(dense))
    segments = tuple(Segment("mug", number, mask) for number, mask in enumerate(masks))
    answer = "Both pictures contain <p> a mug </p> [SEG] (IMAGE1) [SEG] (IMAGE2)."
    drawn = draw_prediction(shown, "Which object?", Prediction("x", answer, segments))
    bare = draw_prediction(shown, "Which object?", Prediction("x", answer, ()))
    assert drawn.size == bare.size
    assert (np.asarray(drawn) != np.asarray(bare)).any(-1).mean() > 0.1


def test_an_empty_mask_and_a_long_answer_can_be_drawn() -> None:
    shown = noise_images(2)
    empty = Rle(30, 41, from_dense(np.zeros((30, 41), np.uint8)).counts)
    answer = "<p> " + "very " * 60 + "long </p> [SEG] (IMAGE1)"
    draw_prediction(shown, "?" * 300, Prediction("x", answer, (Segment("", 0, empty),)))
