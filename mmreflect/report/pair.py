"""Two evaluations side by side: what they were asked under, how they differ, and every answer next to the other one."""

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from mmreflect.evaluation.compare import compare
from mmreflect.report import benchmark, browser
from mmreflect.report.album import Album
from mmreflect.report.cards import CHANGE, NOTED, TRANSITION, VERDICT, Answered, pair_makers
from mmreflect.report.data import answers_of
from mmreflect.report.folders import Folder
from mmreflect.report.layout import Cell, Figures, Parts, PlotBlock, Section, Table, plots_section
from mmreflect.report.numbers import NONE, Figure, counted, percent, points, points_figure
from mmreflect.report.scored import Key, scoring_of
from mmreflect.report.text import TRANSITIONS
from mmreflect.statistics import Rate

CHANGES = (
    *("fixed by B", "broken by B", "better in B", "worse in B", "both right", "both wrong", "the same score"),
    "not graded in both",
)
_LEDGER = ("first_accuracy", "final_accuracy", "gain", "fix_rate", "harm_rate", "reflected")
_MOST_LABELS = 40


def names_of(left: Folder, right: Folder) -> tuple[str, str]:
    """Return what the page calls the two runs: A and B with their folders' names."""
    return f"A · {left.label}", f"B · {right.label}"


def parts(left: Folder, right: Folder, names: tuple[str, str], album: Album) -> Parts:
    """Return what the page of two evaluations holds; the numbers are those of `mmreflect eval compare`.

    Different contracts do not forbid the page: it says first that they differ, and in what.

    Raises:
        UserError: one of them is not finished, or they share no question.
    """
    found = compare(str(left.path), str(right.path), ["anyway=true"])
    one, two = (Answered(answers_of(run), scoring_of(run)) for run in (left, right))
    changes = {key: _change(one, two, key) for key in one.keyed if key in two.keyed}
    sections = [
        _scores(found, names, one, two),
        _changed(found, changes),
        _groups(one, two, list(changes)),
        _contracts(left, right, found["contract_differences"]),
        _browser(one, two, names, changes, album),
    ]
    title = f"{left.label} and {right.label}, side by side"
    subject = f"A is {left.path}, B is {right.path}; differences are B minus A."
    return title, subject, _lead(found), _figures(found), sections


def _change(one: Answered, two: Answered, key: Key) -> str:
    before, after = one.value(one.keyed[key]), two.value(two.keyed[key])
    if before is None or after is None:
        return "not graded in both"
    if after != before:
        whole = {before, after} == {0.0, 1.0}
        if after > before:
            return "fixed by B" if whole else "better in B"
        return "broken by B" if whole else "worse in B"
    return {1.0: "both right", 0.0: "both wrong"}.get(after, "the same score")


def _lead(found: Mapping[str, Any]) -> list[str]:
    item = found["difference"]
    gain = Rate(**item["gain"])
    if gain.value is None:
        return ["Nothing can be said: no question is graded in both."]
    shown = points_figure(gain)
    told = f"{shown.text} points {shown.interval}".strip()
    if gain.low is not None and gain.low > 0:
        word = "B is better"
    elif gain.high is not None and gain.high < 0:
        word = "B is worse"
    else:
        word = "No difference is shown"
    said = [f"{word}: {told} on {counted(item['n'], 'question')} that both answered."]
    said.append(
        f"B is better on {item['wins']:,} and worse on {item['losses']:,} of them (exact sign test, {_p(item)})."
    )
    differing = len(found["contract_differences"])
    if differing:
        verb = "term differs" if differing == 1 else "terms differ"
        said.append(
            f"Not made under the same contract: {differing} {verb}, see below. What differs may be the reason for any "
            "difference here, so that this is no ranking."
        )
    return said


def _p(item: Mapping[str, Any]) -> str:
    return "p < 0.001" if item["p_value"] < 0.001 else f"p = {item['p_value']:.3f}"


def _figures(found: Mapping[str, Any]) -> Figures:
    item = found["difference"]
    gain = points_figure(Rate(**item["gain"]))
    return [
        ("A", Figure(NONE if item["a"] is None else percent(item["a"]))),
        ("B", Figure(NONE if item["b"] is None else percent(item["b"]))),
        ("difference, points", Figure(gain.text, remark=gain.interval)),
        ("sign test", Figure(_p(item))),
    ]


def _scores(found: Mapping[str, Any], names: tuple[str, str], one: Answered, two: Answered) -> Section | None:
    item = found["difference"]
    shown = f"{counted(item['n'], 'question')} that both answered"
    values = (NONE if item[side] is None else percent(item[side]) for side in ("a", "b"))
    rows: list[list[Cell]] = [["score", *values, points_figure(Rate(**item["gain"]))]]
    ledgers = found["ledgers"]
    if ledgers[0] and ledgers[1]:
        for name in _LEDGER:
            before, after = (side[name]["value"] for side in ledgers)
            written = points if name == "gain" else percent
            cells = [NONE if value is None else written(value) for value in (before, after)]
            change = NONE if before is None or after is None else points(after - before)
            rows.append([name.replace("_", " "), *cells, change])
    header = (shown, *names, "difference, points")
    caption = (
        "In brackets: the 95 % interval of the paired difference, bootstrap. Below the score: the reflection ledger by "
        "the project's verifier."
    )
    blocks = [PlotBlock(tables=[Table(header, rows, caption)]), _main_numbers(names, one, two)]
    return plots_section("scores", "Scores", blocks)


