"""Drawing rows so that right and wrong first attempts stand in a wanted share, or sets end at equal tokens; by shards.

A shard decides for itself, so that it comes out the same whatever became of others, and shards can be made anywhere.
"""

from collections.abc import Generator, Sequence
from typing import Any

from mmreflect.building import Rejected
from mmreflect.seeds import derive_seed
from mmreflect.teaching.steps import Gather, Gathered


def drawn(right: Sequence[bool], names: Sequence[str], share: float | None, most: int | None, seed: int) -> set[int]:
    """Return the places of the rows that are kept: as many as can be had in the wanted share.

    Args:
        right: of each row, whether its first attempt is right.
        names: of the rows, which decide together with the seed who is drawn.
        share: of right ones among those kept, rounded to whole rows; None keeps them as they come.
        most: rows that are kept at most.
    """
    order = sorted(range(len(right)), key=lambda place: derive_seed(seed, "drawn", names[place]))
    limit = len(order) if most is None else min(most, len(order))
    if share is None:
        return set(order[:limit])
    rights = [place for place in order if right[place]]
    wrongs = [place for place in order if not right[place]]
    for total in range(limit, 0, -1):
        wanted = round(total * share)
        if wanted <= len(rights) and total - wanted <= len(wrongs):
            return {*rights[:wanted], *wrongs[: total - wanted]}
    return set()


def draw(name: str, right: bool, share: float | None, keep: float, seed: int) -> Generator[Gather, Gathered, None]:
    """Go on only with a row that is drawn among those of its shard that have come as far.

    Args:
        name: of the row.
        keep: share of these rows that is kept at most.

    Raises:
        Rejected: it is not drawn.
    """
    if share is None and keep == 1:
        return
    gathered: Any = yield Gather((name, right))
    names, rights = zip(*gathered.values, strict=True)
    most = None if keep == 1 else round(keep * len(names))
    if gathered.own not in drawn(rights, names, share, most, seed):
        raise Rejected("not drawn: enough attempts that are " + ("right" if right else "wrong"))


def within(tokens: Sequence[int], names: Sequence[str], budget: float, seed: int) -> set[int]:
    """Return the places of the rows that are kept so that their tokens add up to a budget at most.

    They are taken in an order that the seed and their names give; one that would not fit any more is passed over.
    """
    kept, spent = set[int](), 0
    for place in sorted(range(len(tokens)), key=lambda place: derive_seed(seed, "within", names[place])):
        if spent + tokens[place] <= budget:
            kept.add(place)
            spent += tokens[place]
    return kept


def spend(name: str, group: int, tokens: int, budget: float | None, seed: int) -> Generator[Gather, Gathered, None]:
    """Go on only with a row that the tokens of its group in the shard leave room for.

    Args:
        name: of the row.
        budget: tokens of each group in the shard; None leaves room for all.

    Raises:
        Rejected: there is no room left.
    """
    if budget is None:
        return
    gathered: Any = yield Gather((name, group, tokens))
    mine = [place for place, (_, other, _) in enumerate(gathered.values) if other == group]
    names, _, sizes = zip(*(gathered.values[place] for place in mine), strict=True)
    if mine.index(gathered.own) not in within(sizes, names, budget, seed):
        raise Rejected("not drawn: the set has its tokens")
