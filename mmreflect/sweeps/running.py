"""Running a sweep: the models alone first, then one setting after the other; what is finished is not repeated."""

import json
import shutil
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mmreflect import console
from mmreflect.config import Keys, Tree, differences
from mmreflect.console import escape
from mmreflect.errors import Interrupted, UserError
from mmreflect.files import model_mark, read_json, write_json
from mmreflect.limits import met
from mmreflect.runs import Run, finished_run, open_run
from mmreflect.sweeps.merged import note_contents

if TYPE_CHECKING:
    from mmreflect.launch import Job

NAME, SETTING, ERROR = "sweep", "setting.json", "error.json"
_AGAIN = "the setting is gone through again, and what is whole of it is not repeated"
Keep = Literal["best", "all", "none"]
_KEPT = {
    "best": "the weights of every other setting are deleted once it is evaluated (of equals the first is kept); at "
    "most two are on disk at a time, besides those of settings that could not be finished",
    "all": "the weights of every setting stay",
    "none": "the weights of every setting are deleted once it is evaluated",
}


@dataclass(frozen=True, slots=True)
class Setting:
    """A merge, and the evaluations of what comes of it."""

    label: str
    merge: "Job"
    evals: dict[str, "Job"]

    @property
    def folder(self) -> Path:
        """Where its runs lie."""
        return Path(self.merge.config.output).parent

    @property
    def merged(self) -> Path:
        """Where the merge lies."""
        return Path(self.merge.config.output)

    @property
    def damaged(self) -> bool:
        """Whether what was found when it was finished cannot be read: then it is gone through again."""
        return (self.folder / SETTING).is_file() and self._noted() is None

    def finished(self) -> dict[str, Any] | None:
        """Return what was found when it was finished; None where it is not, or that is damaged.

        Raises:
            UserError: the folder holds another setting of this label.
        """
        known = self._noted()
        if known is None:
            return None
        changed = differences(known["config"], self.merge.tree)
        if changed:
            shown = "".join(f"\n    {line}" for line in changed[:12])
            raise UserError(
                f"'{self.folder}' holds another setting of this name; they differ (there -> now) in:{shown}",
                "the same keys under the same label",
                "give the setting another label, or delete the folder",
            )
        return known

    def _noted(self) -> dict[str, Any] | None:
        try:
            known: dict[str, Any] = read_json(self.folder / SETTING)
            numbers = [item["main"]["value"] for item in known["evaluations"].values()]
            return known if numbers and isinstance(known["config"], dict) else None
        except (FileNotFoundError, NotADirectoryError, ValueError, LookupError, TypeError, AttributeError):
            return None

    def mend(self) -> bool:
        """Have a finished merge write again what is gone or changed since, and tell whether anything was.

        Raises:
            UserError: its models have changed since, or it cannot be written.
        """
        if (self.merged / "result.json").is_file() and not self.merge.recipe.lost(self.merge.config, self.merged):
            return False
        self.merge.run()
        (self.folder / ERROR).unlink(missing_ok=True)
        return True


