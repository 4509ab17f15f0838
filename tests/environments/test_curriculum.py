"""Curriculum masking, by the spec's vectors and by hand."""

import random

import pytest

from mmreflect.rollouts.curriculum import Curriculum, is_hard, mask_ratio, visible_window


@pytest.mark.parametrize(
    ("progress", "ratio"),
    [(0.0, 0.8), (0.175, 0.6), (0.35, 0.4), (0.7, 0.0), (0.9, 0.0), (1.0, 0.0)],
)
def test_the_ratio_falls_in_a_line(progress: float, ratio: float) -> None:
    assert mask_ratio(Curriculum(), progress) == pytest.approx(ratio)
    assert mask_ratio(Curriculum(start=0.4), progress) == pytest.approx(ratio / 2)


def test_hard_is_below_the_limit_and_not_at_it() -> None:
    assert is_hard(1.0, 0.3) and is_hard(1 - 0.29, 0.3)
    assert not is_hard(1 - 0.3, 0.3) and not is_hard(0.7, 0.3) and not is_hard(0.0, 0.3)


@pytest.mark.parametrize(
    ("video", "gold", "ratio", "visible"),
    [
        ((0, 100), (40, 60), 0.5, (20, 80)),  # 80 s outside, 40 s stay, 20 s on each side
        ((0, 100), (40, 60), 0.0, (0, 100)),
        ((0, 100), (40, 60), 1.0, (40, 60)),
        ((0, 100), (0, 100), 0.8, (0, 100)),  # nothing to hide
        ((0, 100), (0, 20), 0.5, (0, 60)),  # 40 s hidden, all of them on the right
        ((0, 100), (80, 100), 0.5, (40, 100)),
        ((0, 100), (10, 20), 0.5, (10, 65)),  # 45 s hidden: the left has only 10 of its 22.5
        ((0, 100), (85, 95), 0.8, (67, 95)),  # 72 s hidden: the right has only 5 of its 36, the left gives 67
        ((50, 150), (90, 110), 0.5, (70, 130)),  # a part of a file keeps its own times
        ((0, 100), (-5, 20), 0.5, (0, 60)),  # an annotation that begins before the video
        ((0, 100), (90, 130), 0.5, (45, 100)),
        ((0, 100), (120, 130), 0.8, (0, 100)),  # outside altogether: nothing is known to protect
        ((0, 100), (60, 40), 0.8, (0, 100)),
    ],
)
def test_windows(
    video: tuple[float, float], gold: tuple[float, float], ratio: float, visible: tuple[float, float]
) -> None:
    assert visible_window(video, gold, ratio) == pytest.approx(visible)


def test_the_asked_share_is_hidden_and_never_annotated_time() -> None:
    rng = random.Random(0)
    for _ in range(2000):
        length = rng.uniform(1, 4000)
        first, last = sorted((rng.uniform(0, length), rng.uniform(0, length)))
        ratio = rng.random()
        start, end = visible_window((0, length), (first, last), ratio)
        assert 0 <= start <= first and last <= end <= length
        assert (end - start) == pytest.approx(length - ratio * (length - (last - first)), abs=1e-6)
