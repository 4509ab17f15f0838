"""Writing the page of a run: which parts a run has, in which order, put into one file without outside requests."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmreflect.errors import UserError
from mmreflect.files import write_atomic
from mmreflect.report import PAGE, merging
from mmreflect.report.folders import Folder, read_folder
from mmreflect.report.layout import Page, Parts, Section, SettingsBody, Table, plots_section
from mmreflect.report.numbers import NONE, Figure, counted, duration, percent, points, quantity
from mmreflect.report.render import render

if TYPE_CHECKING:
    from mmreflect.report.album import Album

SUITE, SWEEP = "suite", "sweep"
"""Names of the runs that hold others."""


def write_page(
    run_folder: str, output: Path | None = None, pictures: int | None = None, rows: int | None = None
) -> Path:
    """Write the page of a run and return its path; the same files give the same bytes.

    A run of several benchmarks gets an overview, and each of them a page in its own folder; a sweep an overview that
    leads to the pages which it wrote as it went on.

    Args:
        output: the file; None: `index.html` in the run's folder.
        pictures: how many pictures the browser of an evaluation, or the page of a dataset, holds.
        rows: of a dataset, how many rows of each kind of each split are shown.

    Raises:
        UserError: the folder holds no run, or a file of the run cannot be read.
    """
    run = read_folder(Path(run_folder))
    if pictures is not None and run.verb not in ("eval", "build"):
        raise UserError(f"pictures={pictures} for a {run.verb} run", "an evaluation or a dataset", "leave it out")
    if rows is not None and run.verb != "build":
        raise UserError(f"rows={rows} for a {run.verb} run", "a dataset", "leave it out")
    file = output or run.path / PAGE
    if (run.verb, run.name) == ("eval", SUITE):
        from mmreflect.report import suite

        members = suite.members_of(run)
        for member in members:
            write_page(str(member.path), pictures=pictures)
        write_atomic(file, render(_finish(run, suite.parts(run, members, PAGE, file.parent))))
    elif (run.verb, run.name) == ("merge", SWEEP):
        from mmreflect.report import sweep

        write_atomic(file, render(_finish(run, sweep.parts(run, PAGE, file.parent))))
    else:
        write_atomic(file, render(_finish(run, _parts(run, pictures, rows))))
    return file


def _parts(run: Folder, pictures: int | None, rows: int | None) -> Parts:
    """Return what the page of a verb's run holds; what makes it is imported for that verb only."""
    if run.verb == "merge":
        return merging.parts(run)
    from mmreflect.report.album import MOST_STRIPS, Album

    if run.verb == "eval":
        from mmreflect.report import evaluations
        from mmreflect.report.browser import MOST_PICTURES, thumbnails

        most, album = MOST_PICTURES if pictures is None else pictures, Album(run.path.resolve())
        return evaluations.parts(run, album, thumbnails=thumbnails(run.path.resolve(), most, album))
    if run.verb == "build":
        from mmreflect.data.survey import ROWS_PER_KIND
        from mmreflect.report import datasets
        from mmreflect.report.browser import MOST_PICTURES

        most = MOST_PICTURES if pictures is None else pictures
        album = Album(run.path.resolve(), min(MOST_STRIPS, most), most)
        return datasets.parts(run, album, each=ROWS_PER_KIND if rows is None else rows)
    known = {"demo": _demo, "train": _train}.get(run.verb)
    return known(run, Album(run.path.resolve())) if known else _plain(run)


def _finish(run: Folder, parts: Parts) -> Page:
    """Return the page with what every kind of run has."""
    title, subject, lead, figures, sections = parts
    shown = [section for section in [*sections, _settings(run)] if section]
    eyebrow = f"mmreflect {run.verb} {run.name} · folder {run.label}"
    return Page(eyebrow, title, subject, lead, _status(run), figures, shown, origin(run.version))


def origin(*versions: str) -> str:
    """Say at the foot of a page what made the files that it was written from."""
    made = " and ".join(dict.fromkeys(version for version in versions if version))
    return f"Written from the files of the run, which was made by {made}." if made else "Written from the files."


def _demo(run: Folder, album: "Album") -> Parts:
    from mmreflect.report import gallery, measures, segments, verdicts

    stages = verdicts.stages_of(run.steps)
    notes = verdicts.lazy_note(run.steps) + verdicts.comparisons(stages)
    trained = [step for step in run.steps if step.verb == "train"]
    sections = [
        verdicts.ledger_section(stages, notes),
        segments.section(stages),
        plots_section("curves", "Learning curves", [measures.curves(step, _named(step)) for step in trained]),
        plots_section(
            "replay",
            "Selective sample replay",
            [measures.replay(step, _titled(step, trained, "replay/")) for step in trained],
        ),
        plots_section(
            "rethinking",
            "Forced rethinking",
            [measures.rethinking(step, _titled(step, trained, "rethink/")) for step in trained],
        ),
        gallery.samples(stages, album),
        *(gallery.rounds(step, album) for step in trained),
        plots_section("merge", "Merge", [merging.layers(step) for step in run.steps if step.verb == "merge"]),
    ]
    subject = (
        "The whole pipeline on held-out questions: what each stage answers at first, and what after looking again."
    )
    return verdicts.QUESTION, subject, verdicts.lead(stages), [], sections


