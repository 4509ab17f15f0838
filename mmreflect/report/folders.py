"""A run's folder, whatever its verb: what every page says of it. What single verbs wrote is read by `data.py`."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from mmreflect import runs
from mmreflect.config import Tree, load_yaml, to_yaml
from mmreflect.files import read_json, read_jsonl
from mmreflect.runs import run_at

named = partial(runs.named, do="restore it, or delete it to leave it out of the page")
"""What pages are made of can be left out of them, too."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A run's folder. `result` is None until the run is finished; `steps` are the runs inside a demo, in order."""

    path: Path
    verb: str
    name: str
    version: str
    config: Tree
    config_text: str
    result: dict[str, Any] | None
    log: list[dict[str, Any]]
    steps: list["Folder"] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    @property
    def label(self) -> str:
        """The folder's own name."""
        return self.path.resolve().name

    @property
    def finished(self) -> bool:
        """A demo is finished when all of its steps are: its page is written before its own result."""
        if self.verb == "demo":
            return bool(self.steps) and not self.missing and all(step.finished for step in self.steps)
        return self.result is not None


def read_folder(path: Path) -> Folder:
    """Read a run's folder, for a demo with the runs inside it.

    Raises:
        UserError: the folder holds no run, or a file of it cannot be read.
    """
    if not (path / "run.json").is_file() and (path / "manifest.json").is_file():
        return _bare_dataset(path)
    run = run_at(path)
    with named(path / "run.json"):
        mark = read_json(path / "run.json")
        versions = {"mmreflect": mark.get("mmreflect", ""), **mark.get("versions", {})}
        version = ", ".join(f"{name} {number}" for name, number in versions.items())
    config_file, result_file = path / "config.yaml", path / "result.json"
    config = load_yaml(config_file) if config_file.is_file() else {}
    text = config_file.read_text() if config_file.is_file() else ""
    result: dict[str, Any] | None = None
    if result_file.is_file():
        with named(result_file):
            result = read_json(result_file)
    steps, missing = _steps(path, config) if run.verb == "demo" else ([], [])
    return Folder(path, run.verb, run.name, version, config, text, result, rows_of(path / "log.jsonl"), steps, missing)


def _bare_dataset(path: Path) -> Folder:
    """Return a dataset that came without its run, such as one from the Hub: its manifest says how it was made."""
    with named(path / "manifest.json"):
        manifest = read_json(path / "manifest.json")
        config: Tree = dict(manifest.get("config") or {})
        name = str(manifest.get("builder", "an unknown builder"))
    return Folder(path, "build", name, "", config, to_yaml({"builder": name, **config}), {}, [])


def _steps(path: Path, config: Tree) -> tuple[list[Folder], list[str]]:
    order = [str(step["name"]) for step in config.get("steps") or []]
    found = {file.parent.name for file in path.glob("*/run.json")}
    known = [name for name in order if name in found]
    others = sorted(found - set(order))
    return [read_folder(path / name) for name in [*known, *others]], [name for name in order if name not in found]


def rows_of(file: Path) -> list[dict[str, Any]]:
    """Return the rows of a file of a run, none where there is no such file.

    Raises:
        UserError: a line cannot be read.
    """
    if not file.is_file():
        return []
    with named(file):
        return list(read_jsonl(file))
