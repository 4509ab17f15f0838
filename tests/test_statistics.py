"""Intervals, pairs and pass@k against hand calculation."""

import math

import numpy as np
import pytest

from mmreflect.statistics import capability, draws, mean, paired, pass_at_k, sign_test


@pytest.mark.parametrize(
    ("samples", "correct", "k", "wanted"),
    [(4, 1, 2, 0.5), (4, 0, 2, 0.0), (4, 3, 2, 1.0), (256, 1, 256, 1.0), (5, 2, 1, 0.4), (10, 3, 3, 1 - 35 / 120)],
)
def test_pass_at_k(samples: int, correct: int, k: int, wanted: float) -> None:
    assert pass_at_k(samples, correct, k) == pytest.approx(wanted)


@pytest.mark.parametrize(("samples", "correct", "k"), [(4, 1, 5), (4, 1, 0), (4, 5, 1), (4, -1, 1)])
def test_pass_at_k_of_what_cannot_be(samples: int, correct: int, k: int) -> None:
    with pytest.raises(ValueError, match=f"pass@{k} of {correct} right answers in {samples}"):
        pass_at_k(samples, correct, k)


def test_accuracy_and_capability_of_the_specification() -> None:
    counts = [256, 128, 1, 0]
    assert capability(256, counts, 1).value == pytest.approx(0.375977, abs=1e-6)
    assert capability(256, counts, 256).value == 0.75


def test_an_interval_holds_its_value_and_is_the_same_every_time() -> None:
    found = mean([1.0] * 30 + [0.0] * 70, seed=4)
    assert found.value == 0.3 and found == mean([1.0] * 30 + [0.0] * 70, seed=4)
    assert found.low is not None and found.high is not None
    spread = 1.96 * math.sqrt(0.3 * 0.7 / 100)
    assert found.low == pytest.approx(0.3 - spread, abs=0.02) and found.high == pytest.approx(0.3 + spread, abs=0.02)
    assert mean([]).value is None


def test_questions_that_share_a_video_are_drawn_together() -> None:
    """Ten equal answers per video are no more evidence than one."""
    values = [float(video % 2) for video in range(20) for _ in range(10)]
    videos = [video for video in range(20) for _ in range(10)]
    alone, together = mean(values), mean(values, clusters=videos)
    assert alone.value == together.value == 0.5
    assert alone.low is not None and together.low is not None
    assert (0.5 - together.low) / (0.5 - alone.low) == pytest.approx(math.sqrt(10), rel=0.2)
    drawn = draws(4, 0, ["a", "b", "a", "b"])
    assert (drawn[:, 0] == drawn[:, 2]).all() and (drawn[:, 1] == drawn[:, 3]).all()
    assert (drawn[:, 0] + drawn[:, 1] == 2).all()
    with pytest.raises(ValueError, match="3 clusters for 4 items"):
        draws(4, 0, ["a", "b", "c"])


@pytest.mark.parametrize(
    ("wins", "losses", "wanted"),
    [(5, 0, 0.0625), (0, 5, 0.0625), (3, 3, 1.0), (0, 0, 1.0), (8, 2, 2 * 56 / 1024), (1, 0, 1.0)],
)
def test_the_sign_test_is_exact(wins: int, losses: int, wanted: float) -> None:
    assert sign_test(wins, losses) == pytest.approx(wanted)


def test_two_runs_are_compared_question_by_question() -> None:
    a, b = [1.0, 0.0, 0.0, 1.0, 0.0], [1.0, 1.0, 1.0, 0.0, 1.0]
    found = paired(a, b)
    assert (found.n, found.a, found.b, found.wins, found.losses) == (5, 0.4, 0.8, 3, 1)
    assert found.gain.value == pytest.approx(0.4) and found.p_value == pytest.approx(0.625)
    assert paired([], []).gain.value is None and paired([], []).a is None
    with pytest.raises(ValueError, match="2 and 1 values cannot be paired"):
        paired([1.0, 0.0], [1.0])


def test_pairing_is_sharper_than_two_separate_means() -> None:
    rng = np.random.default_rng(0)
    base = (rng.random(400) < 0.5).astype(float)
    better = np.where(rng.random(400) < 0.05, 1.0, base)
    gain = paired(base.tolist(), better.tolist()).gain
    alone = mean(base.tolist())
    assert gain.low is not None and gain.low > 0
    assert alone.low is not None and alone.high is not None and gain.high is not None
    assert gain.high - gain.low < 0.6 * (alone.high - alone.low)
