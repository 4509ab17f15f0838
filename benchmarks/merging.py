"""What does each merge method keep of a model that sees and of one that reasons? A tiny pair, really fine-tuned.

    python benchmarks/merging.py --output outputs/merging --seeds 1 2 3 --json outputs/merging/merging.json

One base learns to repeat words and to count a colour in grids that are put into words. From it come a VLM, tuned to
count a colour in pictures, and a reasoning LLM: its decoder, tuned to count two colours in words, step by step, and to
check that again. They are merged by every method, and the results asked held-out questions of both kinds, greedy, and
of a third kind that neither has seen: two colours in a picture. Every step is an ordinary `mmreflect build`, `train`,
`merge` or `eval` and is not made again where it is finished. Writes `merging.json`, `merging.md` and `merging.svg`
into the output folder after every seed.
"""

import argparse
import random
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mmreflect
from data_builders.grid import COLOURS, SHAPES, Config, in_words, render
from mmreflect.files import read_json, read_jsonl, to_json, write_atomic, write_json
from mmreflect.merge.attention import Pictures, measure
from mmreflect.reflection.lexicon import reflection_count
from mmreflect.reflection.tags import reflection_of
from mmreflect.statistics import mean

GRID = Config(output="", splits={"train": 1})
VOCABULARY = (*COLOURS, *SHAPES, "none", "Wait", "check", "again", "Add", "modulo", *"0123456789")
HELD_OUT = 256
KINDS = ("pictures", "words", "both")
PARENTS = ("base", "VLM", "reasoning LLM", "reasoning decoder, VLM's eyes")
PAPER = "FRANK norm2, exponential, sum (paper)"
BY_TOKEN = "task arithmetic 1, embeddings by token"
MEASURED = "measured"
"""Stands for the file with the attention that was measured on the VLM."""

PAPERS_PRIOR = {"name": "exponential", "measured": MEASURED, "normalise": "sum", "floor": 0.0}
OUR_PRIOR = {"name": "exponential", "measured": MEASURED, "normalise": "max"}
AS_MEASURED = {"name": "attention", "measured": MEASURED, "normalise": "attention", "floor": 0.0}
FIXED = {"name": "fixed", "alpha": 0.5, "normalise": "max"}

METHODS: dict[str, dict[str, Any]] = {
    PARENTS[3]: {"method": "linear", "vlm_weight": 0.0, "reason_weight": 1.0},
    PAPER: {"importance": "norm2", "prior": PAPERS_PRIOR},
    "centroid": {"method": "centroid"},
    "FRANK norm2, no prior (Eq. 13)": {"importance": "norm2"},
    "task arithmetic 1": {"method": "task_arithmetic", "scale": 1.0},
    "FRANK norm2, attention, as measured": {"importance": "norm2", "prior": AS_MEASURED},
    "FRANK norm2, fixed 0.5 per layer, max": {"importance": "norm2", "prior": FIXED},
    "FRANK inv_norm2, no prior": {"importance": "inv_norm2"},
    "FRANK uniform, exponential, max": {"importance": "uniform", "prior": OUR_PRIOR},
    "MetaGPT": {"method": "metagpt"},
    "linear 0.9": {"method": "linear"},
    "layer swap, blocks 0 and 1": {"method": "layer_swap", "last_kept": 1, "vlm_weight": 0.5},
    "SLERP 0.5": {"method": "slerp", "t": 0.5},
    "task arithmetic 0.3": {"method": "task_arithmetic", "scale": 0.3},
    "TIES 0.2": {"method": "ties", "density": 0.2},
    "DARE linear": {"method": "dare_linear", "density": 0.5},
    "DARE TIES": {"method": "dare_ties", "density": 0.5},
    "WUDI": {"method": "wudi"},
    BY_TOKEN: {"method": "task_arithmetic", "scale": 1.0, "embeddings": "matching_tokens"},
    "task arithmetic 0.7": {"method": "task_arithmetic", "scale": 0.7},
}


