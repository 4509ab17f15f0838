"""A dataset's rows as other trainers take them: which they cannot take, and why."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal, cast

from mmreflect.data.store import Dataset, Row, sample_from_row
from mmreflect.data.survey import SplitSurvey, shape_of
from mmreflect.errors import UserError
from mmreflect.records import Message, content_parts

Shape = Literal["sft", "pairs", "prompts"]
MARKS = {"image": "<image>", "video": "<video>"}
"""What stands in flat text where a medium is shown: the same in LLaMA-Factory and in ms-swift."""
_TAKEN = ("<image>", "<video>", "<audio>")


class Unfit(Exception):
    """A row that a layout cannot hold; the text is the reason, the same words for all such rows."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """A row with its media as plain paths inside the dataset's folder.

    Attributes:
        prompt: the turns before the reply that is learnt; all of them where there is none.
        chosen: the turns that are learnt, `rejected`: those that shall lose against them.
    """

    id: str
    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]
    images: list[str]
    videos: list[str]
    answer: str | None
    facts: dict[str, Any] = field(default_factory=dict)


def shape_of_split(split: SplitSurvey) -> Shape:
    """Return what a split trains: one table holds rows of one shape.

    A split of conversations may hold questions without a target too; they are left out of it, and counted.

    Raises:
        UserError: it holds pairs and other rows.
    """
    found = [shape for shape, count in split.shapes.items() if count]
    if "pairs" in found and len(found) > 1:
        raise UserError(
            f"split {split.name!r} holds pairs and other rows ({', '.join(sorted(found))})",
            "rows of one shape in a split",
            "build the pairs as a split of their own",
        )
    shape = found[0] if len(found) == 1 else "sft"
    return cast(Shape, shape)


def conversations(
    dataset: Dataset, split: str, shard: str, rows: Iterator[Row], shape: Shape, left_out: Counter[str]
) -> Iterator[Conversation]:
    """Yield the rows of a shard that fit the shape of their split; count the others by reason.

    Raises:
        UserError: a row does not fit the layout of a dataset, or names a file outside of its folder.
    """
    for row in rows:
        try:
            yield conversation(dataset, row, shape)
        except Unfit as unfit:
            left_out[f"{split}: {unfit}"] += 1
        except UserError as error:
            raise UserError(f"{shard}: {error.given}", error.expected, error.do) from None


def conversation(dataset: Dataset, row: Row, shape: Shape) -> Conversation:
    """Return one row.

    Raises:
        UserError: it does not fit the layout of a dataset, or names a file outside of its folder.
        Unfit: it has no target to learn, or shows a part of a medium only.
    """
    sample_from_row(row, dataset.path)
    if shape == "sft" and shape_of(row) == "prompts":
        raise Unfit("it has no target to learn")
    paths = {kind: [_path(row, kind, item) for item in row.get(f"{kind}s") or []] for kind in MARKS}
    if shape == "pairs":
        prompt, chosen, rejected = row["prompt"], row["chosen"], row["rejected"]
    else:
        messages = row["messages"]
        cut = len(messages) - (shape == "sft")
        prompt, chosen, rejected = messages[:cut], messages[cut:], []
    answer = row.get("answer")
    return Conversation(
        str(row["id"]),
        prompt,
        chosen,
        rejected,
        paths["image"],
        paths["video"],
        None if answer is None else str(answer),
        row.get("facts") or {},
    )


def flat(messages: list[Message]) -> list[dict[str, str]]:
    """Return turns whose content is text, with a mark where a medium is shown.

    Raises:
        Unfit: the text itself holds such a mark, which would be taken for a medium.
    """
    return [{"role": turn["role"], "content": _flat(turn)} for turn in messages]


def last_reply(messages: list[Message]) -> str:
    """Return the text of a reply that is one turn of the assistant.

    Raises:
        Unfit: it is more than that.
    """
    if len(messages) != 1 or messages[0]["role"] != "assistant":
        raise Unfit("a side of the pair is more than one reply")
    return _flat(messages[0])


def check_alternation(messages: list[dict[str, str]]) -> None:
    """Refuse turns that user and assistant do not take in turn, a system turn at most before them.

    Raises:
        Unfit: they do not.
    """
    roles = [turn["role"] for turn in messages]
    spoken = roles[1:] if roles[:1] == ["system"] else roles
    if any(role != ("user", "assistant")[place % 2] for place, role in enumerate(spoken)):
        raise Unfit("user and assistant do not take turns")


def _flat(turn: Message) -> str:
    pieces = []
    for part in content_parts(turn["content"]):
        if part["type"] != "text":
            pieces.append(MARKS[part["type"]])
            continue
        if any(mark in part["text"] for mark in _TAKEN):
            raise Unfit("its text holds a mark such as <image>")
        pieces.append(part["text"])
    return "".join(pieces)


def _path(row: Row, kind: str, item: Any) -> str:
    known = item if isinstance(item, dict) else {"path": item}
    path = PurePosixPath(str(known["path"]))
    if path.is_absolute() or ".." in path.parts:
        raise UserError(
            f"row {row['id']!r} names the {kind} {str(path)!r}, which is not inside the dataset's folder",
            "a path inside the folder",
            "build the dataset with copies of its media",
        )
    if any(known.get(key) is not None for key in ("crop", "span", "at", "frames")):
        raise Unfit(f"it shows a part of {'an image' if kind == 'image' else 'a video'}, or sets its frames")
    return str(path)
