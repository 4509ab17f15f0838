"""A run and its folder: claimed by one config, resumed by the same, finished by a result.

config.yaml    the resolved configuration; running it again is the same run
run.json       verb, name and version
run.lock       held while a process works on it; holds a name that no other run has
log.jsonl      one line per logged step
result.json    written last: the run is finished
"""

import fcntl
import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmreflect import __version__, console
from mmreflect.config import Keys, Tree, differences, load_yaml, to_yaml, without
from mmreflect.errors import UserError
from mmreflect.files import read_json, write_atomic, write_json
from mmreflect.packages import versions
from mmreflect.remote.account import open_account

DECIDING = ("torch", "transformers", "trl", "accelerate", "peft", "numpy")
"""Packages whose versions decide a result."""


class named:
    """Turns a broken file's error into one that names the file.

    Args:
        do: what a user can do about it.
    """

    def __init__(self, file: Path, do: str = "restore it, or make the run again in another folder") -> None:
        self._file, self._do = file, do

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if isinstance(error, (ValueError, LookupError, TypeError, AttributeError)):
            raise UserError(
                f"{self._file} cannot be read as a file of a run ({type(error).__name__}: {error})",
                "the file as mmreflect wrote it",
                self._do,
            ) from None


@dataclass(frozen=True, slots=True)
class Run:
    """A run's folder. `result` is None until the run is finished."""

    path: Path
    verb: str
    name: str

    @property
    def result(self) -> dict[str, Any] | None:
        """What the finished run found, or None.

        Raises:
            UserError: the file is damaged.
        """
        file = self.path / "result.json"
        with named(file, "restore it, or delete it and start the same run again: what is whole is kept"):
            try:
                return read_json(file) if file.is_file() else None
            except FileNotFoundError:  # another process opens the run again
                return None

    def finish(self, result: dict[str, Any]) -> None:
        """Write the result; from now on running the same config again returns it at once."""
        write_json(self.path / "result.json", result)
        open_account(None)


def open_run(
    output: str,
    verb: str,
    name: str,
    tree: Tree,
    inputs: dict[str, str] | None = None,
    free: Sequence[Keys] = (),
) -> Run:
    """Claim a folder for a configuration, or recognise it as this configuration's own.

    Args:
        inputs: marks of what the run works on; a run whose inputs have changed since is another run.
        free: where the configuration holds what decides nothing of the result; changes there are taken over and said.

    Raises:
        UserError: the folder belongs to another run (the keys that differ are named), holds foreign files,
            or another process is writing to it.
    """
    path, mark = Path(output), Path(output) / "run.json"
    moved = _check_folder(output, verb, name, tree, inputs, free)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"output {output!r} cannot be made: {error.strerror}", "a writable place", "choose another"
        ) from None
    _lock(path)
    write_atomic(path / "config.yaml", to_yaml(tree))
    if moved:
        _tell_moved(path, moved)
    write_json(
        mark,
        {"verb": verb, "name": name, "mmreflect": __version__, "versions": versions(*DECIDING), "inputs": inputs or {}},
    )
    return Run(path, verb, name)


def folder_state(
    output: str,
    verb: str,
    name: str,
    tree: Tree,
    inputs: dict[str, str] | None = None,
    free: Sequence[Keys] = (),
) -> str:
    """Say what a run would find in its folder, which stays as it is; nothing of a new one.

    Raises:
        UserError: as `open_run`.
    """
    moved = _check_folder(output, verb, name, tree, inputs, free)
    path = Path(output)
    if not (path / "run.json").is_file() or not _has_work(path):
        return ""
    if Run(path, verb, name).result is not None:
        return "is finished already; nothing to do"
    if path.resolve() not in _locks and (path / "run.lock").is_file():
        os.close(_locked(path))
    return "goes on where it stopped" + (f", with other settings (there -> now): {'; '.join(moved)}" if moved else "")


def _check_folder(
    output: str, verb: str, name: str, tree: Tree, inputs: dict[str, str] | None, free: Sequence[Keys]
) -> list[str]:
    """Refuse a folder that is not this configuration's own; return the free settings in which what is there differs."""
    path = Path(output)
    if path.exists() and not path.is_dir():
        raise UserError(f"output {output!r} is a file", "a folder", "choose another output")
    if (path / "run.json").is_file() and _has_work(path):
        _check_same(path, verb, name, tree, inputs, free)
        return differences(load_yaml(path / "config.yaml"), tree)
    if path.is_dir() and _has_work(path):
        found = sorted(item.name for item in path.iterdir())[:3]
        raise UserError(
            f"output folder {output!r} is not empty and holds no run of mmreflect (found: {', '.join(found)})",
            "an empty or new folder",
            "choose another output, or move those files away",
        )
    return []


