"""Rows of other people's sets in the layout of ours: columns renamed, questions as turns, media as files or bytes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmreflect.answers.lists import reference_text
from mmreflect.data.columns import OF_A_TURN, check_opinions, check_taken, says, whole, whole_question
from mmreflect.data.conversations import KINDS, in_parts, said_turns, with_media
from mmreflect.data.pairs import read_pair, turns_in
from mmreflect.data.store import Row, shown
from mmreflect.errors import UserError, nearest
from mmreflect.records import Message

READING = ("answer_type", "options", "precision", "unit")
"""Columns that say how an answer is read; they become facts."""
COLUMNS = (
    *("id", "messages", "prompt", "chosen", "rejected", "question", "response", "answer"),
    *("system", "history", "image", "images", "video", "videos", "facts"),
    *READING,
)
"""Our names, which those of a set can be mapped to."""

LIKE_QUESTION = ("problem", "prompt", "query", "instruction", "conversations")
"""What others call it."""


class ColumnError(UserError):
    """A row has no such column; the columns that it has are named, and the nearest to one of `wanted` among them."""

    def __init__(self, given: str, row: Row, *wanted: str) -> None:
        names = [str(name) for name in row]
        near: list[str | None] = [name for name in wanted if name in names]
        near += [nearest(name, names) for name in wanted]
        close = next((name for name in near if name), None)
        do = f"did you mean {close!r}? " if close else ""
        super().__init__(given, f"one of: {', '.join(names)}", f"{do}name the column in `columns`")

    def __reduce__(self) -> tuple[type[UserError], tuple[str, str, str]]:
        """Rebuild as what it says."""
        return UserError, (self.given, self.expected, self.do)


@dataclass(frozen=True, slots=True)
class Stored:
    """A picture or clip that came as bytes; `name` is what it was called, if anything."""

    content: bytes
    name: str | None


@dataclass(frozen=True, slots=True)
class ForeignRow:
    """A row as it can become one of ours; `rejected` is the losing reply of a pair."""

    id: str
    messages: list[Message]
    images: list[Path | Stored]
    videos: list[Path | Stored]
    answer: str | None
    rejected: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)


def read_foreign(
    row: Row, place: int, folder: Path | None, columns: Mapping[str, str | None], facts: Sequence[str]
) -> ForeignRow:
    """Read a row: `messages`, a pair (`prompt`, `chosen`, `rejected`), or a `question` with or without a `response`.

    Conversations as other tools write them are read too (`mmreflect.data.conversations`): where plain text says <image>
    or <video>, that is where media stand, else before the first question; turns of `from` and `value`, also under
    `conversations`; and roles that are surely ours under another name, as ShareGPT's human and gpt.

    All columns that say something of a conversation are taken, or refused by name (`mmreflect.data.columns`).

    Args:
        place: in its set; names a row without an id.
        folder: what paths of media are relative to; None: there are no files.
        columns: our name to the set's; a dot goes into a mapping, as in `reward_model.ground_truth`; null: not taken,
            which of what is read by no name of ours says that it does not matter.
        facts: further columns that become facts.

    Raises:
        UserError: it holds no question, a column is missing or not read, or media are no paths or bytes.
    """
    free = {name: None if name in columns.values() else name for name in COLUMNS}  # taken under another name
    known = {name: _at(row, columns.get(name, free[name]), name in columns) for name in COLUMNS}
    left = _undecided(row, columns)
    _join_input(known, left, columns)
    known["conversations"] = left.get("conversations")
    if not says(known["messages"]):
        known |= {"messages": known["conversations"], "conversations": None}
    if "rejected" not in columns:
        _split_reply(known, left)
    media = {kind: _media(known[f"{kind}s"], known[kind], kind, folder) for kind in KINDS}
    counts = {kind: len(items) for kind, items in media.items() if items or not _no_media(kind, columns)}
    decided = [name for name in columns if name.startswith(OF_A_TURN)]
    rejected = None
    if known["rejected"] is not None:
        messages, rejected = read_pair(known, left, decided, counts)
    elif says(known["messages"]):
        check_taken(left, turns := turns_in(known["messages"]), decided)
        check_opinions(left, turns := whole(turns, known))
        messages = with_media(said_turns(turns), counts)
    else:
        messages = _asked(known, counts, row, left)
    told = known["facts"] or {}
    if not isinstance(told, Mapping):
        raise UserError(f"facts is no mapping ({shown(told)})", "a mapping", "map it to null in `columns`")
    told = dict(told) | {name: known[name] for name in READING if known[name] is not None}
    told |= {name: _at(row, name, True) for name in facts}
    name = known["id"]
    return ForeignRow(
        f"row-{place:06}" if name is None else str(name),
        messages, media["image"], media["video"], reference_text(known["answer"]), rejected, told,
    )  # fmt: skip


def _at(row: Row, path: str | None, needed: bool) -> Any:
    """Return what a row holds under a name or a path of names.

    Raises:
        UserError: it is needed and not there.
    """
    found: Any = row
    for part in [] if path is None else [path] if path in row else path.split("."):
        if not isinstance(found, Mapping) or part not in found:
            if needed:
                raise ColumnError(f"column {path!r} is missing", row, str(path))
            return None
        found = found[part]
    return None if path is None else found


def _undecided(row: Row, columns: Mapping[str, str | None]) -> Row:
    """Return the columns of a row that are neither mapped to a name of ours nor set to null."""
    taken = {part for path in columns.values() if path is not None for part in (path, path.split(".")[0])}
    return {name: value for name, value in row.items() if name not in columns and name not in taken}


def _join_input(known: Row, left: Row, columns: Mapping[str, str | None]) -> None:
    """Put what stands under `input` behind an `instruction`, as LLaMA-Factory and ms-swift do with alpaca's rows."""
    for name in ("question", "prompt"):
        more = left.get("input")
        if columns.get(name) == "instruction" and isinstance(known[name], str) and isinstance(more, str):
            known[name] = f"{known[name]}\n{more}" if more.strip() else known[name]
            del left["input"]


