"""A merge from its configuration to the finished folder: the same for every method."""

import math
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from mmreflect import console
from mmreflect.config import to_tree
from mmreflect.console import escape
from mmreflect.errors import UserError
from mmreflect.files import content_mark, folder_mark, read_json
from mmreflect.merge import report
from mmreflect.merge.arithmetic import choose, foretold
from mmreflect.merge.attention import PRIOR, cache_folder, measure, prior_file
from mmreflect.merge.card import merged_text, write_card
from mmreflect.merge.checkpoint import Checkpoint, Role, open_checkpoint
from mmreflect.merge.costs import estimate, loading
from mmreflect.merge.inputs import Marks, check_inputs, check_unchanged, keep_inputs, marks_of, stamps_of
from mmreflect.merge.layout import Layout, lay_out
from mmreflect.merge.outputs import check_room, complete, doubt, doubtful, note_again, noted
from mmreflect.merge.plan import MergePlan, plan_merge
from mmreflect.merge.prior import HOW, PriorConfig
from mmreflect.merge.reload import after_merge, check_answer, foretold_reload
from mmreflect.merge.rule import Rule, WeightRule
from mmreflect.merge.settings import MergeSettings
from mmreflect.merge.statistics import ancestor_warnings
from mmreflect.runs import Run, named


