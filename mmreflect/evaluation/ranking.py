"""Which of several things is the best by one number, and whether that number tells them apart at all."""

from collections.abc import Mapping


def leading(numbers: Mapping[str, float | None]) -> list[str]:
    """Return the names with the highest number, all of the equals, in the order given; none where nothing has one."""
    known = {name: number for name, number in numbers.items() if number is not None}
    return [name for name, number in known.items() if number == max(known.values())]
