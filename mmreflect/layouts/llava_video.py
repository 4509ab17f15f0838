r"""LLaVA-Video-178K: `*_mc_*_qa_processed.json` (multiple choice) and `*_oe_*_qa_processed.json` (open) of a bucket.

A row: id, video (relative to the bucket's folder), data_source, and conversations: turns {from: human | gpt, value}.
The first human turn starts with "<image>\n". A multiple-choice turn is the question, in some rows a line "Options:",
lines "A. ...", and a closing line that starts with "Please"; the answer is "A." or "A. the option's text". The form was
seen in rows that loaders of others quote; the files themselves could not be seen.
"""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from mmreflect.answers.spec import LETTERS
from mmreflect.config import config
from mmreflect.layouts import Dropped, Entry, Question, Release, UnaskedError, UnusableError, choice, converted
from mmreflect.layouts._files import Row, check_folder, read_json_rows, text_at
from mmreflect.records import Media

NAME = "LLaVA-Video-178K"
_OPTION = re.compile(r"\(?([A-Z])[).:]\s*(.*)")
_ANSWER = re.compile(r"\(?([A-Z])(?:[).:].*)?", re.DOTALL)


@config
class Config:
    """Where the release lies.

    Attributes:
        annotations: one `*_qa_processed.json`, or rows of that form as `.jsonl`.
        videos: the folder of its bucket, that the rows' paths start from.
        open_ended: take the questions without options too.
    """

    annotations: str
    videos: str
    open_ended: bool = False


def create(options: Config) -> Release:
    """Create the release."""

    def read() -> Iterator[Entry]:
        check_folder(options.videos)
        for place, row in enumerate(read_json_rows(options.annotations, ("id", "conversations", "video"), NAME), 1):
            name = str(row.get("id") or f"row {place}")
            turns = row.get("conversations")
            if not isinstance(turns, list) or len(turns) < 2 or not all(isinstance(turn, dict) for turn in turns):
                yield Dropped(name, "no conversation")
                continue
            rounds = list(zip(turns[::2], turns[1::2], strict=False))
            yield from converted(
                (f"{name}-{number}", partial(_question, row, number, *both, options))
                for number, both in enumerate(rounds)
            )

    return Release([options.annotations], read)


def _question(row: Row, number: int, asked: Row, answered: Row, options: Config) -> Question:
    if (asked.get("from"), answered.get("from")) != ("human", "gpt"):
        raise UnusableError("the turns are not human, gpt")
    text, texts = _read_turn(text_at(asked, "value"))
    answer = text_at(answered, "value")
    if not texts and not options.open_ended:
        raise UnaskedError("an open question")
    return Question(
        id=f"llava-video-{text_at(row, 'id')}-{number}",
        media=(Media("video", str(Path(options.videos) / text_at(row, "video"))),),
        text=text,
        source=NAME,
        options=texts,
        answer=choice(texts, _place(answer)) if texts else answer,
        answer_type="multiple_choice" if texts else "text",
        category=str(row.get("data_source") or "") or None,
    )


def _read_turn(value: str) -> tuple[str, tuple[str, ...]]:
    """Split a human turn into the question and its options."""
    lines = [line.strip() for line in value.replace("<image>", "").splitlines() if line.strip()]
    first = next((place for place, line in enumerate(lines) if line.startswith(("A.", "A)", "(A)", "A:"))), None)
    if first is None:
        text, texts = [line for line in lines if not line.startswith("Please ")], []
    else:
        text, texts = [line for line in lines[:first] if line != "Options:"], lines[first:]
        if texts[-1].startswith("Please "):
            texts = texts[:-1]
    if not text:
        raise UnusableError("no question in the turn")
    found = [_OPTION.fullmatch(line) for line in texts]
    if any(match is None or match[1] != LETTERS[place] for place, match in enumerate(found[: len(LETTERS)])):
        raise UnusableError("the options cannot be read")
    return "\n".join(text), tuple(match[2] for match in found if match is not None)


def _place(answer: str) -> int:
    found = _ANSWER.fullmatch(answer)
    if found is None:
        raise UnusableError("the answer starts with no letter")
    return LETTERS.index(found[1])
