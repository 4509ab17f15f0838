"""Scoring recorded responses by a benchmark's own rule, without a model and without pictures.

    mmreflect eval rescore mathvista responses=FILE.jsonl output=OUT.jsonl [rule=official] [fallback=random seed=0]
        [judge.base_url=http://localhost:8000/v1 judge.model=NAME] [release.source=FOLDER]

Every row comes back in order with `prediction` and `correct` (or `score`) added, and OUT.summary.json holds the
breakdown in the layout of the official score file, with what was counted on the way under `rescore`: the main numbers
and every group with their intervals, and what a judge was asked, where the official protocol needs one.
"""

import math
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from mmreflect import console
from mmreflect.config import apply_overrides, config, parse, settings_of
from mmreflect.errors import UserError, unknown_name
from mmreflect.evaluation.benchmark import BadField, Benchmark, MissingField, Reading, Row, Rule, Scored
from mmreflect.evaluation.intervals import intervals, rows_without_cluster
from mmreflect.evaluation.joining import join
from mmreflect.evaluation.judge import ERROR, MARK
from mmreflect.evaluation.judging import Account, judge_of, judge_rows, needs_judge
from mmreflect.evaluation.recorded import ABSENT, given, keyed, names_of, read_responses, response_of, unusable
from mmreflect.evaluation.releases import ReleaseConfig, cache_folder, open_release
from mmreflect.evaluation.rules.tables import MISSING, field_of
from mmreflect.files import write_json, write_jsonl
from mmreflect.remote.settings import ServerConfig

KEYS = ("responses", "output", "rule", "fallback", "seed")
FALLBACKS = ("wrong", "random")
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
    judged_by: Counter[str] = field(default_factory=Counter)
    judge_errors: Counter[str] = field(default_factory=Counter)
    how: Counter[str] = field(default_factory=Counter)
    overwritten: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Settings:
    """A re-scoring: the rule's name, and what stands in where nothing was found and the official code would guess."""

    rule: str = "official"
    fallback: str = "wrong"
    seed: int = 0


@config
class AskedConfig:
    """What is asked beside the rows.

    Attributes:
        judge: the server that is asked what the official protocol asks a model.
        release: the release that the responses answer, where they do not hold their questions themselves.
    """

    judge: ServerConfig | None = None
    release: ReleaseConfig | None = None


def rescore_file(benchmark: Benchmark, words: Sequence[str]) -> dict[str, Any]:
    """Score a file of responses, write the rows and the summary, print the main numbers, and return the summary.

    Raises:
        UserError: a setting, the file, or a row of it is unusable, or the judge cannot be asked; nothing is written
            then, and what the judge has answered is kept in its cache.
    """
    asking = [word for word in words if word.startswith(("judge.", "release."))]
    left = [word for word in words if word not in asking]
    chosen = settings_of(left, (*KEYS, "judge", "release"), ("responses", "output"))
    settings, asked = _settings(benchmark, chosen), _asked(benchmark, asking, chosen)
    source, output = Path(chosen["responses"]), Path(chosen["output"])
    if output.is_dir():
        raise UserError(f"output={output} is a folder", "a file", "name a file in it, such as scored.jsonl")
    rows, account, joined = read_responses(source, benchmark.name), None, None
    if asked.release is not None:
        release = open_release(benchmark, asked.release, cache=cache_folder(), max_frames=1)
        rows, joined = join(benchmark, rows, release, str(source))
    if asked.judge is not None:
        keyed(benchmark, rows, str(source))
        rows, account = judge_rows(benchmark, rows, asked.judge, rule=settings.rule, source=str(source))
    written, summary = rescore(benchmark, rows, settings, str(source), account)
    if joined is not None:
        summary["rescore"]["release"] = asdict(joined)
    write_jsonl(output, written)
    target = output.with_name(f"{output.name.removesuffix('.jsonl')}.summary.json")
    write_json(target, summary)
    show_summary(benchmark, summary)
    if joined is not None and joined.not_answered:
        console.say(
            f"[yellow]{joined.not_answered:,} of {joined.questions:,}[/] questions of {joined.where} not answered"
        )
    console.say(f"written: {output}, {target}")
    return summary


