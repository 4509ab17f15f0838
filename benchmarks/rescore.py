"""Time to score recorded responses again, against lmms-eval: python benchmarks/rescore.py [--lmms-eval PYTHON].

The rows look like MathVista's testmini, with its shares of question types, and are drawn afresh for every round. Their
responses are bare answers, which neither side asks a model about. Both get the same file in the same round, in turns,
in processes that have imported everything and scored a round before. Of lmms-eval, reading is timed, its task's
`process_results` for every row and its aggregation. Of mmreflect it is the same work (reading, rule, breakdown), and
apart from that the whole command, which also checks ids and references, makes intervals for the main number and
every group, and writes rows and summary to disk. Last, both from nothing: a new Python, all imports, the same file.

lmms-eval needs a Python of its own: pip install lmms-eval there, and give its path.
"""

import argparse
import contextlib
import io
import json
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any

from mmreflect import console, recipes
from mmreflect.cli import main as command
from mmreflect.evaluation.benchmark import Scored
from mmreflect.evaluation.recorded import read_responses, response_of

PEER = Path(__file__).parent / "rescore_lmms_eval.py"
GOAL_S = 2.0
TYPES = {"choice": 0.54, "integer": 0.418, "float": 0.04, "list": 0.002}
WORDS = ("red", "blue", "the left one", "the right one", "40°", "50°", "Yes", "No", "twice as long", "none of these")
SKILLS = ("arithmetic", "statistical", "algebraic", "geometry", "numeric commonsense", "scientific", "logical")
LABELS = {"source": 31, "category": 2, "task": 5, "context": 16, "grade": 4, "language": 3}
"""How many labels each key of the breakdown has."""


def make_row(draw: random.Random, place: int) -> dict[str, Any]:
    """Draw a question with its response; about half of the responses are right."""
    kind = draw.choices(list(TYPES), list(TYPES.values()))[0]
    metadata: dict[str, Any] = {name: f"{name} {draw.randrange(count)}" for name, count in LABELS.items()}
    metadata |= {"split": "testmini", "skills": draw.sample(SKILLS, draw.randint(1, 3))}
    right = draw.random() < 0.5
    choices = draw.sample(WORDS, draw.randint(2, 5)) if kind == "choice" else None
    if choices:
        answer = draw.choice(choices)
        response = answer if right else draw.choice(choices)
    elif kind == "list":
        answer, response = "[2014, 2016]", ""
    else:
        number = draw.randint(2, 900)
        answer = str(number if kind == "integer" else number / 10)
        response = answer if right else str(number + 1)
    return {
        "pid": str(place),
        "question": f"What is asked in question {place}?",
        "query": f"Hint: Please answer the question.\nQuestion: What is asked in question {place}?",
        "choices": choices,
        "unit": None,
        "precision": 1.0 if kind == "float" else None,  # float64 with nulls, as the release has it
        "answer": answer,
        "question_type": "multi_choice" if choices else "free_form",
        "answer_type": "text" if choices else kind,
        "metadata": metadata,
        "response": response,
    }


def write_rows(path: Path, draw: random.Random, count: int) -> None:
    """Write one round's file."""
    path.write_text("".join(json.dumps(make_row(draw, place)) + "\n" for place in range(count)), encoding="utf-8")


class Peer:
    """lmms-eval in a process of its own.

    Raises:
        SystemExit: it does not start; says what its Python said.
    """

    def __init__(self, python: str) -> None:
        self.python = python
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed with the peer)
        try:
            self._process = subprocess.Popen(
                [python, str(PEER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True
            )
        except OSError as error:
            sys.exit(f"--lmms-eval {python}: {error}")
        self.facts = self._answer()

    def score(self, path: Path) -> dict[str, Any]:
        """Let it score a file."""
        self._pipe(self._process.stdin).write(f"{path}\n")
        self._pipe(self._process.stdin).flush()
        return self._answer()

    def close(self) -> None:
        """End the process."""
        self._pipe(self._process.stdin).close()
        self._process.wait()
        self._errors.close()

    def _answer(self) -> dict[str, Any]:
        line = self._pipe(self._process.stdout).readline()
        if not line:
            self._errors.seek(0)
            sys.exit(f"lmms-eval ended: {self._errors.read()[-800:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    @staticmethod
    def _pipe(pipe: IO[str] | None) -> IO[str]:
        assert pipe is not None
        return pipe


def ours(path: Path) -> dict[str, Any]:
    """Run the command on a file."""
    output = path.with_suffix(".scored.jsonl")
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        code = command(["eval", "rescore", "mathvista", f"responses={path}", f"output={output}"])
    seconds = time.perf_counter() - start
    assert code == 0
    verdicts = [json.loads(line)["correct"] for line in output.read_text(encoding="utf-8").splitlines()]
    return {"seconds": seconds, "accuracy": 100 * sum(verdicts) / len(verdicts), "verdicts": verdicts}


def same_work(path: Path) -> dict[str, Any]:
    """Do what the peer does: read, apply the rule to every row, and break the verdicts down."""
    benchmark = recipes.load("benchmark", "mathvista").BENCHMARK
    start = time.perf_counter()
    rows = read_responses(path)
    scored = [Scored(row, benchmark.rules["official"](row, response_of(benchmark, row))) for row in rows]
    accuracy = 100 * benchmark.breakdown(scored)["average"]["accuracy"]
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "accuracy": accuracy, "verdicts": [bool(item.reading.correct) for item in scored]}


def whole_process(path: Path) -> float:
    """Return the seconds of the command with the start of Python and all imports."""
    words = ["eval", "rescore", "mathvista", f"responses={path}", f"output={path.with_suffix('.cold.jsonl')}"]
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "mmreflect", *words], check=True, capture_output=True)
    return time.perf_counter() - start