def _named(step: Folder) -> str:
    return (
        f"{step.label} ({step.name.upper() if step.name in ('sft', 'grpo') else step.name})"
        if step.label != step.name
        else step.label.upper()
    )


def _titled(step: Folder, steps: Sequence[Folder], prefix: str) -> str:
    """Name the run above its plots only where several runs have such plots."""
    having = [item for item in steps if any(key.startswith(prefix) for row in item.log for key in row)]
    return _named(step) if len(having) > 1 else ""


def _train(run: Folder, album: "Album") -> Parts:
    from mmreflect.report import evaluations, gallery, measures, verdicts

    sections = [
        plots_section("curves", "Learning curves", [measures.curves(run)]),
        plots_section("replay", "Selective sample replay", [measures.replay(run)]),
        plots_section("rethinking", "Forced rethinking", [measures.rethinking(run)]),
        gallery.rounds(run, album),
    ]
    last: dict[str, Any] = next((row for row in reversed(run.log) if "eval_final_accuracy" in row), {})
    first, final = last.get("eval_first_accuracy"), last.get("eval_final_accuracy")
    lead, figures = [], _train_figures(run, last)
    if first is not None and final is not None:
        lead = [
            f"In the last validation (step {last.get('step', NONE)}) first tries are right in {percent(first)}, final "
            f"answers in {percent(final)}, a difference of {points(final - first)} points. The log holds no intervals; "
            "evaluate the model for them."
        ]
    return (
        verdicts.QUESTION if lead else "A training run",
        f"{run.name.upper()} from {evaluations.what(run)}.",
        lead,
        figures,
        sections,
    )


def _train_figures(run: Folder, last: dict[str, Any]) -> list[tuple[str, Figure]]:
    figures = []
    for key, name in (("eval_first_accuracy", "first accuracy"), ("eval_final_accuracy", "final accuracy")):
        if isinstance(last.get(key), int | float):
            figures.append((name, Figure(percent(last[key]), remark="validation")))
    for key, name in (("eval_fix_rate", "fix rate"), ("eval_harm_rate", "harm rate")):
        if isinstance(last.get(key), int | float):
            figures.append(
                (name, Figure(percent(last[key]), remark="of the wrong" if "fix" in key else "of the right"))
            )
    steps = [row["step"] for row in run.log if "step" in row]
    if steps:
        figures.append(("steps", Figure(quantity(max(steps)), remark="" if run.finished else "so far")))
    logged: dict[str, Any] = next((row for row in reversed(run.log) if "reward" in row or "loss" in row), {})
    for key in ("reward", "loss"):
        if key in logged:
            figures.append((f"last {key}", Figure(quantity(logged[key]))))
            break
    return figures


def _plain(run: Folder) -> Parts:
    return f"A run of {run.verb}", run.name, [], [], []


def _status(run: Folder) -> list[str]:
    if run.finished:
        return []
    if run.verb != "demo":
        return ["Not finished: this run has no result.json yet. The page shows what is there."]
    waiting = [f"{step.label} is not finished" for step in run.steps if not step.finished]
    waiting += [f"{', '.join(run.missing)} not started"] if run.missing else []
    return [f"Not finished: {'; '.join(waiting) or 'no step has started'}. The page shows what is there."]


def _settings(run: Folder) -> Section:
    runs = run.steps if run.verb == "demo" else [run]
    everything = [run, *run.steps]
    files = [(f"{_inside(item, run)}config.yaml", item.config_text) for item in everything if item.config_text]
    flag = "--sweep " if (run.verb, run.name) == ("merge", SWEEP) else ""
    command = f"mmreflect demo scale={run.name}" if run.verb == "demo" else f"mmreflect {run.verb} {flag}config.yaml"
    took = sum(float(item.result.get("seconds") or 0) for item in runs if item.result)
    total = f" {counted(len(runs), 'step')}, {duration(took)} altogether." if run.verb == "demo" and took else ""
    notes = [f"Run again with: {command}.{total} Each config.yaml below is complete and gives its run again."]
    return settings_section(notes, runs, files)


def settings_section(notes: Sequence[str], runs: Sequence[Folder], files: Sequence[tuple[str, str]]) -> Section:
    """Return how runs were made: a row each, and their configurations by name."""
    header = ("run", "what", "finished", "took", "versions")
    rows = [
        [item.label, f"{item.verb} {item.name}", "yes" if item.finished else "no", _took(item), item.version]
        for item in runs
    ]
    body = SettingsBody(notes, Table(header, rows, prose=True), files)
    return Section("settings", "How it was run", "settings", body)


def _inside(item: Folder, run: Folder) -> str:
    return "" if item is run else f"{item.label}/"


def _took(item: Folder) -> str:
    seconds = (item.result or {}).get("seconds")
    return duration(float(seconds)) if isinstance(seconds, int | float) else NONE
