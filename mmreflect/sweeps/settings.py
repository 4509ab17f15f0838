"""The `sweep` block of a merge's configuration.

sweep:
  settings:                                  # each is a merge: its keys replace the shared ones
    - {method: frank, prior: none}
    - {label: mostly-vlm, method: linear, vlm_weight: 0.9, reason_weight: 0.1}
  grid: {scope: [decoder_blocks, mlp]}       # each of them with every combination of these
  eval: [configs/eval/mathvista.yaml, {config: configs/eval/dataset.yaml, label: charts, max_new_tokens: 512}]
  overrides: [batch_size=16]                 # for every evaluation
  keep: best
"""

import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from mmreflect import recipes
from mmreflect.config import Tree, apply_overrides, config, load_yaml, parse, to_tree
from mmreflect.errors import UserError
from mmreflect.suites import Suite, merged

if TYPE_CHECKING:
    from mmreflect.launch import Job
    from mmreflect.sweeps.running import Sweep

Prepare = Callable[[str, Tree], "Job | Suite | Sweep"]
_LABEL = re.compile(r"[^\w=.+-]+")
_SHORT = 24
"""A value that is longer is not part of a label."""


def _shared_alone() -> list[dict[str, Any]]:
    return [{}]


@config
class SweepConfig:
    """What is compared, and by what.

    Attributes:
        settings: merges, each by the keys that it sets itself; `label` names its folder.
        grid: values by key (`prior.alpha: [0.02, 0.05]`): every setting is made with every combination of them.
        eval: evaluations of every merged model, and of the VLM alone: files, or mappings with `config: FILE` or
            `benchmark` and keys of their own; `label` names their folders. Whatever model they name is replaced.
        overrides: `key=value` for all evaluations.
        keep: whose weights stay when they are evaluated: those of the setting that is `best` by the main number of the
            first evaluation (a benchmark's first score, else final accuracy), `all`, or `none`.
    """

    settings: list[dict[str, Any]] = Field(default_factory=_shared_alone)
    grid: dict[str, list[Any]] = Field(default_factory=dict)
    eval: str | list[str | dict[str, Any]]
    overrides: list[str] = Field(default_factory=list)
    keep: Literal["best", "all", "none"] = "best"

    def __post_init__(self) -> None:
        """Check what one key cannot know."""
        if not self.settings or not all(self.grid.values()):
            raise ValueError("settings and every key of grid hold at least one entry")
        if not self.eval:
            raise ValueError("eval names no evaluation: give a file such as configs/eval/mathvista.yaml")


def prepare_sweep(tree: Tree, where: str, prepare: Prepare) -> "Sweep":
    """Check every setting and every evaluation.

    Args:
        tree: a merge's configuration with the block `sweep`; its other keys are shared by all settings.
        prepare: checks the configuration of one run, by its verb.

    Raises:
        UserError: the block, a setting or an evaluation is wrong, two have one label, or there is no output.
    """
    from mmreflect.sweeps.merged import of_merged
    from mmreflect.sweeps.running import Setting, Sweep

    shared = dict(tree)
    options = parse(SweepConfig, _mapping(shared.pop("sweep"), where), f"{where}: sweep")
    output = shared.get("output")
    if not isinstance(output, str):
        raise UserError(f"{where}: output is {output!r}", "a folder, in which every setting gets one of its own")
    asked = _evaluations(options, where)
    settings: dict[str, Setting] = {}
    for label, own in _combinations(options):
        if label in settings:
            raise UserError(
                f"{where}: {label!r} stands twice among the settings", "a label for each", "add 'label: NAME' to one"
            )
        folder = f"{output}/settings/{label}"
        merge: Any = prepare("merge", {**_with(shared, own), "output": f"{folder}/merge"})
        evals = of_merged(prepared(asked, f"{folder}/merge/model", folder, prepare), Path(folder) / "merge")
        settings[label] = Setting(label, merge, evals)
    resolved = {**to_tree(options), "eval": asked, "overrides": []}
    return Sweep(
        output, {**shared, "sweep": resolved}, options.keep, settings, _references(settings, asked, output, prepare)
    )


def _mapping(value: Any, where: str) -> Tree:
    if not isinstance(value, dict):
        raise UserError(f"{where}: sweep is {value!r}", "a mapping with settings or grid, and eval", "correct it")
    return value