def whole_peer(python: str, path: Path) -> float:
    """Return the seconds of lmms-eval's part with the start of Python and all imports."""
    start = time.perf_counter()
    subprocess.run([python, str(PEER)], input=f"{path}\n", text=True, check=True, capture_output=True)
    return time.perf_counter() - start


def from_nothing(path: Path, python: str | None, rounds: int = 3) -> dict[str, list[float]]:
    """Start both again and again, in turns."""
    found: dict[str, list[float]] = {"mmreflect": [], **({"lmms_eval": []} if python else {})}
    for _ in range(rounds):
        found["mmreflect"].append(whole_process(path))
        if python:
            found["lmms_eval"].append(whole_peer(python, path))
    return found


def measure(peer: Peer | None, folder: Path, count: int, rounds: int, seed: int) -> dict[str, Any]:
    """Run the rounds and return what the ratio is made of."""
    graders = {"mmreflect": ours, "same_work": same_work, **({"lmms_eval": peer.score} if peer else {})}
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in graders}
    differing = other_type = 0
    for turn in range(-1, rounds):  # the first one is a warm-up
        path = folder / f"rows_{turn}.jsonl"
        write_rows(path, random.Random(f"{seed} {turn}"), count)
        made = {name: graders[name](path) for name in (list(graders) if turn % 2 else list(graders)[::-1])}
        if turn < 0:
            continue
        for name, item in made.items():
            found[name].append(item)
        if peer:
            rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            pairs = zip(rows, made["mmreflect"]["verdicts"], made["lmms_eval"]["verdicts"], strict=True)
            apart = [row["answer_type"] for row, mine, other in pairs if mine != other]
            differing += len(apart)
            other_type += sum(kind != "float" for kind in apart)
    seconds = {name: [item["seconds"] for item in items] for name, items in found.items()}
    ratios = {
        name: [mine / other for mine, other in zip(seconds[name], seconds.get("lmms_eval", []), strict=False)]
        for name in ("same_work", "mmreflect")
    }
    started = from_nothing(path, peer.python if peer else None)
    return {
        "ratio": statistics.median(ratios["same_work"]) if peer else None,
        "ratio_whole_command": statistics.median(ratios["mmreflect"]) if peer else None,
        "ratios": ratios,
        "seconds": seconds,
        "median_s": {name: statistics.median(values) for name, values in seconds.items()},
        "with_start_s": started,
        "ratio_with_start": statistics.median(
            mine / other for mine, other in zip(started["mmreflect"], started["lmms_eval"], strict=True)
        )
        if peer
        else None,
        "goal_s": GOAL_S * count / 1000,
        "accuracy": {name: statistics.mean(item["accuracy"] for item in items) for name, items in found.items()},
        "verdicts_apart": differing,
        "verdicts_apart_not_float": other_type,
        "rows_per_round": count,
        "rounds": rounds,
        "seed": seed,
        "peer": peer.facts if peer else None,
        "python": platform.python_version(),
        "machine": f"{platform.machine()} {platform.system()}",
    }


def show(result: dict[str, Any]) -> None:
    """Print the table."""
    names = {"mmreflect": "mmreflect, all", "same_work": "mmreflect, the same work", "lmms_eval": "lmms-eval"}
    rows = [
        [names[name], f"{value:.3f}", f"{min(result['seconds'][name]):.3f} to {max(result['seconds'][name]):.3f}",
         f"{result['accuracy'][name]:.1f}"]
        for name, value in result["median_s"].items()
    ]  # fmt: skip
    title = f"scoring {result['rows_per_round']:,} recorded rows again"
    console.show_table(title, ["", "seconds, median", "rounds", "accuracy"], rows)
    console.say(f"goal for mmreflect: at most {result['goal_s']:g} s after its start")
    console.say(f"mmreflect with its start: {statistics.median(result['with_start_s']['mmreflect']):.1f} s")
    if result["peer"] is None:
        console.say("[yellow]lmms-eval is not installed[/] (--lmms-eval PYTHON): only mmreflect was measured, no ratio")
        return
    for name, key, label in (("same_work", "ratio", "the same work"), ("mmreflect", "ratio_whole_command", "all")):
        low, high = min(result["ratios"][name]), max(result["ratios"][name])
        console.say(
            f"ratio {result[key]:.3f} (rounds: {low:.3f} to {high:.3f}): {label} of mmreflect's against lmms-eval"
        )
    peer, apart = result["peer"], result["verdicts_apart"]
    other = statistics.median(result["with_start_s"]["lmms_eval"])
    console.say(
        f"ratio {result['ratio_with_start']:.3f}: both with their start, lmms-eval {peer['version']} in {other:.1f} s"
    )
    console.say(
        f"{console.count(apart, 'verdict')} apart, {result['verdicts_apart_not_float']:,} of them not on float "
        "questions, which lmms-eval loses to the release's float64 precision"
    )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    parser.add_argument("--lmms-eval", metavar="PYTHON", help="the path of a Python that has lmms-eval")
    parser.add_argument("--rows", type=int, default=1000, help="rows per round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    peer = Peer(arguments.lmms_eval) if arguments.lmms_eval else None
    try:
        with tempfile.TemporaryDirectory() as folder:
            result = measure(peer, Path(folder), arguments.rows, arguments.rounds, arguments.seed)
    finally:
        if peer:
            peer.close()
    show(result)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
