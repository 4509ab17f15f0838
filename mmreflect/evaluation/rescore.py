"""Scoring recorded responses by a benchmark's own rule, without a model and without pictures.

    mmreflect eval rescore mathvista responses=FILE.jsonl output=OUT.jsonl [rule=official] [fallback=random seed=0]

Every row comes back in order with `prediction` and `correct` (or `score`) added, and OUT.summary.json holds the
breakdown in the layout of the official score file, with what was counted on the way under `rescore`.
"""

import json
import math
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mmreflect import console
from mmreflect.config import settings_of
from mmreflect.data.store import read_rows
from mmreflect.errors import UserError, nearest, unknown_name
from mmreflect.evaluation.benchmark import (
    BadField,
    Benchmark,
    MissingField,
    Reading,
    Response,
    Row,
    Rule,
    Scored,
)
from mmreflect.evaluation.rules.reduction import final_text
from mmreflect.evaluation.rules.tables import MISSING, field_of
from mmreflect.files import write_json, write_jsonl

KEYS = ("responses", "output", "rule", "fallback", "seed")
FALLBACKS = ("wrong", "random")
ABSENT = object()
_SHOWN = 12


@dataclass(slots=True)
class Counts:
    """What became of the rows, beside their scores."""

    rows: int = 0
    scored: int = 0
    empty: int = 0
    unparsed: int = 0
    reduced: int = 0
    random_fallbacks: int = 0
    without_key: int = 0
    ungraded: int = 0
    verdicts_taken_over: int = 0
    rows_without_id: int = 0
    approximate: int = 0
    how: Counter[str] = field(default_factory=Counter)
    overwritten: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Settings:
    """A re-scoring: the rule's name, and what stands in where nothing was found and the official code would guess."""

    rule: str = "official"
    fallback: str = "wrong"
    seed: int = 0


def rescore_file(benchmark: Benchmark, words: Sequence[str]) -> dict[str, Any]:
    """Score a file of responses, write the rows and the summary, print the main numbers, and return the summary.

    Raises:
        UserError: a setting, the file, or a row of it is unusable; nothing is written then.
    """
    given = settings_of(words, KEYS, ("responses", "output"))
    settings = _settings(benchmark, given)
    source, output = Path(given["responses"]), Path(given["output"])
    if output.is_dir():
        raise UserError(f"output={output} is a folder", "a file", "name a file in it, such as scored.jsonl")
    rows = read_responses(source)
    written, summary = rescore(benchmark, rows, settings, str(source))
    write_jsonl(output, written)
    target = output.with_name(f"{output.name.removesuffix('.jsonl')}.summary.json")
    write_json(target, summary)
    _show(benchmark, summary)
    console.say(f"written: {output}, {target}")
    return summary


def _settings(benchmark: Benchmark, given: dict[str, str]) -> Settings:
    rule, fallback, seed = given.get("rule", "official"), given.get("fallback", "wrong"), given.get("seed", "0")
    if rule not in benchmark.rules:
        raise unknown_name(f"rule of {benchmark.name}", rule, list(benchmark.rules))
    if fallback not in FALLBACKS:
        raise unknown_name("fallback", fallback, FALLBACKS)
    if not seed.lstrip("-").isdecimal():
        raise UserError(f"seed={seed}", "a whole number", "correct it")
    if "seed" in given and fallback != "random":
        raise UserError(
            f"seed={seed} without fallback=random", "a seed draws random fallbacks", "remove one or add the other"
        )
    return Settings(rule, fallback, int(seed))


def read_responses(path: Path) -> list[Row]:
    """Read the rows of a JSONL file, or of a JSON file that holds a list of rows or a mapping from id to row.

    Raises:
        UserError: it is missing, holds no rows, or is not of that form.
    """
    if path.suffix == ".json" and path.is_file():
        try:
            tree = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"{path}: not JSON ({error})", "a list of rows, or a mapping from id to row") from None
        if isinstance(tree, dict):
            tree = [{"id": name, **row} if isinstance(row, dict) else row for name, row in tree.items()]
        if not isinstance(tree, list) or not all(isinstance(row, dict) for row in tree):
            raise UserError(f"{path} holds something else", "a list of rows, or a mapping from id to row", "correct it")
        rows = [Row(row) for row in tree]
    else:
        rows = [Row(row) for row in read_rows(path)]
    if not rows:
        raise UserError(f"{path} has no rows", "one recorded response a line", "check the path")
    return rows