def _evaluations(options: SweepConfig, where: str) -> list[Tree]:
    """Return the evaluations as trees without model and output, each with its label."""
    entries = [options.eval] if isinstance(options.eval, str) else options.eval
    found: dict[str, Tree] = {}
    for entry in entries:
        own = {"config": entry} if isinstance(entry, str) else dict(entry)
        file = own.pop("config", None)
        tree = merged(load_yaml(recipes.config_path(file)), own) if file is not None else own
        tree = apply_overrides(tree, options.overrides)
        label = _label(str(tree.pop("label", None) or tree.get("benchmark", "")))
        if label in found:
            raise UserError(
                f"{where}: two evaluations are called {label!r}", "a label for each", "add 'label: NAME' to one of them"
            )
        model = tree.pop("model", None)
        kept = {key: value for key, value in model.items() if key != "path"} if isinstance(model, dict) else {}
        tree.pop("output", None)
        found[label] = {"label": label, **tree, **({"model": kept} if kept else {})}
    return list(found.values())


def prepared(asked: list[Tree], model: str, folder: str, prepare: Prepare) -> dict[str, "Job"]:
    """Return the evaluations of one model, by label.

    Raises:
        UserError: an evaluation is wrong, or asks a server, which cannot speak with these models.
    """
    from mmreflect.evaluation.speaking import needs_model

    found: dict[str, Any] = {}
    for entry in asked:
        tree = {key: value for key, value in entry.items() if key != "label"}
        label = entry["label"]
        made = prepare(
            "eval", {**tree, "model": {**tree.get("model", {}), "path": model}, "output": f"{folder}/eval-{label}"}
        )
        found |= (
            {f"{label}/{name}": job for name, job in made.jobs.items()} if isinstance(made, Suite) else {label: made}
        )
    for label, job in found.items():
        if not needs_model(job.config.engine):
            raise UserError(
                f"evaluation {label!r} asks by engine {job.config.engine.name!r}, which speaks with a model of its own",
                "an engine that loads the merged model: transformers or vllm",
                "set engine: transformers",
            )
    return found


def _combinations(options: SweepConfig) -> Iterator[tuple[str, Tree]]:
    """Yield every setting with every combination of the grid: its label and its own keys."""
    for entry in options.settings:
        own = dict(entry)
        given = own.pop("label", None)
        words = [str(given)] if given else [_said(key, value) for key, value in own.items()]
        for values in itertools.product(*options.grid.values()):
            pairs = list(zip(options.grid, values, strict=True))
            chosen = apply_overrides(own, [f"{key}={json.dumps(value)}" for key, value in pairs])
            parts = [*words, *(_said(key.rpartition(".")[2], value) for key, value in pairs)]
            yield _label("-".join(part for part in parts if part)) or "merge", chosen


def _said(key: str, value: Any) -> str:
    """Write a key and its value as a part of a label."""
    name = value.get("name") if isinstance(value, Mapping) else value
    text = str(name) if isinstance(name, str | int | float) else ""
    return "" if not text or len(text) > _SHORT else text if key == "method" else f"{key}={text}"


def _label(text: str) -> str:
    return _LABEL.sub("_", text).strip("._-")


def _with(shared: Tree, own: Tree) -> Tree:
    """Return the shared keys with a setting's own in their places; a part that has a name is replaced as a whole."""
    named = {key for key, value in own.items() if isinstance(value, Mapping) and "name" in value}
    return merged({key: value for key, value in shared.items() if key not in named}, own)


def _references(
    settings: Mapping[str, Any], asked: list[Tree], output: str, prepare: Prepare
) -> dict[str, dict[str, "Job"]]:
    """Return the evaluations of the models that are merged: of every VLM, and of base and reasoning model if VLMs."""
    from mmreflect.sweeps.running import sees

    found: dict[str, str] = {}
    for role in ("vlm", "base", "reason"):
        folders = dict.fromkeys(getattr(item.merge.config, role) for item in settings.values())
        shown = [folder for folder in folders if folder is not None and (role == "vlm" or sees(folder))]
        for number, folder in enumerate(shown, 1):
            found[role if number == 1 else f"{role}-{number}"] = folder
    return {label: prepared(asked, folder, f"{output}/references/{label}", prepare) for label, folder in found.items()}
