r"""Time to grade a mixed set, against math-verify called directly: python benchmarks/grading.py [--json FILE].

The set is 40 % multiple choice, 40 % numbers, 20 % expressions, drawn afresh for every round, so that no cache helps
anyone; half of the answers are right. A fifth of the expressions are inequalities, equations and matrices, which we too
give to math-verify, in one worker process. Both graders get the same responses in the same round, in turns, after a
warm-up that takes imports, the grammar's tables and the start of the worker out of the account. math-verify gets the
reference in a box, the form it reads best, with its own defaults.
"""

import argparse
import json
import platform
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import math_verify

from mmreflect import console
from mmreflect.answers import workers
from mmreflect.answers.grade import AnswerSpec, clear_cache, verify
from mmreflect.answers.stats import grading_stats

SHARES = {"choice": 0.4, "number": 0.4, "expression": 0.2}
OPTIONS = tuple(zip("ABCD", ("a red car", "a blue van", "a green bus", "a white truck"), strict=True))
GOAL = 0.3

Pair = tuple[str, str, AnswerSpec, bool]
"""A response, its reference, how to read it, and whether it is right."""


def choice(draw: random.Random, right: bool) -> Pair:
    """Draw an option, named in one of six ways."""
    gold, other = draw.sample("ABCD", 2)
    letter = gold if right else other
    text = dict(OPTIONS)[letter]
    form = draw.choice(
        [r"\boxed{%s}", "(%s)", "The answer is %s.", "%s", "<answer>%s</answer>", f"%s. {text}", r"\boxed{\text{(%s)}}"]
    )
    thoughts = f"<think>The picture shows {draw.randint(2, 99)} things near {text}.</think>"
    return thoughts + form % letter, gold, AnswerSpec("multiple_choice", OPTIONS), right


def number(draw: random.Random, right: bool) -> Pair:
    """Draw a number: an integer, decimal, fraction, amount or measure."""
    value = draw.randint(1000, 99999)
    shown = value if right else value + draw.randint(1, 9)
    low = draw.randint(2, 97)
    gold, answer = draw.choice(
        [
            (str(value), f"{shown:,}"),
            (str(value), rf"{shown} \text{{ cm}}"),
            (f"{value / 100:.2f}", rf"\${shown / 100}"),
            (rf"\frac{{{value}}}{{{low}}}", f"{shown}/{low}"),
            (f"-{value}", f"-{shown}.0"),
            (f"{value}", rf"{shown / 1000}\times 10^{{3}}"),
            (f"{value}%", rf"{shown}\%"),
        ]
    )
    return (
        draw.choice([r"So it is \boxed{%s}.", "<answer>%s</answer>", "The answer is %s."]) % answer,
        gold,
        MATH,
        right,
    )


def expression(draw: random.Random, right: bool) -> Pair:
    """Draw an expression and another way to write it."""
    a, b, c = draw.randint(2, 9), draw.randint(11, 60), draw.randint(61, 200)
    d = b if right else b + 1
    remote = draw.random() < 0.2
    gold, answer = draw.choice(
        [
            (rf"x < \frac{{{b}}}{{{a}}}", f"{a}x < {d}"),
            (f"{a}x + {b}y = {c}", f"{2 * a}x + {2 * d}y = {2 * c}"),
            (
                rf"\begin{{pmatrix}} {a} & {b} \\ 0 & {c} \end{{pmatrix}}",
                rf"\begin{{pmatrix}} {a} & \frac{{{2 * d}}}{{2}} \\ 0 & {c} \end{{pmatrix}}",
            ),
        ]
        if remote
        else [
            (rf"\sqrt{{{a * a * b}}}", rf"{a}\sqrt{{{d}}}"),
            (f"(x+{a})(x+{b})", f"x^2+{a + d}x+{a * d}"),
            (rf"\frac{{{b}\pi}}{{{a}}}", rf"\frac{{{d}}}{{{a}}}\pi"),
            (rf"\frac{{{a}}}{{\sqrt{{{b}}}}}", rf"\frac{{{a}\sqrt{{{d}}}}}{{{d}}}"),
            (f"({a}, {b}]", f"({a}, {d}]"),
            (rf"\{{{a}, {b}, {c}\}}", rf"\{{{c}, {d}, {a}\}}"),
            (f"y={a}x+{b}", f"{a}x+{d}"),
            (rf"{a}\sin x + {b}", rf"{d} + {a}\sin x"),
        ]
    )
    return draw.choice([r"Hence \boxed{%s}.", r"<think>$x$ is real.</think>\boxed{%s}"]) % answer, gold, MATH, right


