"""Charts per second of one core, by kind, and how many of their elements are seen: benchmarks/charts.py [--json FILE].

A chart is a table, a question with its solution, a picture as PNG and the check of every element against the pixels:
all that a row costs. Seconds are processor time of this one process, without imports. The share of elements that are
seen is that of first drawings, before the check refuses any; every twentieth chart is also asked for its elements noted
a few pixels elsewhere, which the check must notice. The peer is matplotlib itself: a plain bar chart of eight bars
through `Figure` and `Axes`, saved as PNG, in turns with ours within the same run.
"""

import argparse
import io
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmreflect import console
from mmreflect.charts.elements import TEXTS
from mmreflect.charts.making import Chart, first_chart, make_chart
from mmreflect.charts.proof import CHECKED, unseen
from mmreflect.charts.tables import KINDS

STEPS = {"wedge": 10} | dict.fromkeys(TEXTS, 6)
"""Pixels by which an element is noted elsewhere, 4 for the other roles."""


def ours(kind: str, number: int) -> Chart:
    """Make one chart, as a row's is made."""
    chart = make_chart("benchmark", number, kinds=[kind])
    chart.picture.save(io.BytesIO(), format="PNG", compress_level=6)
    return chart


def seen_at_first(chart: Chart, kind: str, number: int) -> tuple[int, int]:
    """Return how many elements the first drawing of a chart has, and how many of them are not seen."""
    first = first_chart("benchmark", number, kinds=[kind]) if chart.refused else chart
    missed = len(unseen(first.picture, first.elements)) if chart.refused else 0
    return sum(item.role in CHECKED for item in first.elements), missed


def noticed(chart: Chart) -> dict[str, tuple[int, int]]:
    """Return, by role and axis, how often elements that are noted elsewhere are noticed, and of how many."""
    counts: dict[str, tuple[int, int]] = {}
    for place, element in enumerate(chart.elements):
        if element.role not in CHECKED:
            continue
        step = STEPS.get(element.role, 4)
        for axis, moves in (("x", ((step, 0), (-step, 0))), ("y", ((0, step), (0, -step)))):
            for move in moves:
                wrong = [*chart.elements[:place], element.moved(*move), *chart.elements[place + 1 :]]
                found = bool(unseen(chart.picture, wrong, [place]))
                have, of = counts.get(f"{element.role} {axis}", (0, 0))
                counts[f"{element.role} {axis}"] = (have + found, of + 1)
    return counts


def theirs(number: int) -> None:
    """Draw a plain bar chart as matplotlib's users do, without pyplot."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5), dpi=100, layout="tight")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.bar([f"label {place}" for place in range(8)], [(number * place) % 17 + 1 for place in range(8)])
    axes.set_title("A title")
    axes.set_ylabel("A measure")
    canvas.print_png(io.BytesIO())


def timed(make: Callable[[], Any]) -> tuple[float, Any]:
    """Return processor seconds and what came out."""
    start = time.process_time()
    made = make()
    return time.process_time() - start, made


def measure(charts: int) -> dict[str, Any]:
    """Make `charts` charts of every kind, and as many of matplotlib's own."""
    ours("bar", 0), theirs(0)  # imports and fonts are taken out of the account
    seconds: dict[str, list[float]] = {kind: [] for kind in [*KINDS, "matplotlib"]}
    checked = missed = redrawn = refused = 0
    moved: dict[str, tuple[int, int]] = {}
    for number in range(1, charts + 1):
        for kind in KINDS:
            spent, chart = timed(lambda kind=kind, number=number: ours(kind, number))
            seconds[kind].append(spent)
            elements, problems = seen_at_first(chart, kind, number)
            checked, missed = checked + elements, missed + problems
            redrawn, refused = redrawn + chart.redrawn, refused + chart.refused
            for key, (have, of) in (noticed(chart) if number % 20 == 1 else {}).items():
                moved[key] = (moved.get(key, (0, 0))[0] + have, moved.get(key, (0, 0))[1] + of)
        seconds["matplotlib"].append(timed(lambda number=number: theirs(number))[0])
    means = {kind: statistics.mean(values) for kind, values in seconds.items()}
    mean = statistics.mean(means[kind] for kind in KINDS)
    return {
        "charts": charts * len(KINDS),
        "charts_per_second_per_core": round(1 / mean, 1),
        "per_kind": {kind: round(1 / means[kind], 1) for kind in KINDS},
        "matplotlib_per_second_per_core": round(1 / means["matplotlib"], 1),
        "time_ratio_to_matplotlib": round(mean / means["matplotlib"], 3),
        "elements_of_first_drawings": checked,
        "share_seen_in_first_drawings": round(1 - missed / checked, 5),
        "drawings_refused": refused,
        "moved_elements_noticed": {key: list(value) for key, value in sorted(moved.items())},
        "redrawn_per_chart": round(redrawn / (charts * len(KINDS)), 2),
        "python": platform.python_version(),
        "machine": f"{platform.machine()} {platform.system()}",
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    parser.add_argument("--charts", type=int, default=20, help="charts of each kind")
    arguments = parser.parse_args()
    result = measure(arguments.charts)
    rows = [[kind, f"{rate:.1f}"] for kind, rate in result["per_kind"].items()]
    rows += [["all kinds", f"{result['charts_per_second_per_core']:.1f}"]]
    rows += [["a bar chart by matplotlib's Axes", f"{result['matplotlib_per_second_per_core']:.1f}"]]
    console.show_table("charts per second of one core", ["kind", "charts"], rows)
    console.say(
        f"{result['share_seen_in_first_drawings']:.2%} of {result['elements_of_first_drawings']:,} elements of first "
        f"drawings are seen where they are noted, {result['drawings_refused']} drawings were refused; "
        f"{result['redrawn_per_chart']} redraws per chart; time of matplotlib's own chart: x "
        f"{result['time_ratio_to_matplotlib']:.2f}"
    )
    rows = [
        [key, f"{have} of {of}", f"{have / of:.1%}"] for key, (have, of) in result["moved_elements_noticed"].items()
    ]
    console.show_table("elements noted 4 pixels elsewhere (texts 6, wedges 10)", ["role", "noticed", "share"], rows)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
