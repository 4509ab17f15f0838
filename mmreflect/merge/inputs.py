"""The files that a merge was made of. A run goes on, and counts as finished, only while they are what they were.

Kept by size and time in `inputs.json`: weights, configuration and tokenizer of every model, and all that is copied from
the VLM.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mmreflect.errors import UserError
from mmreflect.files import read_json, write_json
from mmreflect.merge.checkpoint import INDEX, SINGLE, Checkpoint, Role
from mmreflect.merge.report import is_copied
from mmreflect.runs import named

INPUTS = "inputs.json"
_READ = ("config.json", "tokenizer.json", "tokenizer_config.json", "vocab.json", "added_tokens.json", SINGLE, INDEX)
Marks = dict[str, list[int]]


def marks_of(models: Sequence[Checkpoint]) -> dict[Role, Marks]:
    """Return size and time of the models' files as they are now."""
    return {model.role: _marks(model.role, model.folder, model.headers) for model in models}


def stamps_of(folders: Mapping[Role, Path]) -> dict[Role, Marks]:
    """Return size and time of all files in the models' folders, for `check_unchanged`."""
    return {
        role: _stats(folder, [path.relative_to(folder).as_posix() for path in folder.rglob("*")])
        for role, folder in folders.items()
    }


def check_unchanged(before: Mapping[Role, Marks], now: Mapping[Role, Marks]) -> None:
    """Check that models are what they were before they were opened: headers of one file fit no bytes of another.

    Raises:
        UserError: some of their files have changed; they are named.
    """
    changed = [
        f"{role}: {name}"
        for role, marks in now.items()
        for name, mark in marks.items()
        if before[role].get(name) != mark
    ]
    if changed:
        raise UserError(
            f"models changed while they were opened ({_few(changed)})",
            "models that nobody writes to",
            "start again when they are complete",
        )


def keep_inputs(models: Sequence[Checkpoint], folder: Path, marks: dict[Role, Marks] | None = None) -> None:
    """Note the models' files in a run's folder, or check that they are those noted.

    Args:
        marks: as they were right after their headers were read; None: as they are now.

    Raises:
        UserError: some have changed since the run was started, are gone or new; they are named; or what was noted is
            damaged.
    """
    if not (folder / INPUTS).is_file():
        write_json(folder / INPUTS, marks_of(models) if marks is None else marks)
    check_inputs({model.role: model.folder for model in models}, folder)


def check_inputs(models: Mapping[Role, Path], folder: Path) -> None:
    """Check that the models' files are those that a run's folder has noted, if any. A model that is gone is no other.

    Raises:
        UserError: some have changed since the run was started, are gone or new; they are named; or what was noted is
            damaged.
    """
    changed = []
    for role, known in noted_inputs(folder).items():
        if role in models and models[role].is_dir():
            now = _marks(role, models[role], known)
            changed += [f"{role}: {name}" for name in sorted({*known, *now}) if known.get(name) != now.get(name)]
    if changed:
        raise UserError(
            f"the models changed since the merge in '{folder}' was started ({_few(changed)})",
            "the same models, to go on or to be finished",
            f"delete '{folder}' to start again, or choose another output",
        )


def noted_inputs(folder: Path) -> dict[Role, Marks]:
    """Return what a run's folder has noted of the models' files; nothing where there is no note.

    Raises:
        UserError: the note is damaged.
    """
    file = folder / INPUTS
    if not file.is_file():
        return {}
    with named(file):
        noted: dict[Role, Marks] = read_json(file)
        sizes = [size for known in noted.values() for mark in known.values() for size in mark]
        if {type(size) for size in sizes} - {int}:
            raise TypeError("sizes and times that are no whole numbers")
    return noted


def _marks(role: str, folder: Path, weights: Iterable[str]) -> Marks:
    """Return size and time of a model's files; of those in `weights` that are weights, and of all others that count."""
    names = {name for name in weights if name.endswith(".safetensors")}
    names |= (
        set(_READ)
        if role != "vlm"
        else {SINGLE, INDEX}
        | {name for path in folder.rglob("*") if is_copied(name := path.relative_to(folder).as_posix())}
    )
    return _stats(folder, names)


def _stats(folder: Path, names: Iterable[str]) -> Marks:
    stats = {name: (folder / name).stat() for name in names if (folder / name).is_file()}
    return {name: [stat.st_size, stat.st_mtime_ns] for name, stat in sorted(stats.items())}


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
