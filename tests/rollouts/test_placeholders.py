"""Collapsing the tokens of media, by hand: 8 and 9 are pads, 1 and 2 stand around them, 5 and 6 are times."""

import pytest

from mmreflect.errors import UserError
from mmreflect.rollouts.engines._placeholders import Expansion, collapse


def test_collapse_by_hand() -> None:
    first, clip = Expansion((8, 8, 8), (8,)), Expansion((5, 1, 9, 9, 2, 6, 1, 9, 9, 2), (9,))
    ids = [1, 8, 8, 8, 2, 4, 1, 5, 1, 9, 9, 2, 6, 1, 9, 9, 2, 2, 7]
    collapsed, spans = collapse(ids, [first, clip], {8, 9})
    assert collapsed == [1, 8, 2, 4, 1, 9, 2, 7] and spans == [(1, 4), (7, 17)]
    assert collapse([3, 4], [], {8, 9}) == ([3, 4], [])


@pytest.mark.parametrize(
    ("ids", "shown"),
    [
        ([1, 8, 8, 2], [Expansion((8, 8, 8), (8,))]),
        ([1, 8, 8, 8, 8, 2], [Expansion((8, 8, 8), (8,))]),
        ([1, 9, 2, 8, 8, 8, 2], [Expansion((8, 8, 8), (8,))]),
        ([1, 8, 8, 8, 2, 1, 8, 2], [Expansion((8, 8, 8), (8,))]),
        ([1, 2, 3], [Expansion((8, 8, 8), (8,))]),
    ],
)
def test_tokens_that_do_not_match_the_media(ids: list[int], shown: list[Expansion]) -> None:
    with pytest.raises(UserError, match=r"not where its turn comes|no medium accounts for"):
        collapse(ids, shown, {8, 9})