class MergeRecipe:
    """A method of merging as a recipe: `Config`, `plan` and `run`."""

    def __init__(self, module: ModuleType) -> None:
        self.name = module.__name__.rpartition(".")[2]
        self.Config: type[MergeSettings] = module.Config
        self._create = module.create
        self._opened: tuple[MergeSettings, tuple[MergePlan, Layout, Rule]] | None = None
        self._marks: dict[Role, Marks] = {}

    def inputs(self, settings: MergeSettings) -> dict[str, str]:
        """Return marks of the files that decide the weights, but for the models: see `inputs.py`, which names files."""
        prior = _prior(settings) or PriorConfig()
        files = {
            "measured attention": str(prior_file(prior.measured)) if prior.measured else None,
            "curvature": getattr(settings, "curvature", None),
        }
        pictures = {"folder of pictures": folder_mark(prior.pictures)} if prior.pictures else {}
        return {name: content_mark(file) for name, file in files.items() if file} | pictures

    def standing(self, settings: MergeSettings) -> str:
        """Say how far the merge is that the output folder holds; nothing of one that is finished.

        Raises:
            UserError: the models have changed since it was started.
        """
        folder = Path(settings.output)
        if (folder / "result.json").is_file():  # which stands though its models are gone
            return "is finished, but files are gone or changed since" if self._changed(settings, folder)[0] else ""
        _, layout, _ = self.open(settings)
        check_inputs(_folders(settings), folder)
        return f"{len(complete(layout, folder)):,} of {console.count(len(layout.shards), 'file')} written already"

    def lost(self, settings: MergeSettings, folder: Path) -> list[str]:
        """Return what of a finished merge is gone or changed since: files by their sizes, contents after a crash.

        After the machine went down, or where what was noted is damaged, everything is compared with the report, once.

        Raises:
            UserError: the models have changed since, or the report is damaged.
        """
        found, crc32 = self._changed(settings, folder)
        if crc32 and not found:
            try:
                note_again(folder, crc32, read_json(folder / "merge_report.json").get("not_finite", []))
            except OSError as error:
                console.say(f"[yellow]compared, and not noted[/] ({error.strerror}): the next start compares again")
        return found

    def reopen(self, folder: Path) -> None:
        """Get the files of a finished merge ready to be written again where they are not what was noted."""
        doubt(folder)

    def _changed(self, settings: MergeSettings, folder: Path) -> tuple[list[str], dict[str, dict[str, int]]]:
        check_inputs(_folders(settings), folder)
        model, report = folder / "model", folder / "merge_report.json"
        gone = [name for name, size in noted(folder).items() if _size(model / name) != size]
        if not report.is_file():
            return [*gone, report.name], {}
        with named(report):
            told = read_json(report)
            files = [*told["files"]["copied"], *told.get("written", {}).get("files", {})]
            gone += dict.fromkeys(name for name in files if _size(model / name) is None)
            if gone or not doubtful(folder, set(told["crc32"])):
                return gone, {}
        from mmreflect.merge.verify import changes

        return changes(folder)

    def open(self, settings: MergeSettings) -> tuple[MergePlan, Layout, Rule]:
        """Read headers, check that the models fit, and make the rule.

        Raises:
            UserError: the checkpoints cannot be read or do not fit, change meanwhile, or the prior does not fit their
                depth.
        """
        if self._opened is not None and self._opened[0] is settings:
            opened_before = self._opened[1]  # a run shows its plan first, and a sweep those of all its settings
            if marks_of(opened_before[0].models) == self._marks:
                return opened_before
        _check_output(settings)
        stamps = stamps_of(_folders(settings))
        opened = _open_all(settings)
        plan = plan_merge(
            opened.get("base"), opened["vlm"], opened["reason"], settings.force, settings.scope, settings.embeddings
        )
        layout = lay_out(plan.vlm, settings.dtype, settings.shard_bytes)
        self._marks = marks_of(plan.models)
        check_unchanged(stamps, self._marks)
        self._opened = (settings, (plan, layout, self._create(settings)(plan.depth)))
        return self._opened[1]

    def plan(self, settings: MergeSettings) -> dict[str, str]:
        """Say what the merge will do and what it will cost.

        Reads configurations and headers, and 8 MB of each model to see how fast they come; writes nothing.

        Raises:
            UserError: as `open`, or there is no room for the output.
        """
        plan, layout, rule = self.open(settings)
        free = check_room(layout, Path(settings.output), plan.vlm.folder)
        arithmetic = foretold(settings.device, settings.arithmetic)
        hold = int(settings.hold_gb * 1e9)
        costs = estimate(plan, layout, rule, hold, compiled=not arithmetic.startswith("numpy"))
        rows: dict[str, str] = {model.role: str(model.folder) for model in plan.models}
        rows["checks"] = "passed" + (f", except forced: {', '.join(settings.force)}" if plan.warnings else "")
        rows |= {f"warning {number}": escape(text) for number, text in enumerate(plan.warnings, 1)}
        rows |= {f"note {number}": escape(text) for number, text in enumerate(plan.notes, 1)}
        rows["rule"] = rule.text
        rows["merged"] = merged_text(plan)
        rows["copied"] = f"{console.count(len(plan.copied), 'tensor')} from the VLM"
        rows["skipped"] = "; ".join(
            f"{console.count(len(names), 'tensor')} of {role}" for role, names in plan.skipped.items()
        )
        if isinstance(rule, WeightRule) and rule.prior is not None:
            rows["prior"] = escape(rule.prior.text)
        if isinstance(rule, WeightRule) and rule.prior is not None and rule.prior.w_v:
            rows["w_v"] = ", ".join(
                f"{rule.prior.at(layer):.3f} (layer {layer})" for layer in sorted({0, plan.depth // 2, plan.depth - 1})
            )
        rows["reads"] = costs.reads
        rows["writes"] = (
            f"{layout.size / 1e9:.2f} GB in {console.count(len(layout.shards), 'file')}, dtype {settings.dtype}; "
            f"{free / 1e9:,.2f} GB are free"
        )
        asked = prior.measurement if (prior := _prior(settings)) else None
        rows["arithmetic"] = arithmetic
        rows["memory"] = costs.memory + (f"; {loading(plan.vlm, asked.dtype)}" if asked else "")
        rows["time"] = costs.time
        rows["reload"] = foretold_reload(layout.size, settings.reload)
        return rows

    def run(self, settings: MergeSettings, run: Run) -> dict[str, Any]:
        """Merge, copy the VLM's other files, verify, reload, and report; resumes shard by shard.

        Returns:
            The summary that becomes result.json.

        Raises:
            UserError: as `open`, and when the inputs changed since the run was started, hold NaN, or the disk is full;
                or the merged model, which is written and stays, answers with logits that are not finite.
        """
        from mmreflect.merge.executor import execute
        from mmreflect.merge.verify import as_written, check_written

        plan, layout, rule = self.open(settings)
        keep_inputs(plan.models, run.path, self._marks)
        rule = self._measured(settings, run.path, plan.depth) or rule
        arithmetic = choose(settings.device, settings.arithmetic)
        layers, checksums, unsound = execute(plan, layout, rule, run.path, arithmetic, int(settings.hold_gb * 1e9))
        model = run.path / "model"
        prior = rule.prior if isinstance(rule, WeightRule) else None
        blocks = [item for item in layers if 0 <= item.stats.layer < plan.depth]
        rows = report.layer_rows(blocks, prior)
        files = report.copy_side_files(plan, model, settings.dtype)
        written = check_written(plan, layout, model)
        reloaded = after_merge(written, settings.reload)
        warnings = [*plan.warnings, *report.forced_copies(unsound), *(prior.warnings if prior else ())]
        warnings += ancestor_warnings([item.stats for item in blocks]) if plan.base else []
        warnings += [*report.weight_warnings(rows), *(f"reload: {text}" for text in reloaded.problems)]
        write_card(plan, model, {"method": self.name, **to_tree(settings)}, rule, rows, warnings)
        told = {"reload": reloaded.text, "written": as_written(written), "not_finite": unsound}
        report.write_report(run.path, plan, layers, rows, rule, files, warnings, checksums, arithmetic.text, told)
        report.show_layers(rows)
        console.say(f"reload: {escape(reloaded.text)}")
        for warning in warnings:
            console.say(f"[yellow]warning:[/] {escape(warning)}")
        check_answer(reloaded, model)
        return {
            "model": str(model),
            "layers": len(rows),
            "merged_tensors": len(plan.merged),
            "copied_tensors": len(plan.copied),
            "lam_v_mean": _mean([row.lam_v for row in rows]),
            "lam_r_mean": _mean([row.lam_r for row in rows]),
            "warnings": len(warnings),
        }

    def _measured(self, settings: MergeSettings, folder: Path, depth: int) -> Rule | None:
        """Measure the attention that the prior rests on, where pictures are named, and make the rule anew.

        The run's own `prior.json` counts from then on: a merge that is killed goes on with the numbers that it had.
        """
        prior = _prior(settings)
        asked = prior.measurement if prior else None
        if prior is None or asked is None:
            return None
        if not (folder / PRIOR).is_file():
            measure(asked, settings.vlm, cache_folder(), folder)
        instead: dict[str, Any] = dict.fromkeys(("pictures", *HOW)) | {"measured": str(folder)}
        measured = replace(prior, **instead)
        given: dict[str, Any] = {"prior": measured}
        changed: Any = replace(settings, **given)
        made: Rule = self._create(changed)(depth)
        return made


def _prior(settings: MergeSettings) -> PriorConfig | None:
    found: PriorConfig | None = getattr(settings, "prior", None)
    return found


def _size(file: Path) -> int | None:
    return file.stat().st_size if file.is_file() else None


def _folders(settings: MergeSettings) -> dict[Role, Path]:
    roles: tuple[Role, ...] = ("base", "vlm", "reason")
    return {role: Path(folder) for role in roles if (folder := getattr(settings, role)) is not None}


def _open_all(settings: MergeSettings) -> dict[Role, Checkpoint]:
    """Open the models; what is wrong with each of them is told at once."""
    opened: dict[Role, Checkpoint] = {}
    wrong: list[UserError] = []
    given = _folders(settings)
    for role, folder in given.items():
        try:
            opened[role] = open_checkpoint(role, folder)
        except UserError as error:
            wrong.append(error)
    if len(wrong) == 1:
        raise wrong[0]
    if wrong:
        lines = "".join(f"\n  - {error.given}" for error in wrong)
        raise UserError(
            f"{len(wrong)} of {len(given)} models cannot be read:{lines}",
            "; ".join(dict.fromkeys(error.expected for error in wrong)),
            "; ".join(dict.fromkeys(error.do for error in wrong)),
        )
    return opened


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def _check_output(settings: MergeSettings) -> None:
    """Refuse to write into one of the models that are read."""
    output = Path(settings.output).resolve()
    for role, folder in _folders(settings).items():
        given = folder.resolve()
        if given == output or given == output / "model" or output.is_relative_to(given):
            raise UserError(
                f"output '{settings.output}' is, or lies in, the folder of {role}: '{folder}'",
                "a folder of its own",
                "choose another output; the models that are merged are never written to",
            )