def _asked(benchmark: Benchmark, words: Sequence[str], chosen: dict[str, str]) -> AskedConfig:
    if "judge" in chosen:
        raise UserError(
            f"judge={chosen['judge']}", "the address and the model of a server",
            "write judge.base_url=http://localhost:8000/v1 judge.model=NAME",
        )  # fmt: skip
    if "release" in chosen:
        raise UserError(
            f"release={chosen['release']}", "where the release is", f"write release.source={chosen['release']}"
        )
    if any(word.startswith("judge.") for word in words):
        judge_of(benchmark, chosen.get("rule", "official"))
    return parse(AskedConfig, apply_overrides({}, words), f"eval rescore {benchmark.name}")


def _settings(benchmark: Benchmark, chosen: dict[str, str]) -> Settings:
    rule, fallback, seed = chosen.get("rule", "official"), chosen.get("fallback", "wrong"), chosen.get("seed", "0")
    if rule not in benchmark.rules:
        raise unknown_name(f"rule of {benchmark.name}", rule, list(benchmark.rules))
    if fallback not in FALLBACKS:
        raise unknown_name("fallback", fallback, FALLBACKS)
    if not seed.lstrip("-").isdecimal():
        raise UserError(f"seed={seed}", "a whole number", "correct it")
    if "seed" in chosen and fallback != "random":
        raise UserError(
            f"seed={seed} without fallback=random", "a seed draws random fallbacks", "remove one or add the other"
        )
    return Settings(rule, fallback, int(seed))


