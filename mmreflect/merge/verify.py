"""Is a written model what it should be? Checked at the end of a merge, and again whenever it is asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from mmreflect import console
from mmreflect.config import load_yaml, settings_of
from mmreflect.errors import UserError
from mmreflect.files import read_json
from mmreflect.merge.checkpoint import Checkpoint, open_checkpoint
from mmreflect.merge.checksums import checksum
from mmreflect.merge.inputs import check_inputs, noted_inputs
from mmreflect.merge.layout import Layout, Place
from mmreflect.merge.names import HEAD
from mmreflect.merge.outputs import file_checksums
from mmreflect.merge.plan import MergePlan
from mmreflect.merge.reload import Reloaded, reload
from mmreflect.runs import named, run_at

CARD = "README.md"
"""People write into it."""
_TEXTS = (".json", ".jinja", ".txt")
_FOR_READERS = ("*.md", "license*", "licence*", "notice*", "*.png", "*.jpg", "*.jpeg", "*.svg")
"""What people add to a model, in small letters; nothing loads it."""


@dataclass(frozen=True, slots=True)
class _Written:
    """What a report says was written.

    Attributes:
        crc32: of every tensor.
        tensors: dtype and shape by name; empty where an older merge did not note them.
        files: the CRC-32 of every file beside the weights, or None where an older merge did not note them.
    """

    crc32: dict[str, str]
    tensors: dict[str, tuple[str, list[int]]]
    files: dict[str, str] | None


def check_written(plan: MergePlan, layout: Layout, model: Path) -> Checkpoint:
    """Read the written model's headers back and compare them with the VLM's names, shapes, dtypes and tied flag.

    Returns:
        The written model.

    Raises:
        UserError: it cannot be read.
        RuntimeError: they differ, which is a bug.
    """
    try:
        written = open_checkpoint("merged", model)
    except UserError as error:
        raise UserError(
            f"{error.given}, and it was written whole",
            "a disk that keeps what is written, and nobody else who writes there",
            f"delete '{model}' and start the same again",
        ) from None
    expected = {name: place.code for shard in layout.shards for name, place in shard.tensors.items()}
    problems = differing(plan.vlm, written)
    problems += [f"{name} is {entry.dtype}" for name, entry in written.tensors.items() if expected[name] != entry.dtype]
    if problems:
        raise RuntimeError(f"the written model differs from the VLM: {'; '.join(problems[:5])}")
    return written


def as_written(model: Checkpoint) -> dict[str, Any]:
    """Return what a written model is recognised by later, besides the checksums of its values.

    `tensors` are dtype and shape by name, `files` the CRC-32 of every file that holds no weights but the model card.
    """
    tensors = {name: [entry.dtype, list(entry.shape)] for name, entry in model.tensors.items()}
    return {"tensors": tensors, "files": side_files(model.folder)}


def side_files(folder: Path) -> dict[str, str]:
    """Return the CRC-32 of a model's files beside weights and card, hidden ones left out, by their path in it."""
    return {
        name: _crc32(folder / name)
        for name in _files(folder)
        if not name.endswith(".safetensors") and not name.startswith(".") and name != CARD
    }


def _files(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]


def _crc32(file: Path) -> str:
    return f"{checksum(file.read_bytes()):08x}"


def differing(vlm: Checkpoint, written: Checkpoint) -> list[str]:
    """Say in what a merged model differs from its VLM: names, shapes, tied flag."""
    found = [f"{name!r} is missing" for name in vlm.tensors if name not in written.tensors]
    found += [f"{name!r} is new" for name in written.tensors if name not in vlm.tensors]
    for name, entry in vlm.tensors.items():
        if name in written.tensors and written.tensors[name].shape != entry.shape:
            found.append(f"{name!r} is {written.tensors[name].shape}, in the VLM {entry.shape}")
    if vlm.tied != written.tied:
        found.append(f"tie_word_embeddings is {written.tied}, in the VLM {vlm.tied}")
    return found


