"""Time and memory of a merge, against the disk and mergekit: python benchmarks/merge.py [--mergekit PYTHON].

Three synthetic bfloat16 checkpoints, of 1.3 GB each or of Qwen2.5-VL-3B's true shape (20 GB in all), are written to a
folder and removed afterwards. In every round the contestants take turns: the disk, which is one thread that reads the
three models once, then `cp` of the VLM; FRANK; and, for what both can do, our method and mergekit's on the same files,
which mergekit sees as text models. Before each turn the inputs are evicted from the system's cache (cold), and then
read into it from start to end (warm), and what earlier turns wrote is on the disk. Every turn is a process of its own,
timed from its start; what the same command takes on models of a few kilobytes, once for each state, is start, imports
and fixed work, and is given apart. Bytecode and our compiled arithmetic are kept, as they are where a package is
installed: one turn on the small models, not counted, makes both. Memory is the largest resident set that the system
saw. A ratio is the median of the rounds' ratios.

mergekit needs a Python of its own: pip install mergekit there, and give its path. It never loads what it wrote, so our
reload is switched off.
"""

import argparse
import json
import mmap
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from merge_checkpoints import ROLES, SHAPES, SMALL, Shape, write_models

from mmreflect import console

GOALS = {"cp_ratio": 1.5, "mergekit_ratio": 0.5, "memory_ratio": 0.6, "peak_bytes": 1_500_000_000}
STATES = ("cold", "warm")
READ = 1 << 22
METHODS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "task_arithmetic": ({"scale": 0.3}, {"lambda": 0.3}),
    "linear": ({"vlm_weight": 0.9, "reason_weight": 0.1}, {}),
    "ties": ({"density": 0.2, "scale": 1.0}, {"lambda": 1.0}),
}
"""Options of a method for us, and mergekit's parameters of the whole model; those of each model are below."""
EACH: dict[str, list[dict[str, float]]] = {
    "task_arithmetic": [{"weight": 1.0}] * 2,
    "linear": [{"weight": 0.9}, {"weight": 0.1}],
    "ties": [{"weight": 1.0, "density": 0.2}] * 2,
}


def weights(root: Path) -> list[Path]:
    """Return the weight files of the three models."""
    return [path for role in ROLES for path in sorted((root / role).glob("*.safetensors"))]