def rescore(
    benchmark: Benchmark,
    rows: Sequence[Row],
    settings: Settings,
    source: str = "responses",
    judged: Account | None = None,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Score rows and return them with what is added, and the summary.

    Args:
        source: what the rows came from, for messages.
        judged: what it took to judge these rows, where that was done now.

    Raises:
        UserError: two rows have one id, or a row lacks what is needed; the row is named.
    """
    if not benchmark.cluster and any(row.get("draw") for row in rows):
        benchmark = replace(benchmark, cluster=("id",))  # answers to one question are drawn together
    counts = Counts(rows=len(rows))
    names, counts.rows_without_id = names_of(benchmark, rows, source)
    known = keyed(benchmark, rows, source)
    rule = benchmark.rules[settings.rule]
    written, scored = [], []
    for place, row in enumerate(rows):
        try:
            reading, added = _score(benchmark, rule, row, names[place], settings, counts)
        except (MissingField, BadField) as error:
            raise unusable(error, row, f"{source}, {names[place]}", benchmark) from None
        if not known[place]:
            reading = replace(reading, correct=None, score=None)
        graded = reading.correct is not None or reading.score is not None
        counts.without_key += not known[place]
        counts.ungraded += known[place] and not graded
        if known[place] and graded:
            scored.append(Scored(row, reading))
        added = {**reading.extra, **added, **_verdict(benchmark, reading)}
        counts.overwritten.update(key for key, value in added.items() if key in row and row[key] != value)
        written.append({**row, **added})
    counts.scored = len(scored)
    layout = benchmark.breakdown(scored) if scored else {}
    account = _account(benchmark, settings, counts, scored)
    return written, {**layout, "rescore": {**account, "judge": judged.to_json() if judged else None}}


def _verdict(benchmark: Benchmark, reading: Reading) -> dict[str, Any]:
    made: dict[str, Any] = {"prediction": reading.prediction}
    if reading.score is None or reading.correct is not None:
        made["correct"] = reading.correct
    if reading.score is not None:
        made["score"] = reading.score
    return made


def _score(
    benchmark: Benchmark, rule: Rule, row: Row, name: str, settings: Settings, counts: Counts
) -> tuple[Reading, dict[str, Any]]:
    """Score a row; returns its reading and the further fields that it gets."""
    recorded = benchmark.recorded
    if given(benchmark, row) is ABSENT:
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
    asks = needs_judge(benchmark, settings.rule)
    error, mark = (row.get(ERROR), row.get(MARK)) if asks else (None, None)
    counts.judge_errors.update([str(error).partition(":")[0]] if error else [])
    counts.judged_by.update([str(mark)] if mark else [])
    reading = Reading(None, how="no usable reply of the judge") if error else rule(row, response)
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


def _account(benchmark: Benchmark, settings: Settings, counts: Counts, scored: Sequence[Scored]) -> dict[str, Any]:
    """Return what the summary says beside the breakdown."""
    lacking = {
        path: number
        for path in benchmark.facets
        if (number := sum(field_of(item.row, path) in (MISSING, None) for item in scored))
    }
    labels = [benchmark.approximate if counts.approximate else ""]
    labels += [benchmark.judge.label] if benchmark.judge and counts.judged_by else []
    scores, groups = intervals(benchmark, scored)
    return {
        "benchmark": benchmark.name,
        "rule": settings.rule,
        "label": "; ".join(filter(None, labels)),
        "scores": scores,
        "intervals": groups,
        "approximate": counts.approximate,
        "judged_by": dict(counts.judged_by),
        "judge_errors": dict(counts.judge_errors),
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
        "rows_without_cluster": rows_without_cluster(benchmark, scored),
    }


def show_summary(benchmark: Benchmark, summary: dict[str, Any]) -> None:
    """Print the main numbers of a scoring, and what was counted on the way."""
    account = summary["rescore"]
    rows = console.count(account["rows"], "row")
    console.say(f"{benchmark.name}, rule {account['rule']}: {account['scored']:,} of {rows} scored")
    if account["label"]:
        console.say(f"{'[yellow]approximate[/]: ' if account['approximate'] else ''}{account['label']}")
    if account["scores"]:
        header = ("", "value", "95 % interval", "questions", "drawn as")
        console.show_table("main numbers", header, [_line(name, item) for name, item in account["scores"].items()])
        console.show_table("as the official script lists them", ("", "value"), list(_numbers(summary))[:_SHOWN])
    for name in (
        "empty",
        "unparsed",
        "random_fallbacks",
        "without_key",
        "ungraded",
        "verdicts_taken_over",
        "rows_without_id",
        "rows_without_cluster",
    ):
        if account[name]:
            console.say(f"[yellow]{account[name]:,}[/] {name.replace('_', ' ')}")
    if account["random_fallbacks"]:
        console.say(f"where the official code guesses: {account['fallback']}")
    for reason, number in account["judge_errors"].items():
        console.say(f"[yellow]{console.count(number, 'row')}[/] not graded by the judge: {reason}")
    if account["judge"] and account["judge"]["invalid"]:
        console.say(f"[yellow]{account['judge']['invalid']:,}[/] replies unreadable, rated as the protocol says")
    for key, number in account["overwritten"].items():
        console.say(f"[yellow]{console.count(number, 'row')}[/] held another {key!r} before")


def _line(name: str, item: dict[str, Any]) -> tuple[str, ...]:
    between = "-" if item["low"] is None else f"{item['low']:.4g} to {item['high']:.4g}"
    return name, f"{item['value']:.4g}", between, f"{item['n']:,}", console.count(item["clusters"], "cluster")


def _numbers(tree: dict[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Yield the numbers of a summary with the names that lead to them, in its order."""
    for name, value in tree.items():
        label = f"{above} {name}".strip()
        if isinstance(value, dict) and label != "rescore":
            yield from _numbers(value, label)
        elif isinstance(value, int | float | str):
            yield label.replace("[", "\\["), value if isinstance(value, str) else f"{value:g}"


__all__ = ["FALLBACKS", "Settings", "read_responses", "rescore", "rescore_file", "show_summary"]