MATH = AnswerSpec("math")
KINDS: dict[str, Callable[[random.Random, bool], Pair]] = {
    "choice": choice,
    "number": number,
    "expression": expression,
}


def ours(pair: Pair) -> bool:
    """Grade with mmreflect."""
    return verify(pair[0], pair[1], pair[2]).correct is True


def theirs(pair: Pair) -> bool:
    """Grade with math-verify."""
    return bool(math_verify.verify(math_verify.parse(rf"\boxed{{{pair[1]}}}"), math_verify.parse(pair[0])))


def draw_set(draw: random.Random, count: int) -> dict[str, list[Pair]]:
    """Draw one round's pairs by kind."""
    return {
        kind: [make(draw, index % 2 == 0) for index in range(round(count * SHARES[kind]))]
        for kind, make in KINDS.items()
    }


def timed(grader: Callable[[Pair], bool], pairs: list[Pair]) -> tuple[float, int]:
    """Return the seconds for all pairs, and how many verdicts are right."""
    start = time.perf_counter()
    verdicts = [grader(pair) for pair in pairs]
    return time.perf_counter() - start, sum(verdict == pair[3] for verdict, pair in zip(verdicts, pairs, strict=True))


def measure(count: int, rounds: int, seed: int) -> dict[str, Any]:
    """Run the rounds and return what the ratio is made of."""
    workers.POOL.size = 1
    graders = {"mmreflect": ours, "math_verify": theirs}
    for pairs in draw_set(random.Random(f"warm-up {seed}"), 60).values():
        for grader in graders.values():
            timed(grader, pairs)
    grading_stats(reset=True)
    seconds = {name: dict.fromkeys(KINDS, 0.0) for name in graders}
    right = {name: dict.fromkeys(KINDS, 0) for name in graders}
    ratios = []
    for turn in range(rounds):
        drawn = draw_set(random.Random(f"{seed} {turn}"), count)
        spent = dict.fromkeys(graders, 0.0)
        for kind, pairs in drawn.items():
            for name in list(graders) if turn % 2 else list(graders)[::-1]:
                clear_cache()
                took, agreed = timed(graders[name], pairs)
                seconds[name][kind] += took
                right[name][kind] += agreed
                spent[name] += took
        ratios.append(spent["mmreflect"] / spent["math_verify"])
    return {
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "goal": GOAL,
        "pairs_per_round": count,
        "rounds": rounds,
        "seed": seed,
        "seconds": seconds,
        "right_verdicts": right,
        "pairs": {kind: rounds * round(count * SHARES[kind]) for kind in KINDS},
        "sent_to_worker": grading_stats().sent,
        "python": platform.python_version(),
        "machine": f"{platform.machine()} {platform.system()}",
    }


def show(result: dict[str, Any]) -> None:
    """Print the table."""
    seconds, right, pairs = result["seconds"], result["right_verdicts"], result["pairs"]
    rows = []
    for kind in KINDS:
        mine, other = seconds["mmreflect"][kind], seconds["math_verify"][kind]
        rows.append(
            [
                kind,
                str(pairs[kind]),
                f"{1000 * mine / pairs[kind]:.3f}",
                f"{1000 * other / pairs[kind]:.3f}",
                f"{mine / other:.3f}",
                f"{right['mmreflect'][kind] / pairs[kind]:.1%}",
                f"{right['math_verify'][kind] / pairs[kind]:.1%}",
            ]
        )
    header = ["kind", "pairs", "ours, ms", "math-verify, ms", "ratio", "ours right", "math-verify right"]
    console.show_table("grading one pair", header, rows)
    console.say(f"{result['sent_to_worker']} pairs went to the worker process")
    low, high = min(result["ratios"]), max(result["ratios"])
    console.say(f"ratio {result['ratio']:.3f} (rounds: {low:.3f} to {high:.3f}); goal: at most {result['goal']}")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    parser.add_argument("--pairs", type=int, default=500, help="pairs per round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    result = measure(arguments.pairs, arguments.rounds, arguments.seed)
    show(result)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
