"""Limits of the system are told with what to do, whoever raises the error; what is none keeps its traceback."""

import errno
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from merge.small import models, recipe

from mmreflect import limits
from mmreflect.errors import UserError
from mmreflect.merge import work

Cli = Callable[..., tuple[int, str]]
ALLOCATOR = (
    "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"
)
FOUND: list[tuple[BaseException, str, str]] = [
    (RuntimeError("can't start new thread"), "no further thread can be started", "ulimit -u"),
    (ImportError("libx.so: failed to map segment from shared object"), "not enough memory: libx.so: failed", "ulimit -v"),
    (ImportError("Trouble.\n\n  libx.so: Cannot allocate memory \nSee there."), "memory: libx.so: Cannot", "ulimit -v"),
    (ImportError("libx.so: cannot open shared object file: Too many open files"), "too many files are open", "ulimit -n"),
    (RuntimeError(ALLOCATOR), "there is not enough memory: [enforce fail", "ulimit -v"),
    (OSError(errno.ENOMEM, "x", "a.bin"), "there is not enough memory: none to open a.bin", "ulimit -v"),
    (MemoryError(), "there is not enough memory", "ulimit -v"),
]  # fmt: skip
OTHERS: list[Exception] = [
    RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
    ImportError("libx.so: failed to map segment from shared object: Operation not permitted"),
    ImportError("No module named 'x'"),
    OSError("a.bin is no model"),
    OSError(errno.EIO, "Input/output error"),
    UserError("the words of a server: too many open files"),
]


@pytest.mark.parametrize("number", range(len(FOUND)))
def test_a_limit_is_told_without_a_traceback(
    number: int, tmp_path: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    error, said, advice = FOUND[number]

    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(work.Work, "measure", fail)
    code, text = run_cli("merge", recipe(models(tmp_path)))
    assert code == 2 and said in " ".join(text.split()) and advice in text, text


@pytest.mark.parametrize("error", OTHERS, ids=repr)
def test_other_errors_are_no_limits(error: Exception) -> None:
    assert limits.met(error) is None


def wrapped(cause: Exception, error: Exception) -> Exception:
    try:
        try:
            raise cause
        except type(cause):
            raise error from None
    except type(error) as found:
        return found


def test_what_a_limit_was_turned_into_is_one_too() -> None:
    cause = OSError(errno.EMFILE, "Too many open files", "a.bin")
    told = limits.met(wrapped(cause, ModuleNotFoundError("Could not import module 'Qwen'")))
    assert told is not None and told.given == "too many files are open to open a.bin"
    told = limits.met(wrapped(cause, UserError("'m' cannot be loaded", "a model", "check the path")))
    assert told is not None
    assert (told.given, told.expected) == ("'m' cannot be loaded", "a model") and "ulimit -n" in told.do
    assert limits.met(wrapped(KeyError("x"), UserError("'m' cannot be loaded"))) is None
    assert str(pickle.loads(pickle.dumps(told))) == str(told)


def test_errors_that_go_in_a_circle_come_to_an_end() -> None:
    one, two = ValueError("one"), ValueError("two")
    one.__context__, two.__context__ = two, one
    assert limits.met(one) is None
