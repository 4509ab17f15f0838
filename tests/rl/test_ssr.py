"""Selective Sample Replay: test vectors of VL-Rethinker, computed by hand."""

import numpy as np
import pytest

from mmreflect.records import Author, Group, Part, Rollout, Sample, Score
from mmreflect.rl.advantages import group_mean
from mmreflect.rl.rows import Row, pack_rows, rows_of, unpack_rows
from mmreflect.rl.selections import dynamic_sampling, effective_rows, filter, none
from mmreflect.rl.selections.ssr import Config, SelectiveSampleReplay, draw_probabilities
from mmreflect.rollouts.actions import Sampling
from mmreflect.rollouts.engines.scripted import ScriptedEngine
from mmreflect.rollouts.scoring import Scorer
from mmreflect.rollouts.tools import Tools

ADVANTAGE = group_mean.create(group_mean.Config())


def rollout(reward: float | None = None, step: int = 0) -> Rollout:
    made = Rollout("q", [1, 2], policy_step=step, score=Score(reward))
    made.append([5, 6, 0], Author.MODEL, "answer")
    return made


def advantages(rewards: list[float | None]) -> list[float]:
    group = Group("q", Sample("q", []), [rollout(reward) for reward in rewards])
    return [float(advantage[0]) for advantage in ADVANTAGE(group)]


def row(advantage: float, step: int = 0) -> Row:
    return Row(Sample("q", []), rollout(step=step), np.full(3, advantage, np.float32), group="q")


def tools(step: int = 0, steps: int = 1, seed: int = 0) -> Tools:
    return Tools(ScriptedEngine(lambda request, asked: ""), Sampling(), Scorer({}), seed, step, steps)


def no_more(count: int) -> list[Row]:
    raise AssertionError("this selection asks for nothing more")


def test_t1_advantages_are_mean_only() -> None:
    assert advantages([1, 0, 0, 1]) == [0.5, -0.5, -0.5, 0.5]
    for alpha in (0, 0.5, 1, 2):
        assert draw_probabilities([0.5] * 4, alpha) == pytest.approx([0.25] * 4)


def test_t2_one_of_eight() -> None:
    values = advantages([1] + [0] * 7)
    assert values == [0.875] + [-0.125] * 7
    expected = {0: (0.125, 0.125), 0.5: (0.274292, 0.103673), 1: (0.5, 0.0714286), 2: (0.875, 0.0178571)}
    for alpha, (high, low) in expected.items():
        assert draw_probabilities(np.abs(values), alpha) == pytest.approx([high] + [low] * 7, abs=1e-6)  # type: ignore[arg-type]


def test_t3_six_of_eight() -> None:
    values = advantages([1] * 6 + [0] * 2)
    assert values == [0.25] * 6 + [-0.75] * 2
    for alpha, (low, high) in {1: (0.0833333, 0.25), 2: (0.0416667, 0.375)}.items():
        assert draw_probabilities(np.abs(values), alpha) == pytest.approx([low] * 6 + [high] * 2, abs=1e-6)  # type: ignore[arg-type]


def test_t4_two_groups_together() -> None:
    weights = [0.875] + [0.125] * 7 + [0.5] * 8
    assert sum(weights) == 5.75
    expected = [0.152174] + [0.0217391] * 7 + [0.0869565] * 8
    assert draw_probabilities(weights, 1) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("alpha", "expected"), [(1, [0.466667, 0.266667, 0.266667]), (2, [0.604938, 0.197531, 0.197531])]
)
def test_t5_algorithm_1(alpha: float, expected: list[float]) -> None:
    old, fresh = row(0.875), [row(0.5), row(-0.5), row(0.0), row(0.0)]
    assert draw_probabilities([item.magnitude for item in [old, *fresh[:2]]], alpha) == pytest.approx(
        expected, abs=1e-6
    )
    first = np.zeros(3)
    for seed in range(4000):
        replay = SelectiveSampleReplay(Config(alpha=alpha, clear_every=0))
        replay.buffer.append(old)
        chosen = replay(fresh, 4, tools(seed=seed), no_more)
        assert len(chosen) == 4 and len(replay.buffer) == 3 and all(item.magnitude > 0 for item in chosen)
        assert chosen[:2] == fresh[:2] and chosen[2] is not chosen[3]  # without replacement: the buffer is large enough
        first[[old, *fresh[:2]].index(chosen[2])] += 1
    assert first / 4000 == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_t6_nothing_effective_and_nothing_kept(alpha: float) -> None:
    given = tools()
    assert SelectiveSampleReplay(Config(alpha=alpha))([row(0.0)] * 4, 4, given, no_more) == []
    assert "replay/effective_ratio_trained" not in given.metrics and given.metrics["replay/effective_ratio_raw"] == [
        0.0
    ]