def _main_numbers(names: tuple[str, str], one: Answered, two: Answered) -> PlotBlock | None:
    """Return the main numbers of two benchmark runs, each over all of its own answers."""
    if one.scoring is None or two.scoring is None:
        return None
    both = [item.account.get("scores", {}) for item in (one.scoring, two.scoring)]
    rows: list[list[Cell]] = []
    for name in {**both[0], **both[1]}:
        cells: list[Cell] = [
            benchmark.figure(scores[name], scoring.scale) if name in scores else NONE
            for scores, scoring in zip(both, (one.scoring, two.scoring), strict=True)
        ]
        rows.append([name.replace("_", " "), *cells])
    labels = [
        f"{name}: {text}."
        for name, item in zip(names, (one.scoring, two.scoring), strict=True)
        if (text := item.account.get("label"))
    ]
    return PlotBlock("Each over all of its answers", labels, tables=[Table(("main number", *names), rows)])


def _changed(found: Mapping[str, Any], changes: Mapping[Key, str]) -> Section | None:
    counts = Counter(changes.values())
    rows = [[name, f"{counts[name]:,}", percent(counts[name] / len(changes))] for name in CHANGES if counts[name]]
    table = Table(("from A to B", "answers", "share"), rows, "Answers that both runs have, each with the same draw.")
    notes = [
        f"{counted(found[name], 'question')} {text}."
        for name, text in (
            ("only_left", "in A alone"),
            ("only_right", "in B alone"),
            ("not_graded", "left out of the difference: not graded in both"),
        )
        if found[name]
    ]
    return plots_section("changed", "What changed", [PlotBlock(notes=notes, tables=[table])])


def _groups(one: Answered, two: Answered, keys: Sequence[Key]) -> Section | None:
    """Return the two values of every group, over the answers that are graded in both."""
    tables = []
    for name in [name for name in one.orders if name not in (VERDICT, TRANSITION, NOTED)]:
        found: dict[str, list[tuple[float, float]]] = {}
        for key in keys:
            before, after = one.value(one.keyed[key]), two.value(two.keyed[key])
            if before is not None and after is not None:
                for label in one.labels(one.keyed[key]).get(name, []):
                    found.setdefault(label, []).append((before, after))
        if 1 < len(found) <= _MOST_LABELS:
            tables.append(Table((name.replace("_", " "), "A", "B", "points", "answers"), _group_rows(found)))
    return plots_section("groups", "Group by group", [PlotBlock(tables=tables)])


def _group_rows(found: Mapping[str, Sequence[tuple[float, float]]]) -> list[list[Cell]]:
    rows: list[list[Cell]] = []
    for label, pairs in found.items():
        before, after = fmean(a for a, _ in pairs), fmean(b for _, b in pairs)
        rows.append([label, percent(before), percent(after), points(after - before), f"{len(pairs):,}"])
    return rows


def _contracts(left: Folder, right: Folder, differing: Sequence[str]) -> Section | None:
    """Return both contracts, the terms that differ before those that do not."""
    known = [dict(benchmark.contract_rows((run.result or {}).get("contract") or {})) for run in (left, right)]
    one, two = known
    terms = list({**one, **two})
    other = [name for name in terms if one.get(name) != two.get(name)]
    header = ("term", "A", "B")
    made = [[name, one.get(name, NONE), two.get(name, NONE)] for name in terms]
    unequal = [row for row in made if row[0] in other]
    equal = [row[:2] for row in made if row[0] not in other]
    alike = "The same contract: they differ in nothing but the model." if not differing else ""
    blocks = [PlotBlock(notes=[alike] if alike else [f"Not the same: {len(differing)} of the terms."])]
    if unequal:
        blocks.append(PlotBlock("Where they differ", tables=[Table(header, unequal, prose=True, whole=True)]))
    if equal:
        blocks.append(PlotBlock("What they share", tables=[Table(("term", "in both"), equal, prose=True)]))
    return plots_section("contract", "The contracts", blocks)


def _browser(
    one: Answered, two: Answered, names: tuple[str, str], changes: Mapping[Key, str], album: Album
) -> Section | None:
    orders: dict[str, Sequence[str]] = {CHANGE: CHANGES}
    for side in ("A", "B"):
        orders |= {f"{name}, {side}": order for name, order in (
            (VERDICT, one.orders[VERDICT]), (TRANSITION, TRANSITIONS), (NOTED, ()))}  # fmt: skip
    orders |= {name: order for name, order in one.orders.items() if name not in (VERDICT, TRANSITION, NOTED)}
    notes = ["Both answers to a question next to each other; pictures are those of A."]
    return browser.section(pair_makers(one, two, names, changes, album), orders, album, notes)
