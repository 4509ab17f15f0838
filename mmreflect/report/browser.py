"""All answers of a run, to be read one at a time: chosen by verdict, by transition, by group, or by words.

The page holds them as JSON, which its script turns into elements text by text; a picture or film strip is held once,
however many answers show it.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from markupsafe import Markup

from mmreflect.report.album import Album
from mmreflect.report.layout import Browser, Card, Reply, Section
from mmreflect.report.numbers import counted
from mmreflect.report.pictures import THUMBNAIL_SIDE, Picture, Shown
from mmreflect.report.text import Block, Piece

MOST_ANSWERS = 5000
"""Answers that one page holds; later ones are counted."""
MOST_PICTURES = 400
"""Pictures that one page holds; film strips are a quarter as many, being four times as large."""
_LONGEST_QUESTION = 8000


def thumbnails(folder: Path, pictures: int = MOST_PICTURES, like: Album | None = None) -> Album:
    """Return the album of a browser: small pictures, each of them held once, and not more than `pictures`.

    Args:
        like: the page's other album, whose film strips are used again.
    """
    return Album(folder, most_strips=pictures // 4, most_stills=pictures, side=THUMBNAIL_SIDE, once=True, like=like)


def section(
    makers: Sequence[Callable[[], Card]], orders: Mapping[str, Sequence[str]], album: Album, notes: Sequence[str] = ()
) -> Section | None:
    """Return the browser, or None where there is nothing to read.

    Args:
        makers: each makes one card; those beyond `MOST_ANSWERS` are not called.
        orders: the filters by name, each with its labels in order; labels that are not in it follow by the alphabet.
    """
    if not makers:
        return None
    cards = [make() for make in makers[:MOST_ANSWERS]]
    said = [*notes, *_limits(len(makers), album)]
    body = Browser(said, _data(cards, orders), len(cards), len(makers))
    return Section("answers", "All answers", "browser", body)


def _limits(total: int, album: Album) -> list[str]:
    """Say what the page does not hold, and how to have it."""
    said = []
    if total > MOST_ANSWERS:
        said.append(f"The page holds the first {MOST_ANSWERS:,} of {total:,} answers; the others are left out.")
    left = [
        counted(number, noun) for number, noun in ((album.stills_left_out, "picture"), (album.left_out, "video"))
        if number
    ]  # fmt: skip
    if left:
        said.append(
            f"Pictures are made small; {' and '.join(left)} of later questions are named only. "
            "mmreflect view with pictures=N holds more."
        )
    return said


def _data(cards: Sequence[Card], orders: Mapping[str, Sequence[str]]) -> Markup:
    """Return everything as JSON that can stand inside a script element: no `<`, `>` or `&`, and ASCII alone."""
    shelf = _Shelf()
    packed = [_card(card, shelf) for card in cards]
    filters = [
        {"k": name, "o": _labels(cards, name, order)}
        for name, order in orders.items()
        if any(card.labels.get(name) for card in cards)
    ]
    text = json.dumps({"filters": filters, "media": shelf.media, "cards": packed}, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)


def _labels(cards: Sequence[Card], name: str, order: Sequence[str]) -> list[str]:
    found = {label for card in cards for label in card.labels.get(name, ())}
    return [*(label for label in order if label in found), *sorted(found - set(order))]


class _Shelf:
    """Media by number, each once."""

    def __init__(self) -> None:
        self.media: list[dict[str, Any]] = []
        self._places: dict[Shown, int] = {}

    def place(self, shown: Shown) -> list[int | str]:
        """Return the number of a medium, and what it is called here."""
        bare = replace(shown, title="")
        if bare not in self._places:
            self._places[bare] = len(self.media)
            self.media.append(_medium(bare))
        return [self._places[bare], shown.title] if shown.title else [self._places[bare]]


def _medium(shown: Shown) -> dict[str, Any]:
    if isinstance(shown, Picture):
        made = {"n": shown.name, "p": shown.problem, "s": shown.source, "r": shown.remark}
        size = {"w": shown.width, "h": shown.height} if shown.source else {}
        return {key: value for key, value in made.items() if value} | size
    return {"n": shown.name, "c": shown.caption, "f": [_medium(frame) for frame in shown.frames]}


def _card(card: Card, shelf: _Shelf) -> dict[str, Any]:
    shown = card.example
    packed: dict[str, Any] = {
        "i": shown.id,
        "q": _cut(shown.question),
        "f": {name: list(labels) for name, labels in card.labels.items() if labels},
        "s": card.said,
        "t": card.tone,
        "r": [_reply(reply, shelf) for reply in shown.replies],
    }
    if shown.gold is not None:
        packed["g"] = _cut(shown.gold)
    if shown.kind:
        packed["k"] = shown.kind
    if shown.media:
        packed["m"] = [shelf.place(item) for item in shown.media]
    if card.options:
        packed["o"] = [list(option) for option in card.options]
    if card.draw:
        packed["d"] = card.draw
    if card.other:
        packed["u"] = list(card.other)
    return packed


def _cut(text: str) -> str:
    if len(text) <= _LONGEST_QUESTION:
        return text
    return f"{text[:_LONGEST_QUESTION]} [... {len(text) - _LONGEST_QUESTION:,} more characters]"


def _reply(reply: Reply, shelf: _Shelf) -> dict[str, Any]:
    drawn = [lane.text for lane in reply.timeline.lanes] if reply.timeline else []
    said = [text for text in ("; ".join(drawn), reply.timeline.verdict if reply.timeline else "") if text]
    return {
        "l": reply.label,
        "c": [[chip.text, chip.tone] for chip in reply.chips],
        "b": [_block(block, shelf) for block in reply.blocks],
        "n": [*said, *reply.remarks],
    }


def _block(block: Block, shelf: _Shelf) -> dict[str, Any]:
    packed: dict[str, Any] = {"k": block.kind, "p": [_piece(piece) for piece in block.pieces]}
    return packed | ({"m": [shelf.place(item) for item in block.media]} if block.media else {})


def _piece(piece: Piece) -> list[str | int]:
    """Return a text with what it is: 1 a tag, 2 forced words, 3 a forced tag; nothing for what the model said."""
    kind = int(piece.tag) + 2 * (piece.author == "forced")
    return [piece.text, kind, piece.stage] if kind > 1 else [piece.text, kind] if kind else [piece.text]
