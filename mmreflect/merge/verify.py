"""Is a written model what it should be? Checked at the end of a merge, and again whenever it is asked for."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmreflect import console
from mmreflect.config import load_yaml, settings_of
from mmreflect.errors import UserError
from mmreflect.files import read_json
from mmreflect.merge.checkpoint import Checkpoint, open_checkpoint
from mmreflect.merge.checksums import checksum
from mmreflect.merge.layout import Layout, Place
from mmreflect.merge.names import HEAD
from mmreflect.merge.outputs import file_checksums
from mmreflect.merge.plan import MergePlan
from mmreflect.merge.reload import Reloaded, reload
from mmreflect.runs import run_at

CARD = "README.md"
"""People write into it."""


def check_written(plan: MergePlan, layout: Layout, model: Path) -> Checkpoint:
    """Read the written model's headers back and compare them with the VLM's names, shapes, dtypes and tied flag.

    Returns:
        The written model.

    Raises:
        RuntimeError: they differ, which is a bug.
    """
    written = open_checkpoint("merged", model)
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
    names = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {
        name: f"{checksum(path.read_bytes()):08x}"
        for name, path in names.items()
        if not name.endswith(".safetensors") and not name.startswith(".") and name != CARD
    }


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
        UserError: the folder holds no finished merge, or a check fails; every failure is named.
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
    report = read_json(file)
    model = open_checkpoint("merged", run.path / "model")
    problems: list[str] = []
    found = {
        "files": f"{console.count(len(model.tensors), 'tensor')} in {console.count(len(model.headers), 'file')}, whole"
    }
    found["names and shapes"] = _names(run.path, report, model, problems)
    found["checksums"] = _checksums(report, model, problems)
    found["other files"] = _side_files(report, model, problems)
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


def _changed(folder: str, problems: Sequence[str]) -> UserError:
    number = console.count(len(problems), "problem")
    lines = "".join(f"\n  - {text}" for text in problems[:12])
    more = f"\n  - and {len(problems) - 12} more" if len(problems) > 12 else ""
    return UserError(
        f"the merged model in '{folder}' is not as it was written: {number}{lines}{more}",
        "the model that the merge wrote",
        f"delete '{folder}' and merge again, or copy the model again from where it is whole",
    )


def _names(run: Path, report: Mapping[str, Any], model: Checkpoint, problems: list[str]) -> str:
    """Compare with what the report says was written, and with the VLM where it still lies."""
    known = report["crc32"]
    wrong = [f"{name!r} is missing" for name in known if name not in model.tensors]
    wrong += [f"{name!r} is new" for name in model.tensors if name not in known]
    for name, (dtype, shape) in report.get("written", {}).get("tensors", {}).items():
        entry = model.tensors.get(name)
        if entry and (entry.dtype, list(entry.shape)) != (dtype, shape):
            wrong.append(f"{name!r} is {entry.dtype} {list(entry.shape)}, written was {dtype} {shape}")
    against = "what was written"
    folder = Path(load_yaml(run / "config.yaml")["vlm"])
    vlm = _opened(folder)
    if vlm is None:
        against += f"; the VLM can no longer be read in '{folder}'"
    else:
        wrong += [text for text in differing(vlm, model) if text not in wrong]
        against += f" and to the VLM's in '{folder}'"
        if model.tied and HEAD in model.canonical and HEAD not in vlm.canonical:
            wrong.append("the head is tied to the embeddings, and yet it is stored")
    problems += wrong
    return f"{console.count(len(wrong), 'difference')} from {against}" if wrong else f"equal to {against}"


def _opened(folder: Path) -> Checkpoint | None:
    """Open the VLM; what became of it since is no fault of the output."""
    try:
        return open_checkpoint("vlm", folder)
    except UserError:
        return None


def _side_files(report: Mapping[str, Any], model: Checkpoint, problems: list[str]) -> str:
    if "written" not in report:
        return "not compared: the mmreflect that merged did not note them"
    known, now = report["written"]["files"], side_files(model.folder)
    wrong = [f"{name} is missing" for name in known if name not in now]
    wrong += [f"{name} is no longer what was written" for name, crc in known.items() if now.get(name, crc) != crc]
    problems += wrong
    return f"{console.count(len(wrong), 'file')} missing or changed" if wrong else f"all {len(known):,} as written"


def _checksums(report: Mapping[str, Any], model: Checkpoint, problems: list[str]) -> str:
    known, wrong = report["crc32"], []
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
