"""Layouts of published datasets, one file each: from a release's own files to questions of one form.

A layout's `create(options)` returns a `Release`: the annotation files it reads, and a function that yields an entry for
every row of them. A row that becomes no question is an entry too, with its reason.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from mmreflect.answers.spec import LETTERS
from mmreflect.data.parquet import Embedded
from mmreflect.files import LONGEST_NAME, is_whole, problem_of_name
from mmreflect.records import Media, texts_in

Task = Literal["qa", "grounding"]
Interval = tuple[float, float]
Box = tuple[float, float, float, float]

PLACEHOLDER = "<image>"
"""Where a text of a published dataset shows a picture."""

OVERHANG = 2.0
"""Seconds by which an annotated interval may end after its video: annotators' clocks and containers differ."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question about pictures or a video.

    Attributes:
        id: unique in the release, starting with its name.
        media: the videos that the question is about, with the paths of the user's own files.
        pictures: those it is about, in the order of the placeholders in `text`: paths, or places in parquet files. A
            text without placeholders shows them first, and one place alone takes all.
        source: the dataset it comes from, as papers name it.
        task: `qa` asks for an answer, `grounding` for the part of the video that shows something.
        options: the texts of the options without their letters; empty for an open question.
        answer: the letter of the right option, or the answer to an open question; None where only the part is asked.
        answer_type: a type of `mmreflect.answers.spec`; None leaves it to the answer.
        precision: decimals that an answer of type `float` is rounded to.
        response: a solution that the release publishes.
        gt_interval: start and end in seconds of the part that shows it.
        duration: seconds, of the part that `media` shows; None where the release does not say it.
        category: the release's own kind of question.
        boxes: left, top, right and bottom, in pixels of the first picture, of the parts that show it.
        size: width and height of the first picture, as the release says them.
        details: what else the release says about it, as JSON values by names that no other fact has.
    """

    id: str
    text: str
    source: str
    media: tuple[Media, ...] = ()
    pictures: tuple[str | Embedded, ...] = ()
    task: Task = "qa"
    options: tuple[str, ...] = ()
    answer: str | None = None
    answer_type: str | None = None
    precision: int | None = None
    response: str | None = None
    gt_interval: Interval | None = None
    duration: float | None = None
    category: str | None = None
    boxes: tuple[Box, ...] = ()
    size: tuple[int, int] | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Dropped:
    """A row that becomes no question.

    Attributes:
        row: which one.
        reason: in words that other rows share, so that reasons can be counted.
        asked: False for a row of a kind that the options do not ask for; it is counted, and not listed.
    """

    row: str
    reason: str
    asked: bool = True


Entry = Question | Dropped


@dataclass(frozen=True, slots=True)
class Release:
    """The local files of one published dataset.

    Attributes:
        files: the annotation files, or folders of them; a change in one of them makes another dataset.
        read: yields an entry for every row, in the order of the release.
    """

    files: Sequence[str]
    read: Callable[[], Iterator[Entry]]


class UnusableError(Exception):
    """The row at hand becomes no question; the text is the reason that is counted."""


class UnaskedError(Exception):
    """The row at hand is of a kind that the options do not ask for."""


def converted(rows: Iterable[tuple[str, Callable[[], Question]]]) -> Iterator[Entry]:
    """Yield what each named row becomes when it is converted."""
    for name, convert in rows:
        try:
            question = convert()
            for item in question.media:
                _check_name(item.path, "video")
            for picture in question.pictures:
                if isinstance(picture, str):
                    _check_name(picture, "picture")
            if not all(is_whole(text) for text in texts_in(_written(question))):
                raise UnusableError("a text holds half of a surrogate pair")
            if not question.media:
                _check_places(question)
            yield question
        except UnusableError as error:
            yield Dropped(_shown(name), str(error))
        except UnaskedError as error:
            yield Dropped(_shown(name), str(error), asked=False)


def _written(question: Question) -> tuple[object, ...]:
    """Return all that a row will hold of a question, apart from its media."""
    return tuple(getattr(question, each.name) for each in fields(question) if each.name not in ("media", "pictures"))


def _shown(name: str) -> str:
    return name[:LONGEST_NAME].encode(errors="backslashreplace").decode()


def _check_places(question: Question) -> None:
    """Check that the text has a place for every picture, or none, or one for all; see `Question.pictures`.

    Raises:
        UnusableError: it has another number of them.
    """
    places, shown = question.text.count(PLACEHOLDER), len(question.pictures)
    if places not in (0, shown) and not (places == 1 and shown > 1):
        raise UnusableError("the text has another number of places for pictures than there are")
    if not question.text.replace(PLACEHOLDER, "").strip():
        raise UnusableError("no question in the text")


def _check_name(path: str, kind: str) -> None:
    problem = problem_of_name(path)
    if problem is not None:
        raise UnusableError(f"the {kind}'s name {problem}")


_LETTER = re.compile(r"\(?([A-Z])[).:]?")


def place_of(letter: str) -> int:
    """Return the place of the option that a letter names, from 0.

    Raises:
        UnusableError: the text is no single letter.
    """
    found = _LETTER.fullmatch(letter)
    if found is None:
        raise UnusableError("the answer is no single letter")
    return LETTERS.index(found[1])


def choice(options: Sequence[str], right: int) -> str:
    """Return the letter of the right option.

    Raises:
        UnusableError: there are too few options or too many, one is empty, or the right one stands twice.
    """
    if not 2 <= len(options) <= len(LETTERS):
        raise UnusableError("fewer than 2 or more than 26 options")
    if not 0 <= right < len(options):
        raise UnusableError("the answer is none of the options")
    if not all(option.strip() for option in options):
        raise UnusableError("an option is empty")
    if options.count(options[right]) > 1:
        raise UnusableError("the right option stands twice")
    return LETTERS[right]


def interval(start: float, end: float, duration: float | None) -> Interval:
    """Return a checked interval; an end that hangs over by at most `OVERHANG` is cut to the video's.

    Raises:
        UnusableError: it has no length, or does not lie in the video.
    """
    if not 0 <= start < end:
        raise UnusableError("the interval has no length")
    if duration is not None:
        if end > duration + OVERHANG or start >= duration:
            raise UnusableError("the interval does not lie in the video")
        end = min(end, duration)
    return start, end


OVERHANG_PIXELS = 2.0
"""Pixels by which an annotated box may stand over its picture: annotators round."""


def box(corners: Sequence[float], size: tuple[int, int] | None = None) -> Box:
    """Return a checked box; one that stands over by at most `OVERHANG_PIXELS` is cut to its picture.

    Args:
        corners: left, top, right, bottom in pixels.
        size: width and height of the picture, where they are known.

    Raises:
        UnusableError: it has no area, or does not lie in the picture.
    """
    left, top, right, bottom = corners
    width, height = size or (float("inf"), float("inf"))
    if min(left, top) < -OVERHANG_PIXELS or right > width + OVERHANG_PIXELS or bottom > height + OVERHANG_PIXELS:
        raise UnusableError("a box does not lie in its picture")
    cut = max(left, 0.0), max(top, 0.0), min(right, width), min(bottom, height)
    if not (cut[0] < cut[2] and cut[1] < cut[3]):
        raise UnusableError("a box has no area")
    return cut