def asked_to_copy(count: int, seed: str) -> Iterator[dict[str, Any]]:
    """Yield rows of the base: words to repeat, and grids in words whose colours are to be counted."""
    rng = random.Random(seed)
    for _ in range(count // 2):
        said = " ".join(rng.choice(VOCABULARY) for _ in range(rng.randint(3, 10)))
        yield {"question": f"Repeat: {said}", "response": said}
        colour, cells = draw_grid(rng)
        yield {"question": f"{in_words(GRID, cells)}\n{how_many(colour)}", **counted(colour, cells)}


def draw_grid(rng: random.Random) -> tuple[str, list[tuple[str, str] | None]]:
    """Draw a colour to ask for and a grid in which it stands from seldom to often."""
    colour, density = rng.choice(list(COLOURS)), rng.choice([0.15, 0.35, 0.55, 0.75])
    others = [None, *((other, shape) for other in COLOURS for shape in SHAPES if other != colour)]
    cells = [(colour, rng.choice(SHAPES)) if rng.random() < density else rng.choice(others) for _ in range(9)]
    return colour, cells


def how_many(*colours: str) -> str:
    """Ask for a colour, or for several."""
    return f"How many {' or '.join(colours)} shapes are there?"


def transcript(cells: list[tuple[str, str] | None]) -> str:
    """Read a grid row by row."""
    names = ["none" if cell is None else cell[0] for cell in cells]
    return " ; ".join(" ".join(names[start : start + 3]) for start in range(0, 9, 3))


def counted(colour: str, cells: list[tuple[str, str] | None]) -> dict[str, str]:
    """Return the answer to it, and a response that reads the grid row by row first; it does not look again."""
    total = sum(cell is not None and cell[0] == colour for cell in cells)
    return {"answer": str(total), "response": f"<think>{transcript(cells)}</think><answer>{total}</answer>"}


def pictures(count: int, seed: str, folder: Path, two: bool = False) -> Iterator[dict[str, Any]]:
    """Yield rows with pictures, which are written into the folder: the VLM's, or with `two` colours to ask for."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    for index in range(count):
        if two:
            colours, cells = draw_two(rng)
            told = reasoned(colours, cells)
        else:
            colour, cells = draw_grid(rng)
            colours, told = [colour], counted(colour, cells)
        name = f"{index:05}.png"
        render(GRID, cells, rng).save(folder / name)
        yield {"question": how_many(*colours), "images": [f"{folder.name}/{name}"], **told}


def words(count: int, seed: str) -> Iterator[dict[str, Any]]:
    """Yield rows of the reasoning LLM: two colours to be counted in a grid that is put into words."""
    rng = random.Random(seed)
    for _ in range(count):
        colours, cells = draw_two(rng)
        yield {"question": f"{in_words(GRID, cells)}\n{how_many(*colours)}", **reasoned(colours, cells)}


def draw_two(rng: random.Random) -> tuple[list[str], list[tuple[str, str] | None]]:
    """Draw a grid and two colours to ask for."""
    colour, cells = draw_grid(rng)
    return [colour, rng.choice([other for other in COLOURS if other != colour])], cells


def reasoned(colours: list[str], cells: list[tuple[str, str] | None]) -> dict[str, str]:
    """Return the answer for two colours, and a response that counts each, adds them up and checks that again."""
    counts = [sum(cell is not None and cell[0] == colour for cell in cells) for colour in colours]
    parts = " ".join(f"{count} {colour}" for count, colour in zip(counts, colours, strict=True))
    total = str(sum(counts))
    response = (
        f"<think>{transcript(cells)} ; {parts}</think><answer>{total}</answer>"
        f"<reflection>Wait, check again: {parts}</reflection><answer>{total}</answer>"
    )
    return {"answer": total, "response": response}


def build_data(output: Path, rows: int) -> dict[str, Path]:
    """Build the datasets by the builder `rows`; returns their folders."""
    source, few = output / "source", HELD_OUT + 32
    made: dict[str, tuple[int, Callable[[], Iterator[dict[str, Any]]]]] = {
        "base": (rows, lambda: asked_to_copy(rows, "base")),
        "pictures": (rows, lambda: pictures(rows, "pictures", source / "grids")),
        "words": (rows, lambda: words(rows, "words")),
        "both": (few, lambda: pictures(few, "both", source / "both", two=True)),
    }
    for name, (count, make) in made.items():
        file = source / f"{name}.jsonl"
        if not file.is_file():
            source.mkdir(parents=True, exist_ok=True)
            write_atomic(file, "".join(f"{to_json(row)}\n" for row in make()))
        # copying has no answer, and a grid's colours repeat
        loose = {"answer": "off", "final_answer": "off"} if name == "base" else {}
        tree = {"builder": "rows", "output": str(output / name), "source": str(file), "validation": HELD_OUT / count}
        mmreflect.build(tree | {"quality": {"repetition": None, "near_repeats": "off", **loose}})
    return {name: output / name for name in made}


def training(output: Path, model: Any, data: Path, steps: int, rate: float, seed: int) -> dict[str, Any]:
    """Return the configuration of one training."""
    return {
        "method": "sft",
        "output": str(output),
        "seed": seed,
        "model": model,
        "data": {"path": str(data), "split": "train"},
        "trainer": {
            "max_steps": steps,
            "per_device_train_batch_size": 32,
            "learning_rate": rate,
            "lr_scheduler_type": "linear",
            "warmup_steps": 20,
            "logging_steps": 25,
            "save_steps": steps,
            "save_total_limit": 1,
        },
    }


def evaluated(model: str, data: Path, output: Path, questions: int) -> list[dict[str, Any]]:
    """Ask a model the held-out questions of a dataset; returns what is needed of every answer."""
    asked = {"path": str(data), "split": "validation", "limit": questions}
    tree = {"benchmark": "dataset", "output": str(output), "model": model, "data": asked, "max_new_tokens": 96}
    run = mmreflect.evaluate(tree | {"batch_size": HELD_OUT})
    return [
        {
            "id": record["id"],
            "right": record["final_correct"],
            "tokens": record["tokens"],
            "checks": reflection_count(reflection_of(record["text"]) or "") > 0,
        }
        for record in read_jsonl(run.path / "samples.jsonl")
    ]


def asked_all(model: str, data: dict[str, Path], output: Path, questions: int, sees: bool = True) -> dict[str, Any]:
    """Ask a model every kind of questions; one without eyes only those in words."""
    return {
        kind: evaluated(model, data[kind], output.with_name(f"{output.name}-{kind}"), questions)
        for kind in (KINDS if sees else ("words",))
    }


def merging(settings: dict[str, Any], base: Path, vlm: str, reason: str, attention: Path) -> dict[str, Any]:
    """Return the configuration of one merge, but for its output."""
    tree: dict[str, Any] = {"method": "frank", "base": str(base), "vlm": vlm, "reason": reason, **settings}
    if tree.get("prior", {}).get("measured") == MEASURED:
        tree["prior"] = {**tree["prior"], "measured": str(attention)}
    return tree


def run_seed(
    output: Path, base: Path, data: dict[str, Path], seed: int, steps: list[int], questions: int
) -> dict[str, Any]:
    """Tune both from the base with one seed, merge them by every method, and ask everything."""
    folder = output / f"seed-{seed}"
    kept = {"path": str(base), "freeze": ["embeddings"]}  # large models' hardly move, and merging keeps the VLM's
    vlm = training(folder / "vlm", kept, data["pictures"], steps[0], 1e-3, seed)
    llm = training(folder / "reason", {**kept, "part": "decoder"}, data["words"], steps[1], 1e-3, seed)
    eyes, reason = (str(mmreflect.train(tree).path / "model") for tree in (vlm, llm))
    seen = Pictures(pictures=str(data["pictures"]), limit=64, prompt=how_many("red"))
    found = measure(seen, eyes, folder / "attention")
    answers = {
        "VLM": asked_all(eyes, data, folder / "eval-vlm", questions),
        "reasoning LLM": asked_all(reason, data, folder / "eval-reason", questions, sees=False),
    }
    layers = {}
    for name, settings in METHODS.items():
        short = "".join(letter if letter.isalnum() else "-" for letter in name.lower()).replace("--", "-")
        tree = merging(settings, base, eyes, reason, folder / "attention")
        run = mmreflect.merge(tree | {"output": str(folder / f"merge-{short}")})
        layers[name] = read_json(run.path / "merge_report.json")["layers"]
        answers[name] = asked_all(str(run.path / "model"), data, folder / f"eval-{short}", questions)
    return {"seed": seed, "answers": answers, "layers": layers, "attention": found.tree()}


def figures(answers: list[list[dict[str, Any]]]) -> dict[str, Any]:
    """Summarise one model's answers of one kind over the seeds.

    Returns:
        `accuracy` with its 95 % interval (whole questions are drawn, with all of their seeds), `seeds` (accuracy of
        each), `tokens`, `checks` (share of replies with a reflection that holds a self-checking word), and
        `ungraded`, which are left out of the accuracies.
    """
    graded = [row for seed in answers for row in seed if row["right"] is not None]
    rate = mean([float(row["right"]) for row in graded], clusters=[row["id"] for row in graded])
    every = [row for seed in answers for row in seed]
    return {
        "accuracy": [rate.value, rate.low, rate.high],
        "seeds": [mean([float(row["right"]) for row in seed if row["right"] is not None]).value for seed in answers],
        "tokens": statistics.mean(row["tokens"] for row in every),
        "checks": statistics.mean(row["checks"] for row in every),
        "ungraded": len(every) - len(graded),
    }


def share_kept(row: dict[str, Any]) -> float | None:
    """Return the mean of the accuracies on what the parents were tuned on; None where one of them is missing."""
    if not {"pictures", "words"} <= row.keys():
        return None
    return float(statistics.mean(row[kind]["accuracy"][0] for kind in ("pictures", "words")))


def summarise(runs: list[dict[str, Any]], base: dict[str, Any]) -> dict[str, Any]:
    """Join the seeds: per model its figures and, where it is a weighting per layer, the mean weights of the layers."""
    found: dict[str, Any] = {PARENTS[0]: {kind: figures([rows]) for kind, rows in base.items()}}
    for name in runs[0]["answers"]:
        kinds = runs[0]["answers"][name]
        found[name] = {kind: figures([run["answers"][name][kind] for run in runs]) for kind in kinds}
        rows = [run["layers"][name] for run in runs if name in run["layers"]]
        if rows and rows[0][0]["lam_v"] is not None:
            found[name]["weights"] = [
                [statistics.mean(layers[place][key] for layers in rows) for key in ("lam_v", "lam_r")]
                for place in range(len(rows[0]))
            ]
    return found


def vectors(runs: list[dict[str, Any]]) -> list[dict[str, float]]:
    """Return per layer the means over the seeds of the task vectors' norms, relative to the base's, and their angle."""
    found = []
    for place in range(len(runs[0]["layers"]["centroid"])):
        rows = [run["layers"]["centroid"][place] for run in runs]
        found.append(
            {
                "vlm": statistics.mean((row["norm2_v"] / row["norm2_base"]) ** 0.5 for row in rows),
                "reason": statistics.mean((row["norm2_r"] / row["norm2_base"]) ** 0.5 for row in rows),
                "ratio": statistics.mean(row["norm2_v"] / row["norm2_r"] for row in rows),
                "cosine": statistics.mean(row["cosine"] for row in rows),
                "attention": statistics.mean(run["attention"]["a"][place] for run in runs),
            }
        )
    return found


def table(summary: dict[str, Any]) -> str:
    """Return Markdown: parents first, then merges from the best mean of both tasks down."""
    names = ("", *KINDS, "mean of the first two", "tokens", "self-checks", "VLM's weight", "reasoning's weight")
    lines = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    merges = sorted(set(summary).difference(PARENTS), key=lambda name: (-(share_kept(summary[name]) or 0), name))
    for name in [*(name for name in PARENTS if name in summary), *merges]:
        row = summary[name]
        both = share_kept(row)
        pair = [
            "/".join(f"{row[kind][key]:{form}}" if kind in row else "-" for kind in KINDS)
            for key, form in (("tokens", ".0f"), ("checks", ".0%"))
        ]
        cells = [*(_accuracy(row, kind) for kind in KINDS), "-" if both is None else f"{both:.2f}", *pair]
        lines.append(f"| {name} | " + " | ".join([*cells, *(_weights(row, side) for side in (0, 1))]) + " |")
    return "\n".join(lines) + "\n"


def _accuracy(row: dict[str, Any], kind: str) -> str:
    if kind not in row:
        return "-"
    value, low, high = row[kind]["accuracy"]
    return f"{value:.2f} ({low:.2f} to {high:.2f})"


def _weights(row: dict[str, Any], side: int) -> str:
    weights = row.get("weights")
    return " ".join(f"{weights[place][side]:.2f}" for place in (0, len(weights) // 2, -1)) if weights else "-"


def vector_table(layers: list[dict[str, float]]) -> str:
    """Return Markdown: the task vectors layer by layer."""
    names = ("block", "VLM moved", "reasoning LLM moved", "ratio of squares", "cosine", "attention to the picture")
    lines = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    for place, row in enumerate(layers):
        moved = f"{row['vlm']:.3f} | {row['reason']:.3f} | {row['ratio']:.2f}"
        lines.append(f"| {place} | {moved} | {row['cosine']:.3f} | {row['attention']:.3f} |")
    return "\n".join(lines) + "\n"


def plot(summary: dict[str, Any], file: Path) -> None:
    """Draw every model as a point: what it keeps of seeing against what it keeps of reasoning."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "mmreflect"
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(9, 6), layout="constrained")
    names = [name for name in summary if share_kept(summary[name]) is not None]
    for number, name in enumerate(names, 1):
        x, y = (summary[name][kind]["accuracy"] for kind in ("pictures", "words"))
        colour = "#888888" if name in PARENTS else "#d95f02" if name == PAPER else "#1b9e77"
        colour = "#7570b3" if name == "centroid" else colour
        errors = [[[at[0] - at[1]], [at[2] - at[0]]] for at in (x, y)]
        axis.errorbar(x[0], y[0], yerr=errors[1], xerr=errors[0], color=colour, fmt="o", label=f"{number} {name}")
        axis.annotate(str(number), (x[0], y[0]), xytext=(4, 4), textcoords="offset points", fontsize=8)
    axis.set(
        xlabel="right on pictures (one colour)",
        ylabel="right in words (two colours, checked)",
        xlim=(-0.02, 1.02),
        ylim=(-0.02, 1.02),
    )
    axis.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, fontsize=7, loc="outside right upper")
    figure.savefig(file, metadata={"Date": None})


