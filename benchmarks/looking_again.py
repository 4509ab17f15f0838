"""Does looking again pay, and what does the sufficiency reward add? From one cold start, several seeds each.

    mmreflect build configs/events/data.yaml
    mmreflect train configs/events/sft.yaml
    python benchmarks/looking_again.py --output outputs/looking_again --seeds 1 2 3

Every run is an ordinary `mmreflect train` of configs/events/grpo.yaml with a few keys changed, followed by an ordinary
`mmreflect eval` of configs/events/eval.yaml; both are resumed if they were interrupted. Writes `looking_again.json`,
`looking_again.md` and `looking_again.svg` into the output folder.
"""

import argparse
import statistics
from collections.abc import Generator
from pathlib import Path
from typing import Any

import mmreflect
from mmreflect.answers.grade import verify
from mmreflect.answers.intervals import interval_of
from mmreflect.answers.spec import spec_of
from mmreflect.components import load
from mmreflect.config import component_parser, load_yaml
from mmreflect.data.rendering import Renderer
from mmreflect.data.store import open_dataset
from mmreflect.environments import revisor
from mmreflect.files import read_jsonl, write_atomic, write_json
from mmreflect.models import ModelConfig, load_model
from mmreflect.records import Reply, Sample, Turn
from mmreflect.rollouts.actions import Action, Context, Observe, Sampling
from mmreflect.rollouts.driver import roll_out
from mmreflect.rollouts.engines._generation import TransformersEngine

VARIANTS: dict[str, dict[str, Any]] = {
    "cold start": {},
    "answer only": {"sufficiency": 0.0},
    "answer + sufficiency": {"sufficiency": 0.3},
    "reflection in words": {"sufficiency": 0.0, "show": "text"},
    "advantage per stage": {"sufficiency": 0.3, "advantage": "per_stage"},
}
COLOURS = ("#999999", "#d95f02", "#1b9e77", "#7570b3", "#0b5394")
CURVES = {
    "rewards/dadr.final/mean": "right answers while training",
    "facts/segment_iou": "overlap of the segment with the true one (IoU)",
    "facts/segment_seconds": "length of the segment in seconds",
}


def training_of(variant: dict[str, Any], seed: int, output: Path, events: Path, steps: int) -> dict[str, Any]:
    """Return the recipe's GRPO configuration with what this comparison changes."""
    tree = load_yaml(Path("configs/events/grpo.yaml"))
    tree |= {"output": str(output), "model": str(events / "sft/model"), "seed": seed, "evaluation": None}
    tree["data"]["path"] = str(events / "data")
    tree["rollout"]["keep_every"] = 0
    tree["rollout"]["environment"] |= {"show": variant.get("show", "clip")}
    tree["rewards"][0]["sufficiency"] = variant["sufficiency"]
    tree["advantage"] = variant.get("advantage", "group_norm")
    tree["trainer"] |= {"max_steps": steps, "save_steps": steps}
    return tree


def evaluation_of(variant: dict[str, Any], model: Path, output: Path, events: Path) -> dict[str, Any]:
    """Return the recipe's evaluation of a model."""
    tree = load_yaml(Path("configs/events/eval.yaml"))
    tree |= {"output": str(output), "model": str(model)}
    tree["data"]["path"] = str(events / "data")
    tree["environment"] |= {"show": variant.get("show", "clip")}
    return tree


def figures(records: list[dict[str, Any]]) -> dict[str, float | None]:
    """Return what one evaluation found."""
    shown = [record["facts"] for record in records if record["facts"].get("segment")]
    probed = [record for record in records if "sufficiency" in record["probes"]]
    return {
        "right answers": statistics.mean(bool(record["final_correct"]) for record in records),
        "valid segments": len(shown) / len(records),
        "IoU with the true one": statistics.mean(facts["segment_iou"] for facts in shown) if shown else None,
        "shows the event": statistics.mean(covers(record) for record in records),
        "seconds": statistics.mean(facts["segment_seconds"] for facts in shown) if shown else None,
        "sufficient": statistics.mean(map(is_sufficient, probed)) if probed else None,
    }


def glance(box: tuple[float, float]) -> str:
    """Put into words what the first look at a video of `configs/events/data.yaml` shows: a frame a second."""
    times = [round(place * 95 / 11) / 8 for place in range(12)]
    pairs = zip(times[::2], times[1::2], strict=True)
    return " ".join(f"{int(a)} {'box' if any(box[0] <= t < box[1] for t in (a, b)) else '-'}" for a, b in pairs)


