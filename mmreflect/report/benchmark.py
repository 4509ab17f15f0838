"""The parts of a page that only a benchmark has: main numbers, what became of the questions, groups, the contract."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmreflect.records import Stop
from mmreflect.report.data import Answer
from mmreflect.report.folders import Folder
from mmreflect.report.layout import Cell, PlotBlock, Section, Table, plots_section
from mmreflect.report.numbers import NONE, Figure, counted, fixed, percent, quantity
from mmreflect.report.scored import Scoring
from mmreflect.report.whiskers import Measured, banded_curve, whisker_bars

_MOST_BARS = 40
_MOST_REASONS = 6
_COUNTS = (
    ("left_out", "records that are no questions of this benchmark"),
    ("set_aside", "questions that could not be shown"),
    ("not_asked", "answers that could not be asked for"),
    ("truncated", "cut off at a limit of tokens"),
    ("empty", "empty responses"),
    ("unparsed", "no answer could be read"),
    ("random_fallbacks", "nothing read, where the official code guesses"),
    ("reduced_to_final_answer", "responses reduced to their final answer"),
    ("without_key", "no reference is published"),
    ("ungraded", "not graded in spite of a reference"),
    ("verdicts_taken_over", "recorded verdicts taken over"),
    ("rows_without_id", "rows without an id, told apart by their line"),
    ("rows_without_cluster", "rows without what they share, drawn alone"),
)


def number(value: float | None, scale: float) -> str:
    """Return a main number: a share in percent, or what is in percent already as it is."""
    return NONE if value is None else percent(value / scale)


def figure(item: Mapping[str, Any], scale: float) -> Figure:
    """Return a number with its interval as the page writes it."""
    if item.get("value") is None:
        return Figure(NONE)
    low, high = item.get("low"), item.get("high")
    bounds = "" if low is None or high is None else f"({fixed(100 * low / scale)} to {fixed(100 * high / scale)})"
    return Figure(number(item["value"], scale), bounds, "" if bounds else "no interval")


def key_figures(scoring: Scoring) -> list[tuple[str, Figure]]:
    """Return the main numbers for the head of the page."""
    scores: dict[str, Any] = scoring.account.get("scores", {})
    made = []
    for name, item in scores.items():
        known = figure(item, scoring.scale)
        made.append((name.replace("_", " "), Figure(known.text, remark=known.interval or "no interval")))
    return made


def lead(scoring: Scoring, counts: Mapping[str, Any]) -> list[str]:
    """Say the main number with its interval and its rule, and what stands in for what the official protocol asks."""
    account = scoring.account
    scored, rule = int(account.get("scored", 0)), account.get("rule", "")
    questions = counts.get("questions")
    over = counted(scored, "answer") + (
        f" to {counted(questions, 'question')}" if questions not in (None, scored) else ""
    )
    first = next(iter(account.get("scores", {}).items()), None)
    if first is None:
        return [f"No score: none of {counted(int(account.get('rows', 0)), 'answer')} could be graded."]
    shown = figure(first[1], scoring.scale)
    name = first[0].replace("_", " ")
    said = [f"{name[:1].upper()}{name[1:]}: {shown}, over {over}, by the rule “{rule}”."]
    if account.get("label"):
        word = "Approximate: " if account.get("approximate") else "Judged: "
        said.append(f"{word}{account['label']}.")
    return said


def scores_section(scoring: Scoring, result: Mapping[str, Any]) -> Section | None:
    """Return the main numbers, pass@k, and the scores as the official script lists them."""
    account, scale = scoring.account, scoring.scale
    rows: list[list[Cell]] = [
        [name.replace("_", " "), figure(item, scale), f"{item['n']:,}", f"{item['clusters']:,}"]
        for name, item in account.get("scores", {}).items()
    ]
    table = Table(
        ("main number", "value", "answers", "drawn as clusters"), rows,
        "In brackets: 95 % intervals, bootstrap over the clusters: questions that share a video or a problem, or all "
        "answers to one question, are drawn together.",
    )  # fmt: skip
    notes = _origins(account)
    block = PlotBlock(notes=notes, tables=[table] if rows else [])
    official = [[name, text] for name, text in _leaves(scoring.layout)]
    layout = PlotBlock(
        "As the official script lists them", tables=[Table(("score", "value"), official)] if official else []
    )
    return plots_section("scores", "Scores", [block, capability(result), layout])


def _origins(account: Mapping[str, Any]) -> list[str]:
    """Say where answers and verdicts came from."""
    said = []
    how = account.get("answers_from") or {}
    if how:
        said.append(
            "Answers were read from: " + "; ".join(f"{name} ({number:,})" for name, number in how.items()) + "."
        )
    for judge, number_of in (account.get("judged_by") or {}).items():
        said.append(f"{counted(number_of, 'answer')} judged by {judge}.")
    for reason, number_of in (account.get("judge_errors") or {}).items():
        said.append(f"{counted(number_of, 'answer')} not graded by the judge: {reason}.")
    if account.get("random_fallbacks"):
        seed = "" if account.get("seed") is None else f", seed {account['seed']}"
        said.append(f"Where the official code guesses: {account['fallback']}{seed}.")
    for name, number_of in (account.get("rows_without_facet") or {}).items():
        said.append(f"{counted(number_of, 'answer')} without {name}: in no group of it.")
    return said


def capability(result: Mapping[str, Any]) -> PlotBlock | None:
    """Return pass@k over k; None where every question was answered once."""
    found = result.get("pass_at_k")
    if not found:
        return None
    items = [
        (float(k), _measured(f"pass@{k}", item, 1.0)) for k, item in found["k"].items() if item["value"] is not None
    ]
    rows: list[list[Cell]] = [[f"pass@{k}", figure(item, 1.0)] for k, item in found["k"].items()]
    curve = banded_curve("Right in the best of k", items, "k")
    said = f"Over {counted(found['questions'], 'question')}"
    left = found["left_out"]
    said += f"; {counted(left, 'question')} left out, because not all of their answers are graded." if left else "."
    return PlotBlock(
        "What it can, and what it does",
        [said],
        plots=[curve] if curve else [],
        tables=[Table(("best of k", "right"), rows)],
        beside=True,
    )


def capability_section(result: Mapping[str, Any]) -> Section | None:
    """Return pass@k as a section of its own, for an evaluation that has no other scores."""
    return plots_section("capability", "Accuracy and capability", [capability(result)])


def counts_section(scoring: Scoring, counts: Mapping[str, Any]) -> Section | None:
    """Return what became of the questions and the answers of a benchmark, and why questions were set aside."""
    account = scoring.account
    scored = f"{account['scored']:,} of {account['rows']:,}"
    return _became({**{name: account.get(name) for name, _ in _COUNTS}, **counts}, scoring.aside, scored)


def dataset_counts(answers: Sequence[Answer], aside: Sequence[Mapping[str, Any]]) -> Section | None:
    """Return the same of a dataset's evaluation.

    Args:
        aside: the samples that were set aside before anything was asked, each with its reason.
    """
    if not answers:
        return None
    counts = {
        "questions": len({answer.id for answer in answers}),
        "answers": len(answers),
        "set_aside": len(aside),
        "not_asked": sum(answer.stop == Stop.ERROR for answer in answers),
        "truncated": sum(answer.stop in (Stop.LENGTH, Stop.BUDGET) for answer in answers),
        "empty": sum(not answer.text.strip() for answer in answers),
        "unparsed": sum(answer.entry.final is None for answer in answers),
        "without_key": sum(answer.gold is None for answer in answers),
        "ungraded": sum(answer.gold is not None and answer.entry.final_correct is None for answer in answers),
    }
    return _became(counts, aside, "")


def _became(known: Mapping[str, Any], aside: Sequence[Mapping[str, Any]], scored: str) -> Section | None:
    asked = [("questions", "questions asked"), ("answers", "answers")]
    rows = [[text, f"{known[name]:,}"] for name, text in asked if known.get(name) is not None]
    rows += [["answers scored", scored]] if scored else []
    numbers = [(text, _count(known[name])) for name, text in _COUNTS if known.get(name) is not None]
    rows += [[text, f"{value:,}"] for text, value in numbers if value]
    none = [text for text, value in numbers if not value]
    notes = [f"None of these: {'; '.join(none)}."] if none else []
    block = PlotBlock(notes=notes, tables=[Table(("what became of them", "number"), rows, whole=True)])
    reasons = Counter(str(item.get("reason", "")) for item in aside)
    for word, reasons_of in (("set aside", reasons), ("left out", Counter(known.get("left_out") or {}))):
        shown = [[reason, f"{count:,}"] for reason, count in reasons_of.most_common(_MOST_REASONS)]
        rest = sum(reasons_of.values()) - sum(count for _, count in reasons_of.most_common(_MOST_REASONS))
        shown += [["other reasons", f"{rest:,}"]] if rest else []
        block.tables += [Table((f"{word} because", "number"), shown)] if shown else []
    return plots_section("counts", "What became of the questions", [block])


def _count(value: Any) -> int:
    return int(sum(value.values()) if isinstance(value, dict) else value)


def groups_section(scoring: Scoring) -> Section | None:
    """Return a drawing and a table of every facet; a facet with one label is only named."""
    groups: dict[str, dict[str, Any]] = scoring.account.get("intervals", {})
    first = next(iter(scoring.account.get("scores", {})), "score")
    block = PlotBlock(packed=True)
    single = [name for name, labels in groups.items() if len(labels) < 2]
    tables = []
    for name, labels in groups.items():
        if len(labels) < 2:
            continue
        items = list(labels.items())
        bars = [_measured(label, item, scoring.scale) for label, item in items[:_MOST_BARS]]
        left = f"The first {_MOST_BARS} of {len(items)}; all are in the table." if len(items) > _MOST_BARS else ""
        block.plots.append(whisker_bars(name.replace("_", " "), bars, left))
        rows: list[list[Cell]] = [[label, figure(item, scoring.scale), f"{item['n']:,}"] for label, item in items]
        tables.append(Table((name.replace("_", " "), first.replace("_", " "), "answers"), rows))
    if not block.plots:
        return None
    block.notes.append(
        f"Values of “{first.replace('_', ' ')}”; whiskers and brackets are 95 % intervals. A question may have several "
        "labels."
    )
    if single:
        block.notes.append(f"One label alone, and so no groups: {', '.join(single)}.")
    return plots_section(
        "groups", "Group by group", [block, PlotBlock("The same as tables", tables=tables, folded=True)]
    )


def _measured(label: str, item: Mapping[str, Any], scale: float) -> Measured:
    low, high = (None if item[bound] is None else item[bound] / scale for bound in ("low", "high"))
    written = figure(item, scale)
    return Measured(label, item["value"] / scale, low, high, f"{written.text}{_size(item)}")


def _size(item: Mapping[str, Any]) -> str:
    return f" of {item['n']:,}" if "n" in item else ""


def contract_section(run: Folder) -> Section | None:
    """Return the terms that the scores were made under, in words; None in results of older versions."""
    contract = (run.result or {}).get("contract")
    if not contract:
        return None
    caption = f"Hash of the terms: {contract.get('hash', NONE)}. The model is what is measured, and no part of it."
    rows = [[name, text] for name, text in contract_rows(contract)]
    note = "Two results are ranked only where all of this is the same."
    return plots_section(
        "contract",
        "The contract",
        [PlotBlock(notes=[note], tables=[Table(("term", "value"), rows, caption, prose=True, whole=True)])],
    )


def contract_rows(contract: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the terms of a contract by name, in its order; what is not set is not listed."""
    for name, value in contract.items():
        if name == "hash" or value in (None, "", {}, []):
            continue
        if isinstance(value, Mapping):
            for inner, text in contract_rows(value):
                yield f"{name}: {inner}", text
        else:
            yield name.replace("_", " "), _term(value)


def _term(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return quantity(value) if isinstance(value, float) else str(value)


def _leaves(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Yield the numbers and words of the official layout with the names that lead to them."""
    for name, value in tree.items():
        label = f"{above} {name}".strip()
        if isinstance(value, Mapping):
            yield from _leaves(value, label)
        elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            yield label, quantity(value)
        elif isinstance(value, str):
            yield label, value
