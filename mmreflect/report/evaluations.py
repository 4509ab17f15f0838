"""The page of one evaluation: of a dataset by the project's verifier, or of a benchmark by its own rule."""

from collections.abc import Sequence
from pathlib import Path

from mmreflect.reflection.ledger import ledger
from mmreflect.report import benchmark, browser, gallery, segments, steps, verdicts
from mmreflect.report.album import Album
from mmreflect.report.cards import Answered, makers, row_makers
from mmreflect.report.data import Answer, answers_of
from mmreflect.report.folders import Folder, rows_of
from mmreflect.report.layout import Parts, Section
from mmreflect.report.scored import VERDICTS, Scoring, scoring_of

_KEYS = "Keys: j and k go from one to the next, as the arrows do in the list; / searches; t unfolds thoughts."


def parts(run: Folder, album: Album, thumbnails: Album) -> Parts:
    """Return what the page of an evaluation holds.

    Args:
        album: the pictures of the examples.
        thumbnails: those of the browser.
    """
    answers = answers_of(run)
    scoring = scoring_of(run)
    if scoring is not None:
        return _benchmark(run, scoring, answers, thumbnails)
    known = verdicts.stages_of([run])
    stages = [verdicts.Stage(stage.name, "in this evaluation", stage.ledger, stage.answers) for stage in known]
    if not stages and answers:  # not finished: the answers so far can be read, the ledger is written last
        stages = [verdicts.Stage("", "so far", ledger([answer.entry for answer in answers]), answers)]
    sections = [
        verdicts.ledger_section(stages, []),
        benchmark.capability_section(run.result or {}),
        benchmark.dataset_counts(answers, rows_of(run.path / "quarantine.jsonl")),
        segments.section(stages),
        steps.section(answers),
        gallery.samples(stages, album),
        _browser(Answered(answers, None), thumbnails),
        benchmark.contract_section(run),
    ]
    return verdicts.QUESTION, f"{what(run)}.", verdicts.lead(stages), [], sections


def _benchmark(run: Folder, scoring: Scoring, answers: Sequence[Answer], thumbnails: Album) -> Parts:
    result = run.result or {}
    counts = result.get("counts", {})
    known = [
        verdicts.Stage(stage.name, "by the project's verifier", stage.ledger, stage.answers)
        for stage in verdicts.stages_of([run])
        if stage.ledger.n > stage.ledger.ungraded
    ]
    sections = [
        benchmark.scores_section(scoring, result),
        benchmark.counts_section(scoring, counts),
        benchmark.groups_section(scoring),
        verdicts.ledger_section(known, []),
        segments.section(known),
        steps.section(answers),
        _browser(Answered(answers, scoring), thumbnails),
        benchmark.contract_section(run),
    ]
    lead = benchmark.lead(scoring, counts)
    if (run.path / "submission.json").is_file():
        lead.append("The answers of this split are not published: submission.json holds the predictions to submit.")
    if not answers:
        lead.append("samples.jsonl is missing: there are no answers to read, only what was counted.")
    title = f"{run.name} {_split(run)}".strip()
    return title, f"{what(run)}.", lead, benchmark.key_figures(scoring), sections


def rescored(scoring: Scoring, file: Path) -> Parts:
    """Return what the page of a file of re-scored responses holds: no pictures, and no ledger."""
    facets = {facet: list(labels) for facet, labels in scoring.account.get("intervals", {}).items() if len(labels) > 1}
    orders = {"verdict": VERDICTS, "noted": (), **facets}
    notes = [f"Recorded responses, without their pictures. {_KEYS}"]
    sections = [
        benchmark.scores_section(scoring, {}),
        benchmark.counts_section(scoring, {}),
        benchmark.groups_section(scoring),
        browser.section(row_makers(scoring), orders, Album(file.parent), notes),
    ]
    title = f"{scoring.account.get('benchmark', 'a benchmark')}, recorded responses"
    return title, f"{file.name}.", benchmark.lead(scoring, {}), benchmark.key_figures(scoring), sections


def _browser(run: Answered, album: Album) -> Section | None:
    unseen = f" Groups by {', '.join(run.unseen)} are computed, and cannot be chosen here." if run.unseen else ""
    return browser.section(makers(run, album), run.orders, album, [f"{_KEYS}{unseen}"])


def what(run: Folder) -> str:
    """Name the model and the data of a run, as its configuration has them."""
    model, data = run.config.get("model"), run.config.get("data")
    path = model.get("path") if isinstance(model, dict) else model
    where = f" on {data['path']} ({data.get('split', 'train')})" if isinstance(data, dict) and data.get("path") else ""
    engine = run.config.get("engine")
    name = engine.get("name") if isinstance(engine, dict) else engine
    return f"{path or (f'engine {name}' if name and name != 'transformers' else run.label)}{where}"


def _split(run: Folder) -> str:
    terms = ((run.result or {}).get("contract") or {}).get("benchmark") or {}
    return str(terms.get("split") or "")
