"""What do the selections and Forced Rethinking do? From one cold start, several seeds each, on the demo's task.

    python benchmarks/selections.py --output outputs/selections --seeds 1 2 3

Needs the demo's data and cold start (`make demo`, or at least its first two steps). Every run is an ordinary
`mmreflect train` of configs/demo/grpo.yaml with a few keys changed, and is resumed if it was interrupted. Writes
`selections.json`, `selections.md` and `selections.svg` into the output folder.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import mmreflect
from mmreflect.config import load_yaml
from mmreflect.files import read_jsonl, write_atomic, write_json

VARIANTS: dict[str, dict[str, Any]] = {
    "none": {"selection": "none", "stages": False},
    "filter": {"selection": "filter", "stages": False},
    "dynamic_sampling": {"selection": "dynamic_sampling", "stages": False},
    "ssr": {"selection": "ssr", "stages": False},
    "ssr + forced rethinking": {"selection": "ssr", "stages": True},
}
COLOURS = ("#888888", "#d95f02", "#7570b3", "#1b9e77", "#0b5394")


def config_of(variant: dict[str, Any], seed: int, output: Path, demo: Path, steps: int) -> dict[str, Any]:
    """Return the demo's GRPO configuration with what this comparison changes."""
    tree = load_yaml(Path("configs/demo/grpo.yaml"))
    tree |= {"output": str(output), "model": str(demo / "sft/model"), "selection": variant["selection"], "seed": seed}
    tree["data"]["path"] = tree["evaluation"]["data"]["path"] = str(demo / "data")
    tree["evaluation"] |= {"every_steps": 10, "at_start": True}
    tree["rollout"]["keep_every"] = 0
    if not variant["stages"]:
        tree["rollout"]["stages"] = []
    # groups of four are flat more often than groups of eight, and the reward is correctness alone: the case for replay
    tree["trainer"] |= {
        "max_steps": steps,
        "save_steps": steps,
        "per_device_train_batch_size": 64,
        "num_generations": 4,
    }
    tree["rewards"][1]["weight"] = 0.1
    return tree


def curve(log: list[dict[str, Any]], name: str) -> dict[int, float]:
    """Return step to value of a logged metric."""
    return {row["step"]: row[name] for row in log if row.get(name) is not None}


def summary(log: list[dict[str, Any]]) -> dict[str, float | None]:
    """Return the figures of one run."""
    tail = [row for row in log if row.get("step", 0) > max(row.get("step", 0) for row in log) - 10]

    def mean(name: str, rows: list[dict[str, Any]] = log) -> float | None:
        values = [row[name] for row in rows if row.get(name) is not None]
        return statistics.mean(values) if values else None

    final = curve(log, "eval_final_accuracy")
    return {
        "effective_ratio_raw": mean("replay/effective_ratio_raw"),
        "effective_ratio_trained": mean("replay/effective_ratio_trained"),
        "effective_ratio_raw_last_10": mean("replay/effective_ratio_raw", tail),
        "final_accuracy": final[max(final)],
        "best_accuracy": max(final.values()),
        "fix_rate": curve(log, "eval_fix_rate").get(max(final)),
        "harm_rate": curve(log, "eval_harm_rate").get(max(final)),
        "spontaneous_reflection": mean("rethink/spontaneous", tail),
        "corrective": mean("ledger/corrective", tail),
        "seconds_per_step": mean("step_time"),
    }


def table(found: dict[str, list[dict[str, Any]]]) -> str:
    """Return a Markdown table of means and ranges over the seeds."""
    names = list(next(iter(found.values()))[0]["summary"])
    lines = ["| | " + " | ".join(name.replace("_", " ") for name in names) + " |", "|---" * (len(names) + 1) + "|"]
    for variant, runs in found.items():
        cells = []
        for name in names:
            values = [run["summary"][name] for run in runs if run["summary"][name] is not None]
            cells.append(f"{statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})" if values else "-")
        lines.append(f"| {variant} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def plot(found: dict[str, list[dict[str, Any]]], file: Path) -> None:
    """Draw the mean over the seeds of the effective ratio and of validation accuracy."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "mmreflect"
    import matplotlib.pyplot as plt

    titles = {
        "replay/effective_ratio_raw": "rows with an advantage, before selection",
        "eval_final_accuracy": "validation accuracy",
    }
    figure, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for axis, (name, title) in zip(axes, titles.items(), strict=True):
        for (variant, runs), colour in zip(found.items(), COLOURS, strict=True):
            curves = [{int(step): value for step, value in run["curves"][name].items()} for run in runs]
            steps = sorted(set.intersection(*(set(item) for item in curves)))
            if steps:
                means = [statistics.mean(item[step] for item in curves) for step in steps]
                axis.plot(steps, means, label=variant, color=colour)
        axis.set(title=title, xlabel="optimizer step", ylim=(0, 1.02))
        axis.spines[["top", "right"]].set_visible(False)
    axes[1].legend(frameon=False, fontsize=8)
    figure.savefig(file, metadata={"Date": None})


def main() -> None:
    """Run what is missing, then write table, plot and figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("outputs/selections"))
    parser.add_argument("--demo", type=Path, default=Path("outputs/demo"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--steps", type=int, default=50)
    arguments = parser.parse_args()
    found: dict[str, list[dict[str, Any]]] = {}
    for variant, keys in VARIANTS.items():
        for seed in arguments.seeds:
            output = arguments.output / f"{variant.replace(' ', '-')}-{seed}"
            run = mmreflect.train(config_of(keys, seed, output, arguments.demo, arguments.steps))
            log = list(read_jsonl(run.path / "log.jsonl"))
            names = ("replay/effective_ratio_raw", "eval_final_accuracy")
            curves = {name: curve(log, name) for name in names}
            found.setdefault(variant, []).append({"seed": seed, "summary": summary(log), "curves": curves})
    write_json(arguments.output / "selections.json", json.loads(json.dumps(found)))
    write_atomic(arguments.output / "selections.md", table(found))
    plot(found, arguments.output / "selections.svg")
    print(table(found))


if __name__ == "__main__":
    main()
