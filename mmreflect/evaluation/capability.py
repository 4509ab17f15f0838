"""Accuracy against capability: what a model gets right in one try, and what in the best of k (Cap_k)."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from typing import Any

from mmreflect import console
from mmreflect.statistics import capability


def pass_at_k_of(
    verdicts: Iterable[tuple[str, bool | None]],
    n: int,
    seed: int = 0,
    clusters: Mapping[str, Hashable] | None = None,
) -> dict[str, Any]:
    """Return pass@k for k = 1, 2, 4, .. and n, unbiased and averaged over the questions (arXiv 2505.14216).

    Args:
        verdicts: question and whether one of its `n` answers is right; None: it could not be graded.
        clusters: what each question shares with others.

    Returns:
        `k` to its rate with interval, how many `questions` were counted, and how many were `left_out` because not all
        of their answers have a verdict.
    """
    answers: defaultdict[str, list[bool | None]] = defaultdict(list)
    for name, verdict in verdicts:
        answers[name].append(verdict)
    whole = [name for name, given in answers.items() if len(given) == n and None not in given]
    right = [sum(bool(verdict) for verdict in answers[name]) for name in whole]
    shared = [clusters[name] for name in whole] if clusters is not None else None
    ks = sorted({k for k in (1 << power for power in range(n.bit_length())) if k <= n} | {n})
    rates = {str(k): capability(n, right, k, seed, shared) for k in ks}
    return {
        "k": {k: {"value": item.value, "low": item.low, "high": item.high} for k, item in rates.items()},
        "questions": len(whole),
        "left_out": len(answers) - len(whole),
    }


def show_pass_at_k(found: Mapping[str, Any]) -> None:
    """Print pass@k in percent with its intervals."""
    lines = [(f"pass@{k}", _percent(item)) for k, item in found["k"].items()]
    console.show_table(f"{found['questions']:,} questions", ("", "with its 95 % interval"), lines)
    if found["left_out"]:
        console.say(f"[yellow]{console.count(found['left_out'], 'question')} left out of pass@k[/]: not all graded")


def _percent(item: Mapping[str, float | None]) -> str:
    if item["value"] is None:
        return "-"
    return f"{100 * item['value']:.1f} % ({100 * (item['low'] or 0.0):.1f} to {100 * (item['high'] or 0.0):.1f})"
