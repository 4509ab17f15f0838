"""Which media belong to the question and which to an answer, what each look is called, and where it stands in the text.

A record lists everything that was shown, in order, and no borders; they are read off the media and the authors.
"""

import re
from collections.abc import Sequence
from itertools import groupby

from mmreflect.records import Author, Media
from mmreflect.report.album import Album
from mmreflect.report.text import Block, Segment, blocks

_FRAME = re.compile(r"\bFrame \d+ at \[")
"""What stands before every single frame that a tool's answer shows."""


def opening(media: Sequence[Media], segments: Sequence[Segment], asked_for_a_part: bool = False) -> int:
    """Return how many media the question shows; those that follow were shown later.

    Later ones begin with the first that looks again at a file, or is a single frame of a video. Where there was one
    turn alone, all media are the question's.

    Args:
        asked_for_a_part: the environment shows the part that the model chose; it may do so in a dialogue begun
            afresh, which leaves no words of the environment in the answer.
    """
    stages = {segment.stage for segment in segments}
    turned = any(segment.author == Author.ENVIRONMENT for segment in segments)
    if not turned and not (asked_for_a_part and len(stages) > 1):
        return len(media)
    seen: set[str] = set()
    for place, item in enumerate(media):
        if item.path in seen or item.at is not None:
            return place
        seen.add(item.path)
    return len(media)


def titles(media: Sequence[Media], asked_for_a_part: bool = False) -> list[str]:
    """Return "Look 1", "Look 2" for the videos of a file that was, or could have been, shown more than once.

    Other media have an empty title.
    """
    least = 1 if asked_for_a_part else 2
    films = [item.path if item.kind == "video" else "" for item in media]
    return [
        f"Look {films[: place + 1].count(path)}" if path and films.count(path) >= least else ""
        for place, path in enumerate(films)
    ]


def with_media(segments: Sequence[Segment], media: Sequence[Media], names: Sequence[str], album: Album) -> list[Block]:
    """Return an answer's blocks with its media where they were shown.

    A turn's words tell what it showed: as many turns as media, a line for every single frame, or the ends of a span.
    Where they do not, a medium stands with the one before it, the first one with the first turn.

    Args:
        media: what was shown after the question, in order.
        names: what each of them is called.
    """
    found = blocks(segments)
    if not media:
        return found
    turns = [block for block in found if block.kind == "shown"]
    if not turns:
        turns = [Block("shown")]
        found.insert(_second_stage(found), turns[0])
    for turn, run in groupby(zip(_turns(media, turns), media, names, strict=True), key=lambda item: item[0]):
        items = [item[1:] for item in run]
        turns[turn].media.extend(album.show([item for item, _ in items], [name for _, name in items]))
    return found


def _second_stage(found: Sequence[Block]) -> int:
    """Return the place of the first block of another stage than the first."""
    stages = [block.pieces[0].stage if block.pieces else "" for block in found]
    return next((place for place, stage in enumerate(stages) if stage != stages[0]), len(stages))


def _turns(media: Sequence[Media], turns: Sequence[Block]) -> list[int]:
    """Return for each medium the place of the turn that showed it, never before that of the medium before it."""
    if len(turns) == len(media):
        return list(range(len(media)))
    words = ["".join(piece.text for piece in turn.pieces) for turn in turns]
    frames = [len(_FRAME.findall(text)) for text in words]
    if sum(frames) == len(media):
        return [place for place, count in enumerate(frames) for _ in range(count)]
    places = [0]
    for item in media:
        ends = [f"{value:.1f}" for value in item.span or ()]
        named = [place for place, text in enumerate(words) if ends and all(end in text for end in ends)]
        places.append(next((place for place in named if place >= places[-1]), places[-1]))
    return places[1:]
