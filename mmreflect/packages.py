"""Versions of installed packages, told by the names of the folders that record them.

`importlib.metadata` reads all that a package says of itself, which takes two milliseconds for each.
"""

import contextlib
import os
import re
import sys
from collections.abc import Container, Iterator


def versions(*names: str) -> dict[str, str]:
    """Return the versions of those packages that are installed.

    A folder NAME-VERSION.dist-info records a package (PyPA, "Recording installed projects"); the first one on the path
    counts. What is recorded otherwise before it, as eggs are, is left to `importlib.metadata`.
    """
    asked = {_normal(name) for name in names}
    first: dict[str, str | None] = {}
    for entry in sys.path:
        with contextlib.suppress(OSError):
            for name, version in _records(entry or os.curdir, asked):
                first.setdefault(name, version)
    found = {name: first.get(_normal(name)) or _other(name) for name in names}
    return {name: version for name, version in found.items() if version is not None}


def _records(entry: str, asked: Container[str]) -> Iterator[tuple[str, str | None]]:
    """Yield name and version of the packages that a folder records; None for a version that its name does not tell."""
    for item in os.listdir(entry):
        stem, kind = os.path.splitext(item)
        name, _, version = stem.partition("-")
        name = _normal(name)
        if item == "EGG-INFO":
            yield _normal(os.path.basename(entry).partition("-")[0]), None
        elif kind == ".egg-info" and name in asked:
            yield name, None
        elif kind == ".dist-info" and name in asked and os.path.isfile(os.path.join(entry, item, "METADATA")):
            yield name, version or None


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "_", name).lower()


def _other(name: str) -> str | None:
    import importlib.metadata

    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
