"""What the logs say: learning curves, replay, forced rethinking."""

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from mmreflect.report.folders import Folder
from mmreflect.report.layout import PlotBlock
from mmreflect.report.numbers import counted, percent
from mmreflect.report.plots import Bar, Plot, Point, Series, Unit, bars, line_plot

Line = tuple[str, str, int]
"""A key of the log, its name on the page, and the style of its line."""

_VALIDATION: list[tuple[str, Unit, list[Line]]] = [
    (
        "Validation: first and final answer right",
        "share",
        [("eval_final_accuracy", "final", 0), ("eval_first_accuracy", "first", 1)],
    ),
    (
        "Validation: fix and harm rate",
        "share",
        [("eval_fix_rate", "fixed, of the wrong", 2), ("eval_harm_rate", "harmed, of the right", 1)],
    ),
]
_SUPERVISED: list[tuple[str, Unit, list[Line]]] = [
    ("Loss", "number", [("loss", "training", 0), ("eval_loss", "validation", 1)]),
    ("Tokens predicted right", "share", [("mean_token_accuracy", "training", 0)]),
]
_REINFORCED: list[tuple[str, Unit, list[Line]]] = [
    ("Reward", "number", [("reward", "mean over rollouts", 0)]),
    (
        "Rollouts: first and final answer right",
        "share",
        [("ledger/final_accuracy", "final", 0), ("ledger/first_accuracy", "first", 1)],
    ),
    ("Rollouts: fixed and harmed, of all", "share", [("ledger/fixed", "fixed", 2), ("ledger/harmed", "harmed", 1)]),
    ("Answer length in tokens", "number", [("completions/mean_length", "mean over rollouts", 0)]),
]
_REPLAY: list[tuple[str, Unit, list[Line]]] = [
    (
        "Rows with an advantage (effective ratio)",
        "share",
        [("replay/effective_ratio_trained", "trained on", 0), ("replay/effective_ratio_raw", "raw, before replay", 1)],
    ),
    ("Replayed rows in the batch", "share", [("replay/replayed_share", "replayed share", 3)]),
    ("Mean |advantage| of the rows trained on", "number", [("replay/mean_abs_advantage", "mean |A|", 2)]),
    ("Staleness of replayed rows, in steps", "number", [("replay/staleness", "mean age", 1)]),
    ("Rows in the buffer", "number", [("replay/buffer", "rows", 3)]),
]
_RETHINK: list[tuple[str, Unit, list[Line]]] = [
    (
        "Tried, and spontaneous reflections",
        "share",
        [("rethink/tried", "tried, of the rollouts", 0), ("rethink/spontaneous", "spontaneous", 2)],
    ),
    (
        "Forced second looks: fix and harm rate",
        "share",
        [("rethink/fix_rate", "fixed, of the wrong", 2), ("rethink/harm_rate", "harmed, of the right", 1)],
    ),
    (
        "Right before and after forcing",
        "share",
        [("rethink/second_accuracy", "forced second looks", 0), ("rethink/first_accuracy", "all rollouts before", 1)],
    ),
]
_DROPS = {
    "wrong": "wrong in the end",
    "quota": "over the quota",
    "short": "too short",
    "long": "too long",
    "unfinished": "unfinished",
    "waits": "too many waits",
}


def curves(run: Folder, title: str = "") -> PlotBlock | None:
    """Return the learning curves of a training run, or None when nothing was logged."""
    reinforced = any("reward" in row for row in run.log)
    plots = _plots(run.log, (_REINFORCED if reinforced else _SUPERVISED) + _VALIDATION)
    if reinforced:
        parts = _reward_parts(run.log)
        plots[1:1] = [parts] if parts else []
    notes = [
        "Rollouts count as trained on: a forced second look that was accepted stands in the place of its first version."
    ]
    forced = any("rethink/tried" in row for row in run.log)
    return PlotBlock(title, notes if forced else [], plots=plots) if plots else None


def _plots(log: Sequence[dict[str, Any]], wanted: Sequence[tuple[str, Unit, list[Line]]]) -> list[Plot]:
    drawn = []
    for title, unit, lines in wanted:
        series = [
            Series(name, points, style, dots=key.startswith("eval_"))
            for key, name, style in lines
            if (points := _points(log, key))
        ]
        plot = line_plot(title, series, unit) if series else None
        drawn += [plot] if plot else []
    return drawn


def _points(log: Sequence[dict[str, Any]], key: str) -> list[Point]:
    found: dict[float, float] = {}
    for row in log:
        value = row.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and "step" in row:
            found[float(row["step"])] = float(value)
    return sorted(found.items())


def _reward_parts(log: Sequence[dict[str, Any]]) -> Plot | None:
    names = sorted(
        {key.split("/")[1] for row in log for key in row if key.startswith("rewards/") and key.endswith("/mean")}
    )
    series = [Series(name, _points(log, f"rewards/{name}/mean"), place % 4) for place, name in enumerate(names)]
    inside = all(0 <= value <= 1 for item in series for _, value in item.points)
    return line_plot("Parts of the reward, before weights", series, "share" if inside else "number")


def _mean(log: Sequence[dict[str, Any]], key: str) -> float | None:
    values = [value for _, value in _points(log, key)]
    return fmean(values) if values else None


def replay(run: Folder, title: str = "") -> PlotBlock | None:
    """Return the statistics of sample replay, or None for a run without it."""
    plots = _plots(run.log, _REPLAY)
    if not plots:
        return None
    raw, trained, share = (
        _mean(run.log, f"replay/{name}")
        for name in ("effective_ratio_raw", "effective_ratio_trained", "replayed_share")
    )
    notes = []
    if raw is not None and trained is not None:
        replayed = f"; {percent(share)} of the batch came from replay" if share is not None else ""
        notes.append(
            f"Mean over the run: {percent(raw)} of the fresh rows carried an advantage, {percent(trained)} "
            f"of the rows trained on{replayed}."
        )
    return PlotBlock(title, notes, plots=plots)


def rethinking(run: Folder, title: str = "") -> PlotBlock | None:
    """Return what forced rethinking tried and what became of it, or None for a run without it."""
    lines = _plots(run.log, _RETHINK)
    if not lines:
        return None
    accepted = _mean(run.log, "rethink/accept_rate")
    block = PlotBlock(title)
    if accepted is not None:
        drops = [(label, _mean(run.log, f"rethink/dropped_{name}")) for name, label in _DROPS.items()]
        rows = [Bar("accepted", accepted, 0), *(Bar(label, value, 1) for label, value in drops if value is not None)]
        block.plots.append(bars("What became of the tries", rows))
        steps = len(_points(run.log, "rethink/accept_rate"))
        block.notes.append(
            f"Shares of the tries are means over {counted(steps, 'logged step')}, each counting the same."
        )
    block.plots += lines
    return block
