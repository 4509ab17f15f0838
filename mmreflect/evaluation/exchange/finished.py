"""A finished evaluation as plain rows, whichever benchmark or dataset it was."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmreflect.errors import UserError
from mmreflect.evaluation.compare import value_of
from mmreflect.files import read_json, read_jsonl

Key = tuple[str, int]
_ADDED = ("prediction", "correct", "score", "random_fallback", "final_answer")
"""What scoring writes into a row."""
_REFERENCES = ("answer", "Answer", "target", "label", "correct_choice", "gt_spans", "timestamp")


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of an evaluation.

    Attributes:
        id, draw: the question, and which of its answers this is.
        place: of the question among the questions.
        row: the release's own fields with the response, as they were before scoring.
        text: the whole response; `final`: what of it was scored.
        value: what it is worth; None where it could not be graded.
        record: as the run recorded it.
        labels: its groups by facet.
        judged: whether a model was asked about it.
    """

    id: str
    draw: int
    place: int
    row: dict[str, Any]
    text: str
    final: str
    gold: str
    value: float | None
    record: dict[str, Any]
    labels: dict[str, list[str]]
    judged: bool


@dataclass(frozen=True, slots=True)
class Finished:
    """A finished evaluation; `not_asked` answers are in no list: nothing is known of them.

    Attributes:
        account: what the scoring of a benchmark counted; empty for a dataset.
        when: of its end, in seconds since 1970.
    """

    path: Path
    answers: list[Answer]
    result: dict[str, Any]
    account: dict[str, Any]
    not_asked: int
    when: float

    @property
    def contract(self) -> dict[str, Any]:
        """The terms of the evaluation; empty in results of older versions."""
        return dict(self.result.get("contract") or {})

    @property
    def task(self) -> str:
        """The benchmark with its split, in letters, digits and underscores."""
        terms = self.contract.get("benchmark") or {}
        parts = [terms.get("name") or self.account.get("benchmark") or "dataset", terms.get("split")]
        return re.sub(r"\W", "_", "_".join(str(part) for part in parts if part))

    @property
    def model(self) -> str:
        """The model's path or name."""
        return str((self.contract.get("model") or {}).get("path") or self.path.resolve().name)

    @property
    def draws(self) -> list[int]:
        """Which answers there are to a question."""
        return sorted({answer.draw for answer in self.answers})


def read_finished(folder: Path) -> Finished:
    """Read the output folder of an evaluation.

    Raises:
        UserError: it holds none, or one that is not finished.
    """
    samples, result, summary = folder / "samples.jsonl", folder / "result.json", folder / "summary.json"
    inside = sorted(file.parent.name for file in folder.glob("*/samples.jsonl"))
    if not samples.is_file() and inside:
        raise UserError(f"{folder} holds several evaluations", "one of them", f"name one of: {', '.join(inside)}")
    if not samples.is_file():
        raise UserError(f"{folder} holds no answers", "the output folder of mmreflect eval", "check the path")
    if not result.is_file():
        raise UserError(f"the evaluation in {folder} is not finished", "a finished one", "start it again; it goes on")
    account = read_json(summary)["rescore"] if summary.is_file() else {}
    scored, given = _by_key(folder / "scored.jsonl"), _by_key(folder / "responses.jsonl")
    records = list(read_jsonl(samples))
    kept = [record for record in records if record["stop"] != "error"]
    places = {name: place for place, name in enumerate(dict.fromkeys(str(record["id"]) for record in records))}
    answers = [_answer(record, places, scored, given, account) for record in kept]
    return Finished(folder, answers, read_json(result), account, len(records) - len(kept), result.stat().st_mtime)


def _by_key(file: Path) -> dict[Key, dict[str, Any]]:
    if not file.is_file():
        return {}
    return {(str(row["id"]), int(row.get("draw") or 0)): row for row in read_jsonl(file)}


def _answer(
    record: dict[str, Any],
    places: Mapping[str, int],
    scored: Mapping[Key, dict[str, Any]],
    given: Mapping[Key, dict[str, Any]],
    account: Mapping[str, Any],
) -> Answer:
    key = (str(record["id"]), int(record.get("draw") or 0))
    known = scored.get(key)
    if known is None:
        row = {"id": key[0], "question": record["question"], "answer": record["gold"], "response": record["text"]}
        final = record.get("final") or ""
        return Answer(*key, places[key[0]], row, record["text"], final, str(record["gold"] or ""),
                      value_of(record), record, {}, judged=False)  # fmt: skip
    row = dict(given.get(key) or {name: value for name, value in known.items() if name not in _ADDED})
    row.pop("draw", None)
    final = known.get("final_answer", record["text"])
    return Answer(*key, places[key[0]], row, record["text"], str(final), reference_of(known, record["gold"]) or "",
                  value_of(known), record, labels_of(known, account), bool(known.get("judged_by")))  # fmt: skip


def reference_of(row: Mapping[str, Any], gold: str | None = None) -> str | None:
    """Return the reference as text: the row's own, by the names that releases have for it, or else the verifier's.

    Where a release lists the answers to a conversation's turns, the last turn is the one that is asked.
    """
    name = next((name for name in _REFERENCES if row.get(name) not in (None, "", [])), None)
    if name is None:
        return gold
    value = row[name][-1] if name == "Answer" and isinstance(row[name], list) else row[name]
    return str(value)


def labels_of(row: Mapping[str, Any], account: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the labels of a scored row for every facet of its summary that can be read off the row itself."""
    groups: dict[str, dict[str, Any]] = account.get("intervals", {})
    found = {}
    for facet, known in groups.items():
        labels = [label for value in _values(row, facet) if (label := str(value)) in known]
        if labels:
            found[facet] = labels
    return found


def _values(row: Mapping[str, Any], name: str) -> Iterator[Any]:
    """Yield a field's values wherever it stands: in the row, or one level below; a list gives each of its own."""
    for level in (row, *(item for item in row.values() if isinstance(item, dict))):
        if level.get(name) is not None:
            yield from level[name] if isinstance(level[name], list | tuple) else [level[name]]
            return