def _tell_moved(path: Path, moved: Sequence[str]) -> None:
    from mmreflect.console import escape

    shown = "".join(f"\n    {line}" for line in moved)
    console.say(
        escape(f"'{path}' goes on with other settings, which nothing that is there depends on (there -> now):{shown}")
    )


def finished_run(
    output: str,
    verb: str,
    name: str,
    tree: Tree,
    inputs: dict[str, str] | None = None,
    free: Sequence[Keys] = (),
) -> Run | None:
    """Return the run that a folder holds when it is finished and of this very configuration, else None.

    Args:
        free: as for `open_run`.

    Raises:
        UserError: the folder belongs to another run.
    """
    path = Path(output)
    if not (path / "run.json").is_file() or not _has_work(path):
        return None
    _check_same(path, verb, name, tree, inputs, free)
    run = Run(path, verb, name)
    return run if run.result is not None else None


_CLAIM = {
    "config.yaml",
    ".config.yaml.partial",
    "run.json",
    ".run.json.partial",
    "run.lock",
    "quarantine.jsonl",
    "quarantine-validation.jsonl",
    "quarantine-tokens.jsonl",
    "guard.json",
}
"""What a run leaves in its folder before it has done any work; another configuration may claim such a folder."""


def _has_work(path: Path) -> bool:
    return any(item.name not in _CLAIM for item in path.iterdir())


def _check_same(
    path: Path,
    verb: str,
    name: str,
    tree: Tree,
    inputs: dict[str, str] | None,
    free: Sequence[Keys],
) -> None:
    with named(path / "run.json"):
        mark = read_json(path / "run.json")
        known, before = (mark["verb"], mark["name"]), dict(mark.get("inputs") or {})
    if known != (verb, name):
        raise UserError(
            f"output folder '{path}' holds a run of '{known[0]} {known[1]}'",
            f"an empty folder, or one of '{verb} {name}'",
            "choose another output",
        )
    changed = differences(without(load_yaml(path / "config.yaml"), free), without(tree, free))
    if changed:
        shown = "".join(f"\n    {line}" for line in changed[:12])
        more = f"\n    and {len(changed) - 12} more" if len(changed) > 12 else ""
        raise UserError(
            f"output folder '{path}' holds a run of another configuration; they differ (there -> now) in:{shown}{more}",
            "the same configuration, to resume it",
            "choose another output, restore those keys, or delete the folder",
        )
    stale = [key for key, value in (inputs or {}).items() if before.get(key, value) != value]
    if stale:
        raise UserError(
            f"output folder '{path}' holds a run on another {' and '.join(stale)}: it has changed since",
            "the same inputs, to resume it",
            "choose another output, or delete the folder",
        )


_locks: dict[Path, int] = {}


def _lock(path: Path) -> None:
    """Hold the folder until the process ends; the kernel releases it even after kill -9."""
    key = path.resolve()
    if key in _locks:
        os.close(_locks.pop(key))
    _locks[key] = handle = _locked(path)
    open_account(_name(handle))


def _locked(path: Path) -> int:
    handle = os.open(path / "run.lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise UserError(
            f"another process is writing to '{path}'",
            "one process per output folder",
            "wait for it, or choose another output",
        ) from None
    return handle


def _name(handle: int) -> str:
    """Return the run's name, which its first start has drawn: a folder that is deleted and made anew has another."""
    name = os.pread(handle, 64, 0).decode(errors="replace")
    if len(name) != 32:
        name = uuid.uuid4().hex
        os.pwrite(handle, name.encode(), 0)
    return name


def run_at(path: Path) -> Run:
    """Open an existing run's folder for reading.

    Raises:
        UserError: the folder is missing or holds no run, or `run.json` is damaged.
    """
    mark = path / "run.json"
    if not mark.is_file():
        raise UserError(
            f"'{path}' is not a run of mmreflect", "the output folder of a run (it holds run.json)", "check the path"
        )
    with named(mark):
        data = read_json(mark)
        return Run(path, data["verb"], data["name"])
