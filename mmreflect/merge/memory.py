"""How much memory is free, by what Linux tells: the machine's, and what a container may use of it."""

from pathlib import Path

MACHINE = Path("/proc/meminfo")
CONTAINER = Path("/sys/fs/cgroup")
_LIMITS = (
    ("memory.max", "memory.current", "memory.stat"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
)
"""Of version 2 and 1 of control groups: the limit, what is in use, and what of that is cached files."""


def available() -> int | None:
    """Return the bytes of memory that are free; None where the system does not tell."""
    known = [free for free in (_of_machine(), _of_container()) if free is not None]
    return min(known, default=None)


def _of_machine() -> int | None:
    lines = _pairs(MACHINE)
    return int(lines["MemAvailable:"]) * 1024 if "MemAvailable:" in lines else None


def _of_container() -> int | None:
    for limit, used, stat in _LIMITS:
        if (CONTAINER / limit).is_file() and (CONTAINER / used).is_file():
            most = (CONTAINER / limit).read_text().strip()
            cached = int(_pairs(CONTAINER / stat).get("inactive_file", 0))
            return int(most) - int((CONTAINER / used).read_text()) + cached if most.isdigit() else None
    return None


def _pairs(path: Path) -> dict[str, str]:
    """Read lines of a name and a number."""
    rows = [line.split() for line in path.read_text().splitlines()] if path.is_file() else []
    return {row[0]: row[1] for row in rows if len(row) > 1}
