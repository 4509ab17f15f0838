"""From a verb and a configuration to a finished run: what the command line and the Python API share."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmreflect import components, console, recipes
from mmreflect.config import Keys, Tree, apply_overrides, free_keys, load_yaml, parse, to_tree
from mmreflect.console import escape
from mmreflect.errors import UserError, nearest
from mmreflect.runs import Run, finished_run, folder_state, open_run
from mmreflect.suites import Suite, prepare_suite

if TYPE_CHECKING:
    from mmreflect.building import BuildOptions
    from mmreflect.sweeps import Sweep

Source = str | os.PathLike[str] | Mapping[str, Any]


@dataclass(frozen=True)
class _Verb:
    """Which key of the YAML names the recipe, and where recipes of that kind live."""

    key: str
    kind: recipes.Kind | None


VERBS = {
    "build": _Verb("builder", "builder"),
    "train": _Verb("method", "trainer"),
    "merge": _Verb("method", None),
    "eval": _Verb("benchmark", "benchmark"),
}


@dataclass(frozen=True)
class Job:
    """A checked configuration, ready to run.

    Attributes:
        options: of a build, what it has in common with every other; None for other verbs.
    """

    verb: str
    name: str
    recipe: Any
    config: Any
    tree: Tree
    options: "BuildOptions | None" = None

    @property
    def free(self) -> list[Keys]:
        """Where the configuration holds what does not decide the result, or nothing so far."""
        free = free_keys(self.config) + free_keys(self.options)
        if self.options is None:
            return free
        from mmreflect.building.changes import open_keys

        return free + open_keys(Path(self.config.output), self.config, self.options.quality)

    def plan(self) -> dict[str, str]:
        """What the run will do, as label and text, without starting it."""
        plan: dict[str, str] = {self.verb: self.name, **_recipe_plan(self)}
        return {**plan, "output": self.config.output}

    def preview(self) -> dict[str, str]:
        """The plan, and what the run would say of its folder.

        Raises:
            UserError: as `run` before it starts.
        """
        self._check_ranks()
        found = folder_state(self.config.output, self.verb, self.name, self.tree, self._inputs(), self.free)
        if found and hasattr(self.recipe, "standing") and (told := self.recipe.standing(self.config)):
            found = f"{found} ({told})" if found.startswith("goes on") else told
        return self.plan() | ({"output": f"{self.config.output} {found}"} if found else {})

    def run(self) -> Run:
        """Run it, resume it, or return at once when it is finished. A run that the plan refuses claims no folder."""
        self._check_ranks()
        inputs = self._inputs()
        known = finished_run(self.config.output, self.verb, self.name, self.tree, inputs, self.free)
        lost = self._lost(known)
        if known is not None and not lost:
            console.say(f"[green]{self.config.output}[/] is finished already; nothing to do")
            _show_merged(known, anew=False)
            return known
        console.show_plan(self.plan())
        run = open_run(self.config.output, self.verb, self.name, self.tree, inputs, self.free)
        if lost:
            self._reopen(run, lost)
        start = time.monotonic()
        result = _run_recipe(self, run)
        run.finish({**result, "seconds": round(time.monotonic() - start, 1)})
        _show_merged(run)
        return run

    def _lost(self, known: Run | None) -> list[str]:
        """What of a finished run is gone or changed since."""
        if known is None or not hasattr(self.recipe, "lost"):
            return []
        lost: list[str] = self.recipe.lost(self.config, known.path)
        return lost

    def _reopen(self, run: Run, lost: Sequence[str]) -> None:
        """Make a finished run, whose plan holds and which is ours now, unfinished again."""
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        console.say(f"[yellow]finished, but gone or changed since[/]: {escape(lost[0])}{more}; written again")
        self.recipe.reopen(run.path)
        (run.path / "result.json").unlink(missing_ok=True)

    def _inputs(self) -> dict[str, str] | None:
        return self.recipe.inputs(self.config) if hasattr(self.recipe, "inputs") else None

    def _check_ranks(self) -> None:
        ranks = int(os.environ.get("WORLD_SIZE", "1"))
        if ranks > 1:
            raise UserError(
                f"started as {ranks} processes (WORLD_SIZE), and every run works in one process so far",
                "one process",
                "start it without a launcher; one process uses one GPU",
            )


def prepare(verb: str, source: Source, overrides: Sequence[str] = ()) -> Job:
    """Read and check a configuration of one run.

    Raises:
        UserError: anything that can be known to be wrong before the run starts; or it names several benchmarks, or
            settings of a sweep.
    """
    made = prepare_call(verb, source, overrides)
    if isinstance(made, Suite):
        raise UserError(f"{len(made.jobs)} benchmarks are named", "one", "name one of them")
    if not isinstance(made, Job):
        raise UserError(f"{len(made.settings)} settings of a sweep are named", "one merge", "remove the block sweep")
    return made


def prepare_call(
    verb: str, source: Source, overrides: Sequence[str] = (), forced: Sequence[str] = ()
) -> "Job | Suite | Sweep":
    """Read and check a configuration without importing anything heavy.

    One of several benchmarks is a suite, a merge with a block `sweep` a sweep.

    Args:
        forced: checks of a merge to skip besides those that the configuration names.

    Raises:
        UserError: anything that can be known to be wrong before the run starts.
    """
    if isinstance(source, os.PathLike):
        source = os.fspath(source)
    where = source if isinstance(source, str) else "the configuration"
    tree = load_yaml(recipes.config_path(source)) if isinstance(source, str) else _plain(source)
    tree = apply_overrides(tree, overrides)
    if forced:
        named = tree.get("force") or []
        tree["force"] = list(dict.fromkeys([*named, *forced])) if isinstance(named, list) else named
    if verb == "merge" and "sweep" in tree:
        from mmreflect.sweeps import prepare_sweep

        return prepare_sweep(tree, where, prepare_call)
    spec = VERBS[verb]
    name = tree.pop(spec.key, None)
    if verb == "eval" and isinstance(name, str) and "," in name:
        name = [part.strip() for part in name.split(",")]
    if verb == "eval" and isinstance(name, list):
        return prepare_suite(verb, name, tree, where, lambda own: _prepared(verb, own, where))
    return _prepared(verb, {spec.key: name, **tree}, where)


def _prepared(verb: str, tree: Tree, where: str) -> Job:
    """Check one configuration."""
    spec, tree = VERBS[verb], dict(tree)
    name = tree.pop(spec.key, None)
    if not isinstance(name, str):
        raise _missing_recipe(verb, spec, where, tree)
    recipe = _recipe(spec, name)
    if verb == "build":
        from mmreflect.building.options import parse_build

        config, options = parse_build(recipe.Config, tree, where)
        whole = {spec.key: name, **to_tree(options), **to_tree(config)}  # a leaf's own key of that name stands
        return Job(verb, name, recipe, config, whole, options)
    config = parse(recipe.Config, tree, where)
    return Job(verb, name, recipe, config, {spec.key: name, **to_tree(config)})


def _recipe(spec: _Verb, name: str) -> Any:
    """Return what works on a configuration: a leaf, a method of merging, or the runner around a leaf's benchmark."""
    if spec.kind is None:
        from mmreflect.merge.recipe import MergeRecipe

        return MergeRecipe(components.load("merge", name))
    leaf = recipes.load(spec.kind, name)
    if hasattr(leaf, "Config"):
        return leaf
    from mmreflect.evaluation.benchmarking import BenchmarkRecipe

    return BenchmarkRecipe(leaf.BENCHMARK)


