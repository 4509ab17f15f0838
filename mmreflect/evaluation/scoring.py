"""From the answers to a benchmark's questions to its scores: judged, scored, counted, written and printed."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmreflect import console
from mmreflect.evaluation.benchmark import Benchmark, Row
from mmreflect.evaluation.capability import pass_at_k_of, show_pass_at_k
from mmreflect.evaluation.judging import Account, judge_rows
from mmreflect.evaluation.recorded import keyed
from mmreflect.evaluation.rescore import Settings, rescore, show_summary
from mmreflect.evaluation.rules.tables import MISSING, field_of
from mmreflect.evaluation.runner import ledger_of, show_ledger
from mmreflect.files import write_json, write_jsonl
from mmreflect.records import Stop
from mmreflect.reflection.ledger import Ledger
from mmreflect.remote.settings import ServerConfig

COUNTED = ("empty", "unparsed", "random_fallbacks", "reduced_to_final_answer", "without_key", "ungraded")


def score_answers(
    benchmark: Benchmark,
    settings: Settings,
    rows: Sequence[dict[str, Any]],
    records: Sequence[dict[str, Any]],
    folder: Path,
    judge: ServerConfig | None,
) -> dict[str, Any]:
    """Score the answers, write what they were and how they were scored, and print the main numbers.

    `responses.jsonl` holds the rows as they were scored, with what a judge said and nothing that a rule added, so that
    it can be scored again; `scored.jsonl` and `summary.json` what came of it, or `submission.json`.

    An answer that could not be asked for is neither right nor wrong: it is left out and counted.

    Args:
        rows: a row for every record, in the same order, with `draw` and `response`.
        judge: asked before scoring; what it has answered already is in its cache.

    Returns:
        What the run's result holds: scores, counts, pass@k, ledger.

    Raises:
        UserError: a row is unusable, or the judge cannot be asked; starting again goes on from there.
    """
    asked = [Row(row) for row, record in zip(rows, records, strict=True) if record["stop"] != Stop.ERROR]
    drawn = any(row["draw"] for row in asked)
    account: Account | None = None
    source = str(folder / "samples.jsonl")
    if judge is not None and any(keyed(benchmark, asked, source)):
        asked, account = judge_rows(benchmark, asked, judge, rule=settings.rule, source=source)
    write_jsonl(folder / "responses.jsonl", asked)
    written, summary = rescore(benchmark, asked, settings, source, account)
    write_jsonl(folder / "scored.jsonl", written)
    write_json(folder / "summary.json", summary)
    found = summary["rescore"]
    counts = _counts(records, len(asked), found)
    clusters = [cluster_of(benchmark.cluster, row) for row in rows]
    whole = ledger_of(records, settings.seed, clusters)
    result: dict[str, Any] = {"scores": found["scores"], "label": found["label"], "counts": counts}
    if drawn:
        shared = {str(row["id"]): name for row, name in zip(rows, clusters, strict=True)}
        verdicts = ((str(row["id"]), row.get("correct")) for row in written)
        result["pass_at_k"] = pass_at_k_of(verdicts, 1 + max(row["draw"] for row in rows), settings.seed, shared)
    _show(benchmark, summary, result, whole)
    if asked and found["without_key"] == len(asked):
        _write_submission(benchmark, written, folder)
    return {**result, "cluster": list(benchmark.cluster), "ledger": whole.to_json()}


def _counts(records: Sequence[dict[str, Any]], asked: int, found: dict[str, Any]) -> dict[str, int]:
    return {
        "questions": len({record["id"] for record in records}),
        "answers": len(records),
        "not_asked": len(records) - asked,
        "truncated": sum(record["stop"] in (Stop.LENGTH, Stop.BUDGET) for record in records),
        **{name: found[name] for name in COUNTED},
    }


def _show(benchmark: Benchmark, summary: dict[str, Any], result: dict[str, Any], whole: Ledger) -> None:
    show_summary(benchmark, summary)
    if "pass_at_k" in result:
        show_pass_at_k(result["pass_at_k"])
    if whole.n > whole.ungraded:
        show_ledger("reflection, by the project's verifier", {benchmark.name: whole})
    for name in ("not_asked", "truncated"):
        if number := result["counts"][name]:
            console.say(f"[yellow]{console.count(number, 'answer')}[/] {name.replace('_', ' ')}")


def cluster_of(fields: Sequence[str], row: dict[str, Any]) -> str:
    """Return what a question shares with others, by the first of these fields that its row has; else itself."""
    found = (field_of(Row(row), name) for name in fields)
    return next((str(value) for value in found if value is not MISSING and value is not None), str(row["id"]))


def _write_submission(benchmark: Benchmark, rows: Sequence[dict[str, Any]], folder: Path) -> None:
    """Write the predictions of a split whose answers are not published, question by question."""
    repeated = Counter(str(row["id"]) for row in rows)
    target = folder / "submission.json"
    write_json(target, {str(row["id"]): row["prediction"] for row in rows if row["draw"] == 0})
    console.say(
        f"the answers of this split of {benchmark.name} are not published: no score, but {target} with "
        f"{console.count(len(repeated), 'prediction')} to submit"
    )