def test_t9_the_buffer_is_empty_after_an_episode() -> None:
    assert 1024 * 8 // 512 == 16 == SelectiveSampleReplay(Config()).rules.clear_every
    replay = SelectiveSampleReplay(Config())
    for step in range(15):
        replay([row(0.5, step), row(0.0, step)], 2, tools(step), no_more)
        assert len(replay.buffer) == step + 1
    replay([row(0.5, 15), row(0.0, 15)], 2, tools(15), no_more)
    assert len(replay.buffer) == 0


def test_an_episode_ends_inside_a_window_of_several_steps() -> None:
    replay = SelectiveSampleReplay(Config(clear_every=16))
    replay([row(0.5, 14)], 1, tools(14, steps=4), no_more)
    assert len(replay.buffer) == 0


def test_draws_with_replacement_when_the_buffer_is_too_small() -> None:
    chosen = SelectiveSampleReplay(Config())([row(0.5)] + [row(0.0)] * 7, 8, tools(), no_more)
    assert len(chosen) == 8 and len({id(item) for item in chosen}) == 1


def test_a_full_batch_is_not_touched() -> None:
    rows = [row(0.5), row(-0.5)]
    assert SelectiveSampleReplay(Config())(rows, 2, tools(), no_more) == rows


def test_oldest_items_leave_first_and_stale_ones_go() -> None:
    replay = SelectiveSampleReplay(Config(max_items=2, clear_every=0, max_staleness=4))
    rows = [row(0.5, step) for step in range(3)]
    for step, item in enumerate(rows):
        replay([item], 1, tools(step), no_more)
    assert list(replay.buffer) == rows[1:]
    replay([row(0.0)], 1, tools(6), no_more)
    assert list(replay.buffer) == rows[2:]


def test_metrics_of_a_round() -> None:
    given = tools(3)
    replay = SelectiveSampleReplay(Config(clear_every=0))
    replay.buffer.append(row(0.25, 1))
    replay([row(0.5, 3), row(0.0, 3)], 2, given, no_more)
    assert given.metrics["replay/effective_ratio_raw"] == [0.5]
    assert given.metrics["replay/effective_ratio_trained"] == [1.0]
    assert given.metrics["replay/replayed_share"] == [0.5]


def test_rounding_noise_is_a_flat_group() -> None:
    """0.1 + 0.2 and 0.3 differ by rounding; such a group must not reach the buffer."""
    assert advantages([0.1 + 0.2, 0.3, 0.3]) == [0.0, 0.0, 0.0]


def test_ungraded_rollouts_are_left_out_of_the_baseline() -> None:
    assert advantages([1, 0, None]) == [0.5, -0.5, 0.0]
    assert advantages([None, None]) == [0.0, 0.0]


def test_advantages_are_zero_on_words_that_the_model_did_not_write() -> None:
    made = rollout(1.0)
    made.append([7], Author.ENVIRONMENT, "show")
    made.append([8, 0], Author.FORCED, "rethink")
    group = Group("q", Sample("q", []), [made, rollout(0.0)])
    assert ADVANTAGE(group)[0].tolist() == [0.5, 0.5, 0.5, 0, 0, 0]
    made.facts["train_forced"] = True
    assert ADVANTAGE(group)[0].tolist() == [0.5, 0.5, 0.5, 0, 0.5, 0.5]


def test_rows_survive_the_disk_with_their_identity() -> None:
    made = rollout(1.0)
    made.facts["sft_span"] = [1, 3]
    rows = rows_of([Group("q", Sample("q", [], gold="3"), [made, rollout(0.0)])], ADVANTAGE)
    rows[0].old_logps_T = np.array([-0.1, -1 / 3, -2.5], np.float32)
    back = unpack_rows(*pack_rows([rows[0], rows[1], rows[0]]))
    assert back[0] is back[2] and back[0].rollout == rows[0].rollout and back[0].sample == rows[0].sample
    for name in ("advantages_T", "old_logps_T", "sft_weights_T"):
        np.testing.assert_array_equal(getattr(back[0], name), getattr(rows[0], name))
    assert back[1].old_logps_T is None and back[1].sft_weights_T is None