def read_all(root: Path) -> None:
    """Read the three models with one thread.

    Into memory that starts at a page: some processors copy five times more slowly to an address a little above the
    source's, modulo the page, where a bytearray's memory may or may not lie.
    """
    buffer = mmap.mmap(-1, READ)
    for path in weights(root):
        with open(path, "rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def set_state(root: Path, state: str) -> None:
    """Put what was written on the disk, and evict the inputs from the system's cache; then, or not, read them into it.

    They are evicted for both, since the cache keeps files in pages of the sizes in which they came: what one contestant
    had read would be faster or slower to read for the next ones.
    """
    os.sync()
    for path in weights(root):
        with open(path, "rb", buffering=0) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if state == "warm":
        read_all(root)


def run_process(words: Sequence[str], log: Path) -> dict[str, float]:
    """Run a command and return what the system says of it: seconds, CPU seconds, largest resident set in bytes.

    Raises:
        SystemExit: it failed; shows the end of what it said.
    """
    kept = {"PYTHONPYCACHEPREFIX": str(log.parent.parent / "bytecode"), "PYTHONDONTWRITEBYTECODE": ""}
    with open(log, "w+", encoding="utf-8") as said:
        start = time.perf_counter()
        process = subprocess.Popen(words, stdout=said, stderr=subprocess.STDOUT, env=os.environ | kept)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            sys.exit(f"{' '.join(words)} ended with {process.returncode}: {said.read()[-1500:]}")
    return {"seconds": seconds, "cpu_s": usage.ru_utime + usage.ru_stime, "peak": usage.ru_maxrss * 1024}


def disk(root: Path) -> dict[str, float]:
    """Read the three models once, then `cp` the VLM."""
    start = time.perf_counter()
    read_all(root)
    subprocess.run(["cp", "-r", str(root / "vlm"), str(root / "out")], check=True)
    return {"seconds": time.perf_counter() - start}


def ours(root: Path, method: str, options: dict[str, Any]) -> dict[str, float]:
    """Merge with mmreflect."""
    tree = {"method": method, "output": str(root / "out"), "device": "cpu", "reload": False}
    tree |= {role: str(root / role) for role in ROLES} | options
    (root / "ours.json").write_text(json.dumps(tree))
    return run_process([sys.executable, "-m", "mmreflect", "merge", str(root / "ours.json")], root / "log.txt")


def theirs(root: Path, python: str, method: str, dtype: str) -> dict[str, float]:
    """Merge with mergekit."""
    models: list[dict[str, Any]] = [
        {"model": str(root / folder), "parameters": each}
        for folder, each in zip(("vlm_text", "reason"), EACH[method], strict=True)
    ]
    tree: dict[str, Any] = {"merge_method": method, "models": models, "dtype": dtype, "out_dtype": "bfloat16"}
    tree |= {"parameters": {"normalize": method != "task_arithmetic", **METHODS[method][1]}}
    tree |= {} if method == "linear" else {"base_model": str(root / "base")}
    (root / "mergekit.json").write_text(json.dumps(tree))  # JSON is YAML
    words = [python, "-m", "mergekit.scripts.run_yaml", str(root / "mergekit.json"), str(root / "out")]
    return run_process([*words, "--no-copy-tokenizer", "--quiet"], root / "log.txt")


def contestants(methods: Sequence[str], mergekit: str | None) -> Iterator[tuple[str, str]]:
    """Yield who takes part: (whose, method)."""
    yield "disk", ""
    yield "ours", "frank"
    for method in methods if mergekit else ():
        yield "ours", method
        yield "mergekit", method


def take_turn(root: Path, whose: str, method: str, mergekit: str | None, dtype: str) -> dict[str, float]:
    """Let one contestant work, and remove what it wrote."""
    try:
        if whose == "disk":
            return disk(root)
        if whose == "ours":
            options = METHODS[method][0] if method in METHODS else {}
            return ours(root, method, {**options, **({"base": None} if method == "linear" else {})})
        return theirs(root, str(mergekit), method, dtype)
    finally:
        with suppress(FileNotFoundError):
            shutil.rmtree(root / "out")


def measure(folder: Path, shape: Shape, states: Sequence[str], rounds: int, who: Sequence[tuple[str, str]],
            mergekit: str | None, dtype: str) -> dict[str, dict[str, list[dict[str, float]]]]:  # fmt: skip
    """Run the rounds; returns state to contestant to one entry per round, with `fixed_s` and `fixed_cpu_s` in it."""
    big, small = folder / "models", folder / "small"
    write_models(big, shape)
    write_models(small, SMALL)
    found: dict[str, dict[str, list[dict[str, float]]]] = {}
    for state in states:
        rows = found[state] = {f"{whose} {method}".strip(): [] for whose, method in who}
        fixed: dict[str, dict[str, float]] = {}
        for whose, method in who:
            if whose != "disk":
                take_turn(small, whose, method, mergekit, dtype)
                took = take_turn(small, whose, method, mergekit, dtype)
                fixed[f"{whose} {method}"] = {"fixed_s": took["seconds"], "fixed_cpu_s": took["cpu_s"]}
        for turn in range(rounds):
            for whose, method in who if turn % 2 == 0 else who[::-1]:
                name = f"{whose} {method}".strip()
                set_state(big, state)
                rows[name].append(fixed.get(name, {}) | take_turn(big, whose, method, mergekit, dtype))
    return found


def ratio(rows: Sequence[dict[str, float]], others: Sequence[dict[str, float]], key: str = "seconds") -> float:
    """Return the median of the ratios within a round; `work` is the seconds without start, imports and fixed work."""

    def value(row: dict[str, float]) -> float:
        return row["seconds"] - row.get("fixed_s", 0.0) if key == "work" else row[key]

    return statistics.median(value(one) / value(other) for one, other in zip(rows, others, strict=True))


def ratios(found: dict[str, dict[str, list[dict[str, float]]]], methods: Sequence[str]) -> dict[str, Any]:
    """Return every ratio, by state, and the worst of each kind that has a goal."""
    states: dict[str, Any] = {}
    for state, rows in found.items():
        frank, bare = rows["ours frank"], rows["disk"]
        states[state] = {"cp": ratio(frank, bare), "cp_work": ratio(frank, bare, "work"), "mergekit": {}}
        for method in methods:
            pair = (rows[f"ours {method}"], rows[f"mergekit {method}"])
            states[state]["mergekit"][method] = {
                "seconds": ratio(*pair),
                "work": ratio(*pair, "work"),
                "cpu_s": ratio(*pair, "cpu_s"),
                "peak": ratio(*pair, "peak"),
            }
    raced = [item for state in states.values() for item in state["mergekit"].values()]
    mine = [row for rows in found.values() for name, part in rows.items() if name.startswith("ours") for row in part]
    return {
        "cp_ratio": max(item["cp"] for item in states.values()),
        "mergekit_ratio": max((item["seconds"] for item in raced), default=None),
        "memory_ratio": max((item["peak"] for item in raced), default=None),
        "peak_bytes": max(row["peak"] for row in mine),
        "states": states,
    }


def show(result: dict[str, Any], found: dict[str, dict[str, list[dict[str, float]]]]) -> None:
    """Print the tables."""
    for state, contest in found.items():
        table = []
        for name, rows in contest.items():
            middle = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
            times = [row["seconds"] for row in rows]
            cells = [f"{middle[key]:.1f}" if key in middle else "" for key in ("fixed_s", "cpu_s")]
            peak = f"{middle['peak'] / 1e6:,.0f}" if "peak" in middle else ""
            table.append([name, f"{middle['seconds']:.1f}", f"{min(times):.1f} to {max(times):.1f}", *cells, peak])
        header = ["", "seconds, median", "rounds", "of it fixed", "CPU seconds", "peak, MB"]
        console.show_table(f"three models of {result['model_bytes'] / 1e9:.2f} GB, {state}", header, table)
        ratios_ = result["states"][state]
        console.say(f"{state}: FRANK by the disk {ratios_['cp']:.2f}, without the fixed part {ratios_['cp_work']:.2f}")
        for method, item in ratios_["mergekit"].items():
            console.say(
                f"{state}: {method} by mergekit's {item['seconds']:.2f}, without the fixed parts {item['work']:.2f}, "
                f"CPU {item['cpu_s']:.2f}, memory {item['peak']:.2f}"
            )
    for name, goal in GOALS.items():
        value = result[name]
        console.say(f"worst {name} {'not measured' if value is None else f'{value:,.3g}'}; goal: at most {goal:,g}")


def check_room(folder: Path, shape: Shape) -> int:
    """Return the bytes of the VLM.

    Raises:
        SystemExit: the models and one output do not fit into the folder.
    """
    text, vision = (2 * sum(int(np.prod(item)) for item in part.values()) for part in (shape.text(), shape.vision()))
    need, free = 4 * (text + vision) + 1_000_000_000, shutil.disk_usage(folder).free
    if need > free:
        sys.exit(f"{folder}: {need / 1e9:.0f} GB are needed, {free / 1e9:.0f} GB are free; give another --folder")
    return text + vision


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    parser.add_argument("--mergekit", metavar="PYTHON", help="the path of a Python that has mergekit")
    parser.add_argument("--shape", choices=list(SHAPES), default="1.3gb")
    parser.add_argument("--states", nargs="+", choices=STATES, default=list(STATES))
    parser.add_argument("--methods", nargs="*", choices=list(METHODS), default=["task_arithmetic", "linear"])
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16", help="mergekit's arithmetic")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where the models are put")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    shape, methods = SHAPES[arguments.shape], arguments.methods if arguments.mergekit else []
    size = check_room(arguments.folder, shape)
    who = list(contestants(methods, arguments.mergekit))
    with tempfile.TemporaryDirectory(prefix="mmreflect-merge-", dir=arguments.folder) as name:
        found = measure(Path(name), shape, arguments.states, arguments.rounds, who, arguments.mergekit, arguments.dtype)
    result = ratios(found, methods) | {"model_bytes": size, "goals": GOALS, "rounds": found, "cores": os.cpu_count()}
    result |= {
        "shape": arguments.shape,
        "mergekit_dtype": arguments.dtype if methods else None,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": f"{platform.machine()} {sys.platform}",
    }
    show(result, found)
    if not methods:
        console.say("[yellow]mergekit was not raced[/] (--mergekit PYTHON)")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
