"""Several benchmarks in one call: each is a run of its own in a folder of its own, and the model is loaded once.

    benchmark: [mathvista, mmmu, {name: videomme, label: videomme-subtitles, release: {style: with_subtitles}}]

An entry may set any key of the configuration for itself alone; `label` names its folder.
"""

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmreflect import console
from mmreflect.config import Keys, Tree
from mmreflect.errors import UserError
from mmreflect.runs import Run, finished_run, folder_state, open_run

if TYPE_CHECKING:
    from mmreflect.launch import Job

NAME = "suite"


@dataclass(frozen=True, slots=True)
class Suite:
    """Checked configurations of one verb, ready to run one after the other."""

    verb: str
    output: str
    tree: Tree
    jobs: dict[str, "Job"]
    name: str = NAME

    @property
    def free(self) -> list[Keys]:
        """Where the configuration holds what does not decide the results: for all, or in an entry of its own."""
        found = [keys for job in self.jobs.values() for keys in job.free]
        return found + [
            ("benchmark", place, *keys) for place, job in enumerate(self.jobs.values()) for keys in job.free
        ]

    def preview(self) -> dict[str, str]:
        """What every one will do, under its label, and what is in the folders.

        Raises:
            UserError: as `run` before it starts, or one would refuse its folder.
        """
        found = folder_state(self.output, self.verb, NAME, self.tree, self._inputs(), self.free)
        whole: dict[str, str] = {}
        for label, job in self.jobs.items():
            whole |= {f"{label}: {key}": text for key, text in job.preview().items()}
        return whole | ({"output": f"{self.output} {found}"} if found else {})

    def _inputs(self) -> dict[str, str]:
        return {
            f"{label}/{name}": mark
            for label, job in self.jobs.items()
            for name, mark in job.recipe.inputs(job.config).items()
        }

    def run(self) -> Run:
        """Run all of them; one that cannot go on does not keep the others from it.

        Raises:
            UserError: one is known to be wrong before any has started; or some could not go on: each is named with its
                reason, and the others are finished by then.
        """
        inputs = self._inputs()
        known = finished_run(self.output, self.verb, NAME, self.tree, inputs, self.free)
        if known is not None:
            console.say(f"[green]{self.output}[/] is finished already; nothing to do")
            return known
        for job in self.jobs.values():
            job.plan()
        run = open_run(self.output, self.verb, NAME, self.tree, inputs, self.free)
        start, failed = time.monotonic(), dict[str, UserError]()
        results: dict[str, Any] = {}
        for label, job in self.jobs.items():
            console.say(f"\n[bold]{label}[/]")
            try:
                results[label] = job.run().result
            except UserError as error:
                console.say(f"[yellow]{label} could not be finished[/]: {error.given}")
                failed[label] = error
        _show(results)
        if failed:
            shown = "".join(f"\n    {label}: {error.given}" for label, error in failed.items())
            raise UserError(
                f"{len(failed)} of {len(self.jobs)} benchmarks could not be finished:{shown}",
                "; ".join(dict.fromkeys(error.expected for error in failed.values() if error.expected)),
                "mend that and start again: what is finished is not repeated",
            )
        run.finish({"benchmarks": results, "seconds": round(time.monotonic() - start, 1)})
        return run


def prepare_suite(verb: str, entries: Sequence[Any], tree: Tree, where: str, prepare: Callable[[Tree], "Job"]) -> Suite:
    """Check the configuration of every entry.

    Args:
        tree: the keys that all share, without the one that names the recipes.
        prepare: checks one configuration.

    Raises:
        UserError: an entry is wrong, two have one label, or there is no output.
    """
    jobs: dict[str, Job] = {}
    output = tree.get("output")
    if not isinstance(output, str):
        raise UserError(f"{where}: output is {output!r}", "a folder, in which every benchmark gets one of its own")
    for entry in entries:
        own = {"name": entry} if isinstance(entry, str) else dict(entry) if isinstance(entry, Mapping) else {}
        if not isinstance(own.get("name"), str):
            raise UserError(
                f"{where}: a benchmark is {entry!r}", "a name, or {name: NAME, key: value, ...}", "correct it"
            )
        name = own.pop("name")
        label = str(own.pop("label", name))
        if label in jobs:
            raise UserError(
                f"{where}: {label!r} stands twice", "a label for each", f"add 'label: {label}-2' to one of them"
            )
        jobs[label] = prepare(merged(tree, {**own, "benchmark": name, "output": f"{output}/{label}"}))
    if not jobs:
        raise UserError(f"{where}: benchmark is an empty list", "at least one benchmark", "name one")
    return Suite(verb, output, {"benchmark": list(entries), **tree}, jobs)


def merged(shared: Tree, own: Mapping[str, Any]) -> Tree:
    """Return the shared keys with an entry's own in their places; mappings are merged key by key."""
    made = copy.deepcopy(shared)
    for key, value in own.items():
        below = made.get(key)
        made[key] = merged(below, value) if isinstance(below, dict) and isinstance(value, Mapping) else value
    return made


def _show(results: Mapping[str, Any]) -> None:
    rows = []
    for label, result in results.items():
        scores = result.get("scores") or {"final answer right": result["ledger"]["final_accuracy"]}
        for name, item in scores.items():
            between = "-" if item["low"] is None else f"{item['low']:.4g} to {item['high']:.4g}"
            value = "-" if item["value"] is None else f"{item['value']:.4g}"
            rows.append((label, name, value, between, result.get("label") or ""))
    console.show_table("all benchmarks", ("", "", "value", "95 % interval", "note"), rows)