def verify_output(folder: str, words: Sequence[str] = ()) -> dict[str, str]:
    """Check an old output of a merge again, print what was found, and return it.

    Args:
        folder: output of `mmreflect merge`.
        words: `reload=no` leaves out loading the model, which needs memory for all of it.

    Raises:
        UserError: the folder holds no finished merge, a file of the run is damaged, or a check fails; every failure is
            named.
    """
    reload_asked = settings_of(words, ("reload",)).get("reload", "yes")
    if reload_asked not in ("yes", "no"):
        raise UserError(f"reload={reload_asked}", "reload=yes or reload=no", "choose one of them")
    run = run_at(Path(folder))
    file = run.path / "merge_report.json"
    if run.verb != "merge" or run.result is None or not file.is_file():
        raise UserError(
            f"'{folder}' holds no finished merge",
            "the output folder of mmreflect merge",
            "run the merge to its end first",
        )
    known, vlm = _written(file), _vlm_folder(run.path / "config.yaml")
    model = open_checkpoint("merged", run.path / "model")
    problems: list[str] = []
    found = {
        "files": f"{console.count(len(model.tensors), 'tensor')} in {console.count(len(model.headers), 'file')}, whole"
    }
    found["names and shapes"] = _names(known, model, _same_vlm(run.path, vlm), problems)
    found["checksums"] = _checksums(known, model, problems)
    found["other files"] = _side_files(known, model, problems)
    reloaded = Reloaded("left out (reload=no)", done=False)
    if problems:
        reloaded = Reloaded("left out, the files are not what was written", done=False)
    elif reload_asked == "yes":
        reloaded = reload(model)
    found["reload"] = reloaded.text
    console.show_plan(found)
    if problems:
        raise _changed(folder, problems)
    if reloaded.problems:
        raise UserError(
            f"the merged model in '{folder}' is as it was written, but does not work: {'; '.join(reloaded.problems)}",
            "a model that transformers loads and that answers with finite numbers",
            "see the warnings in merge_report.json, and whether the VLM itself loads; then merge with other settings",
        )
    console.say("[green]verified[/]" + ("" if reloaded.done else ", without a reload"))
    return found


def changes(folder: Path) -> tuple[list[str], dict[str, dict[str, int]]]:
    """Compare the weights of a finished merge with its report, quietly.

    Of other files, which people may edit, it asks only that they are there, not empty, and that texts hold no zeros.

    Returns:
        What differs, by name; and file to tensor to CRC-32 as written.

    Raises:
        UserError: the report is damaged.
    """
    known, problems = _written(folder / "merge_report.json"), list[str]()
    try:
        model = open_checkpoint("merged", folder / "model")
    except UserError as error:
        return [error.given], {}
    _names(known, model, "", problems)
    _checksums(known, model, problems)
    empty = [name for name, crc in (known.files or {}).items() if int(crc, 16) and not _size(model.folder / name)]
    problems += [f"{name} is empty or gone" for name in empty]
    texts = [name for name in known.files or {} if name.endswith(_TEXTS) and name not in empty]
    zeros = [name for name in texts if b"\0" in (model.folder / name).read_bytes()]
    problems += [f"{name} holds zeros" for name in zeros if _crc32(model.folder / name) != (known.files or {})[name]]
    crc32: dict[str, dict[str, int]] = {file: {} for file in model.headers}
    for name, entry in model.tensors.items():
        crc32[entry.file][name] = int(known.crc32.get(name, "0"), 16)
    return problems, crc32


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else 0


def _changed(folder: str, problems: Sequence[str]) -> UserError:
    number = console.count(len(problems), "problem")
    lines = "".join(f"\n  - {text}" for text in problems[:12])
    more = f"\n  - and {len(problems) - 12} more" if len(problems) > 12 else ""
    return UserError(
        f"the merged model in '{folder}' is not as it was written: {number}{lines}{more}",
        "the model that the merge wrote",
        f"delete '{folder}' and merge again, copy the model again from where it is whole, or take out what is new",
    )