def main() -> None:
    """Run what is missing, then write table, plot and figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("outputs/merging"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--rows", type=int, default=4000, help="questions per dataset, 256 of them held out")
    parser.add_argument("--questions", type=int, default=HELD_OUT, help="of each kind, per model")
    parser.add_argument("--steps", type=int, nargs=3, default=[400, 400, 500], help="of the base, the VLM, the LLM")
    parser.add_argument("--json", type=Path, help="where the figures go as well")
    arguments = parser.parse_args()
    output = arguments.output
    data = build_data(output, arguments.rows)
    tiny = {"path": "tiny", "tiny": {"layers": 4}}
    pretraining = training(output / "base-model", tiny, data["base"], arguments.steps[0], 2e-3, 0)
    base = mmreflect.train(pretraining).path / "model"
    asked = asked_all(str(base), data, output / "eval-base", arguments.questions)
    runs = []
    for seed in arguments.seeds:
        runs.append(run_seed(output, base, data, seed, arguments.steps[1:], arguments.questions))
        summary, layers = summarise(runs, asked), vectors(runs)  # after every seed, for whoever is in a hurry
        content = {"steps": arguments.steps, "questions": arguments.questions, "models": summary, "vectors": layers}
        content["seeds"] = {run["seed"]: {key: run["attention"][key] for key in ("alpha", "C", "r2")} for run in runs}
        for file in {output / "merging.json", arguments.json or output / "merging.json"}:
            write_json(file, content)
        text = table(summary) + "\n" + vector_table(layers)
        write_atomic(output / "merging.md", text)
        plot(summary, output / "merging.svg")
        print(text)


if __name__ == "__main__":
    main()
