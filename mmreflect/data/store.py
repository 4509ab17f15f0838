"""A dataset on disk: shards of JSONL, pictures beside them, and a manifest that is written last.

    manifest.json            counts, checksums, seed and builder; present only when the dataset is whole
    train/00000.jsonl        rows: id, messages with typed parts, images, videos, answer, facts
    media/train/00000/*.png
    rejects/train-00000.jsonl   what was quarantined, and why

The rows are the conversational form that `datasets`, TRL, LLaMA-Factory and ms-swift load as they are. Pairs for
preference training have prompt, chosen and rejected in place of messages, as TRL wants them.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmreflect.answers.lists import reference_text
from mmreflect.errors import UserError, unknown_name
from mmreflect.files import read_json
from mmreflect.records import Media, Message, Sample, content_parts, media_from_json, text_of

MANIFEST = "manifest.json"
PART = "part.json"
"""In the place of a manifest where `shard=3/16` has built a part alone."""
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Dataset:
    """A whole dataset folder."""

    path: Path
    manifest: dict[str, Any]

    def splits(self) -> list[str]:
        """Return the names of the splits."""
        return list(self.manifest["splits"])

    def rows(self, split: str) -> Iterator[Row]:
        """Yield the rows of a split in order.

        Raises:
            UserError: there is no such split, or a shard is missing or not JSONL.
        """
        if split not in self.manifest["splits"]:
            raise unknown_name("split", split, self.splits())
        for shard in self.manifest["splits"][split]["shards"]:
            yield from read_rows(self.path / shard["file"])

    def samples(self, split: str) -> Iterator[Sample]:
        """Yield the samples of a split, media paths made absolute.

        Raises:
            UserError: a row does not fit the layout; the row is named.
        """
        for row in self.rows(split):
            yield sample_from_row(row, self.path)


def open_dataset(path: str) -> Dataset:
    """Open a dataset folder.

    Raises:
        UserError: the folder is missing, its build is not finished, or it holds a part of a dataset alone.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise UserError(
            f"no such dataset: {path}", "a folder that mmreflect build wrote", "build it first, or check the path"
        )
    if not (folder / MANIFEST).is_file():
        if (folder / PART).is_file():
            raise UserError(
                f"{path} is part {read_json(folder / PART)['part']} of a dataset",
                "a whole dataset",
                "put all parts together: mmreflect build merge OUT PART PART ...",
            )
        raise UserError(
            f"dataset {path} has no {MANIFEST}: its build did not finish, or it is something else",
            "a folder that mmreflect build finished",
            "run the same mmreflect build again; it goes on where it stopped",
        )
    return Dataset(folder, read_json(folder / MANIFEST))


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a JSONL file in which every line counts.

    Raises:
        UserError: the file is missing, or a line is not a JSON object; the line is named.
    """
    for row in try_rows(path):
        if isinstance(row, UserError):
            raise row
        yield row


def try_rows(path: Path) -> Iterator[Row | UserError]:
    """Yield the rows of a JSONL file, and an error in the place of each line that is no JSON object.

    Raises:
        UserError: the file is missing, or no UTF-8 text.
    """
    if not path.is_file():
        raise UserError(f"no such file: {path}", "a JSONL file", "check the path")
    try:
        with open(path, encoding="utf-8-sig") as file:  # some editors write a mark of the encoding first
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _row(line, f"{path}, line {number}")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text ({error.reason})", "a JSONL file", "save it as UTF-8") from None


def _row(line: str, where: str) -> Row | UserError:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        return UserError(f"{where}: not JSON ({error.msg})", "one JSON object per line", "fix that line")
    except (RecursionError, ValueError):  # Python reads no number of thousands of digits
        return UserError(
            f"{where}: nested too deep, or a number too long, to be read", "one JSON object per line", "fix that line"
        )
    if not isinstance(row, dict):
        return UserError(f"{where}: {type(row).__name__}", "one JSON object per line", "fix that line")
    return row


def sample_from_row(row: Row, folder: Path) -> Sample:
    """Turn a row into a sample; a last assistant turn, or the chosen one of a pair, becomes its response.

    Raises:
        UserError: a needed key is missing, the placeholders and the media differ in number, or no text stands for its
            answer.
    """
    if "rejected" in row and "messages" not in row:
        row = row | {"messages": _chosen(row)}
    for key in ("id", "messages"):
        if key not in row:
            raise UserError(
                f"row {row.get('id', '?')!r} has no {key!r}", "id, messages, images, videos, answer", "add it"
            )
    messages, response = split_response(row["messages"], str(row["id"]))
    media = _media(row, messages, folder)
    answer = reference_text(row.get("answer"))
    return Sample(str(row["id"]), messages, media, answer, response, row.get("facts") or {})


def conversation(messages: list[Message], rejected: str | None) -> Row:
    """Return the keys of a row's turns: `messages`, or where a reply shall lose against their last one, a pair's."""
    if rejected is None:
        return {"messages": messages}
    lost = {"role": "assistant", "content": [{"type": "text", "text": rejected}]}
    return {"prompt": messages[:-1], "chosen": messages[-1:], "rejected": [lost]}


def _chosen(row: Row) -> list[Message]:
    """Return the conversation of a pair as it shall go."""
    sides = [row.get(key) for key in ("prompt", "chosen", "rejected")]
    if not all(isinstance(side, list) and side for side in sides):
        raise UserError(
            f"row {row.get('id', '?')!r} is no whole pair", "lists of turns: prompt, chosen, rejected", "add them"
        )
    return [*row["prompt"], *row["chosen"]]


def split_response(messages: list[Message], name: str) -> tuple[list[Message], str | None]:
    """Split a conversation into its prompt and the text of its last assistant turn, if it ends with one.

    Raises:
        UserError: it is no list of turns with a role and content of known parts.
    """
    if not isinstance(messages, list) or not messages:
        raise UserError(f"row {name!r}: messages is {_shown(messages)}", "a list of turns", "fix the row")
    for turn in messages:
        _check_turn(turn, name)
    if messages[-1]["role"] == "assistant":
        if any(part["type"] != "text" for part in content_parts(messages[-1]["content"])):
            raise UserError(f"row {name!r}: the assistant's turn holds media", "text alone", "fix the row")
        return messages[:-1], text_of(messages[-1]["content"])
    return messages, None


def _check_turn(turn: Any, name: str) -> None:
    if not isinstance(turn, dict) or not isinstance(turn.get("role"), str) or "content" not in turn:
        raise UserError(f"row {name!r}: a turn is {_shown(turn)}", "a mapping with role and content", "fix the row")
    content = turn["content"]
    if isinstance(content, str):
        return
    if not isinstance(content, list):
        raise UserError(f"row {name!r}: content is {_shown(content)}", "text, or a list of parts", "fix the row")
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in ("text", "image", "video") or (kind == "text" and not isinstance(part.get("text"), str)):
            expected = "one of type text (with its text), image or video"
            raise UserError(f"row {name!r}: a part is {_shown(part)}", expected, "fix the row")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _media(row: Row, messages: list[Message], folder: Path) -> list[Media]:
    """Pair each media part of the messages with the next path of `images` or `videos`."""
    waiting = {kind: [_media_entry(kind, item) for item in row.get(f"{kind}s") or []] for kind in ("image", "video")}
    given = {kind: len(items) for kind, items in waiting.items()}
    parts = [part["type"] for turn in messages for part in content_parts(turn["content"]) if part["type"] != "text"]
    for kind, count in given.items():
        if parts.count(kind) != count:
            raise UserError(
                f"row {row['id']!r} has {parts.count(kind)} {kind} placeholder(s) in messages and {count} {kind}(s)",
                "the same number of both",
                f"correct messages or '{kind}s' of that row",
            )
    ordered = [waiting[kind].pop(0) for kind in parts]
    return [replace(item, path=str(folder / item.path)) for item in ordered]


def _media_entry(kind: Any, item: Any) -> Media:
    if isinstance(item, str):
        return Media(kind, item)
    try:
        return media_from_json({**item, "kind": kind})
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"a {kind} is {_shown(item)} ({_shown(error)})", "a path, or a mapping with one") from None
