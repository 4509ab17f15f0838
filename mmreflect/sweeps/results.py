"""What the evaluations of a sweep found, in the few numbers that a user picks by."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmreflect import console
from mmreflect.console import escape
from mmreflect.evaluation.compare import read_result
from mmreflect.evaluation.ranking import leading
from mmreflect.statistics import mean, paired

RATES = ("first_accuracy", "final_accuracy", "gain", "reflected")


def measured(folder: Path, result: dict[str, Any], seed: int, against: Path | None) -> dict[str, Any]:
    """Return the numbers of one finished evaluation.

    Args:
        folder: of the evaluation; `result`: what it found.
        against: the same evaluation of the VLM alone; None where this is that one, or it could not be finished.

    Returns:
        `main`: name, value and interval of the benchmark's first score, else of final accuracy; `n` answers; first and
        final accuracy, gain and reflection rate of the ledger; `length`: mean tokens of a response; `against`: how much
        better than the VLM alone, question by question. Every one with its 95 % interval; None: nothing was graded.
    """
    known = read_result(str(folder))
    ledger = result["ledger"]
    scores: dict[str, Any] = result.get("scores") or {"final accuracy": ledger["final_accuracy"]}
    name, main = next(iter(scores.items()))
    rows = [row for item in known.records.values() for row in item]
    names = [str(row["id"]) for row in rows]
    shared = [(known.clusters or {}).get(name, name) for name in names]
    length = mean([float(row["tokens"]) for row in rows], seed, shared)
    return {
        "main": {"name": name.replace("_", " "), **{key: main[key] for key in ("value", "low", "high")}},
        "n": len(rows),
        **{key: ledger[key] for key in RATES},
        "length": asdict(length),
        "truncated": sum(row["stop"] in ("length", "budget") for row in rows),
        "against": _against(against, known.values, known.clusters),
    }


def _against(folder: Path | None, values: Mapping[str, float | None], clusters: Mapping[str, str] | None) -> Any:
    if folder is None:
        return None
    before = read_result(str(folder)).values
    both = [name for name in values if values[name] is not None and before.get(name) is not None]
    one, two = ([float(side[name] or 0.0) for name in both] for side in (before, values))
    shared = [clusters.get(name, name) for name in both] if clusters else None
    return asdict(paired(one, two, clusters=shared)) if both else None


def leaders(finished: Mapping[str, dict[str, Any]]) -> list[str]:
    """Return the settings with the highest main number of the first evaluation, all of the equals; none: no number."""
    return leading(
        {label: next(iter(item["evaluations"].values()))["main"]["value"] for label, item in finished.items()}
    )


def show(
    references: Mapping[str, Any], settings: Mapping[str, Any], best: Sequence[str], failed: Sequence[str]
) -> None:
    """Print a table for every evaluation: the models that were merged, then the settings, the leading ones starred."""
    everything = [*((f"{label} alone", item) for label, item in references.items()), *settings.items()]
    names = list(dict.fromkeys(name for _, item in everything for name in item["evaluations"]))
    header = ("", "main number", "against the VLM", "first", "final", "reflected", "tokens", "n")
    for name in names:
        rows = [
            _row(label, item["evaluations"][name], best) for label, item in everything if name in item["evaluations"]
        ]
        main = next(item["evaluations"][name]["main"]["name"] for _, item in everything if name in item["evaluations"])
        console.show_table(f"{name}: {main}, with 95 % intervals", header, rows)
    if len(best) > 1:
        console.say(f"[yellow]{escape(', '.join(best))}[/] have the same main number in {names[0]}: it does not choose")
    for label in failed:
        console.say(f"[yellow]{label} has no numbers[/]: it could not be finished")


def _row(label: str, found: dict[str, Any], best: Sequence[str]) -> list[str]:
    main, against = found["main"], found["against"]
    whole = "-" if main["value"] is None else f"{main['value']:.4g} ({main['low']:.4g} to {main['high']:.4g})"
    change = "-" if not against else f"{100 * against['gain']['value']:+.1f}{_between(against['gain'])}"
    rates = [_percent(found[key]["value"]) for key in ("first_accuracy", "final_accuracy", "reflected")]
    length = found["length"]["value"]
    shown = f"{label} *" if label in best else label
    return [shown, whole, change, *rates, "-" if length is None else f"{length:.1f}", f"{found['n']:,}"]


def _between(rate: Mapping[str, float]) -> str:
    return f" ({100 * rate['low']:+.1f} to {100 * rate['high']:+.1f})"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"
