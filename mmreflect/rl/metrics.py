"""What a round of rollouts writes into the log: TRL's keys; ours under `replay/`, `rethink/`, `ledger/`, `facts/`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mmreflect.answers.spec import spec_of
from mmreflect.answers.stats import GradingStats, grading_stats
from mmreflect.records import Group, Rollout, Stop
from mmreflect.reflection.ledger import entry
from mmreflect.rl.rows import Row
from mmreflect.rollouts.tools import Tools

if TYPE_CHECKING:
    from mmreflect.rl.trainer import ReflectGRPOTrainer


def log_round(
    trainer: "ReflectGRPOTrainer", groups: Sequence[Group], rows: Sequence[Row], tools: Tools, before: GradingStats
) -> None:
    """Add one round to the trainer's running means and to TRL's completion table.

    Args:
        rows: all rows of the round, before the selection.
        before: what had been graded when it began: this process may have graded for others.
    """
    metrics = trainer._metrics["train"]
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    for name, value in (_lengths(rollouts) | _rewards(groups) | _ledger(groups) | _facts(rollouts)).items():
        metrics[name].append(value)
    for name, values in tools.metrics.items():
        metrics[name].extend(values)
    after = grading_stats()
    metrics["reward/verify_timeouts"].append(float(after.timeouts - before.timeouts))
    metrics["reward/verify_errors"].append(float(after.errors - before.errors))
    spoken = sum(len(rollout.prompt_ids) + len(rollout.token_ids) for rollout in rollouts)
    trainer.state.num_input_tokens_seen += spoken
    metrics["num_tokens"] = [trainer.state.num_input_tokens_seen]
    _complete_table(trainer, groups, rows)


def _lengths(rollouts: Sequence[Rollout]) -> dict[str, float]:
    lengths = np.array([len(rollout.token_ids) for rollout in rollouts])
    ended = np.array([rollout.stop is Stop.EOS for rollout in rollouts])
    terminated = lengths[ended] if ended.any() else np.zeros(1)
    values: dict[str, float] = {"completions/clipped_ratio": float(1 - ended.mean())}
    for name, array in (("", lengths), ("terminated_", terminated)):
        values[f"completions/mean_{name}length"] = float(array.mean())
        values[f"completions/min_{name}length"] = float(array.min())
        values[f"completions/max_{name}length"] = float(array.max())
    return values


def _facts(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Return the mean of every number that the environment found out, over the rollouts that have it."""
    found: dict[str, list[float]] = {}
    for rollout in rollouts:
        for name, value in rollout.facts.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                found.setdefault(name, []).append(float(value))
    return {f"facts/{name}": _mean(values) for name, values in found.items()}


def _rewards(groups: Sequence[Group]) -> dict[str, float]:
    """Return mean and deviation of every part and the total; what could not be graded is counted, not averaged in."""
    scores = [rollout.score for group in groups for rollout in group.rollouts if rollout.score is not None]
    values: dict[str, float] = {}
    names = list(dict.fromkeys(name for score in scores for name in score.parts))
    for name in names:
        found = [score.parts[name].value for score in scores if name in score.parts]
        graded = [value for value in found if value is not None]
        values[f"rewards/{name}/mean"] = _mean(graded)
        values[f"rewards/{name}/std"] = _std(graded)
    totals = [score.value for score in scores if score.value is not None]
    flat = [_spread(group) <= 1e-6 for group in groups]
    values |= {
        "reward": _mean(totals),
        "reward_std": _std(totals),
        "frac_reward_zero_std": _mean([float(item) for item in flat]),
    }
    values["rewards/ungraded_share"] = 1 - len(totals) / len(scores) if scores else 0.0
    return values


def _spread(group: Group) -> float:
    totals = [rollout.score.value for rollout in group.rollouts if rollout.score and rollout.score.value is not None]
    return max(totals) - min(totals) if totals else 0.0


def _ledger(groups: Sequence[Group]) -> dict[str, float]:
    entries = [
        entry(rollout.text, group.sample.gold, len(rollout.token_ids), spec=spec_of(group.sample.facts))
        for group in groups
        for rollout in group.rollouts
    ]
    graded = [item for item in entries if item.first_correct is not None and item.final_correct is not None]
    return {
        "ledger/first_accuracy": _mean([float(bool(item.first_correct)) for item in graded]),
        "ledger/final_accuracy": _mean([float(bool(item.final_correct)) for item in graded]),
        "ledger/fixed": _mean([float(item.fixed) for item in graded]),
        "ledger/harmed": _mean([float(item.harmed) for item in graded]),
        "ledger/corrective": _mean([float(item.corrective) for item in graded]),
    }


def _complete_table(trainer: "ReflectGRPOTrainer", groups: Sequence[Group], rows: Sequence[Row]) -> None:
    logs: Any = trainer._logs
    scores = [rollout.score for group in groups for rollout in group.rollouts if rollout.score]
    names = list(dict.fromkeys([*logs["rewards"], *(name for score in scores for name in score.parts)]))
    for name in names:
        logs["rewards"][name].extend([float("nan")] * (len(logs["completion"]) - len(logs["rewards"][name])))
    for group in groups:
        for rollout in group.rollouts:
            logs["prompt"].append([{"role": "user", "content": group.sample.question}])
            logs["completion"].append([{"role": "assistant", "content": rollout.text}])
            parts = rollout.score.parts if rollout.score else {}
            for name in names:  # a column each, of equal length: samples of another task have other parts
                value = parts[name].value if name in parts else None
                logs["rewards"][name].append(float("nan") if value is None else value)
    logs["advantages"].extend(
        float(row.advantages_T[np.abs(row.advantages_T).argmax()]) if len(row.advantages_T) else 0.0 for row in rows
    )


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else 0.0


def _std(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
