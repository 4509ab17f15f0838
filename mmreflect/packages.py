"""Versions of installed packages, told by the names of the folders that record them.

`importlib.metadata` reads all that a package says of itself, which takes two milliseconds for each.
"""

import contextlib
import os
import re
import sys

_RECORD = ".dist-info"


def versions(*names: str) -> dict[str, str]:
    """Return the versions of those packages that are installed.

    A folder NAME-VERSION.dist-info on the path records a package (PyPA, "Recording installed projects"); records of
    other kinds, as eggs have them, are left to `importlib.metadata`.
    """
    recorded: dict[str, str] = {}
    for entry in sys.path:
        with contextlib.suppress(OSError):
            for folder in os.listdir(entry or os.curdir):
                name, _, version = folder.removesuffix(_RECORD).partition("-")
                if folder.endswith(_RECORD) and version:
                    recorded.setdefault(_normal(name), version)
    found = {name: recorded.get(_normal(name)) or _other(name) for name in names}
    return {name: version for name, version in found.items() if version is not None}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "_", name).lower()


def _other(name: str) -> str | None:
    import importlib.metadata

    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
