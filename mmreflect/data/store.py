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
from mmreflect.data.roles import EXPECTED, ROLES
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
        UserError: a needed key is missing, a turn is nobody's, the placeholders and the media differ in number, no text
            stands for its answer, or `facts.error_prefix` is no length of its response's beginning.
    """
    pair = "rejected" in row and "messages" not in row
    if pair:
        row = row | {"messages": turns_of(row)}
    for key in ("id", "messages"):
        if key not in row:
            raise UserError(
                f"row {row.get('id', '?')!r} has no {key!r}", "id, messages, images, videos, answer", "add it"
            )
    messages, response = split_response(row["messages"], str(row["id"]))
    if pair and response is None:
        raise UserError(
            f"row {row['id']!r}: the chosen side does not end on the assistant's turn", "a reply", "fix the row"
        )
    media = _media(row, messages, folder)
    answer = reference_text(row.get("answer"))
    return Sample(str(row["id"]), messages, media, answer, response, _facts(row, response))


def turns_of(row: Row) -> list[Message]:
    """Return all turns of a row, of a pair those that shall be learnt.

    Raises:
        UserError: it has none, or is no whole pair.
    """
    if "messages" in row or "rejected" not in row:
        if "messages" not in row:
            raise UserError(f"row {row.get('id', '?')!r} has no 'messages'", "a list of turns, or a pair", "add it")
        turns: list[Message] = row["messages"]
        return turns
    sides = [row.get(key) for key in ("prompt", "chosen", "rejected")]
    if not all(isinstance(side, list) and side for side in sides):
        raise UserError(
            f"row {row.get('id', '?')!r} is no whole pair", "lists of turns: prompt, chosen, rejected", "add them"
        )
    for turn in row["rejected"]:
        _check_turn(turn, str(row.get("id", "?")))
    return [*row["prompt"], *row["chosen"]]


def _facts(row: Row, response: str | None) -> dict[str, Any]:
    """Return the facts of a row, checked as far as training reads them."""
    facts = row.get("facts") or {}
    if not isinstance(facts, dict):
        raise UserError(f"row {row['id']!r}: facts is no mapping ({shown(facts)})", "a mapping", "fix the row")
    prefix = facts.get("error_prefix")
    whole = prefix is None or (isinstance(prefix, int) and not isinstance(prefix, bool) and prefix >= 0)
    if not whole or (prefix and response is not None and prefix > len(response)):
        raise UserError(
            f"row {row['id']!r}: facts.error_prefix is no length of its response's beginning ({shown(prefix)})",
            "how many characters of the response hold the error, or null",
            "fix the row, or leave the fact out",
        )
    return facts


def conversation(messages: list[Message], rejected: str | None) -> Row:
    """Return the keys of a row's turns: `messages`, or where a reply shall lose against their last one, a pair's."""
    if rejected is None:
        return {"messages": messages}
    lost = {"role": "assistant", "content": [{"type": "text", "text": rejected}]}
    return {"prompt": messages[:-1], "chosen": messages[-1:], "rejected": [lost]}


def split_response(messages: list[Message], name: str) -> tuple[list[Message], str | None]:
    """Split a conversation into its prompt and the text of its last assistant turn, if it ends with one.

    Raises:
        UserError: it is no list of turns with a role and content of known parts, a role is none of ours, or no turn is
            the user's.
    """
    if not isinstance(messages, list) or not messages:
        raise UserError(f"row {name!r}: messages is no list of turns ({shown(messages)})", "turns", "fix the row")
    for turn in messages:
        _check_turn(turn, name)
    if not any(turn["role"] == "user" for turn in messages):
        raise UserError(f"row {name!r}: no turn is the user's", "a turn that asks", "fix the row")
    if messages[-1]["role"] == "assistant":
        if any(part["type"] != "text" for part in content_parts(messages[-1]["content"])):
            raise UserError(f"row {name!r}: the assistant's turn holds media", "text alone", "fix the row")
        return messages[:-1], text_of(messages[-1]["content"])
    return messages, None


def _check_turn(turn: Any, name: str) -> None:
    if not isinstance(turn, dict) or not isinstance(turn.get("role"), str) or "content" not in turn:
        said = f"a turn is no mapping with role and content ({shown(turn)})"
        raise UserError(f"row {name!r}: {said}", "a mapping with both", "fix the row")
    if turn["role"] not in ROLES:
        raise UserError(
            f"row {name!r}: a turn has a role that is none of ours ({shown(turn['role'])})", EXPECTED, "name it so"
        )
    content = turn["content"]
    if isinstance(content, str):
        return
    if not isinstance(content, list):
        said = f"the content of a turn is neither text nor a list of parts ({shown(content)})"
        raise UserError(f"row {name!r}: {said}", "one of both", "fix the row")
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in ("text", "image", "video") or (kind == "text" and not isinstance(part.get("text"), str)):
            said = f"a part of a turn is no text, image or video ({shown(part)})"
            raise UserError(
                f"row {name!r}: {said}", "parts of type text (with its text), image or video", "fix the row"
            )


def shown(value: Any) -> str:
    """Return a value for an error's brackets: short, and without brackets of its own."""
    text = repr(value).translate(str.maketrans("()", "[]"))
    return text if len(text) <= 80 else f"{text[:77]}..."


def _media(row: Row, messages: list[Message], folder: Path) -> list[Media]:
    """Pair each media part of the messages with the next path of `images` or `videos`."""
    waiting = {kind: media_entries(kind, row.get(f"{kind}s")) for kind in ("image", "video")}
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


def media_entries(kind: Any, items: Any) -> list[Media]:
    """Return what a row says about its media of a kind: paths, or mappings with one and which part is shown.

    Raises:
        UserError: they are no list of these.
    """
    if items is not None and not isinstance(items, list):
        raise UserError(f"'{kind}s' is no list of paths ({shown(items)})", "a list of paths", "fix the row")
    return [_media_entry(kind, item) for item in items or []]


def _media_entry(kind: Any, item: Any) -> Media:
    if isinstance(item, str):
        return Media(kind, item)
    try:
        if not isinstance(item, dict) or not isinstance(item["path"], str):
            raise TypeError("it has no path")
        for key, count in (("crop", 4), ("span", 2)):
            numbers = item.get(key)
            if numbers and not (len(numbers) == count and all(isinstance(one, int | float) for one in numbers)):
                raise ValueError(f"{key} is not {count} numbers")
        for key in ("at", "scale"):
            if not isinstance(item.get(key, 1.0), int | float | None):
                raise TypeError(f"{key} is no number")
        return media_from_json({**item, "kind": kind})
    except (KeyError, TypeError, ValueError, UserError) as error:
        raise UserError(
            f"a medium of '{kind}s' is no path, and no mapping with one ({shown(item)}: {shown(str(error))})",
            "a path, or {path, crop, span, frames, at}",
            "fix the row",
        ) from None
