"""What is known of a question's accuracy over time: from checkpoints that were rated, or from a training's rollouts."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmreflect.config import load_yaml
from mmreflect.data.store import MANIFEST, open_dataset
from mmreflect.errors import UserError
from mmreflect.files import content_mark, folder_mark, read_json, read_jsonl

Series = dict[str, list[float]]
"""Question to its accuracies in order of time."""


def variance(accuracies: Sequence[float]) -> float:
    """Return the variance of a question's accuracies over time, as 1-shot RLVR ranks by (arXiv 2504.20571).

    That of the population: [0, 0.5, 1, 0.5] has 0.125. The published code ranks by its root, which is the same order.

    Raises:
        ValueError: there are none.
    """
    if not accuracies:
        raise ValueError("no accuracies")
    mean = sum(accuracies) / len(accuracies)
    return sum((item - mean) ** 2 for item in accuracies) / len(accuracies)


def accuracies_of(paths: Sequence[str], signal: str) -> Series:
    """Return every question's accuracies.

    Args:
        paths: in order of time; datasets of the builder `pass_rate`, each of another checkpoint, whose rejects count as
            well, or training runs that kept the rollouts of every step.
        signal: the part of a training's score that says whether a rollout is right.

    Raises:
        UserError: a path is neither, or holds no accuracies.
    """
    found: Series = defaultdict(list)
    for path in paths:
        before = len(found), sum(map(len, found.values()))
        for name, accuracy in _rated(path) if (Path(path) / MANIFEST).is_file() else _trained(path, signal):
            found[name].append(accuracy)
        if before == (len(found), sum(map(len, found.values()))):
            raise UserError(f"{path} holds no accuracy of any question", "one of `pass_rate`'s datasets, or a training")
    return dict(found)


def marks_of(paths: Sequence[str]) -> dict[str, str]:
    """Return marks of what the accuracies are read from."""
    return {path: content_mark(f"{path}/{MANIFEST}") + folder_mark(f"{path}/rollouts") for path in paths}


def _rated(path: str) -> Iterator[tuple[str, float]]:
    dataset = open_dataset(path)
    for split in dataset.splits():
        for row in dataset.rows(split):
            rate = (row.get("facts") or {}).get("pass_rate")
            if rate is not None:
                yield str(row["id"]), float(rate)
    for file in sorted(dataset.path.glob("rejects/*.jsonl")):
        for row in read_jsonl(file):
            if row.get("pass_rate") is not None:
                yield str(row["id"]), float(row["pass_rate"])


def _trained(path: str, signal: str) -> Iterator[tuple[str, float]]:
    files = sorted(Path(path).glob("rollouts/step-*.json"))
    if not files:
        raise UserError(
            f"{path} is no dataset and holds no rollouts of a training",
            "a dataset of the builder pass_rate, or a run of mmreflect train grpo",
            "check the path; a training keeps its rollouts with rollout.keep_every=1 and rollout.keep_groups=1000",
        )
    every = (load_yaml(Path(path) / "config.yaml").get("rollout") or {}).get("keep_every")
    if every != 1:
        raise UserError(
            f"{path} has kept the rollouts of every {every}th step alone: most accuracies are missing",
            "a training with rollout.keep_every=1 and rollout.keep_groups as large as a generation",
            "train it again with these; they change nothing else",
        )
    for file in files:
        for group in read_json(file):
            accuracy = _accuracy(group, signal, file)
            if accuracy is not None:
                yield str(group["sample_id"]), accuracy


def _accuracy(group: dict[str, Any], signal: str, file: Path) -> float | None:
    """Return the mean of a part of the score over the graded rollouts of a group; None where there is none."""
    values = []
    for rollout in group["rollouts"]:
        parts = (rollout.get("score") or {}).get("parts") or {}
        if parts and signal not in parts:
            raise UserError(
                f"{file}: no score has the part {signal!r}", f"one of: {', '.join(sorted(parts))}", "set `signal`"
            )
        if parts and parts[signal]["value"] is not None:
            values.append(float(parts[signal]["value"]))
    return sum(values) / len(values) if values else None
