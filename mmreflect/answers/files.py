"""Grading a file of predictions: how a user checks the grader before paying for a run."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from mmreflect import console
from mmreflect.answers.grade import Verdict, verify
from mmreflect.answers.spec import AnswerSpec, spec_of
from mmreflect.answers.stats import grading_stats
from mmreflect.errors import UserError, nearest
from mmreflect.files import to_json, write_jsonl

REQUIRED = ("prediction", "reference", "answer_type")
_OPTIONAL = ("id", "options", "precision", "unit", "verdict", "score", "note")
_SHOWN = 5


def reference_text(value: Any) -> str | None:
    """Write a reference as text: a list of numbers, such as an interval, becomes "[5.0, 15.0]"."""
    if value is None or isinstance(value, str):
        return value
    return to_json(value)


def read_rows(path: Path) -> list[tuple[dict[str, Any], AnswerSpec]]:
    """Read and check every row before one is graded.

    Raises:
        UserError: no such file, no rows, a line that is no JSON object, a missing key or an unknown answer type; names
            the line.
    """
    if not path.is_file():
        raise UserError(f"{path} is not a file", "a JSONL file of rows with prediction, reference and answer_type")
    rows = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if line.strip():
            rows.append(_row(line, f"{path}, line {number}"))
    if not rows:
        raise UserError(f"{path} has no rows", f"one JSON object a line with {', '.join(REQUIRED)}")
    return rows


def _row(line: bytes, place: str) -> tuple[dict[str, Any], AnswerSpec]:
    try:
        row = json.loads(line, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{place}: not JSON ({error})", "one JSON object a line", "correct or remove the line"
        ) from error
    if not isinstance(row, dict):
        raise UserError(f"{place}: a {type(row).__name__}", "a JSON object", "correct or remove the line")
    for key in REQUIRED:
        if key not in row:
            close = nearest(key, [name for name in row if name not in (*REQUIRED, *_OPTIONAL)])
            hint = f"did you mean {key!r} where it says {close!r}?" if close else "add the key to the row"
            raise UserError(f"{place}: key {key!r} is missing", f"the keys {', '.join(REQUIRED)}", hint)
    try:
        return row, spec_of(row)
    except UserError as error:
        raise UserError(f"{place}: {error.given}", error.expected, error.do) from error


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON value")


def grade_file(path: str | Path, output: str | Path) -> Counter[str]:
    """Grade every row of a JSONL file, write the rows with their verdicts in the same order, and print the counts.

    A row holds `prediction` (a whole response), `reference`, `answer_type` (null: the reference decides), and where
    they apply `options`, `precision` and `unit`. Added are `verdict`, `score`, `parsed_answer`, `parsed_gold` and
    `reason`; `verdict` is null for types that only have a score, and `score` too where it could not be graded. Where a
    row already has a `verdict` or `score`, they are kept as `expected_verdict` and `expected_score` and the
    disagreements are listed.

    Raises:
        UserError: the file is not usable; nothing is written then.
    """
    rows = read_rows(Path(path))
    if Path(output).is_dir():
        raise UserError(f"output={output} is a folder", "a file", "name a file in it, such as graded.jsonl")
    before = grading_stats()
    graded: list[dict[str, Any]] = []
    counts: Counter[str] = Counter()
    disagreements: list[str] = []
    expected = 0
    with console.progress_bar("grading", len(rows)) as bar:
        for index, (row, spec) in enumerate(rows):
            verdict = verify(reference_text(row["prediction"]), reference_text(row["reference"]), spec)
            counts[_name(verdict)] += 1
            if "verdict" in row or "score" in row:
                expected += 1
                if not _agrees(row, verdict):
                    disagreements.append(str(row.get("id", f"row {index + 1}")))
            graded.append(_with_verdict(row, verdict))
            bar.advance()
    write_jsonl(Path(output), graded)
    _report(counts, graded, before.timeouts, before.errors)
    if expected:
        _say_agreement(expected, disagreements)
    console.say(f"written: {output}")
    return counts


def _name(verdict: Verdict) -> str:
    if verdict.correct is None:
        return "not gradable" if verdict.score is None else "scored"
    return "right" if verdict.correct else "wrong"


def _agrees(row: dict[str, Any], verdict: Verdict) -> bool:
    score = row.get("score")
    if isinstance(score, int | float) and (verdict.score is None or abs(score - verdict.score) > 1e-6):
        return False
    return "verdict" not in row or row["verdict"] == verdict.correct


def _with_verdict(row: dict[str, Any], verdict: Verdict) -> dict[str, Any]:
    kept = {f"expected_{key}": row[key] for key in ("verdict", "score") if key in row}
    return {
        **row,
        **kept,
        "verdict": verdict.correct,
        "score": verdict.score,
        "parsed_answer": verdict.answer,
        "parsed_gold": verdict.gold,
        "reason": verdict.reason,
    }


def _report(counts: Counter[str], graded: list[dict[str, Any]], timeouts: int, errors: int) -> None:
    kinds = sorted({str(row["answer_type"]) for row in graded})
    header = ["answer type", "rows", "right", "wrong", "scored", "not gradable", "mean score"]
    console.show_table("grading", header, [_line(kind, graded) for kind in kinds])
    console.say(", ".join(f"{count:,} {name}" for name, count in counts.most_common()))
    reasons = Counter(row["reason"] for row in graded if row["score"] is None)
    for reason, number in reasons.most_common(_SHOWN):
        console.say(f"not gradable: {console.count(number, 'row')}: {_plain(reason)}")
    after = grading_stats()
    if after.timeouts > timeouts or after.errors > errors:
        console.say(f"{after.timeouts - timeouts} timeouts, {after.errors - errors} errors of workers")


def _plain(text: str) -> str:
    return text.replace("[", "\\[")


def _line(kind: str, graded: list[dict[str, Any]]) -> list[str]:
    rows = [row for row in graded if str(row["answer_type"]) == kind]
    scores = [row["score"] for row in rows if row["score"] is not None]
    cells = [
        len(rows),
        sum(row["verdict"] is True for row in rows),
        sum(row["verdict"] is False for row in rows),
        sum(row["verdict"] is None and row["score"] is not None for row in rows),
        sum(row["score"] is None for row in rows),
    ]
    return [kind, *(str(cell) for cell in cells), f"{sum(scores) / len(scores):.3f}" if scores else "-"]


def _say_agreement(expected: int, disagreements: list[str]) -> None:
    console.say(f"agrees with the file's own verdicts in {expected - len(disagreements):,} of {expected:,} rows")
    if disagreements:
        more = f" and {len(disagreements) - 20} more" if len(disagreements) > 20 else ""
        console.say(_plain(f"disagrees in: {', '.join(disagreements[:20])}{more}"))