def _split_reply(known: Row, left: Row) -> None:
    """Make a pair of a conversation whose reply has a `rejected_response` beside it, as ms-swift writes one."""
    lost, turns = left.get("rejected_response"), known["messages"]
    whole_pair = says(known["chosen"]) or says(known["rejected"])
    if isinstance(lost, str) and lost and isinstance(turns, list) and not whole_pair:
        known |= {"chosen": turns[-1:], "rejected": left.pop("rejected_response")}


def _no_media(kind: str, columns: Mapping[str, str | None]) -> bool:
    """Tell whether media of a kind are not to be taken, so that its marks are text."""
    return any(name in columns and columns[name] is None for name in (kind, f"{kind}s"))


def _asked(known: Row, counts: Mapping[str, int], row: Row, left: Row) -> list[Message]:
    question = known["question"]
    if question is None:
        raise ColumnError("there is neither 'messages' nor a 'question'", row, "question", *LIKE_QUESTION)
    if not isinstance(question, str) or not question.strip():
        raise UserError("the question is empty, or no text", "text", "fix the row")
    turns = whole_question(known, left)
    check_taken(left, turns)
    check_opinions(left, turns)
    return [in_parts(turn) for turn in with_media(turns, counts)]


def _media(many: Any, one: Any, kind: str, folder: Path | None) -> list[Path | Stored]:
    one, many = (None if given in ("", []) else given for given in (one, many))
    if one is not None and many is not None:
        raise UserError(
            f"the row has both {kind!r} and '{kind}s'", "one of them", "map one of them to null in `columns`"
        )
    items = many if one is None else one
    items = [] if items is None else items if isinstance(items, list) else [items]
    return [_medium(item, kind, folder) for item in items]


def _medium(item: Any, kind: str, folder: Path | None) -> Path | Stored:
    if isinstance(item, bytes):
        return Stored(item, None)
    if isinstance(item, Mapping):
        content, name = item.get("bytes"), item.get("path")
        if isinstance(content, bytes):
            return Stored(content, None if name is None else Path(str(name)).name)
        item = name
    if isinstance(item, str) and (folder is not None or Path(item).is_absolute()):
        return (folder or Path("/")) / item
    said = f"a path ({item})" if isinstance(item, str) else type(item).__name__
    raise UserError(f"{kind}: {said}", "its bytes" if folder is None else "a path or bytes", "download the set first")


def laid(item: Path | Stored, file: Path, usual: str) -> Path:
    """Return where a medium lies; one that came as bytes is written, under the ending that it had."""
    if isinstance(item, Path):
        return item
    file = file.with_suffix(Path(item.name or "").suffix or _ending(item.content) or usual)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(item.content)
    return file


def _ending(content: bytes) -> str:
    starts = {b"\x89PNG": ".png", b"\xff\xd8": ".jpg", b"GIF8": ".gif", b"RIFF": ".webp", b"BM": ".bmp"}
    return next((ending for start, ending in starts.items() if content.startswith(start)), "")
