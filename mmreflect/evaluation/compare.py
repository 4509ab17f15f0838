"""Two results side by side, question by question; ranked only when they kept the same contract.

mmreflect eval compare outputs/eval-sft outputs/eval-grpo
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmreflect import console
from mmreflect.config import settings_of
from mmreflect.errors import UserError
from mmreflect.evaluation.contract import differences
from mmreflect.evaluation.runner import ledger_of
from mmreflect.evaluation.scoring import cluster_of
from mmreflect.files import read_json, read_jsonl, write_json
from mmreflect.reflection.ledger import Ledger
from mmreflect.statistics import Difference, Rate, paired

KEYS = ("anyway", "output", "cluster")


@dataclass(frozen=True, slots=True)
class Result:
    """A finished evaluation.

    Attributes:
        records: the answers to each question, in the order of their draws.
        values: what each question is worth: the mean over its answers; None where one of them could not be graded.
        contract: the terms it kept; None in results of older versions.
        clusters: what each question shares with others by its benchmark's own fields; None where they share nothing.
    """

    path: Path
    records: dict[str, list[dict[str, Any]]]
    values: dict[str, float | None]
    contract: dict[str, Any] | None
    clusters: dict[str, str] | None = None


def read_result(folder: str) -> Result:
    """Read the folder of a finished evaluation.

    Raises:
        UserError: it holds none, or one that is not finished.
    """
    path = Path(folder)
    samples, result = path / "samples.jsonl", path / "result.json"
    if not samples.is_file():
        raise UserError(f"{folder} holds no answers", "the output folder of mmreflect eval", "check the path")
    if not result.is_file():
        raise UserError(f"the evaluation in {folder} is not finished", "a finished one", "start it again; it goes on")
    records: dict[str, list[dict[str, Any]]] = {}
    for row in read_jsonl(samples):
        records.setdefault(str(row["id"]), []).append(row)
    scored = path / "scored.jsonl"
    verdicts: dict[str, list[float | None]] = {}
    for row in read_jsonl(scored if scored.is_file() else samples):
        verdicts.setdefault(str(row["id"]), []).append(value_of(row))
    values = {name: _mean(verdicts.get(name, []), len(rows)) for name, rows in records.items()}
    found = read_json(result)
    clusters = None
    if found.get("cluster") and scored.is_file():
        clusters = {str(row["id"]): cluster_of(found["cluster"], row) for row in read_jsonl(scored)}
    return Result(path, records, values, found.get("contract"), clusters)


def _mean(values: Sequence[float | None], expected: int) -> float | None:
    """Return the mean of all answers to a question; None where one has no verdict, or was not even asked for."""
    graded = [value for value in values if value is not None]
    return sum(graded) / expected if len(graded) == expected else None


def compare(left: str, right: str, settings: Sequence[str]) -> dict[str, Any]:
    """Compare two evaluations and print the table.

    Args:
        settings: `anyway=true` ranks results of different contracts; `cluster=KEY`: the fact that questions share
            (`video`, `problem_index`), for the intervals (a benchmark knows its own); `output=FILE`: written.

    Raises:
        UserError: a result is missing, none of the questions is in both, or the contracts differ: the terms are named.
    """
    given = settings_of(settings, KEYS)
    if given.get("anyway", "true") not in ("true", "false"):
        raise UserError(f"anyway={given['anyway']}", "true or false", "correct it")
    first, second = read_result(left), read_result(right)
    differing = _differing(first, second)
    if differing and given.get("anyway") != "true":
        shown = "".join(f"\n    {item}" for item in differing)
        raise UserError(
            f"{left} and {right} were not made under the same contract:{shown}",
            "results that differ in the model alone",
            "evaluate both in the same way, or rank them all the same with anyway=true",
        )
    shared = [name for name in first.records if name in second.records]
    if not shared:
        raise UserError(
            f"{left} and {right} share no question", "two evaluations of the same questions", "check the two paths"
        )
    clusters = _clusters(first, shared, given.get("cluster"))
    values = [[item.values[name] for name in shared] for item in (first, second)]
    known = [place for place in range(len(shared)) if None not in (values[0][place], values[1][place])]
    before, after = ([float(side[place] or 0.0) for place in known] for side in values)
    difference = paired(before, after, clusters=None if clusters is None else [clusters[place] for place in known])
    ledgers = [_ledger(item, shared, clusters) for item in (first, second)]
    found = {
        "left": left,
        "right": right,
        "shared": len(shared),
        "only_left": len(first.records) - len(shared),
        "only_right": len(second.records) - len(shared),
        "not_graded": len(shared) - len(known),
        "contract_differences": differing,
        "difference": asdict(difference),
        "changed": {
            "better": [shared[place] for place, one, two in zip(known, before, after, strict=True) if two > one],
            "worse": [shared[place] for place, one, two in zip(known, before, after, strict=True) if two < one],
        },
        "ledgers": [item.to_json() if item else None for item in ledgers],
    }
    _show(left, right, difference, ledgers, found)
    if "output" in given:
        write_json(Path(given["output"]), found)
    return found


def _differing(one: Result, two: Result) -> list[str]:
    if one.contract is None or two.contract is None:
        older = [str(item.path) for item in (one, two) if item.contract is None]
        return [f"no contract was recorded in {' and '.join(older)}"]
    return differences(one.contract, two.contract)


def value_of(record: dict[str, Any]) -> float | None:
    """Return what an answer is worth: its benchmark's score or verdict, or the verifier's; None: not graded."""
    key = next((name for name in ("score", "correct") if name in record), "final_correct")
    value = record.get(key)
    return None if value is None else float(value)


def _clusters(result: Result, shared: Sequence[str], key: str | None) -> list[str] | None:
    """Return what the questions share: a fact of theirs that was named, else their benchmark's own fields."""
    if key is not None:
        return [_cluster(result.records[name][0], key) for name in shared]
    return None if result.clusters is None else [result.clusters.get(name, name) for name in shared]


