import re
from collections.abc import Sequence

import pytest


class Pieces:
    """A vocabulary of some pieces and of all single characters."""

    def __init__(self, *pieces: str) -> None:
        self.pieces = list(pieces)
        self._match = re.compile("|".join([*map(re.escape, sorted(pieces, key=len, reverse=True)), "(?s:.)"]))

    def tokenize(self, text: str) -> list[int]:
        return [
            self.pieces.index(piece) if piece in self.pieces else 1000 + ord(piece)
            for piece in self._match.findall(text)
        ]

    def detokenize(self, token_ids: Sequence[int]) -> str:
        return "".join(self.pieces[token] if token < 1000 else chr(token - 1000) for token in token_ids)


@pytest.fixture
def words() -> Pieces:
    return Pieces(
        "<think>", "</think>", "wait", "Wait", "but", "But", "Alternatively", " wait", " Wait", " ", "\n", "so"
    )


@pytest.fixture
def letters() -> Pieces:
    return Pieces()
