"""mmreflect turns a Qwen-VL model into one that checks its own work, and measures whether that helped.

`build`, `train`, `merge` and `evaluate` take a YAML path or a mapping, plus `key=value` overrides, and do what the
command line does; each returns a `Run`.
"""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from mmreflect.runs import Run

Source = str | os.PathLike[str] | Mapping[str, Any]


def build(config: Source, *overrides: str) -> "Run":
    """Build a dataset."""
    return _start("build", config, overrides)


def train(config: Source, *overrides: str) -> "Run":
    """Train a model."""
    return _start("train", config, overrides)


def merge(config: Source, *overrides: str) -> "Run":
    """Merge the weights of a reasoning LLM into a VLM."""
    return _start("merge", config, overrides)


def evaluate(config: Source, *overrides: str) -> "Run":
    """Evaluate a model on a benchmark."""
    return _start("eval", config, overrides)


def _start(verb: str, config: Source, overrides: tuple[str, ...]) -> "Run":
    from mmreflect.launch import start

    return start(verb, config, overrides)


def __getattr__(name: str) -> Any:
    if name == "Run":
        from mmreflect.runs import Run

        return Run
    raise AttributeError(f"module 'mmreflect' has no attribute {name!r}")


__all__ = ["Run", "__version__", "build", "evaluate", "merge", "train"]
