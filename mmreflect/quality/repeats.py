"""Which rows of a dataset repeat others, and which stand in an evaluation set: a function of all marks in order.

Overlap with an evaluation set comes first, then exact repeats (the same prompt, media, response and reference, within
a split: one question in two splits is refused elsewhere), then near ones: pictures nearly the same one by one, the same
videos, questions alike and responses alike, and the same reference. A picture alone is no repeat, as sets ask several
questions about one, and neither is a question, which charts share: nor both, with another response or another answer.
A row nearly repeats an earlier one only if that one is no repeat itself, so that no chain of small steps loses rows.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from mmreflect.quality.config import QualityConfig
from mmreflect.quality.foreign import Foreign
from mmreflect.quality.marks import Mark
from mmreflect.quality.overlaps import overlaps
from mmreflect.quality.pictures import Look, bits_between, same_colours
from mmreflect.quality.search import Buckets, joint_sketch, picture_keys, text_keys
from mmreflect.quality.sketches import alike

T = TypeVar("T")
SAME, NEAR = "an earlier row is the same", "an earlier row is nearly the same"


@dataclass(frozen=True, slots=True)
class Repeat:
    """Why a row is one too many; `dropped` says whether it goes, or is only counted."""

    reason: str
    dropped: bool
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Repeats:
    """What was found.

    Attributes:
        rows: for every mark why it is one too many; at most the last reason drops it.
        account: counts for the manifest.
    """

    rows: list[list[Repeat]]
    account: dict[str, Any]

    def dropped(self, place: int) -> Repeat | None:
        """Return why a row goes, or None."""
        return next((one for one in self.rows[place] if one.dropped), None)


def find_repeats(
    marks: Sequence[Mark], splits: Sequence[str], foreign: Sequence[Foreign], config: QualityConfig
) -> Repeats:
    """Find repeats and overlap: 9,000 to 30,000 rows a second, and 4.5 KB of memory a row beside its mark.

    Args:
        marks: of all rows in order; splits: of each.
        foreign: the evaluation sets.
    """
    found = Repeats([[] for _ in marks], {"rows": len(marks), "exempt": sum(mark.exempt for mark in marks)})
    found.account["unread_pictures"] = sum(look is None for mark in marks for look in mark.looks)
    if foreign:
        found.account["overlap"] = {each.path: _overlap(marks, each, config, found) for each in foreign}
    found.account["media_in_two_splits"] = _in_two_splits(marks, splits)
    found.account["same_question_other_answer"] = _contradictions(marks)
    if config.repeats != "off":
        _exact(marks, splits, config, found)
    if config.near_repeats != "off":
        _near(marks, splits, config, found)
    reasons = [one for row in found.rows for one in row]
    found.account["found"] = dict(sorted(Counter(one.reason for one in reasons).items()))
    found.account["dropped"] = dict(sorted(Counter(one.reason for one in reasons if one.dropped).items()))
    return found


def _overlap(marks: Sequence[Mark], foreign: Foreign, config: QualityConfig, found: Repeats) -> dict[str, Any]:
    reasons = Counter[str]()
    for place, hit in overlaps(marks, foreign, config).items():
        reasons[hit.reason] += 1
        if found.dropped(place) is None:
            facts = {"set": foreign.path, "of": hit.of, **hit.facts}
            found.rows[place].append(Repeat(hit.reason, config.overlap == "drop", facts))
    sizes = {"questions": foreign.questions, "pictures": foreign.pictures, "unread": foreign.unread.total()}
    why = {"why_unread": dict(sorted(foreign.unread.items()))} if foreign.unread else {}
    blind = {"rows_by_question_alone": foreign.blind} if foreign.blind else {}
    return {**sizes, **why, **blind, "found": dict(sorted(reasons.items()))}


def _in_two_splits(marks: Sequence[Mark], splits: Sequence[str]) -> int:
    """Count pictures and videos that rows of several splits show."""
    first: dict[str, str] = {}
    places = (
        (name, split) for mark, split in zip(marks, splits, strict=True) for name in (*mark.pictures, *mark.videos)
    )
    return len({name for name, split in places if first.setdefault(name, split) != split})


def _contradictions(marks: Sequence[Mark]) -> int:
    """Count rows that ask what an earlier one asks, and have another reference."""
    first: dict[str, str] = {}
    return sum(first.setdefault(mark.asked, mark.answer) != mark.answer for mark in marks)


def _exact(marks: Sequence[Mark], splits: Sequence[str], config: QualityConfig, found: Repeats) -> None:
    first: dict[tuple[str, str, str], int] = {}
    for place, mark in enumerate(marks):
        if mark.exempt or found.dropped(place) is not None:
            continue
        known = first.setdefault((splits[place], mark.asked, mark.said), place)
        if known != place:
            found.rows[place].append(Repeat(SAME, config.repeats == "drop", {"of": marks[known].id}))


def _near(marks: Sequence[Mark], splits: Sequence[str], config: QualityConfig, found: Repeats) -> None:
    places = [
        place
        for place, mark in enumerate(marks)
        if not mark.exempt
        and mark.question is not None
        and None not in mark.looks
        and all(one.reason != SAME and not one.dropped for one in found.rows[place])
    ]
    shown = [place for place in places if marks[place].looks]
    unshown = [place for place in places if not marks[place].looks]
    for chosen in (shown, unshown):
        twins = dict[Any, int]()
        first = [twins.setdefault(_traits(marks[place]), place) for place in chosen]
        alone = list(twins.values())
        compared = _Compared([marks[place] for place in alone], config).repeats() if alone else []
        hits = {alone[own]: (alone[other], facts) for own, other, facts in compared}
        for place, twin in zip(chosen, first, strict=True):
            if place != twin or place in hits:
                of, facts = hits.get(twin, (twin, {"likeness": 1.0}))
                where = {"split": splits[of]} if splits[of] != splits[place] else {}
                facts = {"of": marks[of].id, **where, **facts}
                found.rows[place].append(Repeat(NEAR, config.near_repeats == "drop", facts))


def _group(mark: Mark) -> tuple[Any, ...]:
    """Return what rows that are nearly the same have in common to the letter."""
    return mark.answer, mark.videos, mark.shown, len(mark.looks), mark.response is None


def _traits(mark: Mark) -> tuple[Any, ...]:
    """Return all that rows are compared by. Charts share questions by the thousand, which are compared once."""
    sketches = [None if sketch is None else sketch.tobytes() for sketch in (mark.question, mark.response)]
    return *_group(mark), *sketches, *((look.bits, look.colours.tobytes()) for look in mark.looks if look is not None)


class _Compared:
    """Rows that all show pictures, or none of which does."""

    def __init__(self, marks: Sequence[Mark], config: QualityConfig) -> None:
        self._marks, self._config = marks, config
        self._questions = np.stack([_given(mark.question) for mark in marks])
        self._responses = np.stack(
            [_given(mark.response if mark.response is not None else mark.question) for mark in marks]
        )
        groups = [_group(mark) for mark in marks]
        numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
        self._groups = np.array([numbers[group] for group in groups])
        looks = [_given(mark.looks[0]) for mark in marks if mark.looks]
        self._bits = np.array([look.bits for look in looks], dtype=np.uint64)
        self._colours = np.stack([look.colours for look in looks]) if looks else np.zeros((0, 0), np.uint8)
        self._buckets = Buckets(
            picture_keys(looks, config.picture_bits, self._groups)
            if looks
            else text_keys(np.stack([joint_sketch(mark.question, mark.response) for mark in marks]), self._groups)
        )

    def repeats(self) -> list[tuple[int, int, dict[str, Any]]]:
        """Return a row, the first one that it nearly repeats, and how like they are."""
        reached = np.zeros(len(self._marks), dtype=bool)  # what came before, and repeats nothing
        found = []
        for own in np.flatnonzero(self._buckets.crowd > 1):
            others = self._buckets.candidates(int(own), reached)
            others = others[self._groups[others] == self._groups[own]]
            hit = self._first_alike(int(own), others)
            if hit is None:
                reached[own] = True
            else:
                found.append((int(own), *hit))
        return found

    def _first_alike(self, own: int, others: Any) -> tuple[int, dict[str, Any]] | None:
        facts: dict[str, Any] = {}
        if len(self._bits):
            others = others[bits_between(int(self._bits[own]), self._bits[others]) <= self._config.picture_bits]
            others = others[same_colours(self._colours[own], self._colours[others])]
            others = np.array([other for other in others if self._all_pictures(own, int(other))], dtype=np.int64)
        if not len(others):
            return None
        questions = alike(self._questions[own], self._questions[others])
        responses = alike(self._responses[own], self._responses[others])
        fitting = np.flatnonzero((questions >= self._config.likeness) & (responses >= self._config.likeness))
        if not len(fitting):
            return None
        first = int(fitting[0])
        facts["question_likeness"] = round(float(questions[first]), 4)
        if self._marks[own].response is not None:
            facts["response_likeness"] = round(float(responses[first]), 4)
        return int(others[first]), facts

    def _all_pictures(self, own: int, other: int) -> bool:
        pairs = zip(self._marks[own].looks[1:], self._marks[other].looks[1:], strict=True)
        return all(
            left is not None and right is not None and nearly(left, right, self._config.picture_bits)
            for left, right in pairs
        )


def nearly(left: Look, right: Look, bits: int) -> bool:
    """Tell whether two pictures are nearly the same."""
    differ = int(bits_between(left.bits, np.array([right.bits], dtype=np.uint64))[0])
    return differ <= bits and bool(same_colours(left.colours, right.colours[None])[0])


def _given(value: T | None) -> T:
    assert value is not None
    return value