def start(verb: str, source: Source, overrides: Sequence[str] = ()) -> Run:
    """Check, print the plan, and run."""
    return prepare_call(verb, source, overrides).run()


def _plain(value: Any) -> Any:
    """Return a mapping given from Python with its paths as text."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _missing_recipe(verb: str, spec: _Verb, where: str, tree: Tree) -> UserError:
    known = recipes.names(spec.kind) if spec.kind else components.names("merge")
    close = nearest(spec.key, tree)
    others = [other for other, item in VERBS.items() if item.key in tree and item.key != spec.key]
    do = f"did you mean {spec.key!r} where it says {close!r}?" if close else f"add '{spec.key}: NAME'"
    if others:
        do = f"this looks like a configuration for: mmreflect {others[0]}"
    return UserError(f"{where}: key {spec.key!r} is missing", f"'{spec.key}', one of: {', '.join(known)}", do)


def _show_merged(run: Run, anew: bool = True) -> None:
    """Write the page of a merge, which merging knows nothing of, and say where model and page are."""
    if run.verb != "merge":
        return
    from mmreflect.report import PAGE
    from mmreflect.report.ahead import write_page

    page = run.path / PAGE
    if anew or not page.is_file():
        page = write_page(run.path)
    console.say(escape(f"model: {run.path / 'model'}, page: {page}"))


def _recipe_plan(job: Job) -> dict[str, str]:
    if job.verb == "build":
        from mmreflect import building

        assert job.options is not None
        return building.plan(job.recipe, job.config, job.options)
    plan: dict[str, str] = job.recipe.plan(job.config)
    return plan


def _run_recipe(job: Job, run: Run) -> dict[str, Any]:
    if job.verb == "build":
        from mmreflect import building

        assert job.options is not None
        return building.build(job.recipe, job.name, job.config, job.options, run)
    result: dict[str, Any] = job.recipe.run(job.config, run)
    return result
