"""The page of a sweep of merges: what every setting gained or lost against the VLM alone, evaluation by evaluation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmreflect.evaluation.ranking import leading
from mmreflect.files import read_json
from mmreflect.report.folders import Folder, named, read_folder
from mmreflect.report.layout import Cell, Link, Parts, PlotBlock, Section, Table, plots_section
from mmreflect.report.numbers import NONE, Figure, counted, mean_figure, points_figure, share_figure
from mmreflect.report.suite import main_numbers, way
from mmreflect.report.whiskers import Measured, whisker_bars
from mmreflect.statistics import Rate

_RATES = ("first_accuracy", "final_accuracy", "gain", "reflected")
_HEADER = (
    "setting", "main number", "against the VLM alone", "first right", "final right", "gain", "with reflection",
    "tokens of a response", "truncated", "answers",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entry:
    """A model of the sweep: a setting, or one of the models that are merged (`alone`).

    Attributes:
        evaluations: the numbers by evaluation; empty where it is not finished.
        error: why it could not be finished.
    """

    label: str
    path: Path
    alone: bool
    evaluations: dict[str, dict[str, Any]]
    error: str


def entries_of(run: Folder) -> list[Entry]:
    """Return the models alone, then the settings: in the order of the result, or by name before there is one."""
    found = [_entry(path, True) for path in sorted((run.path / "references").glob("*/"))]
    found.sort(key=lambda item: item.label != "vlm")
    order = list((run.result or {}).get("settings", {}))
    settings = sorted((run.path / "settings").glob("*/"))
    settings.sort(key=lambda path: order.index(path.name) if path.name in order else len(order))
    return [*found, *(_entry(path, False) for path in settings if not order or path.name in order)]


def _entry(path: Path, alone: bool) -> Entry:
    known: dict[str, Any] = {}
    file, failed = path / "setting.json", path / "error.json"
    if file.is_file():
        with named(file):
            known = read_json(file)
    error = ""
    if not known and failed.is_file():
        with named(failed):
            error = str(read_json(failed)["given"])
    return Entry(path.name, path, alone, known.get("evaluations", {}), error)


def parts(run: Folder, page: str, output: Path) -> Parts:
    """Return what the overview holds.

    Args:
        page: the file name of the page of every merge and evaluation, in its folder.
        output: the folder of this page, from which the links go.
    """
    entries = entries_of(run)
    names = list(dict.fromkeys(name for entry in entries for name in entry.evaluations))
    best = _leaders(entries, names)
    sections: list[Section | None] = []
    for place, name in enumerate(names):
        block = _evaluation(entries, name, page, output)
        sections.append(plots_section(f"evaluation-{place}", name, [block]))
    sections.append(plots_section("merges", "The merges", [_merges(entries, page, output)]))
    settings = [entry for entry in entries if not entry.alone]
    figures = [
        ("settings", Figure(f"{len(settings):,}")),
        ("finished", Figure(f"{sum(bool(entry.evaluations) for entry in settings):,}")),
        *([("best by its main number", Figure(best[0], remark=f"in {names[0]}"))] if len(best) == 1 else []),
        *([("equal in their main number", Figure(f"{len(best):,}", remark=f"in {names[0]}"))] if len(best) > 1 else []),
    ]
    subject = f"folder {run.label}; v is {run.config.get('vlm', NONE)}, r is {run.config.get('reason', NONE)}."
    return "Which merge to take", subject, _lead(entries, names, best), figures, sections


def _leaders(entries: list[Entry], names: list[str]) -> list[str]:
    """Return the settings with the highest main number of the first evaluation, all of the equals."""
    mains = {
        entry.label: entry.evaluations[names[0]]["main"]["value"]
        for entry in entries
        if not entry.alone and names and names[0] in entry.evaluations
    }
    return leading(mains)


def _lead(entries: list[Entry], names: list[str], best: list[str]) -> list[str]:
    settings = [entry for entry in entries if not entry.alone]
    chosen = next((entry for entry in settings if [entry.label] == best), None)
    open_ = sum(not entry.evaluations for entry in settings)
    so_far = f" {counted(open_, 'setting')} of {len(settings)} could not be finished, or not yet." if open_ else ""
    if not best:
        return [f"No setting has numbers to be ranked by yet.{so_far}"]
    if chosen is None:
        equals = f"{', '.join(best)} have the same highest main number in {names[0]}"
        return [f"{equals}: it does not tell which to take.{so_far}"]
    told = []
    for name in names:
        against = chosen.evaluations.get(name, {}).get("against")
        if against:
            gain = Rate(**against["gain"])
            low, high = gain.low or 0.0, gain.high or 0.0
            verdict = "better" if low > 0 else "worse" if high < 0 else "no clear difference"
            told.append(f"in {name} {points_figure(gain)} points, {verdict}")
    compared = f" Against the vision-language model alone, on the same questions: {'; '.join(told)}." if told else ""
    return [
        f"{chosen.label} has the highest main number in {names[0]}.{so_far}{compared}",
        "The best of several settings on the questions that chose it looks better than it is: measure on others too.",
    ]


def _evaluation(entries: list[Entry], name: str, page: str, output: Path) -> PlotBlock:
    rows: list[list[Cell]] = []
    bars: list[Measured] = []
    title = ""
    for entry in entries:
        label = f"{entry.label} alone" if entry.alone else entry.label
        known = entry.evaluations.get(name)
        if known is None:
            rows.append([label, entry.error or "not finished", *[NONE] * (len(_HEADER) - 2)])
            continue
        folder = entry.path / f"eval-{name}"
        measured = main_numbers(read_folder(folder)) if (folder / "run.json").is_file() else []
        figure = measured[0][1] if measured else Figure(NONE)
        title = known["main"]["name"]
        rows.append([Link(label, way(output, folder / page)), figure, *_numbers(known)])
        if measured and (bar := measured[0][2]) is not None:
            bars.append(Measured(label, bar.share, bar.low, bar.high, bar.text))
    plots = [whisker_bars(f"Main number: {title}", bars)] if bars else []
    caption = "In brackets: 95 % intervals. Against the VLM: in points, question by question. First and final: right "
    return PlotBlock(plots=plots, tables=[Table(_HEADER, rows, f"{caption}by the project's verifier.", whole=True)])


def _numbers(known: Mapping[str, Any]) -> list[Cell]:
    against = known["against"]
    first, final, gain, reflected = (Rate(**known[key]) for key in _RATES)
    return [
        points_figure(Rate(**against["gain"])) if against else NONE,
        share_figure(first),
        share_figure(final),
        points_figure(gain),
        share_figure(reflected),
        mean_figure(Rate(**known["length"])),
        f"{known['truncated']:,}",
        f"{known['n']:,}",
    ]


def _merges(entries: list[Entry], page: str, output: Path) -> PlotBlock:
    """Return a row for every setting: what it is, and whether its weights are there."""
    block = PlotBlock()
    rows: list[list[Cell]] = []
    merges = {entry.label: entry.path / "merge" for entry in entries if not entry.alone}
    trees = [read_folder(merge).config for merge in merges.values() if (merge / "run.json").is_file()]
    for entry in entries:
        merge = entry.path / "merge"
        if entry.error:
            block.warnings.append(f"{entry.label}{' alone' * entry.alone}: {entry.error}")
        if entry.alone or not (merge / "run.json").is_file():
            continue
        known = read_folder(merge)
        href = way(output, merge / page) if (merge / page).is_file() else ""
        rows.append([Link(entry.label, href), known.name, _told(trees, known.config), _weights(entry, known)])
    block.tables.append(Table(("setting", "method", "keys of its own", "weights"), rows, prose=True, whole=True))
    finished = sum(bool(entry.evaluations) for entry in entries if not entry.alone)
    block.notes.append(f"{counted(finished, 'setting')} of {sum(not entry.alone for entry in entries)} finished.")
    return block


def _weights(entry: Entry, merge: Folder) -> str:
    """Say what became of a merge's weights."""
    if not entry.evaluations and not merge.finished:
        return "the merge is not finished"
    if (merge.path / "model").is_dir():
        return "kept"
    return "deleted; mmreflect merge with its config.yaml makes them again"


def _told(trees: Sequence[Mapping[str, Any]], own: Mapping[str, Any]) -> str:
    """Say what sets a merge apart: every key that is not the same in all of them, nor empty."""
    hidden = {"output", "method", "base", "vlm", "reason"}
    kept = {key: value for key, value in own.items() if key not in hidden and value not in (None, [], {})}
    return "; ".join(
        f"{key}: {_short(value)}" for key, value in kept.items() if any(tree.get(key) != value for tree in trees)
    )


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {item}" for key, item in value.items() if item is not None)
    return str(value)
