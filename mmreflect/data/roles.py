"""Who speaks in a row: the roles that everything here knows, and what others call them.

A role that nobody here knows would be a turn that nobody grades, masks or learns from. So every reader of other
people's rows translates what is certain by `with_our_roles`, and every reader of rows refuses the rest, by
`split_response`.
"""

from collections.abc import Mapping
from typing import Any

ROLES = ("system", "user", "assistant")
OTHERS = {"human": "user", "gpt": "assistant"}
"""What ShareGPT, and the many sets in its layout, call them."""
EXPECTED = f"{', '.join(ROLES)}; {' and '.join(OTHERS)} are read as {' and '.join(OTHERS.values())}, in any letters"


def with_our_roles(turns: Any) -> Any:
    """Return turns in which ShareGPT's roles, and ours in other letters (`Assistant`), are ours.

    All else stays as it is, and so does what is no list of turns: that is refused where turns are checked.
    """
    return [_translated(turn) for turn in turns] if isinstance(turns, list) else turns


def _translated(turn: Any) -> Any:
    role = turn.get("role") if isinstance(turn, Mapping) else None
    if not isinstance(role, str):
        return turn
    name = role.strip().lower()
    return {**turn, "role": OTHERS.get(name, name)} if name in (*ROLES, *OTHERS) else turn
