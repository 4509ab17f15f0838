"""Is a written model what it should be? Checked at the end of a merge, and again whenever it is asked for."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmreflect import console
from mmreflect.config import load_yaml, settings_of
from mmreflect.errors import UserError
from mmreflect.files import read_json
from mmreflect.merge.checkpoint import Checkpoint, open_checkpoint
from mmreflect.merge.layout import Layout, Place
from mmreflect.merge.memory import available
from mmreflect.merge.names import HEAD
from mmreflect.merge.outputs import file_checksums
from mmreflect.merge.plan import MergePlan
from mmreflect.runs import run_at


def check_written(plan: MergePlan, layout: Layout, model: Path) -> None:
    """Read the written model's headers back and compare them with the VLM's names, shapes, dtypes and tied flag.

    Raises:
        RuntimeError: they differ, which is a bug.
    """
    written = open_checkpoint("merged", model)
    expected = {name: place.code for shard in layout.shards for name, place in shard.tensors.items()}
    problems = differing(plan.vlm, written)
    problems += [f"{name} is {entry.dtype}" for name, entry in written.tensors.items() if expected[name] != entry.dtype]
    if problems:
        raise RuntimeError(f"the written model differs from the VLM: {'; '.join(problems[:5])}")


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
    reload = settings_of(words, ("reload",)).get("reload", "yes")
    if reload not in ("yes", "no"):
        raise UserError(f"reload={reload}", "reload=yes or reload=no", "choose one of them")
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
    if reload == "no":
        found["reload"] = "left out (reload=no)"
    elif problems:
        found["reload"] = "left out, the files are not what was written"
    else:
        found["reload"] = _reload(model, problems)
    console.show_plan(found)
    if problems:
        number = console.count(len(problems), "problem")
        lines = "".join(f"\n  - {text}" for text in problems[:12])
        more = f"\n  - and {len(problems) - 12} more" if len(problems) > 12 else ""
        raise UserError(
            f"the merged model in '{folder}' is not as it was written: {number}{lines}{more}",
            "the model that the merge wrote",
            f"delete '{folder}' and merge again, or copy the model again from where it is whole",
        )
    console.say("[green]verified[/]")
    return found


def _names(run: Path, report: Mapping[str, Any], model: Checkpoint, problems: list[str]) -> str:
    """Compare with the VLM where it still lies, else with the report."""
    vlm = Path(load_yaml(run / "config.yaml")["vlm"])
    if (vlm / "config.json").is_file():
        wrong = differing(open_checkpoint("vlm", vlm), model)
        against = f"the VLM's in '{vlm}'"
    else:
        known = report["crc32"]
        wrong = [f"{name!r} is missing" for name in known if name not in model.tensors]
        wrong += [f"{name!r} is new" for name in model.tensors if name not in known]
        against = f"names only, those of the report; the VLM is no longer in '{vlm}'"
    if model.tied and HEAD in model.canonical and vlm.is_dir() and HEAD not in open_checkpoint("vlm", vlm).canonical:
        wrong.append("the head is tied to the embeddings, and yet it is stored")
    problems += wrong
    return f"{console.count(len(wrong), 'difference')} from {against}" if wrong else f"equal to {against}"


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


def _reload(model: Checkpoint, problems: list[str]) -> str:
    """Load the model with transformers and run one forward on text."""
    free = available()
    if free is not None and model.size > free:
        return f"left out: the model takes {model.size / 1e9:.1f} GB, {free / 1e9:.1f} GB of memory are free"
    import torch
    import transformers

    vision = "vision_config" in model.config
    kind = transformers.AutoModelForImageTextToText if vision else transformers.AutoModelForCausalLM
    loaded, notes = kind.from_pretrained(model.folder, dtype="auto", output_loading_info=True, local_files_only=True)
    lacking = sorted(notes["missing_keys"])
    if lacking:
        problems.append(f"transformers finds no value for {', '.join(lacking[:3])}")
    if notes["mismatched_keys"]:
        problems.append(f"transformers finds other shapes for {sorted(notes['mismatched_keys'])[:3]}")
    unused = len(notes["unexpected_keys"])
    with torch.no_grad():
        logits = loaded(input_ids=torch.tensor([[1, 2, 3]])).logits
    if not bool(torch.isfinite(logits).all()):
        problems.append("one forward on three tokens gives logits that are not finite")
    extra = f"; {console.count(unused, 'tensor')} that {type(loaded).__name__} does not use" if unused else ""
    return f"{type(loaded).__name__}, one forward, logits {tuple(logits.shape)}{extra}"
