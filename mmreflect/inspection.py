"""Looking before a run is paid for: the token guard over a config's data, and its rewards over a file of rollouts."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmreflect import console
from mmreflect.answers.files import grade_file
from mmreflect.data.store import read_rows
from mmreflect.errors import UserError, unknown_name
from mmreflect.files import write_jsonl
from mmreflect.launch import prepare
from mmreflect.records import Group, Reply, Rollout, Sample, Stop
from mmreflect.rollouts.scoring import scorer

SHOWN = 40
"""Rollouts printed; all of them are in the output file."""


def check(config: str, overrides: Sequence[str]) -> None:
    """Render every sample of a training config through the real processor, and print what was found.

    Raises:
        UserError: more samples are bad than `data.tolerate` allows; the first are named.
    """
    job = prepare("train", config, overrides)
    console.show_plan(job.plan())
    report = job.recipe.check(job.config)
    summary = report.summary()
    for name in ("prompt_tokens", "whole_tokens", "visual_tokens"):
        _show_spread(name.replace("_", " "), summary[name])
    for item in report.bad:
        console.say(f"[yellow]bad[/] {item.id}: {item.reason}")
    share = len(report.bad) / max(1, len(report.bad) + summary["samples"])
    if share > job.config.data.tolerate:
        raise UserError(
            f"{len(report.bad)} samples are bad ({share:.1%})",
            f"at most {job.config.data.tolerate:.1%} (data.tolerate)",
            "repair or remove the samples listed above, or raise the limit that they break",
        )
    good = console.count(summary["samples"], "sound sample")
    console.say(f"{good}, {summary['bad']} bad; placeholder tokens and visual features agree in every sound one")


def _show_spread(name: str, spread: dict[str, Any]) -> None:
    if not spread:
        return
    console.say(f"\n[bold]{name}[/]: least {spread['least']:,}, median {spread['median']:,}, most {spread['most']:,}")
    largest = max(spread["histogram"].values())
    for label, count in spread["histogram"].items():
        console.say(f"  {label:>13} {count:>8,} {'#' * max(1, round(40 * count / largest))}")


def score(config: str, overrides: Sequence[str]) -> None:
    """Score a file of rollouts with the rewards of a training config; print every part and reason.

    The rows need `text` and `answer` (or `gold`); `sample_id` groups them; `stop`, `question`, `facts` (of the
    question), `rollout_facts` and `probes` (name to reply) are used where they are given. In the records of an
    evaluation the question's facts are `sample_facts`, and `facts` are the rollout's. Each row is written in order with
    `value`, `parsed_answer`, `parsed_gold`, `reason` and `parts` added.

    Raises:
        UserError: the file is missing, a row misses a key, or a reward is wrong.
    """
    paths, rest = _take(overrides, ("rollouts", "output"))
    job = prepare("train", config, rest)
    if not hasattr(job.config, "rewards"):
        raise UserError(f"{config} has no 'rewards'", "the configuration of a GRPO run", "choose another file")
    rows = list(read_rows(Path(paths["rollouts"])))
    groups, places = _groups(rows, paths["rollouts"])
    judge = scorer(job.config.rewards)
    judge(groups)
    scored = {
        place: rollout for group in groups for rollout, place in zip(group.rollouts, places[group.id], strict=True)
    }
    written = [_with_score(row, scored[place]) for place, row in enumerate(rows)]
    write_jsonl(Path(paths["output"]), written)
    _show_scores(written)
    for reason, count in judge.failures.items():
        console.say(f"[yellow]{console.count(count, 'rollout')} could not be graded[/]: {reason}")
    console.say(f"{console.count(len(written), 'rollout')} scored: {paths['output']}")


def grade(file: str, overrides: Sequence[str]) -> None:
    """Grade a file of answers and write it with verdict, score, parsed answer and gold, and reason.

    Raises:
        UserError: the file is missing, a row misses a key, or names an unknown answer type.
    """
    paths, rest = _take(overrides, ("output",))
    if rest:
        raise UserError(f"cannot use {rest[0]!r} here", "output=OUT.jsonl", "remove it")
    grade_file(file, paths["output"])


def _take(overrides: Sequence[str], names: tuple[str, ...]) -> tuple[dict[str, str], list[str]]:
    given = dict(item.split("=", 1) for item in overrides if item.split("=", 1)[0] in names and "=" in item)
    missing = [name for name in names if not given.get(name)]
    if missing:
        raise UserError(
            f"missing: {', '.join(f'{name}=FILE' for name in missing)}", " ".join(f"{name}=FILE" for name in names)
        )
    return given, [item for item in overrides if item.split("=", 1)[0] not in names]


def _groups(rows: Iterable[dict[str, Any]], source: str) -> tuple[list[Group], dict[str, list[int]]]:
    """Gather the rows of a sample into its group, in order of first appearance."""
    groups: dict[str, Group] = {}
    places: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        gold = row.get("answer", row.get("gold"))
        if "text" not in row or gold is None:
            raise UserError(
                f"{source}, line {place + 1}: no 'text' or no 'answer'", "text, answer, sample_id", "add it"
            )
        where = f"{source}, line {place + 1}"
        if not isinstance(row["text"], str):
            raise UserError(f"{where}: text is {row['text']!r}", "a text", "fix the row")
        if row.get("stop", "eos") not in tuple(Stop):
            raise unknown_name(f"stop ({where})", str(row["stop"]), list(Stop))
        if not isinstance(row.get("tokens", 0), int):
            raise UserError(f"{where}: tokens is {row['tokens']!r}", "a whole number", "fix the row")
        name = str(row.get("sample_id", row.get("id", place)))
        question = [{"role": "user", "content": str(row.get("question", ""))}]
        recorded = "sample_facts" in row
        known = _mapping(row, "sample_facts" if recorded else "facts", where)
        sample = Sample(name, question, gold=str(gold), facts=known)
        group = groups.setdefault(name, Group(name, sample, []))
        if group.sample.gold != sample.gold:
            given = f"{where}: sample {name!r} has the answers {group.sample.gold!r} and {sample.gold!r}"
            raise UserError(given, "one answer per sample_id", "give the rows ids of their own")
        tokens = list(range(int(row.get("tokens", len(str(row["text"]).split())))))
        rollout = Rollout(name, [], tokens, text=row["text"], stop=Stop(row.get("stop", "eos")))
        rollout.facts |= _mapping(row, "facts" if recorded else "rollout_facts", where)
        rollout.probes |= {key: Reply(str(said), [], Stop.EOS) for key, said in _mapping(row, "probes", where).items()}
        group.rollouts.append(rollout)
        places.setdefault(name, []).append(place)
    return list(groups.values()), places


def _mapping(row: dict[str, Any], key: str, where: str) -> dict[str, Any]:
    value = row.get(key) or {}
    if not isinstance(value, dict):
        raise UserError(f"{where}: {key} is {value!r}", "a mapping", "fix the row")
    return value


def _with_score(row: dict[str, Any], rollout: Rollout) -> dict[str, Any]:
    assert rollout.score is not None
    found = asdict(rollout.score)
    parts = {name: part["value"] for name, part in found["parts"].items()}
    return row | {
        "value": found["value"],
        "parsed_answer": found["answer"],
        "parsed_gold": found["gold"],
        "reason": found["reason"],
        "parts": parts,
    }


def _show_scores(rows: Sequence[dict[str, Any]]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row["parts"]))
    lines = []
    for place, row in enumerate(rows[:SHOWN]):
        parts = [_number(row["parts"].get(name)) for name in names]
        lines.append((str(row.get("sample_id", row.get("id", place))), _number(row["value"]), *parts, row["reason"]))
    console.show_table("Scores", ("sample", "total", *names, "reason"), lines)
    if len(rows) > SHOWN:
        console.say(f"and {len(rows) - SHOWN:,} more")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"
