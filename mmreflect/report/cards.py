"""From recorded answers to cards of the browser: of one run, of two runs side by side, or of a scored file."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from mmreflect.evaluation.compare import value_of
from mmreflect.evaluation.exchange.finished import labels_of, reference_of
from mmreflect.records import Stop
from mmreflect.report.album import Album
from mmreflect.report.data import Answer
from mmreflect.report.gallery import answer_reply, question_media, titles_of, transition
from mmreflect.report.layout import Card, Example, Reply
from mmreflect.report.numbers import fixed, quantity
from mmreflect.report.scored import (
    VERDICTS,
    Key,
    Scoring,
    Verdict,
    by_key,
    judged,
    notes_of,
    verdict_of,
)
from mmreflect.report.text import TRANSITIONS, Chip, Segment, Tone, blocks, verdict_chip

VERDICT, TRANSITION, NOTED, CHANGE = "verdict", "transition", "noted", "change"
_TONES: dict[str, Tone] = {"right": "right", "wrong": "wrong"}
_MOST_FACT_LABELS = 20
_SAID = 60
"""Characters of an answer in the list."""
_QUESTION = ("query", "question", "prompt", "text")
_NAMES = ("id", "pid", "question_id", "qid", "index")


class Answered:
    """The answers of a run with everything by which they can be chosen."""

    def __init__(self, answers: Sequence[Answer], scoring: Scoring | None) -> None:
        self.answers = answers
        self.scoring = scoring
        self._rows = by_key(scoring.rows) if scoring else {}
        self._facts = {} if scoring else _facts(answers)
        self.keyed = {key_of(answer): answer for answer in answers}

    @property
    def orders(self) -> dict[str, Sequence[str]]:
        """The filters by name, each with the order of its labels."""
        facets: dict[str, Any] = self.scoring.account.get("intervals", {}) if self.scoring else self._facts
        chosen = {name: list(known) for name, known in facets.items() if len(known) > 1}
        return {VERDICT: VERDICTS, TRANSITION: TRANSITIONS, NOTED: (), **chosen}

    @property
    def unseen(self) -> list[str]:
        """The groups of a benchmark that cannot be read off its rows, and so are no filters."""
        if self.scoring is None:
            return []
        groups: dict[str, Any] = self.scoring.account.get("intervals", {})
        seen = {name for row in self._rows.values() for name in labels_of(row, self.scoring.account)}
        return [name for name, labels in groups.items() if len(labels) > 1 and name not in seen]

    def row(self, answer: Answer) -> dict[str, Any] | None:
        """The scored row of an answer; None where the run is no benchmark's or it was never asked."""
        return self._rows.get(key_of(answer))

    def verdict(self, answer: Answer) -> Verdict:
        """How an answer was graded: by the benchmark's rule, or else by the project's verifier."""
        if answer.stop == Stop.ERROR:
            return "not asked"
        if self.scoring is None:
            final = answer.entry.final_correct
            return "not graded" if final is None else "right" if final else "wrong"
        row = self.row(answer)
        return "not graded" if row is None else verdict_of(row)

    def value(self, answer: Answer) -> float | None:
        """What an answer is worth; None where it was not graded."""
        if self.scoring is None or answer.stop == Stop.ERROR:
            final = answer.entry.final_correct
            return None if final is None else float(final)
        row = self.row(answer)
        return None if row is None else value_of(row)

    def labels(self, answer: Answer) -> dict[str, list[str]]:
        """Return what an answer can be chosen by."""
        row = self.row(answer)
        noted = notes_of(row or {}, answer.stop)
        found: dict[str, list[str]] = {
            VERDICT: [self.verdict(answer)],
            TRANSITION: [transition(answer)],
            NOTED: noted,
        }
        groups = self.scoring.labels(row) if self.scoring and row else {}
        groups |= {name: [_word(answer.known[name])] for name in self._facts if name in answer.known}
        return found | groups

    def reply(self, label: str, answer: Answer, album: Album) -> Reply:
        """Return an answer with its verdicts."""
        made = answer_reply(label, answer, question_media(answer), album)
        row = self.row(answer)
        if self.scoring is None:
            return made
        chips = [] if row is None else _chips(row, notes_of(row, answer.stop))
        known = answer.entry
        if known.first_correct is None and known.final_correct is None:
            return replace(made, chips=chips, remarks=[*judged(row or {}), *made.remarks])
        told = " · ".join(chip.text for chip in made.chips if chip.text not in {item.text for item in chips})
        return replace(made, chips=chips, remarks=[*judged(row or {}), f"project's verifier: {told}", *made.remarks])

    def said(self, answer: Answer) -> tuple[str, Tone]:
        """Return an answer in a few characters, and its colour."""
        row = self.row(answer)
        read = answer.entry.final if row is None else row.get("prediction")
        return _brief(read), _TONES.get(self.verdict(answer), "quiet")


