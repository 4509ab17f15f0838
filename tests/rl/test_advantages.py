"""Advantages against hand calculation, whole and by stage."""

import numpy as np
import pytest

from mmreflect.records import Author, Group, Part, Rollout, Sample, Score
from mmreflect.rl.advantages import group_mean, group_norm, per_stage, relative


def rollout_of(parts: dict[str, Part] | None, value: float | None = None) -> Rollout:
    rollout = Rollout("s", [1])
    rollout.append([1, 2], Author.MODEL, "propose")
    rollout.append([3, 4, 5], Author.ENVIRONMENT, "revise")
    rollout.append([6], Author.MODEL, "revise")
    total = value if parts is None else sum(part.weight * (part.value or 0.0) for part in parts.values())
    rollout.score = Score(total, parts=parts or {})
    return rollout


def group_of(*rollouts: Rollout) -> Group:
    return Group("s", Sample("s", []), list(rollouts))


def parts_of(final: float, sufficiency: float, tool: float = 1.0, form: float = 0.0) -> dict[str, Part]:
    return {
        "final": Part(final, 0.6, "revise"),
        "sufficiency": Part(sufficiency, 0.3, "propose"),
        "tool": Part(tool, 0.1, "propose"),
        "format": Part(form, 0.1),
    }


def test_the_groups_of_the_specification() -> None:
    assert relative([1.0, 0.7, 0.4, 0.5], 1e-6) == pytest.approx([1.323, 0.189, -0.945, -0.567], abs=5e-4)
    assert relative([1.0, 0.7, 0.4, 0.5]) == pytest.approx([0.35, 0.05, -0.25, -0.15])
    assert relative([0.7] * 8, 1e-6) == [0.0] * 8
    assert relative([1.2, 1.2 + 1e-7], 1e-6) == [0.0, 0.0], "rounding is no signal"
    assert relative([1.0, None, 0.0], 1e-6) == pytest.approx([0.7071, 0.0, -0.7071], abs=1e-4)
    assert relative([None, None]) == [0.0, 0.0] and relative([1.0, None], 1e-6) == [0.0, 0.0]


def test_group_norm_reaches_both_turns_and_nothing_that_was_shown() -> None:
    group = group_of(*(rollout_of(None, value) for value in (1.0, 0.7, 0.4, 0.5)))
    arrays = group_norm.create(group_norm.Config())(group)
    assert arrays[0] == pytest.approx([1.323, 1.323, 0, 0, 0, 1.323], abs=5e-4)
    assert arrays[2] == pytest.approx([-0.945, -0.945, 0, 0, 0, -0.945], abs=5e-4)
    assert all(array.dtype == np.float32 for array in arrays)


def test_each_stage_is_judged_by_its_own_part() -> None:
    """Right with a poor segment, wrong with a good one: propose 0.1 and 0.4, revise 0.6 and 0."""
    group = group_of(rollout_of(parts_of(1, 0)), rollout_of(parts_of(0, 1)))
    first, second = per_stage.create(per_stage.Config(epsilon=None))(group)
    assert first == pytest.approx([-0.15, -0.15, 0, 0, 0, 0.3], abs=1e-6)
    assert second == pytest.approx([0.15, 0.15, 0, 0, 0, -0.3], abs=1e-6)
    first, second = per_stage.create(per_stage.Config())(group)
    assert first == pytest.approx([-0.7071, -0.7071, 0, 0, 0, 0.7071], abs=1e-4)


def test_the_format_counts_for_both_stages_and_a_flat_stage_gives_none() -> None:
    group = group_of(rollout_of(parts_of(1, 1)), rollout_of(parts_of(1, 1, form=-1.0)))
    first, second = per_stage.create(per_stage.Config(epsilon=None))(group)
    assert first == pytest.approx([0.05, 0.05, 0, 0, 0, 0.05], abs=1e-6)
    assert second == pytest.approx([-0.05, -0.05, 0, 0, 0, -0.05], abs=1e-6)
    group = group_of(rollout_of(parts_of(1, 1)), rollout_of(parts_of(0, 1)))
    first, _ = per_stage.create(per_stage.Config(epsilon=None))(group)
    assert first == pytest.approx([0, 0, 0, 0, 0, 0.3], abs=1e-6)


def test_without_stages_the_whole_score_counts() -> None:
    group = group_of(rollout_of(None, 1.0), rollout_of(None, 0.0))
    assert per_stage.create(per_stage.Config(epsilon=None))(group)[0] == pytest.approx(
        group_mean.create(group_mean.Config())(group)[0]
    )


def test_what_could_not_be_graded_gets_nothing() -> None:
    lost = rollout_of(None, None)
    group = group_of(rollout_of(parts_of(1, 1)), rollout_of(parts_of(0, 0)), lost)
    for module in (group_mean, group_norm, per_stage):
        arrays = module.create(module.Config())(group)  # type: ignore[attr-defined]
        assert not arrays[2].any() and arrays[0].any()
