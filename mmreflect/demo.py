"""The whole pipeline through the public YAML files: data, cold start, reinforcement, merge, evaluation, one page.

Every step is a run of its own: interrupted and started again, the demo goes on where it stopped.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from mmreflect import console
from mmreflect.config import Tree, apply_overrides, config, load_yaml, parse, to_tree
from mmreflect.errors import UserError
from mmreflect.files import write_json
from mmreflect.launch import prepare
from mmreflect.recipes import config_path
from mmreflect.runs import Run, open_run

PIPELINE = "configs/demo/demo.yaml"
PREFIX = "outputs/demo"
"""The folder that the demo's YAML files name; another `output` replaces it everywhere."""


@config
class Step:
    """One run of the pipeline: a verb, its YAML, and `key=value` settings by scale."""

    name: str
    verb: Literal["build", "train", "merge", "eval"]
    config: str
    set: list[str] = Field(default_factory=list)
    tiny: list[str] = Field(default_factory=list)


@config
class Pipeline:
    """The demo's steps in order, and the scale that they run at."""

    steps: list[Step]
    scale: Literal["full", "tiny"] = "full"
    output: str | None = None


def demo(overrides: Sequence[str] = ()) -> Run:
    """Run the pipeline, print the ledgers, write `summary.json` and the page.

    Args:
        overrides: `scale=full|tiny`, `output=FOLDER`.
    """
    tree = apply_overrides(load_yaml(config_path(PIPELINE)), overrides)
    pipeline = parse(Pipeline, tree, PIPELINE)
    output = pipeline.output or (PREFIX if pipeline.scale == "full" else f"{PREFIX}-{pipeline.scale}")
    run = open_run(output, "demo", pipeline.scale, to_tree(pipeline))
    results: dict[str, Run] = {}
    for number, step in enumerate(pipeline.steps, 1):
        console.say(f"\n[bold cyan]{number}/{len(pipeline.steps)} {step.name}[/] mmreflect {step.verb} {step.config}")
        results[step.name] = run_step(step, pipeline.scale, output)
    summary = summarise(results)
    page = _page(run)
    summary["report"] = _from_root(page)
    write_json(run.path / "summary.json", summary)
    run.finish(summary)
    _show(results)
    console.say(f"\nsummary: {run.path / 'summary.json'}\npage: {page}")
    return run


def run_step(step: Step, scale: str, output: str) -> Run:
    """Run one step of the pipeline in the demo's own folder."""
    settings = [*step.set, *(step.tiny if scale == "tiny" else [])]
    tree = apply_overrides(load_yaml(config_path(step.config)), settings)
    return prepare(step.verb, _moved(tree, output)).run()


def _moved(tree: Any, output: str) -> Any:
    """Replace the folder that the YAML files name by the demo's own, in every path."""
    if isinstance(tree, dict):
        return {key: _moved(value, output) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_moved(value, output) for value in tree]
    if isinstance(tree, str) and (tree == PREFIX or tree.startswith(f"{PREFIX}/")):
        return output + tree.removeprefix(PREFIX)
    return tree


def summarise(results: dict[str, Run]) -> Tree:
    """Collect the measured figures of the stages from the results of the runs; nothing is computed anew."""
    summary: Tree = {}
    for stage in ("sft", "grpo", "merge"):
        trained, evaluated = _result(results, stage), _result(results, f"eval-{stage}")
        ledger = evaluated["ledger"]
        summary[stage] = {
            "n": ledger["n"],
            **{name: ledger[name]["value"] for name in ("first_accuracy", "final_accuracy", "fix_rate", "harm_rate")},
            "seconds": trained["seconds"],
        }
        if stage == "grpo":
            ratios = ("effective_ratio_raw", "effective_ratio_trained")
            summary[stage] |= {name: trained.get(name) for name in ratios}
    return summary


def _result(results: dict[str, Run], name: str) -> dict[str, Any]:
    if name not in results:
        raise UserError(
            f"{PIPELINE} has no step {name!r}", "steps sft, grpo, merge and their eval- steps", "restore the file"
        )
    return results[name].result or {}


def _page(run: Run) -> Path:
    from mmreflect.report import write_page

    return write_page(str(run.path))


def _from_root(page: Path) -> str:
    """Return the page's path from the current folder where it lies below it."""
    absolute = page.resolve()
    return str(absolute.relative_to(Path.cwd())) if absolute.is_relative_to(Path.cwd()) else str(absolute)


def _show(results: dict[str, Run]) -> None:
    from mmreflect.evaluation.runner import show_ledger
    from mmreflect.reflection.ledger import ledger_from_json

    labels = {"sft": "after SFT", "grpo": "after GRPO", "merge": "after merge"}
    rows = {label: ledger_from_json(_result(results, f"eval-{stage}")["ledger"]) for stage, label in labels.items()}
    show_ledger("Did reflecting help? Held-out questions, greedy: % with 95 % intervals, tokens after the first", rows)
