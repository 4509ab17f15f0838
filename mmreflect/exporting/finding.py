"""What a folder holds: a run of ours or of transformers' Trainer, a model, an adapter, shards of FSDP or DeepSpeed."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mmreflect import console
from mmreflect.config import load_yaml
from mmreflect.errors import UserError, unknown_name
from mmreflect.files import read_json
from mmreflect.merge.checkpoint import INDEX, SINGLE

Kind = Literal["model", "adapter", "fsdp", "deepspeed"]
KINDS: tuple[Kind, ...] = ("model", "adapter", "fsdp", "deepspeed")
"""In the order in which they are taken where a folder holds several."""
FSDP_FOLDER, FSDP_FILE = "pytorch_model_fsdp_0", "pytorch_model_fsdp.bin"
ADAPTER_CONFIG = "adapter_config.json"
COMPLETE = "complete"
_STEP = re.compile(r"checkpoint-(\d+)")


@dataclass(frozen=True, slots=True)
class Found:
    """Where weights lie, and what lies around them.

    Attributes:
        weights: the folder (or file, for whole FSDP weights) that holds them.
        around: folders in which to look for configuration, tokenizer and processor, the nearest first.
        run: the folder of our run that they come from, if they do.
        beside: other kinds of weights in the same folder that were not taken.
    """

    kind: Kind
    weights: Path
    around: tuple[Path, ...]
    run: Path | None
    beside: tuple[Kind, ...] = ()

    @property
    def recipe(self) -> dict[str, Any] | None:
        """The configuration of the run that made the weights."""
        return load_yaml(self.run / "config.yaml") if self.run and (self.run / "config.yaml").is_file() else None


def is_checkpoint(folder: str | Path) -> bool:
    """Tell whether a folder holds weights, or checkpoints with weights."""
    path = Path(folder)
    if not path.is_dir():
        return False
    return bool(_kinds(path) or _checkpoints(path) or _kinds(path / "model") or _pickled(path))


def find(folder: Path, checkpoint: str | None = None, weights: str | None = None, adapter: str | None = None) -> Found:
    """Return the weights that a folder holds.

    Args:
        checkpoint: of a run: `final` (its finished model), `last`, `best`, or a step; by default the finished model, or
            else the last checkpoint.
        weights: which kind, where there are several.
        adapter: which adapter, where there are several.

    Raises:
        UserError: there are none, not those that were asked for, or several adapters and none is named.
    """
    place, run = _place(folder, checkpoint)
    kinds = _kinds(place)
    if weights is not None and weights not in KINDS:
        raise unknown_name("kind of weights", weights, KINDS)
    if not kinds:
        _refuse_pickles(place)
        raise UserError(
            f"{place} holds no weights",
            f"{SINGLE}, an adapter, {FSDP_FOLDER}/ or global_step*/",
            "check the path, and whether the checkpoint was written to its end",
        )
    if weights is not None and weights not in kinds:
        raise UserError(f"{place} holds no weights={weights}", f"one of: {', '.join(kinds)}", "remove the setting")
    kind = next(item for item in kinds if weights in (None, item))
    if kind != "adapter" and adapter is not None:
        raise UserError(f"adapter={adapter} is set, and {place} is no adapter", "adapter= for adapters", "remove it")
    where = {"model": place, "fsdp": _fsdp(place), "deepspeed": _deepspeed(place)}.get(kind) or _adapter(place, adapter)
    return Found(kind, where, _around(place, where, run), run, tuple(item for item in kinds if item != kind))


def _around(place: Path, weights: Path, run: Path | None) -> tuple[Path, ...]:
    """Return the folders in which what lies beside weights may be: upwards from a checkpoint to its run."""
    found = [weights, place] if weights.is_dir() else [place]
    while _STEP.fullmatch(found[-1].name) or re.fullmatch(r"global_step\d+|checkpoints", found[-1].name):
        found.append(found[-1].parent)
    return tuple(dict.fromkeys([*found, *([run, run / "model"] if run else [])]))


def _place(folder: Path, checkpoint: str | None) -> tuple[Path, Path | None]:
    """Return the folder with the weights and, where it belongs to a run of ours, that run's folder."""
    if not folder.is_dir():
        raise UserError(f"no such folder: {folder}", "a run, a checkpoint or a model folder", "check the path")
    if folder.name.endswith(".partial"):
        raise UserError(f"{folder} is what a killed export left", "a whole folder", "export again; it is replaced")
    folder = folder.absolute()
    found, incomplete = _sound(_checkpoints(folder))
    run = next((item for item in (folder, folder.parent, folder.parent.parent) if _is_run(item)), None)
    final = folder if _kinds(folder) and not _is_run(folder) else folder / "model"
    if checkpoint in (None, "final") and _kinds(final):
        return final, run
    if checkpoint == "final":
        raise UserError(f"{folder} holds no finished model", f"{folder}/model", "take checkpoint=last, or train on")
    if incomplete:
        console.say(f"[yellow]{console.count(incomplete, 'checkpoint')}[/] of {folder} not whole, left out")
    if found:
        return _named(folder, found, checkpoint or "last"), run
    if incomplete or checkpoint is not None:
        raise UserError(f"{folder} holds no checkpoint that is whole", "checkpoint-* written to its end", "train on")
    return folder, run


