"""On which run's account a client pays: limits of tokens and of cost hold over all starts of a run."""

_claimed: list[str] = []


def open_account(name: str | None) -> None:
    """Let clients that are made from now on pay for this run; None lets them pay for none."""
    _claimed[:] = [] if name is None else [name]


def claimed() -> str | None:
    """Return the name of the run that this process works on, the same in all of its starts; None without one."""
    return _claimed[-1] if _claimed else None