def _cluster(record: dict[str, Any], key: str) -> str:
    facts = record.get("sample_facts") or {}
    if key not in facts:
        raise UserError(f"question {record['id']!r} has no fact {key!r}", f"one of: {', '.join(facts)}", "name another")
    return str(facts[key])


def _ledger(result: Result, shared: Sequence[str], clusters: Sequence[str] | None) -> Ledger | None:
    """Return the ledger of the shared questions; None where the records have no first and final answers."""
    chosen = [(record, place) for place, name in enumerate(shared) for record in result.records[name]]
    if any("first_correct" not in record for record, _ in chosen):
        return None
    return ledger_of(
        [record for record, _ in chosen], clusters=[clusters[place] for _, place in chosen] if clusters else None
    )


def _show(left: str, right: str, found: Difference, ledgers: Sequence[Ledger | None], whole: dict[str, Any]) -> None:
    rows = [("score", _percent(found.a), _percent(found.b), _interval(found.gain))]
    if ledgers[0] and ledgers[1]:
        for name in ("first_accuracy", "final_accuracy", "gain", "fix_rate", "harm_rate", "reflected"):
            one, two = (getattr(item, name).value for item in ledgers)
            change = None if one is None or two is None else two - one
            rows.append((name.replace("_", " "), _percent(one), _percent(two), _percent(change)))
    console.show_table(f"{found.n:,} questions that both answered", ("", left, right, "difference"), rows)
    console.say(f"{right} is better on {found.wins:,} and worse on {found.losses:,}; sign test p = {found.p_value:.2g}")
    for item in whole["contract_differences"]:
        console.say(f"[yellow]ranked all the same[/] although {item}")
    for name in ("only_left", "only_right", "not_graded"):
        if whole[name]:
            console.say(f"[yellow]{whole[name]:,} left out[/]: {name.replace('_', ' ')}")


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _interval(rate: Rate) -> str:
    if rate.value is None or rate.low is None or rate.high is None:
        return "-"
    return f"{100 * rate.value:+.1f} ({100 * rate.low:+.1f} to {100 * rate.high:+.1f})"
