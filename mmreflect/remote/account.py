"""On which run's account a client pays: limits of tokens and of cost hold over all starts of a run."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Start:
    """One start of a run.

    Attributes:
        run: its name, the same in all starts.
        purses: what its clients pay from (`remote.limits`).
    """

    run: str
    purses: dict[tuple[str, ...], Any] = field(default_factory=dict)


_claimed: list[Start] = []


def open_account(name: str | None) -> None:
    """Let clients that are made from now on pay for a start of this run; None lets them pay for none."""
    _claimed[:] = [] if name is None else [Start(name)]


def claimed() -> Start | None:
    """Return the start of the run that this process works on; None without one."""
    return _claimed[-1] if _claimed else None
