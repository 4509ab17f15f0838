"""Putting pictures in the places where a prompt marks them."""

import re
from collections.abc import Callable

from mmreflect.records import Media


def interleaved(text: str, mark: re.Pattern[str], picture: Callable[[int], Media]) -> list[str | Media]:
    """Return the text in pieces, with a picture for each mark; the mark's first group is the picture's number.

    Pieces without any character are left out; all others keep their blanks.
    """
    pieces: list[str | Media] = []
    end = 0
    for found in mark.finditer(text):
        pieces += [text[end : found.start()], picture(int(found[1]))]
        end = found.end()
    pieces.append(text[end:])
    return [piece for piece in pieces if piece != ""]