@dataclass(frozen=True, slots=True)
class Sweep:
    """Checked configurations of merges and evaluations, ready to run.

    Attributes:
        references: the evaluations of the models that are merged, by role and label.
    """

    output: str
    tree: Tree
    keep: Keep
    settings: dict[str, Setting]
    references: dict[str, dict[str, "Job"]]
    verb: str = "merge"
    name: str = NAME
    found: dict[str, dict[str, Any]] = field(default_factory=dict)
    failed: dict[str, UserError] = field(default_factory=dict)

    @property
    def free(self) -> list[Keys]:
        """Settings may be added or taken away; each guards its own keys. What evaluations may change is free too."""
        places = [("sweep", "eval", place, *keys) for place, job in enumerate(self._evals()) for keys in job.free]
        return [("sweep", "settings"), ("sweep", "grid"), ("sweep", "keep"), *places]

    def _evals(self) -> list["Job"]:
        return list(self.references["vlm"].values())

    def inputs(self) -> dict[str, str]:
        """Return marks of the three models, and of what merges and evaluations work on."""
        found: dict[str, str] = {}
        for job in self._evals():
            marks = job.recipe.inputs(job.config).items()
            found |= {f"{job.name} {name}": mark for name, mark in marks if name != "model"}
        for setting in self.settings.values():
            config = setting.merge.config
            folders = [getattr(config, role) for role in ("base", "vlm", "reason")]
            found |= {f"model {folder}": model_mark(folder) for folder in folders if folder is not None}
            found |= {f"{setting.label} {name}": m for name, m in setting.merge.recipe.inputs(config).items()}
        return found

    def plan(self) -> dict[str, str]:
        """What will be merged and evaluated, and which settings are refused; reads headers only.

        Raises:
            UserError: no setting can be merged, or an evaluation is wrong.
        """
        number = console.count(len(self.settings), "setting")
        whole = {"merge": f"a sweep of {number}; alone for comparison: {', '.join(self.references)}"}
        refused = self.refusals()
        for label, setting in self.settings.items():
            if setting.damaged:
                whole[f"{label}: damaged"] = f"{SETTING}; {_AGAIN}"
            if setting.finished() is not None:
                whole[label] = "finished already"
            elif label in refused:
                whole[f"{label}: refused"] = escape(refused[label].given)
            else:
                whole |= {f"{label}: {key}": text for key, text in setting.merge.plan().items() if _shown(key)}
        for name, job in self.references["vlm"].items():
            lines = {key: text for key, text in job.plan().items() if key not in ("model", "output", "eval")}
            whole |= {f"eval {name}: {key}": text for key, text in lines.items()}
        by = f" (by the main number of {next(iter(self.references['vlm']))})" if self.keep == "best" else ""
        return {**whole, "keep": f"{self.keep}{by}: {_KEPT[self.keep]}", "output": self.output}

    def preview(self) -> dict[str, str]:
        """The plan, which says what is finished already, and of which merges something is gone or changed since."""
        told: dict[str, str] = {}
        for label, setting in self.settings.items():
            if setting.finished() is not None and (setting.merged / "result.json").is_file():
                lost = setting.merge.recipe.standing(setting.merge.config)
                told |= {label: f"finished already; its merge {lost}"} if lost else {}
        return self.plan() | told

    def refusals(self) -> dict[str, UserError]:
        """Return the settings that cannot be merged, with the reason.

        Raises:
            UserError: none can be; the first reason.
        """
        refused: dict[str, UserError] = {}
        for label, setting in self.settings.items():
            if setting.finished() is None:
                try:
                    setting.merge.plan()
                except UserError as error:
                    refused[label] = error
        if len(refused) == len(self.settings):
            raise next(iter(refused.values()))
        return refused

    def run(self) -> Run:
        """Merge and evaluate every setting; one that fails does not keep the others from it.

        Raises:
            UserError: the plan is refused; or some could not be finished: each is named with its reason, the others are
                finished by then, and the page shows them.
        """
        from mmreflect.sweeps.results import leaders, show

        inputs = self.inputs()
        known = finished_run(self.output, self.verb, NAME, self.tree, inputs, self.free)
        done = [label for label, setting in self.settings.items() if setting.finished() is not None]
        if known is not None and list((known.result or {}).get("settings", {})) == done == list(self.settings):
            return self._looked_at(known)
        console.show_plan(self.plan())
        refused = self.refusals()
        run = open_run(self.output, self.verb, NAME, self.tree, inputs, self.free)
        (run.path / "result.json").unlink(missing_ok=True)  # of fewer settings
        start = time.monotonic()
        references = self._all(refused)
        self._mend_all()
        best = leaders(self.found)
        show(references, self.found, best, [label for label in self.failed if label not in self.found])
        if not self.failed:
            found = {label: self._told(label, item) for label, item in self.found.items()}
            seconds = round(time.monotonic() - start, 1)
            chosen = {"best": best[0] if best else None, "equal": best[1:]}
            run.finish({"settings": found, "references": references, **chosen, "seconds": seconds})
        console.say(f"page: {_page(run.path)}")
        if self.failed:
            raise _unfinished(self.failed, len(self.settings) + len(self.references))
        return run

    def _looked_at(self, run: Run) -> Run:
        """Return a finished sweep; what its kept merges have lost since is written again."""
        result = run.result or {}
        self._delete(result)
        kept = [label for label in self._kept(result["settings"]) if result["settings"][label].get("kept")]
        mended = [label for label in kept if self.settings[label].mend()]
        told = {label: self._told(label, item) for label, item in result["settings"].items()}
        if told != result["settings"]:  # `keep` is another one now
            write_json(run.path / "result.json", {**result, "settings": told})
        done = f"written again: {escape(', '.join(mended))}" if mended else "nothing to do"
        console.say(f"[green]{self.output}[/] is finished already; {done}")
        return run

    def _mend_all(self) -> None:
        """Have the kept merges of settings that were finished before write again what they have lost since."""
        for label in self._kept(self.found):
            setting = self.settings[label]
            try:
                if (setting.merged / "model").exists():  # else its weights were deleted, since others were kept then
                    setting.mend()
            except Exception as error:
                self._fail(label, error, setting.folder)

    def _all(self, refused: Mapping[str, UserError]) -> dict[str, Any]:
        """Evaluate the models alone, then merge and evaluate every setting; return what was found of the former."""
        self.found.clear()
        self.failed.clear()
        references = {label: self._reference(label, jobs) for label, jobs in self.references.items()}
        for label, setting in self.settings.items():
            console.say(f"\n[bold cyan]{escape(label)}[/]")
            if label in refused:
                self._fail(label, refused[label], setting.folder)
            elif (one := self._one(setting)) is not None:
                self.found[label] = one
                self._delete({"settings": self.found})
        return {label: item for label, item in references.items() if item is not None}

    def _told(self, label: str, item: dict[str, Any]) -> dict[str, Any]:
        kept = (self.settings[label].merged / "result.json").is_file()
        return {**{key: value for key, value in item.items() if key != "config"}, "kept": kept}

    def _reference(self, label: str, jobs: dict[str, "Job"]) -> dict[str, Any] | None:
        """Evaluate a model as it is."""
        console.say(f"\n[bold cyan]{label} alone[/]")
        folder = Path(self.output) / "references" / label
        try:
            found = {"evaluations": self._evaluate(jobs, label == "vlm")}
            write_json(folder / SETTING, found)
            (folder / ERROR).unlink(missing_ok=True)
            return found
        except Exception as error:
            self._fail(f"{label} alone", error, folder)
            return None

    def _one(self, setting: Setting) -> dict[str, Any] | None:
        """Merge and evaluate one setting, or return what was found before; None where that fails."""
        from mmreflect.evaluation.speaking import forget
        from mmreflect.report import write_page

        try:
            known = setting.finished()
            if known is not None:
                console.say(f"[green]{setting.folder}[/] is finished already")
                return known
            if setting.damaged:
                console.say(f"[yellow]damaged: '{setting.folder / SETTING}'[/]; {_AGAIN}")
            forget()  # the model that was asked last needs the memory that a merge may want
            merge = setting.merge.run()
            note_contents(merge.path)
            evaluations = self._evaluate(setting.evals, False)
            write_page(str(merge.path))  # before its weights, and with them its result, may be deleted
            found = {"merge": merge.result, "evaluations": evaluations}
            write_json(setting.folder / SETTING, {"config": setting.merge.tree, **found})
            (setting.folder / ERROR).unlink(missing_ok=True)
            return {"config": setting.merge.tree, **found}
        except Exception as error:
            self._fail(setting.label, error, setting.folder)
            return None

    def _evaluate(self, jobs: Mapping[str, "Job"], alone: bool) -> dict[str, Any]:
        from mmreflect.report import write_page
        from mmreflect.sweeps.results import measured

        found = {}
        for name, job in jobs.items():
            run = job.run()
            reference = Path(self.references["vlm"][name].config.output)
            against = None if alone or not (reference / "result.json").is_file() else reference
            found[name] = measured(run.path, run.result or {}, job.config.seed, against)
            write_page(str(run.path))
        return found

    def _fail(self, label: str, error: Exception, folder: Path) -> None:
        """Note what kept a setting from being finished; a bug keeps its traceback, in a file.

        Raises:
            Exception: the error is none of the setting: the next one would meet the same limit of the system.
        """
        if isinstance(error, Interrupted):
            raise error
        limit = met(error)
        if limit is not None:
            raise limit if isinstance(error, UserError) else error
        known = error if isinstance(error, UserError) else UserError(f"{type(error).__name__}: {error}")
        told = {"given": known.given, "expected": known.expected, "do": known.do}
        if known is not error:
            told["traceback"] = "".join(traceback.format_exception(error))
        write_json(folder / ERROR, told)
        console.say(f"[yellow]{escape(label)} could not be finished[/]: {escape(known.given)}")
        self.failed[label] = known

    def _kept(self, finished: Mapping[str, Any]) -> list[str]:
        """Return the finished settings whose weights are to stay."""
        from mmreflect.sweeps.results import leaders

        best = leaders(finished)
        everything = self.keep == "all" or (self.keep == "best" and not best)  # without numbers there is none to prefer
        kept = list(finished) if everything else best[:1] if self.keep == "best" else []
        return [label for label in kept if label in self.settings]

    def _delete(self, known: dict[str, Any]) -> None:
        """Delete the weights that are not to be kept; merging the setting again makes them again."""
        finished = known.get("settings", {})
        kept = self._kept(finished)
        for label in finished:
            if label in self.settings and label not in kept:
                drop_weights(self.settings[label].merged)