def _written(file: Path) -> _Written:
    with named(file):
        report = read_json(file)
        crc32 = {name: str(crc) for name, crc in report["crc32"].items()}
        noted = report.get("written")
        if noted is None:
            return _Written(crc32, {}, None)
        tensors = {name: (str(entry[0]), list(entry[1])) for name, entry in noted["tensors"].items()}
        return _Written(crc32, tensors, {name: str(crc) for name, crc in noted["files"].items()})


def _vlm_folder(file: Path) -> Path:
    with named(file):
        return Path(load_yaml(file)["vlm"])


def _names(known: _Written, model: Checkpoint, vlm: Checkpoint | str, problems: list[str]) -> str:
    """Compare with what the report says was written, and with the VLM, or say why not with that."""
    wrong = [f"{name!r} is missing" for name in known.crc32 if name not in model.tensors]
    wrong += [f"{name!r} is new" for name in model.tensors if name not in known.crc32]
    for name, (dtype, shape) in known.tensors.items():
        entry = model.tensors.get(name)
        if entry and (entry.dtype, list(entry.shape)) != (dtype, shape):
            wrong.append(f"{name!r} is {entry.dtype} {list(entry.shape)}, written was {dtype} {shape}")
    against = "what was written"
    if isinstance(vlm, str):
        against += f"; {vlm}"
    else:
        wrong += [text for text in differing(vlm, model) if text not in wrong]
        against += f" and to the VLM's in '{vlm.folder}'"
        if model.tied and HEAD in model.canonical and HEAD not in vlm.canonical:
            wrong.append("the head is tied to the embeddings, and yet it is stored")
    problems += wrong
    return f"{console.count(len(wrong), 'difference')} from {against}" if wrong else f"equal to {against}"


def _same_vlm(run: Path, folder: Path) -> Checkpoint | str:
    """Open the VLM that was merged, or say what became of it since, which is no fault of the output."""
    noted_inputs(run)  # a damaged note says nothing of the VLM
    try:
        check_inputs({"vlm": folder}, run)
    except UserError:
        return f"the VLM in '{folder}' is no longer what was merged, not compared"
    try:
        return open_checkpoint("vlm", folder)
    except UserError:
        return f"the VLM can no longer be read in '{folder}'"


def _side_files(written: _Written, model: Checkpoint, problems: list[str]) -> str:
    known, there = written.files, _files(model.folder)
    if known is None:
        return "not compared: the mmreflect that merged did not note them"
    wrong = [f"{name} is missing" for name in known if name not in there]
    wrong += [
        f"{name} is no longer what was written"
        for name, crc in known.items()
        if name in there and _crc32(model.folder / name) != crc
    ]
    wrong += [
        f"{name} is new"
        for name in there
        if name not in known and name not in model.headers and not _is_for_readers(name)
    ]
    problems += wrong
    if wrong:
        return f"{console.count(len(wrong), 'file')} missing, changed or new"
    return f"all {len(known):,} as written"


def _is_for_readers(name: str) -> bool:
    """Tell whether a file, by its path in a model, is hidden or one of those that people add for one another."""
    parts = name.lower().split("/")
    return any(part.startswith(".") for part in parts) or any(fnmatchcase(parts[-1], item) for item in _FOR_READERS)


def _checksums(written: _Written, model: Checkpoint, problems: list[str]) -> str:
    known, wrong = written.crc32, []
    for file in model.headers:
        places = {
            name: Place(entry.dtype, entry.start, entry.stop)
            for name, entry in model.tensors.items()
            if entry.file == file
        }
        for name, crc in file_checksums(model.folder / file, places).items():
            if name in known and known[name] != f"{crc:08x}":
                wrong.append(f"{name!r} in {file} has the CRC-32 {crc:08x}, written was {known[name]}")
    problems += wrong
    return f"{console.count(len(wrong), 'tensor')} changed" if wrong else f"all {len(known):,} as written"
