"""Charts per second of one core, by kind, and how many of their elements are seen: benchmarks/charts.py [--json FILE].

A chart is a table, a question with its solution, a picture as PNG and the check of every element against the pixels:
all that a row costs. Seconds are processor time of this one process, without imports. The peer is matplotlib itself: a
plain bar chart of eight bars through `Figure` and `Axes`, saved as PNG, in turns with ours within the same run.
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
from mmreflect.charts.making import make_chart
from mmreflect.charts.proof import CHECKED
from mmreflect.charts.tables import KINDS
from mmreflect.errors import UserError


def ours(kind: str, number: int) -> tuple[int, int, int]:
    """Make one chart; return how many elements were checked, how many of them were not seen, and the redraws.

    A chart whose check fails is never handed out: it counts as one element that is not seen.
    """
    try:
        chart = make_chart("benchmark", number, kinds=[kind])
    except UserError:
        return 1, 1, 0
    chart.picture.save(io.BytesIO(), format="PNG", compress_level=6)
    return (
        sum(item.role in CHECKED for item in chart.elements),
        0,
        chart.redrawn,
    )


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
    checked = missed = redrawn = 0
    for number in range(1, charts + 1):
        for kind in KINDS:
            spent, (elements, problems, again) = timed(lambda kind=kind, number=number: ours(kind, number))
            seconds[kind].append(spent)
            checked, missed, redrawn = checked + elements, missed + problems, redrawn + again
        seconds["matplotlib"].append(timed(lambda number=number: theirs(number))[0])
    means = {kind: statistics.mean(values) for kind, values in seconds.items()}
    mean = statistics.mean(means[kind] for kind in KINDS)
    return {
        "charts": charts * len(KINDS),
        "charts_per_second_per_core": round(1 / mean, 1),
        "per_kind": {kind: round(1 / means[kind], 1) for kind in KINDS},
        "matplotlib_per_second_per_core": round(1 / means["matplotlib"], 1),
        "time_ratio_to_matplotlib": round(mean / means["matplotlib"], 3),
        "elements_checked": checked,
        "share_seen": round(1 - missed / checked, 5),
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
        f"{result['share_seen']:.2%} of {result['elements_checked']:,} elements are seen where they are noted; "
        f"{result['redrawn_per_chart']} redraws per chart; time of matplotlib's own chart: x "
        f"{result['time_ratio_to_matplotlib']:.2f}"
    )
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
