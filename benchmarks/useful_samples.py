"""Gradient-carrying samples per second: our GRPO with replay against plain `trl.GRPOTrainer`.

    python benchmarks/useful_samples.py [--json FILE] [--steps 12] [--rounds 2]

Both train the same tiny Qwen2.5-VL on the same pictures with the same reward, in turns within one run. The reward is
constant on 70 % of the questions, whose groups are therefore flat, and varies between the answers to the others. A
sample carries a gradient when its advantage is not zero. Replay's own work (add, draw, save) is timed apart.
"""

import argparse
import contextlib
import hashlib
import io
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

FLAT_SHARE = 0.7
SETTINGS = {
    "per_device_train_batch_size": 64, "num_generations": 8, "max_completion_length": 32, "learning_rate": 1e-4,
    "logging_steps": 1, "loss_type": "dapo", "beta": 0.0, "seed": 1,
}  # fmt: skip


def reward_of(question: str, text: str) -> float:
    """Return 0 for the flat questions, else a bit of the answer's hash."""
    if int(hashlib.sha256(question.encode()).hexdigest(), 16) % 1000 < FLAT_SHARE * 1000:
        return 0.0
    return float(hashlib.sha256(text.encode()).digest()[0] & 1)


def build(folder: Path) -> tuple[Path, Path]:
    """Build the dataset and the tiny model."""
    import mmreflect
    from mmreflect.data.store import open_dataset
    from mmreflect.models import ModelConfig, load_model

    tree = {"builder": "grid", "output": str(folder / "data"), "splits": {"rl": 400}, "seed": 1}
    mmreflect.build(tree)
    texts = [f"{item.question} {item.response}" for item in open_dataset(str(folder / "data")).samples("rl")]
    load_model(ModelConfig(path="tiny"), texts, seed=1).save(folder / "model")
    return folder / "data", folder / "model"


def ours(data: Path, model: Path, folder: Path, steps: int) -> dict[str, float]:
    """Train with Selective Sample Replay and return useful samples, seconds, and replay's own seconds."""
    import mmreflect
    from mmreflect.files import read_jsonl
    from mmreflect.rl.selections.ssr import SelectiveSampleReplay
    from mmreflect.rl.trainer import ReflectGRPOTrainer

    (folder / "reward.py").write_text(
        "from useful_samples import reward_of\n"
        "def varied(completions, id, **kwargs):\n"
        "    return [reward_of(name, text[0]['content']) for name, text in zip(id, completions)]\n"
    )
    spent = {"replay": 0.0}
    timed = [(SelectiveSampleReplay, "__call__"), (ReflectGRPOTrainer, "extra_state")]
    before = [getattr(owner, name) for owner, name in timed]
    for (owner, name), function in zip(timed, before, strict=True):
        setattr(owner, name, _clocked(function, spent))
    trainer = {key: value for key, value in SETTINGS.items() if key != "seed"}
    tree = {
        "method": "grpo",
        "output": str(folder / "run"),
        "model": str(model),
        "data": {"path": str(data), "split": "rl"},
        "rewards": [f"{folder / 'reward.py'}:varied"],
        "selection": "ssr",
        "rollout": {"keep_every": 0},
        "seed": 1,
        "trainer": trainer | {"max_steps": steps, "save_steps": steps},
    }
    try:
        run = mmreflect.train(tree)
    finally:
        for (owner, name), function in zip(timed, before, strict=True):
            setattr(owner, name, function)
    rows = [row for row in read_jsonl(run.path / "log.jsonl") if "step_time" in row][2:]
    useful = sum(64 * (row.get("replay/effective_ratio_trained") or 0.0) for row in rows)
    seconds = sum(row["step_time"] for row in rows)
    whole = sum(row["step_time"] for row in read_jsonl(run.path / "log.jsonl") if "step_time" in row)
    return {"useful": useful, "seconds": seconds, "replay_share": spent["replay"] / whole}


