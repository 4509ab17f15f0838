"""A reward function of your own: `rewards: [{name: "my_rewards.py:cite", weight: 0.5}]`.

Two signatures are understood, told apart by their parameters:

    def mine(group): ...                        # ours: a Group in, one Score or number per rollout out
    def theirs(prompts, completions, **kwargs)  # TRL's, unchanged: one number or None per completion out

TRL's receives conversational prompts and completions, `completion_ids`, `answer`, and the sample's facts as columns.
One difference: None means "could not grade", and leaves the rollout out of its group; TRL adds the other rewards up.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from mmreflect.config import config
from mmreflect.errors import UserError
from mmreflect.records import Group, Score

Function = Callable[..., Any]


@config
class Config:
    """Options of a user's reward. `arguments` are passed to the function by name."""

    weight: float = 1.0
    arguments: dict[str, Any] | None = None


def wrap(function: Function, name: str, arguments: dict[str, Any] | None) -> Callable[[Group], list[Score]]:
    """Return the function as a reward.

    Raises:
        UserError: when called: it returned another number of scores than there are rollouts, or something that is no
            number, None or Score.
    """
    ours = list(inspect.signature(function).parameters)[:1] == ["group"]

    def reward(group: Group) -> list[Score]:
        given = arguments or {}
        found = function(group, **given) if ours else function(**_columns(group), **given)
        return _scores(found, name, len(group.rollouts))

    return reward


def _columns(group: Group) -> dict[str, Any]:
    """Return a group in the columns that TRL hands to a reward function."""
    count = len(group.rollouts)
    facts = {key: [value] * count for key, value in group.sample.facts.items()}
    return facts | {
        "prompts": [group.sample.messages] * count,
        "completions": [[{"role": "assistant", "content": rollout.text}] for rollout in group.rollouts],
        "completion_ids": [rollout.token_ids for rollout in group.rollouts],
        "answer": [group.sample.gold] * count,
        "id": [group.sample.id] * count,
        "trainer_state": None,
        "log_metric": lambda name, value: None,
        "log_extra": lambda column, values: None,
    }


def _scores(found: Any, name: str, count: int) -> list[Score]:
    values = list(found) if isinstance(found, Sequence) or hasattr(found, "__iter__") else None
    if values is None or len(values) != count:
        got = f"{len(values)} scores" if values is not None else f"{found!r}"
        raise UserError(
            f"reward {name!r} returned {got} for a group of {count}", "one score per rollout", "correct the function"
        )
    return [_score(value, name) for value in values]


def _score(value: Any, name: str) -> Score:
    if isinstance(value, Score):
        return value
    if value is None:
        return Score(None, reason=f"{name} could not grade")
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise UserError(
            f"reward {name!r} returned {value!r}", "a number, None or a Score", "correct the function"
        ) from None
    return Score(number)
