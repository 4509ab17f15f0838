"""What a score depends on beside the model, recorded and hashed with every result.

Published scores of one checkpoint on one benchmark differ by more than twenty points, because prompt, pixels, parser
and judge differ and are not recorded. Two results are ranked only when everything here is the same (`compare`).
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from mmreflect import __version__
from mmreflect.config import to_tree
from mmreflect.files import content_mark, model_mark, to_json
from mmreflect.media.cache import file_mark
from mmreflect.packages import versions
from mmreflect.records import Sample

SUBJECT = ("model",)
"""What is compared: it differs between two results, and is no part of the hash."""


@dataclass(frozen=True, slots=True)
class Contract:
    """The terms of an evaluation.

    Attributes:
        model: path and mark of the weights (`remote` for a Hub name, with its revision): the subject, not a term.
        benchmark: which questions: name, split, how many, and a mark of their content.
        prompt: hash of the environment with all of its texts, and of the chat template.
        pixels: limits of pictures and of clips, the processor's own among them, and what decoded the clips.
        decoding: engine and its options, how the model was loaded, temperature, limits, answers per question, stages;
            the seed only where something is drawn.
        rule: how an answer is taken from a text and judged.
        judge: the model that extracts or judges; None for rules.
        versions: of what turns questions into scores.
    """

    model: dict[str, Any]
    benchmark: dict[str, Any]
    prompt: dict[str, Any]
    pixels: dict[str, Any]
    decoding: dict[str, Any]
    rule: str
    judge: dict[str, Any] | None = None
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def terms(self) -> dict[str, Any]:
        """Everything but the subject."""
        return {key: value for key, value in asdict(self).items() if key not in SUBJECT}

    @property
    def hash(self) -> str:
        """Sixteen hexadecimal digits over the terms."""
        return hashlib.sha256(to_json(self.terms).encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """Return plain values, the hash among them."""
        return {**asdict(self), "hash": self.hash}


def hash_of(*parts: Any) -> str:
    """Return twelve hexadecimal digits over texts and plain values."""
    return hashlib.sha256(to_json(list(parts)).encode()).hexdigest()[:12]


def model_subject(model: Any) -> dict[str, Any]:
    """Return what a model block names: path, revision and mark of its weights."""
    tree = to_tree(model)
    whole = {} if tree.get("part", "whole") == "whole" else {"part": tree["part"]}
    return {"path": tree["path"], "revision": tree.get("revision"), "weights": model_mark(tree["path"]), **whole}


def dataset_terms(path: str, split: str, questions: int) -> dict[str, Any]:
    """Return which questions of a dataset folder are asked."""
    mark = content_mark(f"{path}/manifest.json")
    return {"name": "dataset", "split": split, "questions": questions, "content": mark[:16]}


def media_terms(samples: Iterable[Sample]) -> str:
    """Return a mark of what all pictures and videos hold, by question; those of parts of the questions add up to it.

    A file is known by its size and nine pieces of it (`media.cache.file_mark`), never by its name or time.
    """
    marks: dict[str, str] = {}
    total = 0
    for sample in samples:
        shown = [{**asdict(item), "path": _mark(item.path, marks)} for item in sample.media]
        if shown:
            total += int(hash_of(sample.id, shown), 16)
    return _twelve(total)


def media_of_all(parts: Iterable[str]) -> str:
    """Return the mark of the media of all questions from those of their parts."""
    return _twelve(sum(int(part, 16) for part in parts))


def _twelve(total: int) -> str:
    return f"{total % 16**12:012x}"


def _mark(path: str, known: dict[str, str]) -> str:
    if path not in known:
        known[path] = file_mark(path)
    return known[path]


def library_versions(*further: str) -> dict[str, str]:
    """Return the versions of what stands between a question and its score.

    Args:
        further: packages that the engine and the media need beside the usual ones.
    """
    return {"mmreflect": __version__, **versions("transformers", "tokenizers", "math-verify", "pillow", *further)}


def differences(left: Mapping[str, Any], right: Mapping[str, Any]) -> list[str]:
    """Return the terms in which two recorded contracts differ, each as `term: left against right`."""
    found: list[str] = []
    _compare({key: value for key, value in left.items() if key not in (*SUBJECT, "hash")},
             {key: value for key, value in right.items() if key not in (*SUBJECT, "hash")}, "", found)  # fmt: skip
    return found


def _compare(left: Any, right: Any, path: str, found: list[str]) -> None:
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        for key in sorted({*left, *right}):
            _compare(left.get(key), right.get(key), f"{path}.{key}" if path else str(key), found)
    elif left != right:
        found.append(f"{path}: {left!r} against {right!r}")
