"""The model that a setting's merge wrote, known by its contents.

One that was written again to the same bytes is no other, and what was asked of it stands.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmreflect.files import content_mark, model_mark, read_json, to_json, write_json
from mmreflect.merge.verify import changes
from mmreflect.runs import named

if TYPE_CHECKING:
    from mmreflect.launch import Job

CONTENTS = "contents.json"
"""In a setting's folder: size and time of the weights that were found to be as the merge's report says."""


class OfMerged:
    """A recipe of an evaluation, of the model in a merge's folder."""

    def __init__(self, recipe: Any, merge: Path) -> None:
        self._recipe, self._merge = recipe, merge

    def __getattr__(self, name: str) -> Any:
        """Return what the recipe itself has of this name."""
        return getattr(self._recipe, name)

    def inputs(self, config: Any) -> dict[str, str]:
        """Return the recipe's marks, with one of the model's contents in the place of its files' times."""
        marks: dict[str, str] = self._recipe.inputs(config)
        return {key: mark for key, mark in marks.items() if key != "model"} | {
            "merged model": contents_mark(self._merge)
        }


def of_merged(jobs: Mapping[str, "Job"], merge: Path) -> dict[str, "Job"]:
    """Return evaluations as those of the model in a merge's folder."""
    return {name: replace(job, recipe=OfMerged(job.recipe, merge)) for name, job in jobs.items()}


def note_contents(merge: Path) -> None:
    """Note, once, that the weights of a merge that was finished or looked at just now are as its report says."""
    if not (merge.parent / CONTENTS).is_file():
        write_json(merge.parent / CONTENTS, _stamps(merge))


def contents_mark(merge: Path) -> str:
    """Return a mark of what a merged model holds: weights by the merge's report, JSON files by every byte.

    Weights whose size or time is not what was noted are read once, and compared with the report. Where they are not as
    it says, the mark is `model_mark`, and so is that of no merge.

    Raises:
        UserError: the report is damaged.
    """
    report, model, stamps = merge / "merge_report.json", merge / "model", _stamps(merge)
    if not report.is_file():
        return model_mark(str(model))
    if _noted(merge.parent / CONTENTS) != stamps:
        problems, _ = changes(merge)
        if problems:
            return model_mark(str(model))
        write_json(merge.parent / CONTENTS, stamps)
    with named(report):
        known = read_json(report)
        weights = [known["crc32"], known.get("written", {}).get("tensors")]
    parts = [*weights, {path.name: content_mark(str(path)) for path in sorted(model.glob("*.json"))}]
    return hashlib.sha256(to_json(parts).encode()).hexdigest()


def _stamps(merge: Path) -> dict[str, list[int]]:
    known = {path.name: path.stat() for path in sorted((merge / "model").glob("*.safetensors"))}
    return {name: [stat.st_size, stat.st_mtime_ns] for name, stat in known.items()}


def _noted(file: Path) -> Any:
    """Return what was noted; None where nothing was, or it is damaged: the weights are read then."""
    try:
        return read_json(file) if file.is_file() else None
    except ValueError:
        return None