def key_of(answer: Answer) -> Key:
    """Return what tells an answer from all others."""
    return answer.id, answer.draw


def makers(run: Answered, album: Album) -> list[Callable[[], Card]]:
    """Return what makes the card of every answer, in the order of the evaluation."""

    def make(answer: Answer) -> Card:
        said, tone = run.said(answer)
        replies = [run.reply("", answer, album)]
        return Card(
            _example(run, answer, replies, album), run.labels(answer), said, tone, answer.draw, _options(answer)
        )

    return [partial(make, answer) for answer in run.answers]


def pair_makers(
    left: Answered, right: Answered, names: tuple[str, str], changes: Mapping[Key, str], album: Album
) -> list[Callable[[], Card]]:
    """Return what makes the card of every answer that both runs have, the two answers beside each other.

    Args:
        changes: what became of each, as the filter names it.
    """

    def make(key: Key) -> Card:
        one, two = left.keyed[key], right.keyed[key]
        replies = [left.reply(names[0], one, album), right.reply(names[1], two, album)]
        labels = {CHANGE: [changes[key]]}
        for run, answer, name in ((left, one, "A"), (right, two, "B")):
            for filter_name, found in run.labels(answer).items():
                labels[f"{filter_name}, {name}" if filter_name in (VERDICT, TRANSITION, NOTED) else filter_name] = found
        said, tone = left.said(one)
        return Card(_example(left, one, replies, album), labels, said, tone, one.draw, _options(one), right.said(two))

    return [partial(make, key) for key in changes]


def row_makers(scoring: Scoring) -> list[Callable[[], Card]]:
    """Return what makes the card of every row of a scored file: no pictures, and no ledger."""

    def make(place: int, row: dict[str, Any]) -> Card:
        name = next((str(row[key]) for key in _NAMES if row.get(key) is not None), f"row {place}")
        asked = next((key for key in _QUESTION if isinstance(row.get(key), str)), "")
        text = str(row.get("response") or "")
        told = judged(row, {asked, "answer", *_NAMES})
        reply = Reply("", _chips(row, notes_of(row)), blocks([Segment("model", "", text)]), told)
        labels: dict[str, list[str]] = {VERDICT: [verdict_of(row)], NOTED: notes_of(row), **scoring.labels(row)}
        shown = Example(name, str(row.get(asked, "")), reference_of(row), [], [reply])
        tone = _TONES.get(verdict_of(row), "quiet")
        return Card(shown, labels, _brief(row.get("prediction")), tone, int(row.get("draw") or 0))

    return [partial(make, place, row) for place, row in enumerate(scoring.rows, 1)]


def _example(run: Answered, answer: Answer, replies: Sequence[Reply], album: Album) -> Example:
    gold = answer.gold if answer.gold is not None else reference_of(run.row(answer) or {})
    media = album.show(question_media(answer), titles_of(answer))
    return Example(answer.id, answer.question, gold, media, replies)


def _chips(row: Mapping[str, Any], notes: Sequence[str]) -> list[Chip]:
    verdict = verdict_of(row)
    graded = {"right": True, "wrong": False}.get(verdict)
    read = row.get("prediction")
    chip = verdict_chip("read", None if read in (None, "", []) else _brief(read), graded)
    first = Chip(chip.text.replace("no answer", "nothing"), chip.tone)
    if verdict == "partly right":
        first = Chip(f"read {_brief(read)}: partly right", "quiet")
    score = row.get("score")
    told = [Chip(f"score {quantity(float(score))}", "quiet")] if isinstance(score, int | float) else []
    return [first, *told, *(Chip(note, "quiet") for note in notes)]


def _brief(value: object) -> str:
    if isinstance(value, float):
        return fixed(value, 2) if value != int(value) else fixed(value, 0)
    text = "" if value is None else " ".join(str(value).split())
    return text if len(text) <= _SAID else f"{text[: _SAID - 1]}…"


def _options(answer: Answer) -> list[tuple[str, str]]:
    """Return the options that the question's own text does not hold."""
    known = answer.known.get("options")
    if not isinstance(known, dict) or all(str(text) in answer.question for text in known.values()):
        return []
    return [(str(letter), str(text)) for letter, text in known.items()]


def _word(value: object) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _facts(answers: Sequence[Answer]) -> dict[str, list[str]]:
    """Return the facts of a dataset's questions that have a few values each, with those values."""
    values: dict[str, set[str]] = {}
    for answer in answers:
        for name, value in answer.known.items():
            if isinstance(value, str | bool | int):
                values.setdefault(name, set()).add(_word(value))
    return {name: sorted(found) for name, found in values.items() if 1 < len(found) <= _MOST_FACT_LABELS}
