"""Limits of the system that a run may meet: which one it was, and what to do, whoever told of it and how."""

import errno
from collections.abc import Iterator

from mmreflect.errors import UserError
from mmreflect.files import FULL

_LESS_MEMORY = "free some, lift the limit (ulimit -v unlimited), or choose smaller settings; then start the same again"
_NO_MEMORY = (
    "cannot allocate memory",
    "can't allocate memory",
    "failed to map segment from shared object",
    "unable to mmap",
)
"""What a library says in an error of its own: of loading shared objects, of torch's allocator, of mapped weights."""
_FORBIDDEN = "operation not permitted"
"""Where no file of a disk may be mapped to be run, whatever memory there is."""
_MAKERS = ("safetensors", "safetensors_rust", "datasets", "huggingface_hub", "torch")
"""Whose own types of errors tell of limits in words."""
_NO_THREAD = "can't start new thread"
_MANY_FILES = "too many open files"


def met(error: BaseException) -> UserError | None:
    """Say which limit of the system an error tells of, or one that it was raised for; None: it tells of none.

    A `UserError` that was raised for a limit keeps what it says was found and gets the limit's advice. A GPU that has
    no memory left is no limit of the system: other settings may fit it.
    """
    for cause in _causes(error):
        told = _told(cause)
        if told is not None:
            return UserError(error.given, error.expected, told.do) if isinstance(error, UserError) else told
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and, one after the other, those that were being handled when it was raised."""
    known: list[BaseException] = []
    while error not in known:
        yield error
        known.append(error)
        error = error.__cause__ or error.__context__ or error


def _told(error: BaseException) -> UserError | None:
    if isinstance(error, UserError):
        return None
    if isinstance(error, MemoryError):
        return _memory(str(error))
    if isinstance(error, OSError) and error.errno is not None:
        return _of_number(error)
    if not isinstance(error, (RuntimeError, ImportError, OSError)) and _maker(error) not in _MAKERS:
        return None  # its text may be anybody's
    text = str(error)
    lines = [line for line in text.splitlines() if any(words in line.lower() for words in _NO_MEMORY)]
    if lines and _FORBIDDEN not in lines[0].lower():
        return _memory(" ".join(lines[0].split())[:300])
    if _NO_THREAD in text:
        return UserError(
            "no further thread can be started",
            "a thread for each processor, and some dozen more",
            "raise the limits on processes and memory (ulimit -u, ulimit -v) and start the same again",
        )
    return _files("") if _MANY_FILES in text.lower() else None


def _maker(error: BaseException) -> str:
    return type(error).__module__.partition(".")[0]


def _of_number(error: OSError) -> UserError | None:
    where = f" of {error.filename}" if error.filename else ""
    if error.errno in FULL:
        return UserError(f"the disk{where} is full", "room for what is written", "make room and start the same again")
    if error.errno == errno.EFBIG:
        return UserError(
            f"a file is longer than files may be{where and f' ({error.filename})'}",
            "room for every file, whatever the disk has free",
            "raise the limit (ulimit -f unlimited) and start the same again",
        )
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return _files(where and f" to open {error.filename}")
    if error.errno == errno.ENOMEM:
        return _memory(where and f"none to open {error.filename}")
    return None


def _files(wanted: str) -> UserError:
    return UserError(
        f"too many files are open{wanted}",
        "two for each file of the models, and some dozen more",
        "raise the limit (ulimit -n 4096) and start the same again",
    )


def _memory(reason: str) -> UserError:
    told = f": {reason}" if reason else ""
    return UserError(f"there is not enough memory{told}", "memory for what the plan says", _LESS_MEMORY)
