"""Which token has which id, read from a tokenizer's files without loading it."""

import json
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer's tokens.

    Attributes:
        ids: token text to id, added tokens included.
        added: id to text of the tokens that were added to the trained vocabulary, control tokens among them.
    """

    ids: dict[str, int]
    added: dict[int, str]


def read_vocabulary(folder: Path) -> Vocabulary | None:
    """Read `tokenizer.json`, or else `vocab.json` with the added tokens beside it; None where neither can be read."""
    try:
        return _vocabulary(folder)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None  # damaged, which the plan's notes say


def _vocabulary(folder: Path) -> Vocabulary | None:
    fast = _read(folder / "tokenizer.json")
    ids = fast.get("model", {}).get("vocab") if isinstance(fast.get("model"), dict) else None
    if isinstance(ids, dict) and ids:
        added = {int(item["id"]): str(item["content"]) for item in fast.get("added_tokens", [])}
    else:
        ids = _read(folder / "vocab.json")
        decoder = _read(folder / "tokenizer_config.json").get("added_tokens_decoder", {})
        added = {int(number): str(item["content"]) for number, item in decoder.items()}
        added |= {int(number): text for text, number in _read(folder / "added_tokens.json").items()}
    if not ids:
        return None
    if {type(number) for number in ids.values()} != {int}:
        raise TypeError("ids that are no whole numbers")
    return Vocabulary({**ids, **{text: number for number, text in added.items()}}, added)


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def moved_tokens(ours: Vocabulary, theirs: Vocabulary) -> list[str]:
    """Return the tokens that both know under different ids, without those added later (`moved_added`)."""
    if ours.ids == theirs.ids:
        return []
    known, late = theirs.ids, {*ours.added.values(), *theirs.added.values()}
    return [text for text, number in ours.ids.items() if known.get(text, number) != number and text not in late]


def moved_added(ours: Vocabulary, theirs: Vocabulary) -> list[tuple[str, int, int]]:
    """Return the tokens, added in at least one of the two, that both know under different ids: text, our id, theirs."""
    late = {*ours.added.values(), *theirs.added.values()}
    both = [(text, ours.ids[text], theirs.ids[text]) for text in late if text in ours.ids and text in theirs.ids]
    return sorted((item for item in both if item[1] != item[2]), key=lambda item: item[1])


def clashing_ids(ours: Vocabulary, theirs: Vocabulary) -> list[tuple[int, str, str]]:
    """Return the ids of different tokens, at least one of them an added one: id, our text, their text.

    An id that only one of the two knows clashes with nothing: vision tokens are new to a text model.
    """
    numbers = ours.added.keys() | theirs.added.keys()
    mine, its = _texts(ours, numbers), _texts(theirs, numbers)
    return [(n, mine[n], its[n]) for n in sorted(mine.keys() & its.keys()) if mine[n] != its[n]]


def _texts(vocabulary: Vocabulary, numbers: Set[int]) -> dict[int, str]:
    plain = {number: text for text, number in vocabulary.ids.items() if number in numbers}
    return plain | {number: text for number, text in vocabulary.added.items() if number in numbers}


def matching_rows(
    ours: Vocabulary, others: Sequence[Vocabulary], rows: Sequence[int]
) -> list[tuple[int, int, tuple[int, ...]]]:
    """Pair rows of embedding matrices by the text of their tokens.

    A token counts only where every vocabulary knows its text; rows of padding belong to no token.

    Args:
        rows: number of rows of our matrix, then of each of the others'.

    Returns:
        Runs of consecutive rows: our first row, how many, the first row in each of the others.
    """
    found: list[tuple[int, int, tuple[int, ...]]] = []
    for text, number in sorted(ours.ids.items(), key=lambda item: item[1]):
        theirs = tuple(other.ids.get(text, -1) for other in others)
        if number >= rows[0] or any(not 0 <= row < limit for row, limit in zip(theirs, rows[1:], strict=True)):
            continue
        if found:
            start, count, firsts = found[-1]
            if number == start + count and theirs == tuple(first + count for first in firsts):
                found[-1] = (start, count + 1, firsts)
                continue
        found.append((number, 1, theirs))
    return found