def drop_weights(merge: Path) -> None:
    """Delete the weights of a finished merge, which is unfinished then: its report stays; its command makes it anew."""
    (merge / "result.json").unlink(missing_ok=True)
    (merge / "shards.jsonl").unlink(missing_ok=True)
    shutil.rmtree(merge / "model", ignore_errors=True)


def sees(folder: str) -> bool:
    """Tell whether a model folder holds a VLM, by its config.json."""
    file = Path(folder) / "config.json"
    try:
        return "vision_config" in json.loads(file.read_text(encoding="utf-8")) if file.is_file() else False
    except ValueError:
        return False  # the plan says what is wrong with it


def _unfinished(failed: Mapping[str, UserError], total: int) -> UserError:
    shown = "".join(
        f"\n    {label}: {error.given}" + (f"\n      to do: {error.do}" if error.do else "")
        for label, error in failed.items()
    )
    return UserError(
        f"{len(failed)} of {total} models could not be merged or evaluated:{shown}",
        "; ".join(dict.fromkeys(error.expected for error in failed.values() if error.expected)),
        "mend that, or take the setting out, and start again: what is finished is not repeated",
    )


def _page(folder: Path) -> Path:
    from mmreflect.report import write_page

    return write_page(str(folder))


def _shown(key: str) -> bool:
    return key in ("rule", "prior", "checks", "merged", "writes", "memory", "time") or key.startswith("warning")