def rescore(
    benchmark: Benchmark, rows: Sequence[Row], settings: Settings, source: str = "responses"
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Score rows and return them with what is added, and the summary.

    Args:
        source: what the rows came from, for messages.

    Raises:
        UserError: two rows have one id, or a row lacks what is needed; the row is named.
    """
    counts = Counts(rows=len(rows))
    names = _check_ids(benchmark, rows, source, counts)
    keyed = _keys(benchmark, rows, source)
    rule = benchmark.rules[settings.rule]
    written, scored = [], []
    for place, row in enumerate(rows):
        try:
            reading, added = _score(benchmark, rule, row, names[place], settings, counts)
        except MissingField as error:
            raise _missing(error, row, f"{source}, {names[place]}", benchmark) from None
        except BadField as error:
            where = f"{source}, {names[place]}"
            raise UserError(f"{where}: {error}", f"a row of {benchmark.name}", "correct the row") from None
        if not keyed[place]:
            reading = replace(reading, correct=None, score=None)
        counts.without_key += not keyed[place]
        counts.ungraded += keyed[place] and reading.correct is None and reading.score is None
        if keyed[place] and not (reading.correct is None and reading.score is None):
            scored.append(Scored(row, reading))
        added = {**reading.extra, **added, **_verdict(benchmark, reading)}
        counts.overwritten.update(key for key, value in added.items() if key in row and row[key] != value)
        written.append({**row, **added})
    counts.scored = len(scored)
    layout = benchmark.breakdown(scored) if scored else {}
    return written, {**layout, "rescore": _account(benchmark, settings, counts, scored)}


def _verdict(benchmark: Benchmark, reading: Reading) -> dict[str, Any]:
    made: dict[str, Any] = {"prediction": reading.prediction}
    if reading.score is None or reading.correct is not None:
        made["correct"] = reading.correct
    if reading.score is not None:
        made["score"] = reading.score
    return made


def _check_ids(benchmark: Benchmark, rows: Sequence[Row], source: str, counts: Counts) -> list[str]:
    """Return a name for every row, its id or its line.

    Raises:
        UserError: an id stands twice.
    """
    names, seen = [], dict[str, int]()
    for place, row in enumerate(rows):
        key = next((key for key in benchmark.recorded.id if row.get(key) is not None), None)
        if key is None:
            counts.rows_without_id += 1
            names.append(f"row {place + 1}")
            continue
        name = str(row[key])
        if name in seen:
            raise UserError(
                f"{source}: {key} {name!r} stands twice (rows {seen[name] + 1} and {place + 1})",
                "each id once",
                "remove one of the two, or give the rows of several runs an 'id' of their own",
            )
        seen[name] = place
        names.append(f"{key} {name!r}")
    return names


def _keys(benchmark: Benchmark, rows: Sequence[Row], source: str) -> list[bool]:
    """Tell for each row whether its reference is known; a file without any reference is read, and not scored.

    Raises:
        UserError: some rows have a field for it and others have none.
    """
    recorded = benchmark.recorded
    fields = [next((key for key in recorded.key if key in row), None) for row in rows]
    verdicts = [any(key in row for key in recorded.verdict) and _given(benchmark, row) is ABSENT for row in rows]
    known = [place for place, key in enumerate(fields) if key is not None]
    for place, key in enumerate(fields):
        if known and key is None and not verdicts[place]:
            raise UserError(
                f"{source}, row {place + 1}: no {recorded.key[0]!r}, which row {known[0] + 1} has",
                f"{' or '.join(recorded.key)} in every row, or in none",
                "add it, or set it to null where the reference is not known",
            )
    return [
        verdicts[place]
        or (
            key is not None
            and not any(rows[place][key] is item or rows[place][key] == item for item in recorded.hidden)
        )
        for place, key in enumerate(fields)
    ]


def _given(benchmark: Benchmark, row: Row) -> Any:
    """Return the recorded response, or the extraction that stands in for it; ABSENT where a row has neither."""
    for key in (*benchmark.recorded.response, *benchmark.recorded.extraction):
        if key in row:
            return row[key]
    return ABSENT


def response_of(benchmark: Benchmark, row: Row) -> Response:
    """Return a row's response; one that is no text is none, and a missing one is empty where there is an extraction."""
    given = next((row[key] for key in benchmark.recorded.response if key in row), None)
    whole = given if isinstance(given, str) else "" if given is None else str(given)
    return Response(given, whole, final_text(whole))


def _score(
    benchmark: Benchmark, rule: Rule, row: Row, name: str, settings: Settings, counts: Counts
) -> tuple[Reading, dict[str, Any]]:
    """Score a row; returns its reading and the further fields that it gets."""
    recorded = benchmark.recorded
    if _given(benchmark, row) is ABSENT:
        verdict = next((row[key] for key in recorded.verdict if key in row), ABSENT)
        if verdict is ABSENT:
            raise MissingField(*recorded.response, *recorded.extraction)
        counts.verdicts_taken_over += 1
        if isinstance(verdict, bool) or verdict is None:
            return Reading(row.get("prediction"), verdict), {}
        if isinstance(verdict, int | float) and math.isfinite(verdict):
            return Reading(row.get("prediction"), score=float(verdict)), {}
        raise BadField(f"the recorded verdict is {verdict!r}, neither true, false nor a number")
    response = response_of(benchmark, row)
    reading = rule(row, response)
    counts.empty += not response.final.strip() and not any(row.get(key) for key in recorded.extraction)
    counts.unparsed += not reading.parsed
    counts.approximate += reading.approximate
    counts.how.update([reading.how] if reading.how else [])
    added: dict[str, Any] = {}
    if response.final != response.whole:
        counts.reduced += 1
        added = {"response": response.whole, "final_answer": response.final}
    if reading.guesses:
        counts.random_fallbacks += 1
        added["random_fallback"] = True
        if settings.fallback == "random":
            guess = random.Random(f"{settings.seed} {name}").choice(reading.guesses)
            reading = replace(
                reading, prediction=guess, correct=None if reading.gold is None else guess == reading.gold
            )
    return reading, added


def _missing(error: MissingField, row: Row, where: str, benchmark: Benchmark) -> UserError:
    wanted = error.names[0]
    close = nearest(wanted, list(row))
    others = f" (nor {', '.join(map(repr, error.names[1:]))})" if len(error.names) > 1 else ""
    return UserError(
        f"{where}: no {wanted!r}{others}",
        f"the fields of {benchmark.name}'s own release or result files",
        f"did you mean {wanted!r} where it says {close!r}?" if close else f"add it; the row has {', '.join(row)}",
    )


def _account(benchmark: Benchmark, settings: Settings, counts: Counts, scored: Sequence[Scored]) -> dict[str, Any]:
    """Return what the summary says beside the breakdown."""
    lacking = {
        path: number
        for path in benchmark.facets
        if (number := sum(field_of(item.row, path) in (MISSING, None) for item in scored))
    }
    return {
        "benchmark": benchmark.name,
        "rule": settings.rule,
        "label": benchmark.approximate if counts.approximate else "",
        "approximate": counts.approximate,
        "rows": counts.rows,
        "scored": counts.scored,
        "empty": counts.empty,
        "unparsed": counts.unparsed,
        "reduced_to_final_answer": counts.reduced,
        "random_fallbacks": counts.random_fallbacks,
        "fallback": settings.fallback,
        "seed": settings.seed if settings.fallback == "random" else None,
        "without_key": counts.without_key,
        "ungraded": counts.ungraded,
        "verdicts_taken_over": counts.verdicts_taken_over,
        "rows_without_id": counts.rows_without_id,
        "answers_from": dict(counts.how),
        "overwritten": dict(counts.overwritten),
        "rows_without_facet": lacking,
    }


def _show(benchmark: Benchmark, summary: dict[str, Any]) -> None:
    account = summary["rescore"]
    rows = console.count(account["rows"], "row")
    console.say(f"{benchmark.name}, rule {account['rule']}: {account['scored']:,} of {rows} scored")
    if account["label"]:
        console.say(f"[yellow]approximate[/]: {account['label']}")
    console.show_table("scores", ("", "value"), list(_numbers(summary))[:_SHOWN])
    for name in (
        "empty",
        "unparsed",
        "random_fallbacks",
        "without_key",
        "ungraded",
        "verdicts_taken_over",
        "rows_without_id",
    ):
        if account[name]:
            console.say(f"[yellow]{account[name]:,}[/] {name.replace('_', ' ')}")
    if account["random_fallbacks"]:
        console.say(f"where the official code guesses: {account['fallback']}")
    for key, number in account["overwritten"].items():
        console.say(f"[yellow]{console.count(number, 'row')}[/] held another {key!r} before")


def _numbers(tree: dict[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Yield the numbers of a summary with the names that lead to them, in its order."""
    for name, value in tree.items():
        label = f"{above} {name}".strip()
        if isinstance(value, dict) and label != "rescore":
            yield from _numbers(value, label)
        elif isinstance(value, int | float | str):
            yield label.replace("[", "\\["), value if isinstance(value, str) else f"{value:g}"


__all__ = ["FALLBACKS", "Settings", "read_responses", "rescore", "rescore_file"]
