"""The page of several benchmarks that were asked in one call: their main numbers, with links to a page for each."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmreflect.report import benchmark, verdicts
from mmreflect.report.data import ledger_of
from mmreflect.report.folders import Folder, read_folder
from mmreflect.report.layout import Cell, Link, Parts, PlotBlock, Table, plots_section
from mmreflect.report.numbers import NONE, Figure, counted, share_figure
from mmreflect.report.scored import scoring_of
from mmreflect.report.whiskers import Measured, whisker_bars

_COUNTS = ("answers", "set_aside", "not_asked", "truncated", "unparsed", "ungraded")


def members_of(run: Folder) -> list[Folder]:
    """Return the runs of a suite in the order of its configuration; those that have not begun are not among them."""
    entries = run.config.get("benchmark") or []
    labels = [entry if isinstance(entry, str) else str(entry.get("label", entry.get("name"))) for entry in entries]
    return [read_folder(run.path / label) for label in labels if (run.path / label / "run.json").is_file()]


def parts(run: Folder, members: Sequence[Folder], page: str, output: Path) -> Parts:
    """Return what the overview holds.

    Args:
        page: the file name of each member's own page, in its folder.
        output: the folder of this page, from which the links go.
    """
    rows: list[list[Cell]] = []
    bars: list[Measured] = []
    for member in members:
        found = main_numbers(member)
        counts = (member.result or {}).get("counts") or {}
        href = way(output, member.path / page)
        for place, (name, figure, measured) in enumerate(found or [("not finished", Figure(NONE), None)]):
            told: list[Cell] = [_count(counts, key) if not place else "" for key in _COUNTS]
            rows.append([Link(member.label, href) if not place else "", name, figure, *told])
            bars += [measured] if measured and not place else []
    header = ("benchmark", "main number", "value", *(name.replace("_", " ") for name in _COUNTS))
    notes = [f"{member.label}: {text}." for member in members if (text := (member.result or {}).get("label"))]
    block = PlotBlock(notes=notes, tables=[Table(header, rows, "In brackets: 95 % intervals.", whole=True)])
    drawn = PlotBlock("The first main number of each", plots=[whisker_bars("Main numbers", bars)] if bars else [])
    stages = [
        verdicts.Stage(member.label, member.label, known, [])
        for member in members
        if (known := ledger_of(member)) is not None and known.n > known.ungraded
    ]
    sections = [plots_section("benchmarks", "All benchmarks", [block, drawn]), verdicts.ledger_section(stages, [])]
    finished = sum(member.finished for member in members)
    lead = [f"{counted(finished, 'benchmark')} of {len(run.config.get('benchmark') or [])} finished."]
    return "Several benchmarks", f"folder {run.label}.", lead, [], sections


def main_numbers(run: Folder) -> list[tuple[str, Figure, Measured | None]]:
    """Return the main numbers of a run: a benchmark's own, or how many final answers are right."""
    scoring = scoring_of(run)
    if scoring is None:
        known = ledger_of(run)
        rate = known.final_accuracy if known else None
        if rate is None or rate.value is None:
            return []
        shown = share_figure(rate)
        return [("final accuracy", shown, Measured(run.label, rate.value, rate.low, rate.high, shown.text))]
    scores: dict[str, Any] = scoring.account.get("scores", {})
    return [
        (name.replace("_", " "), benchmark.figure(item, scoring.scale), _bar(run.label, item, scoring.scale))
        for name, item in scores.items()
    ]


def _bar(label: str, item: dict[str, Any], scale: float) -> Measured:
    low, high = (None if item[bound] is None else item[bound] / scale for bound in ("low", "high"))
    return Measured(label, item["value"] / scale, low, high, benchmark.figure(item, scale).text)


def _count(counts: dict[str, Any], name: str) -> str:
    return f"{counts[name]:,}" if isinstance(counts.get(name), int) else NONE


def way(start: Path, file: Path) -> str:
    """Return the relative address of a file, or its name alone where it lies elsewhere."""
    try:
        return file.resolve().relative_to(start.resolve()).as_posix()
    except ValueError:
        return ""
