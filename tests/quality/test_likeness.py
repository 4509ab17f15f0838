"""Sketches of texts and hashes of pictures, by hand; and what is found by them among many."""

import io
import math

import numpy as np
import pytest
from PIL import Image

from mmreflect import recipes
from mmreflect.quality.pictures import Look, bits_between, look_of, same_colours
from mmreflect.quality.repeats import nearly
from mmreflect.quality.search import Buckets, joint_sketch, picture_keys, text_keys
from mmreflect.quality.sketches import PLACES, alike, from_text, runs_of, sketch_of, to_text

WORDS = [f"w{place}" for place in range(104)]


def test_a_sketch_estimates_a_jaccard_of_which_the_hand_knows_the_value() -> None:
    """104 words have 100 runs of five. Without the last ten words 90 of them are left: 90 of 100 in common."""
    whole, part, other = " ".join(WORDS), " ".join(WORDS[:94]), " ".join(WORDS[::-1])
    assert len(runs_of(whole)) == 100 and len(np.intersect1d(runs_of(whole), runs_of(part))) == 90
    error = math.sqrt(0.9 * 0.1 / PLACES)
    assert alike(sketch_of(whole), sketch_of(part)[None])[0] == pytest.approx(0.9, abs=3 * error)
    assert alike(sketch_of(whole), sketch_of(other)[None])[0] < 0.05
    assert alike(sketch_of("Whole: W0"), sketch_of("whole w0!")[None])[0] == 1, "case and stops are no words"


def test_short_texts_are_alike_only_when_they_are_the_same() -> None:
    assert len(runs_of("How many?")) == 1 and runs_of("How many?")[0] != runs_of("How much?")[0]
    assert len(runs_of("")) == 1, "and no text has one run, the empty one"
    assert runs_of("How many?", "question")[0] != runs_of("How many?", "response")[0]


def test_the_least_of_two_sketches_is_that_of_both_texts() -> None:
    one, other = sketch_of("a b c d e f", "question"), sketch_of("g h i j k", "response")
    assert (joint_sketch(one, other) == np.minimum(one, other)).all() and (joint_sketch(one, None) == one).all()
    assert (from_text(to_text(one)) == one).all()


def half(left: int, right: int, side: int = 64) -> Image.Image:
    picture = np.full((side, side, 3), left, np.uint8)
    picture[:, side // 2 :] = right
    return Image.fromarray(picture)


def test_the_hash_of_a_step_by_hand() -> None:
    """Bright on the right: the sum over x of cos(pi (2x + 1) v / 64) for x = 16..31 is -sin(pi v / 2) / (2 sin(pi v / 64)).

    So the frequencies 1 and 5 are below zero, 3 and 7 above, even ones and all that change from row to row are zero, and
    so is the median. Bits 0 (the mean), 3 and 7 stand, from the left. Bright on the left turns the signs around.
    """
    assert look_of(half(0, 255, 32)).bits == 0b1001_0001 << 56
    assert look_of(half(255, 0, 32)).bits == 0b1100_0100 << 56
    assert look_of(half(7, 7)).bits == 1 << 63, "an even picture has its mean alone"


def test_the_colours_of_a_step_by_hand() -> None:
    look = look_of(half(0, 200, 32))
    columns = look.colours.reshape(4, 4, 3)[0, :, 0].tolist()
    assert columns == [0, 0, 200, 200] and look.colours.shape == (48,)


def test_bits_and_colours_are_compared() -> None:
    hashes = np.array([0, 0b1011, (1 << 64) - 1], dtype=np.uint64)
    assert bits_between(0, hashes).tolist() == [0, 3, 64] and bits_between(1, hashes).tolist() == [1, 2, 63]
    grey, other = np.full(48, 100, np.uint8), np.full((2, 48), 100, np.uint8)
    other[0, 5], other[1, 5] = 112, 113
    assert same_colours(grey, other).tolist() == [True, False]


def again(picture: Image.Image, how: str) -> Image.Image:
    if how == "halved":
        return picture.resize((picture.width // 2, picture.height // 2))
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=60)
    return Image.open(stream).convert("RGB")


def test_a_picture_saved_again_is_nearly_the_same_and_another_of_its_style_is_not() -> None:
    chart = recipes.load("builder", "chart")
    config = chart.Config(output="x", splits={"train": 5}, kinds=["bar"])
    charts = [chart.make(config, "train", place).images[0] for place in range(5)]
    grid = recipes.load("builder", "grid")
    grids = [grid.make(grid.Config(output="x", splits={"train": 40}), "train", place).images[0] for place in range(40)]
    for pictures in (charts, grids):
        looks = [look_of(picture) for picture in pictures]
        for place, picture in enumerate(pictures):
            for how in ("jpeg", "halved"):
                near = [nearly(look_of(again(picture, how)), look, 6) for look in looks]
                assert near == [other == place for other in range(len(looks))], how


def test_what_differs_in_colour_alone_is_another_picture() -> None:
    """In grey both discs are 75: 255 * 0.299 = 76 for red, and 0.299 * 90 + 0.587 * 45 + 0.114 * 200 = 76 for blue."""
    red, blue = (np.full((64, 64, 3), 255, np.uint8) for _ in range(2))
    red[16:48, 16:48], blue[16:48, 16:48] = (255, 0, 0), (90, 45, 200)
    one, other = (look_of(Image.fromarray(picture)) for picture in (red, blue))
    assert bits_between(one.bits, np.array([other.bits], np.uint64))[0] <= 4 and not nearly(one, other, 6)


def test_buckets_find_all_pictures_within_the_bits() -> None:
    """Four flips leave at least one of five bands whole, wherever they are."""
    rng = np.random.default_rng(0)
    grey = np.full(48, 100, np.uint8)
    looks = [Look(int(bits), grey) for bits in rng.integers(0, 1 << 63, 200)]
    flips = [sum(1 << int(bit) for bit in rng.choice(64, 4, replace=False)) for _ in looks]
    queries = [Look(look.bits ^ flip, grey) for look, flip in zip(looks, flips, strict=True)]
    buckets = Buckets(picture_keys(looks, 4), picture_keys(queries, 4))
    assert all(place in buckets.candidates(place) for place in range(200))
    assert np.mean([len(buckets.candidates(place)) for place in range(200)]) < 3


def test_buckets_keep_groups_apart_and_find_texts() -> None:
    sketches = np.stack([sketch_of(" ".join(WORDS)), sketch_of(" ".join(WORDS[:98])), sketch_of("something else here")])
    assert Buckets(text_keys(sketches)).candidates(0).tolist() == [0, 1]
    assert Buckets(text_keys(sketches, np.array([0, 1, 0]))).candidates(0).tolist() == [0]
