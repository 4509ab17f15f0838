"""Which rows of a dataset stand in an evaluation set, by their marks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmreflect.quality.config import QualityConfig
from mmreflect.quality.foreign import Foreign
from mmreflect.quality.marks import Mark
from mmreflect.quality.pictures import Look, bits_between, same_colours
from mmreflect.quality.search import Buckets, picture_keys, text_keys
from mmreflect.quality.sketches import Sketch, alike

PICTURE, NEAR_PICTURE = "a picture stands in an evaluation set", "a picture nearly stands in an evaluation set"
VIDEO = "a video stands in an evaluation set"
QUESTION, NEAR_QUESTION = "the question stands in an evaluation set", "the question nearly stands in an evaluation set"


@dataclass(frozen=True, slots=True)
class Overlap:
    """Where a row was found in an evaluation set: `of` is the id of a row there, or the name of a picture."""

    reason: str
    of: str
    facts: dict[str, Any]


def overlaps(marks: Sequence[Mark], foreign: Foreign, config: QualityConfig) -> dict[int, Overlap]:
    """Return which rows stand in an evaluation set, by their places; of several reasons the surest.

    A medium counts whatever is asked about it. A question counts unless both sides show something, which differs then;
    where what an evaluation's row shows cannot be read, nobody knows whether it differs, and its question counts.
    """
    found: dict[int, Overlap] = {}
    for search in (_same_media, _same_questions, _like_pictures, _like_questions):
        rest = [place for place in range(len(marks)) if place not in found]
        for own, hit in search([marks[place] for place in rest], foreign.marks, config):
            found.setdefault(rest[own], hit)
    return dict(sorted(found.items()))


_Hits = Iterator[tuple[int, Overlap]]


def _same_media(marks: Sequence[Mark], others: Sequence[Mark], config: QualityConfig) -> _Hits:
    pictures = {name: mark.id for mark in reversed(others) for name in mark.pictures}
    videos = {name: mark.id for mark in reversed(others) for name in mark.videos}
    for place, mark in enumerate(marks):
        for reason, known, names in ((PICTURE, pictures, mark.pictures), (VIDEO, videos, mark.videos)):
            for name in names:
                if name in known:
                    yield place, Overlap(reason, known[name], {})


def _shows(mark: Mark) -> bool:
    return bool(mark.pictures or mark.videos)


def _same_questions(marks: Sequence[Mark], others: Sequence[Mark], config: QualityConfig) -> _Hits:
    every = {mark.words: mark.id for mark in reversed(others) if mark.words is not None}
    unshown = {mark.words: mark.id for mark in reversed(others) if mark.words is not None and not _shows(mark)}
    for place, mark in enumerate(marks):
        known = unshown if _shows(mark) else every
        if mark.words in known:
            yield place, Overlap(QUESTION, known[mark.words], {})


def _like_pictures(marks: Sequence[Mark], others: Sequence[Mark], config: QualityConfig) -> _Hits:
    known = _looks_of(others)
    own = _looks_of(marks)
    if not known or not own:
        return
    bits, colours = _arrays([look for _, look in known])
    limit = config.picture_bits
    buckets = Buckets(picture_keys([look for _, look in known], limit), picture_keys([look for _, look in own], limit))
    for query in np.flatnonzero(buckets.crowd):
        place, look = own[query]
        near = buckets.candidates(int(query))
        differ = bits_between(look.bits, bits[near])
        fitting = np.flatnonzero((differ <= limit) & same_colours(look.colours, colours[near]))
        if len(fitting):
            first = int(fitting[0])
            yield place, Overlap(NEAR_PICTURE, others[known[near[first]][0]].id, {"bits": int(differ[first])})


def _looks_of(marks: Sequence[Mark]) -> list[tuple[int, Look]]:
    return [(place, look) for place, mark in enumerate(marks) for look in mark.looks if look is not None]


def _arrays(looks: Sequence[Look]) -> tuple[Any, Any]:
    return np.array([look.bits for look in looks], dtype=np.uint64), np.stack([look.colours for look in looks])


def _like_questions(marks: Sequence[Mark], others: Sequence[Mark], config: QualityConfig) -> _Hits:
    known, own = _different(others), _different(marks)
    if not known or not own:
        return
    sketches = np.stack([sketch for sketch, _, _ in known])
    shows = np.array([shown for _, shown, _ in known])
    buckets = Buckets(text_keys(sketches), text_keys(np.stack([sketch for sketch, _, _ in own])))
    for query in np.flatnonzero(buckets.crowd):
        sketch, shown, places = own[query]
        near = buckets.candidates(int(query))
        near = near[~shows[near]] if shown else near
        like = alike(sketch, sketches[near])
        fitting = np.flatnonzero(like >= config.likeness)
        if len(fitting):
            first = int(fitting[0])
            hit = Overlap(
                NEAR_QUESTION, others[known[near[first]][2][0]].id, {"likeness": round(float(like[first]), 4)}
            )
            yield from ((place, hit) for place in places)


def _different(marks: Sequence[Mark]) -> list[tuple[Sketch, bool, list[int]]]:
    """Return every different question once: its sketch, whether something is shown with it, and where it stands."""
    found: dict[tuple[bytes, bool], tuple[Sketch, bool, list[int]]] = {}
    for place, mark in enumerate(marks):
        if mark.question is not None and mark.words is not None:
            key = (mark.question.tobytes(), _shows(mark))
            found.setdefault(key, (mark.question, key[1], []))[2].append(place)
    return list(found.values())