def reading(model: Path, events: Path) -> float:
    """Return the share of right answers where the first reply is put in: the true segment, whatever was chosen.

    Tells apart what a model sees in a segment and how well it chooses one.
    """
    tree = load_yaml(Path("configs/events/eval.yaml"))
    options = component_parser("environment", load)(tree["environment"]).options

    def shown_the_truth(sample: Sample, context: Context) -> Generator[Action, Reply, dict[str, Any]]:
        shown = revisor.shown_for(options, sample)
        opening, true = shown.opening(), interval_of(sample.facts["gt_interval"])
        assert true is not None
        first = f"<think>{glance(true)}</think><time_interval>[{true[0]:.1f}, {true[1]:.1f}]</time_interval>"
        look = shown.second_look(true, first)
        yield Observe(
            look.content,
            "revise",
            history=[*opening.history, Turn("user", opening.content), Turn("assistant", [first])],
        )
        return {}

    loaded = load_model(ModelConfig(path=str(model)))
    engine = TransformersEngine(loaded, Renderer(loaded.tokenizer, loaded.processor), 64)
    samples = list(open_dataset(str(events / "data")).samples("test"))
    sampling = Sampling(temperature=0, max_new_tokens=tree["max_new_tokens"])
    groups = roll_out(engine, shown_the_truth, samples, 1, sampling, seed=0)
    right = [verify(item.rollouts[0].text, item.sample.gold, spec_of(item.sample.facts)).passed for item in groups]
    return statistics.mean(verdict is True for verdict in right)


def is_sufficient(record: dict[str, Any]) -> bool:
    """Tell whether the probe found the answer from the segment alone."""
    return bool(record["probes"]["sufficiency"].strip() == record["gold"])


def covers(record: dict[str, Any]) -> bool:
    """Tell whether the chosen segment holds the event."""
    segment, event = record["facts"].get("segment"), record["sample_facts"]["event"]
    return segment is not None and segment[0] <= event[0] and event[1] <= segment[1]


def table(found: dict[str, list[dict[str, Any]]]) -> str:
    """Return a Markdown table of means and ranges over the seeds."""
    names = list(next(iter(found.values()))[0]["figures"])
    lines = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for variant, runs in found.items():
        cells = []
        for name in names:
            values = [run["figures"][name] for run in runs if run["figures"].get(name) is not None]
            spread = f" ({min(values):.2f} to {max(values):.2f})" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.2f}{spread}" if values else "-")
        lines.append(f"| {variant} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def plot(found: dict[str, list[dict[str, Any]]], file: Path) -> None:
    """Draw the mean over the seeds of every curve."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "mmreflect"
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(CURVES), figsize=(14, 4), layout="constrained")
    for axis, (name, title) in zip(axes, CURVES.items(), strict=True):
        for (variant, runs), colour in zip(found.items(), COLOURS, strict=True):
            curves = [{int(step): value for step, value in run["curves"].get(name, {}).items()} for run in runs]
            steps = sorted(set.intersection(*(set(item) for item in curves))) if curves else []
            if steps:
                means = [statistics.mean(item[step] for item in curves) for step in steps]
                axis.plot(steps, means, label=variant, color=colour)
        axis.set(title=title, xlabel="optimizer step")
        axis.set_ylim(bottom=0)
        axis.spines[["top", "right"]].set_visible(False)
    axes[1].legend(frameon=False, fontsize=8)
    figure.savefig(file, metadata={"Date": None})


def run_one(name: str, seed: int, output: Path, events: Path, steps: int) -> dict[str, Any]:
    """Train and evaluate one variant with one seed; the cold start is only evaluated."""
    variant, folder = VARIANTS[name], output / f"{name.replace(' ', '-').replace('+', 'and')}-{seed}"
    curves: dict[str, dict[int, float]] = {}
    model = events / "sft/model"
    if variant:
        trained = mmreflect.train(training_of(variant, seed, folder, events, steps))
        log = list(read_jsonl(trained.path / "log.jsonl"))
        curves = {curve: {row["step"]: row[curve] for row in log if row.get(curve) is not None} for curve in CURVES}
        model = trained.path / "model"
    evaluated = mmreflect.evaluate(evaluation_of(variant, model, folder.with_name(f"{folder.name}-eval"), events))
    records = list(read_jsonl(evaluated.path / "samples.jsonl"))
    found = figures(records)
    if variant.get("show") != "text":
        found["right, given the true segment"] = reading(model, events)
    return {"seed": seed, "figures": found, "curves": curves}


def main() -> None:
    """Run what is missing, then write table, plot and figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("outputs/looking_again"))
    parser.add_argument("--events", type=Path, default=Path("outputs/events"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--steps", type=int, default=60)
    arguments = parser.parse_args()
    found: dict[str, list[dict[str, Any]]] = {}
    for seed in arguments.seeds:
        for name, variant in VARIANTS.items():
            if variant or seed == arguments.seeds[0]:
                run = run_one(name, seed, arguments.output, arguments.events, arguments.steps)
                found.setdefault(name, []).append(run)
    write_json(arguments.output / "looking_again.json", found)
    write_atomic(arguments.output / "looking_again.md", table(found))
    plot(found, arguments.output / "looking_again.svg")
    print(table(found))


if __name__ == "__main__":
    main()