def _named(folder: Path, found: dict[int, Path], checkpoint: str) -> Path:
    last = found[max(found)]
    if checkpoint == "last":
        return last
    if checkpoint == "best":
        file = last / "trainer_state.json"
        best = read_json(file).get("best_model_checkpoint") if file.is_file() else None
        if not best:
            raise UserError(
                f"{last} does not say which checkpoint is the best",
                "a run with validation and evaluation.keep_best",
                "name a step, or take checkpoint=last",
            )
        checkpoint = Path(best).name
    step = int(checkpoint.removeprefix("checkpoint-")) if re.fullmatch(r"(checkpoint-)?\d+", checkpoint) else -1
    if step not in found:
        raise UserError(
            f"{folder} holds no checkpoint {checkpoint!r}",
            f"final, last, best, or one of: {', '.join(str(known) for known in sorted(found))}",
            "name one of these",
        )
    return found[step]


def _checkpoints(folder: Path) -> dict[int, Path]:
    """Return the checkpoints of a run of ours or of a Trainer's output, by step."""
    found = {}
    for path in [*folder.glob("checkpoint-*"), *folder.glob("checkpoints/checkpoint-*")]:
        match = _STEP.fullmatch(path.name)
        if match and path.is_dir():
            found[int(match[1])] = path
    return found


def _sound(found: dict[int, Path]) -> tuple[dict[int, Path], int]:
    """Leave out checkpoints that a kill cut short; only those of our runs say so."""
    ours = any((path / "mmreflect_state.json").is_file() or (path / COMPLETE).is_file() for path in found.values())
    whole = {step: path for step, path in found.items() if not ours or (path / COMPLETE).is_file()}
    return whole, len(found) - len(whole)


def _is_run(folder: Path) -> bool:
    return (folder / "run.json").is_file()


def _kinds(folder: Path) -> list[Kind]:
    """Return which kinds of weights lie in a folder."""
    has = {
        "model": (folder / "config.json").is_file() and any((folder / name).is_file() for name in (SINGLE, INDEX)),
        "adapter": bool(_adapters(folder)),
        "fsdp": _fsdp(folder) is not None,
        "deepspeed": _deepspeed(folder) is not None,
    }
    return [kind for kind in KINDS if has[kind]]


def _pickled(folder: Path) -> list[str]:
    return sorted(item.name for pattern in ("pytorch_model*.bin", "consolidated*.pt*") for item in folder.glob(pattern))


def _refuse_pickles(folder: Path) -> None:
    if found := _pickled(folder):
        raise UserError(
            f"{folder} holds pickled weights only ({found[0]}), which can run code when they are loaded",
            f"{SINGLE}, or shards with {INDEX}",
            "load them with transformers in a place you trust, then save_pretrained()",
        )


def _adapters(folder: Path) -> dict[str, Path]:
    """Return peft's adapters by name: the default one in the folder itself, others in folders of their own."""
    found = {"default": folder} if (folder / ADAPTER_CONFIG).is_file() else {}
    below = sorted(folder.glob(f"*/{ADAPTER_CONFIG}")) if folder.is_dir() else []
    return found | {file.parent.name: file.parent for file in below if not _STEP.fullmatch(file.parent.name)}


def _adapter(folder: Path, name: str | None) -> Path:
    found = _adapters(folder)
    if name is None and len(found) > 1:
        raise UserError(
            f"{folder} holds several adapters", f"one of: {', '.join(found)}", "name it: adapter=NAME; one is merged"
        )
    if name is not None and name not in found:
        raise unknown_name("adapter", name, list(found))
    return found[name] if name else next(iter(found.values()))


def _fsdp(folder: Path) -> Path | None:
    for place in (folder, folder / FSDP_FOLDER):
        if (place / ".metadata").is_file() or any(place.glob("*.distcp")):
            return place
    return folder / FSDP_FILE if (folder / FSDP_FILE).is_file() else None


def _deepspeed(folder: Path) -> Path | None:
    """Return the folder of one step's files: the one that `latest` names, or else the newest."""
    if any(folder.glob("*_optim_states.pt")):
        return folder
    latest = folder / "latest"
    if latest.is_file():
        tag = latest.read_text(errors="replace").strip()
        return folder / Path(tag).name if tag else None
    steps = [path for path in folder.glob("global_step*") if any(path.glob("*_states.pt"))]
    return max(steps, key=lambda path: int(re.sub(r"\D", "", path.name) or 0), default=None)
