"""How a benchmark's answers were scored: the verdicts answer by answer, and the account of the whole scoring."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from mmreflect.errors import UserError
from mmreflect.evaluation.compare import value_of
from mmreflect.evaluation.exchange.finished import labels_of
from mmreflect.files import read_json
from mmreflect.report.folders import Folder, named, rows_of

Key = tuple[str, int]
"""A question's id, and which of its answers is meant."""
Verdict = Literal["right", "partly right", "wrong", "not graded", "not asked"]
VERDICTS: tuple[Verdict, ...] = ("right", "partly right", "wrong", "not graded", "not asked")
_MOST_LABELS = 200
"""A facet with more labels than this is no list to choose from."""


@dataclass(frozen=True, slots=True)
class Scoring:
    """What a scoring left.

    Attributes:
        rows: the scored rows, in their order.
        account: what was counted, with the main numbers and the groups and their intervals.
        layout: the breakdown as the official script lists it.
        aside: questions that could not be shown, each with its reason.
    """

    rows: list[dict[str, Any]]
    account: dict[str, Any]
    layout: dict[str, Any]
    aside: list[dict[str, Any]] = field(default_factory=list)

    @property
    def scale(self) -> float:
        """100 where the main numbers are in percent, else 1; the account does not say, so the rows must."""
        first: dict[str, Any] = next(iter(self.account.get("scores", {}).values()), {})
        values = [value for row in self.rows if (value := value_of(dict(row))) is not None]
        whole = fmean(values) if values else 0.0
        number = abs(first.get("value") or 0.0)
        return 100.0 if number > 1 or (whole and number / whole > 50) else 1.0

    def labels(self, row: Mapping[str, Any]) -> dict[str, list[str]]:
        """Return the labels of a row for every facet that can be read off the rows themselves, and chosen from."""
        groups: dict[str, dict[str, Any]] = self.account.get("intervals", {})
        found = labels_of(row, self.account)
        return {facet: labels for facet, labels in found.items() if 1 < len(groups[facet]) <= _MOST_LABELS}


def scoring_of(run: Folder) -> Scoring | None:
    """Return how a run's answers were scored; None for a run that is no benchmark's, or not scored yet."""
    file = run.path / "summary.json"
    return read_scoring(run.path / "scored.jsonl", file, run.path / "set_aside.jsonl") if file.is_file() else None


def read_scoring(scored: Path, summary: Path, aside: Path | None = None) -> Scoring:
    """Read the files of a scoring.

    Raises:
        UserError: one of them is missing, or not as it was written.
    """
    if not scored.is_file():
        raise UserError(f"{scored} is missing", f"the scored rows that {summary.name} is about", "restore it")
    with named(summary):
        tree = read_json(summary)
        account = tree["rescore"]
        layout = {key: value for key, value in tree.items() if key != "rescore"}
        account["scores"] = dict(account.get("scores", {}))
    with named(scored):
        rows = [dict(row) for row in rows_of(scored)]
    return Scoring(rows, account, layout, rows_of(aside) if aside else [])


def by_key(rows: Sequence[dict[str, Any]]) -> dict[Key, dict[str, Any]]:
    """Return scored rows of a run by question and draw."""
    return {(str(row["id"]), int(row.get("draw") or 0)): row for row in rows}


def verdict_of(row: Mapping[str, Any]) -> Verdict:
    """Say in a word how a row was graded; a score between 0 and 1 is partly right unless there is a verdict too."""
    if row.get("correct") is not None:
        return "right" if row["correct"] else "wrong"
    value = value_of(dict(row))
    if value is None:
        return "not graded"
    return "right" if value >= 1 else "wrong" if value <= 0 else "partly right"


def notes_of(row: Mapping[str, Any], stop: str = "eos") -> list[str]:
    """Return what else is known about how an answer was read, as words to choose by."""
    found = ["truncated"] if stop in ("length", "budget") else []
    found += ["random fallback"] if row.get("random_fallback") else []
    said, read = row.get("response"), row.get("prediction")
    found += ["empty"] if "response" in row and not str(said or "").strip() else []
    found += ["no answer read"] if "prediction" in row and (read is None or read in ("", [])) else []
    found += ["reduced to its final answer"] if row.get("final_answer") is not None else []
    found += ["judged by a model"] if row.get("judged_by") else []
    found += ["not graded by the judge"] if row.get("judge_error") else []
    return found


_SHOWN_ELSEWHERE = {"prediction", "correct", "score", "random_fallback", "draw", "id", "final_answer"}


def judged(row: Mapping[str, Any], known: Collection[str] = ()) -> list[str]:
    """Return what the scoring, or a judge, wrote into a row behind the response: `extraction: 2`.

    Args:
        known: fields that are shown elsewhere.
    """
    names = list(row)
    behind = names[names.index("response") + 1 :] if "response" in names else names
    kept = ((name, row[name]) for name in behind if name not in {*_SHOWN_ELSEWHERE, *known})
    return [f"{name}: {_short(value)}" for name, value in kept if value not in (None, "", [], {})]


def _short(value: object, most: int = 400) -> str:
    text = str(value)
    return text if len(text) <= most else f"{text[:most]} [... {len(text) - most:,} more characters]"