def _clocked(function: Any, spent: dict[str, float]) -> Any:
    def run(*arguments: Any, **keys: Any) -> Any:
        start = time.perf_counter()
        try:
            return function(*arguments, **keys)
        finally:
            spent["replay"] += time.perf_counter() - start

    return run


def plain(data: Path, model: Path, folder: Path, steps: int) -> dict[str, float]:
    """Train with TRL's own trainer and return useful samples and seconds."""
    from datasets import Dataset
    from PIL import Image
    from transformers import AutoModelForImageTextToText, AutoProcessor
    from trl import GRPOConfig, GRPOTrainer

    from mmreflect.data.store import open_dataset

    samples = list(open_dataset(str(data)).samples("rl"))
    prompts = [[{"role": "user", "content": item.question}] for item in samples]
    rows = Dataset.from_dict({"prompt": prompts, "name": [item.id for item in samples]})
    rows = rows.add_column("image", [item.media[0].path for item in samples])
    rows = rows.with_transform(lambda batch: batch | {"image": [Image.open(path) for path in batch["image"]]})
    counts: list[int] = []

    class Counting(GRPOTrainer):
        def _generate_and_score_completions(self, inputs: Any) -> Any:
            made = super()._generate_and_score_completions(inputs)
            counts.append(int((made["advantages"].abs() > 1e-8).sum()))
            return made

    def varied(completions: Any, name: Any, **_: Any) -> list[float]:
        return [reward_of(item, text[0]["content"]) for item, text in zip(name, completions, strict=True)]

    settings = SETTINGS | {
        "max_steps": steps,
        "output_dir": str(folder / "trl"),
        "report_to": "none",
        "save_strategy": "no",
    }
    settings |= {
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "scale_rewards": "none",
        "disable_tqdm": True,
    }
    processor = AutoProcessor.from_pretrained(model)
    suppressed = processor.tokenizer.convert_tokens_to_ids(
        ["<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>"]
    )
    settings["generation_kwargs"] = {"suppress_tokens": suppressed}  # without it TRL's run ends at a random step
    trainer = Counting(
        model=AutoModelForImageTextToText.from_pretrained(model), reward_funcs=varied, args=GRPOConfig(**settings),
        train_dataset=rows, processing_class=processor,
    )  # fmt: skip
    trainer.train()
    times = [row["step_time"] for row in trainer.state.log_history if "step_time" in row]
    return {"useful": float(sum(counts[2:])), "seconds": sum(times[2:])}


def main() -> None:
    """Race both in turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {"trl.GRPOTrainer": [], "mmreflect, ssr": []}
    with tempfile.TemporaryDirectory() as name:
        data, model = build(Path(name))
        for number in range(arguments.rounds):
            for label, race in (("trl.GRPOTrainer", plain), ("mmreflect, ssr", ours)):
                folder = Path(name) / f"{number}-{race.__name__}"
                folder.mkdir()
                with contextlib.redirect_stdout(io.StringIO()):
                    found[label].append(race(data, model, folder, arguments.steps))
    rates = {label: [run["useful"] / run["seconds"] for run in runs] for label, runs in found.items()}
    pairs = zip(rates["mmreflect, ssr"], rates["trl.GRPOTrainer"], strict=True)
    ratios = [one / other for one, other in pairs]
    result = {
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "useful_samples_per_second": rates,
        "replay_share_of_step": statistics.median(run["replay_share"] for run in found["mmreflect, ssr"]),
        "flat_share": FLAT_SHARE,
        "steps": arguments.steps,
    }
    for label, values in rates.items():
        print(f"{label:<18} {statistics.median(values):8.1f} useful samples per second")
    print(f"ratio {result['ratio']:.2f} (each pair: {', '.join(f'{item:.2f}' for item in ratios)})")
    print(f"replay's own work: {100 * result['replay_share_of_step']:.2f} % of a step")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
