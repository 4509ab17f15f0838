"""Does a written model load? transformers loads it, and answers once on text; at the end of a merge and when asked."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmreflect import console
from mmreflect.errors import UserError
from mmreflect.limits import met
from mmreflect.merge.checkpoint import Checkpoint
from mmreflect.merge.memory import available

SHARE = 0.5
"""A merge reloads what takes up to this share of the free memory; verifying, which was asked for, what fits at all."""
LATER = "mmreflect merge --verify OUTPUT does it"


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What came of it: a line to show, and what is wrong. `done` is False where it was left out.

    `finite` is False where all values were found and the answer is not finite: that is the weights' fault, while any
    other problem may be that of the transformers that is installed.
    """

    text: str
    problems: tuple[str, ...] = ()
    done: bool = True
    finite: bool = True


def fits(size: int, share: float = 1.0) -> bool:
    """Tell whether a model of `size` bytes fits into a share of the free memory; where nothing tells, it does."""
    free = available()
    return free is None or size <= free * share


def foretold_reload(size: int, wanted: bool) -> str:
    """Say what a merge will do after it has written a model of `size` bytes."""
    if not wanted:
        return f"left out (reload: false); {LATER}"
    if not fits(size, SHARE):
        return f"left out, the model takes more than half of the memory that is free; {LATER}"
    return f"at the end, with transformers: {size / 1e9:.2f} GB, one forward"


def after_merge(model: Checkpoint, wanted: bool) -> Reloaded:
    """Reload a model that was just written, where that is wanted and memory is plenty."""
    if not wanted or not fits(model.size, SHARE):
        return Reloaded(foretold_reload(model.size, wanted), done=False)
    return reload(model)


def check_answer(reloaded: Reloaded, model: Path) -> None:
    """Refuse a model that answers with NaN or infinity; nothing else that a reload finds ends a merge.

    Raises:
        UserError: its logits are not finite.
    """
    if not reloaded.finite:
        raise UserError(
            f"the merged model is written in '{model}', but one forward gives logits that are not finite",
            "finite answers",
            "choose smaller factors in the method's settings, or reload: false to keep it as it is",
        )


def reload(model: Checkpoint) -> Reloaded:
    """Load a model with transformers and run one forward on three tokens of text.

    It is left out, and said, where the memory does not suffice, the system sets another limit, transformers or torch
    cannot be imported, or transformers has no code for the model; code that a checkpoint brings along is never run.
    """
    if not fits(model.size):
        free = (available() or 0) / 1e9
        return Reloaded(
            f"left out: the model takes {model.size / 1e9:.1f} GB, {free:.1f} GB of memory are free", done=False
        )
    kind = model.config.get("model_type")
    if kind is None:
        return Reloaded("left out: config.json names no model_type", done=False)
    try:
        import transformers

        if kind not in transformers.CONFIG_MAPPING:
            told = f"left out: transformers {transformers.__version__} knows no model_type {kind!r}"
            return Reloaded(told, done=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _answered(model, transformers)
    except Exception as error:  # whatever transformers raises is the finding
        return _found(error)


def _found(error: Exception) -> Reloaded:
    """Say what an error tells of the model; one of the system, or of what is installed here, tells nothing of it."""
    told, limit = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}", met(error)
    if limit is not None or isinstance(error, ImportError):
        return Reloaded(f"left out, it could not be checked: {limit.given if limit else told}", done=False)
    return Reloaded(f"failed: {type(error).__name__}", (f"transformers cannot run it: {told}",))


def _answered(model: Checkpoint, transformers: Any) -> Reloaded:
    import torch

    transformers.utils.logging.disable_progress_bar()
    vision = "vision_config" in model.config
    kind = transformers.AutoModelForImageTextToText if vision else transformers.AutoModelForCausalLM
    loaded, notes = kind.from_pretrained(model.folder, dtype="auto", output_loading_info=True, local_files_only=True)
    problems = []
    lacking = sorted(notes["missing_keys"])
    if lacking:
        problems.append(f"transformers finds no value for {', '.join(lacking[:3])}")
    if notes["mismatched_keys"]:
        problems.append(f"transformers finds other shapes for {sorted(notes['mismatched_keys'])[:3]}")
    unused = len(notes["unexpected_keys"])
    with torch.no_grad():
        logits = loaded(input_ids=torch.tensor([[1, 2, 3]])).logits
    finite, whole = bool(torch.isfinite(logits).all()), not problems
    if not finite:
        problems.append("one forward on three tokens gives logits that are not finite")
    extra = f"; {console.count(unused, 'tensor')} that {type(loaded).__name__} does not use" if unused else ""
    text = f"{type(loaded).__name__}, one forward, logits {tuple(logits.shape)}{extra}"
    return Reloaded(text, tuple(problems), finite=finite or not whole)