def test_the_code_variant_trains_on_half_and_always_draws_with_replacement() -> None:
    replay = SelectiveSampleReplay(Config(variant="code"))
    rows = [row(0.5), row(-0.5), *[row(0.0)] * 6]
    chosen = replay(rows, 8, tools(), no_more)
    assert len(chosen) == 4 and len(replay.buffer) == 2 and all(item in rows[:2] for item in chosen)
    for step in range(1, 20):
        for item in replay([row(0.5, step), *[row(0.0)] * 7], 8, tools(step), no_more):
            item.old_logps_T = np.zeros(3, np.float32)  # as the update does
    assert len(replay.buffer) == 4, "half of the first batch, never emptied"


def test_the_code_variant_keeps_no_row_whose_log_probs_a_later_policy_would_give() -> None:
    replay = SelectiveSampleReplay(Config(variant="code"))
    rows = [row(0.1 * place) for place in range(1, 9)]
    chosen = replay(rows, 8, tools(), no_more)
    assert all(any(item is other for other in chosen) for item in replay.buffer)
    assert draw_probabilities([0.5, 0.5], 1, 1e-4) == pytest.approx([0.5, 0.5])


def test_importance_weights_undo_the_uneven_draw() -> None:
    """P = 3/4 and 1/4 over two rows: (1 / (2 P)) is 2/3 and 2, scaled to a largest of 1: 1/3 and 1."""
    replay = SelectiveSampleReplay(Config(importance_beta=1.0, clear_every=0, replacement="always"))
    rows = [row(0.75), row(0.25), *[row(0.0)] * 30]
    drawn = replay(rows, 32, tools(), no_more)[2:]
    scaled = {round(float(item.advantages_T[0]), 6) for item in drawn}
    assert scaled == {0.25}, "0.75 x 1/3 and 0.25 x 1"
    assert rows[0].magnitude == 0.75, "the stored row is left as it is"


def scored(total: float, right: float, advantage: float, bonus: bool = True) -> Row:
    made = row(advantage)
    parts = {"accuracy": Part(right)} | ({"native_wait_bonus": Part(total - right)} if bonus else {})
    made.rollout.score = Score(total, parts=parts)
    return made


def test_a_bonus_does_not_make_a_saturated_group_useful() -> None:
    """Eight right answers, one with a "Wait": 1.1 and seven times 1 (trap 8)."""
    rows = [scored(1.1, 1.0, 0.0875), *[scored(1.0, 1.0, -0.0125) for _ in range(7)]]
    assert effective_rows(rows, None) == [] and effective_rows(rows, "total") == rows
    mixed = [scored(1.1, 1.0, 0.6), scored(0.0, 0.0, -0.5)]
    assert effective_rows(mixed, None) == mixed


def test_a_row_on_the_mean_of_a_useful_group_is_dropped() -> None:
    rows = [scored(1.0, 1.0, 0.5, False), scored(0.5, 0.5, 0.0, False), scored(0.0, 0.0, -0.5, False)]
    assert effective_rows(rows, None) == [rows[0], rows[2]]


def test_filter_and_none() -> None:
    rows = [row(0.5), row(0.0)]
    assert filter.create(filter.Config())(rows, 2, tools(), no_more) == rows[:1]
    assert none.create(none.Config())(rows, 2, tools(), no_more) == rows


def test_dynamic_sampling_asks_until_the_batch_is_full() -> None:
    asked: list[int] = []

    def more(count: int) -> list[Row]:
        asked.append(count)
        return [row(0.25), row(0.0)]

    given = tools()
    rows = [row(0.5), row(0.0), row(0.0), row(0.0)]
    for place, item in enumerate(rows):
        item.group = f"g{place // 2}"
    chosen = dynamic_sampling.create(dynamic_sampling.Config())(rows, 4, given, more)
    assert len(chosen) == 4 and asked == [2, 1, 1] and given.metrics["replay/extra_rounds"] == [3]
    stubborn = dynamic_sampling.create(dynamic_sampling.Config(max_rounds=2))
    assert len(stubborn(rows, 4, tools(), more)) == 3
