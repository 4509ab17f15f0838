"""Random and hostile strings: no exception, and nothing over the time limit."""

import random
import time

import pytest

from mmreflect.answers import workers
from mmreflect.answers.grade import AnswerSpec, grade, verify
from mmreflect.answers.spec import TYPES

PIECES = [
    "\\boxed{", "}", "<answer>", "</answer>", "<think>", "</think>", "\\frac", "\\sqrt", "^", "_", "{", "}", "(", ")", "[", "]", "9", "1", "0", "12", "3.5", ",", ";", " or ", " and ", "x", "y", "=", "<", ">",
    "\\le", "π", "½", "²", "−", "٣", "\u200b", "\ud800", "\x00", "\n", "The answer is ", "A", "B.", "(C)", "yes", "no", "$", "\\$", "\\text{", "%", "°", "!", "/", "*", "+", "-", "to", ":", "e", "i", "\\int",
    "\\sum", "\\infty", "\\begin{pmatrix}", "&", "\\\\", "\\end{pmatrix}", "\\{", "\\}", "9^9^9^9", "1e999", "123456789", "\\left(", "\\log", "mod", "🙂", "中", "\\binom", "not ", "km", "cm^2", "sin", "|",
]  # fmt: skip
HEAVY = [
    "9^{9^{9^{9}}}", "123456789^{987654321}", "(10^{999})!", "999!!!", "(" * 60 + "1" + ")" * 60, "\\sqrt{" * 40 + "2" + "}" * 40, "\\int_0^\\infty e^{-x^{x^x}} dx", "\\sum_{n=1}^{10000000} n^n",
    "{" * 5000, "\\boxed{" * 5000, "<answer>" * 9000, "<think>" * 9000, "1," * 150, "a or " * 70, "-" * 300, "!" * 300, "\\text{" * 2000, "1 " * 5000, "$" * 9999, "(A)" * 3000, "9" * 5000, "0." + "3" * 280,
    "yes" * 5000, "the answer is " * 800, "\\frac" * 100, "\\sin(\\sin(\\sin(\\sin(x))))^{99}", "2^{1000}-2^{999}", "1/" * 100 + "1", "\\begin{pmatrix}" * 20, "a" * 20000, "x=x=" * 70, "\\int " * 30 + "x",
    "(a+b)^{50}(c+d)^{50}", "12:" * 90, "5 to 6 " * 40, "1-2-" * 70, " " * 20000, "\t\n" * 9000, "[" * 240, "1" + " 000" * 60, "1" + ",000" * 70, "²" * 250, "½" * 200, "<answer>" + "\\boxed{" * 400,
]  # fmt: skip
GOLDS = ["5", "B", "\\frac{1}{2}", "x^2+1", "[1,2]", "5 to 9", "yes", "red", "12 km", "3+4i"]


SENTENCE = (
    "the angle measured between both lines is therefore equal to 45 degrees because triangle ABC has sides 3, 4 and 5 cm so we get x = 12.5 or"
    " maybe $\\frac{1}{2}$ of all apples (see option B) per hour, which means that answer: it is not red but 7% larger than 1,234 m/s at 12:30"
)
WORDS = SENTENCE.split()
BLANKS = [" ", " ", " ", "\n", "  ", ". ", " = ", " " * 280, "\n" * 280]


def hostile(draw: random.Random) -> str:
    kind = draw.random()
    if kind > 0.75:  # sentences: words are what the reader of units and formulas trips over
        blanks = BLANKS[: draw.choice([3, 7, 9])]
        return "".join(draw.choice(WORDS) + draw.choice(blanks) for _ in range(draw.randrange(1, 70)))
    if kind < 0.06:
        return draw.choice(HEAVY)
    if kind < 0.1:
        return "\\boxed{" + draw.choice(HEAVY)[:290] + "}"
    if kind < 0.3:
        tops = [(32, 127), (0x20, 0x3000), (0, 0x10FFFF)]
        return "".join(chr(draw.randrange(*draw.choice(tops))) for _ in range(draw.randrange(60)))
    return "".join(draw.choice(PIECES) for _ in range(draw.randrange(1, 18)))


def attack(count: int, seed: int) -> None:
    draw = random.Random(seed)
    options = (("A", "12"), ("B", "x^2"), ("C", "red"))
    grade("3+4i", "4i+3", AnswerSpec("math"))  # the start of the worker has a limit of its own
    limit = workers.WALL_S + 3  # a replaced worker starts anew
    for _ in range(count):
        text = hostile(draw)
        gold = draw.choice(GOLDS) if draw.random() < 0.75 else hostile(draw)
        kind = draw.choice([*TYPES, None, "math", "math"])
        spec = AnswerSpec(kind, options if draw.random() < 0.5 else None, draw.choice([None, 2]))
        start = time.monotonic()
        verdict = draw.choice([verify, grade])(text, gold, spec)
        assert time.monotonic() - start < limit, (text[:200], gold[:200], kind)
        assert "the grader failed" not in verdict.reason, (text[:200], gold[:200], kind, verdict.reason)


def test_hostile_strings() -> None:
    attack(1500, seed=1)


@pytest.mark.slow
def test_ten_thousand_hostile_strings() -> None:
    attack(10_000, seed=2)


@pytest.mark.parametrize(
    "piece",
    [
        "<answer>", "\\boxed{", "<think>", "{", "\\text{", "the answer is ", "A or ", "1 to 2 ", "x. ", "$", "(", "\n", "12 ", "option B is ", " ", "!", "?\n", "< ", "measured lengths ",
        "\\boxed{5} ",
    ],
)  # fmt: skip
def test_long_texts_take_no_long_time(piece: str) -> None:
    """What grows with the square of a text takes minutes here; the processor's own time does not count others' work."""
    many = piece * (200_000 // len(piece))
    for text in (many, f"The answer is{many}", f"<{many}answer>", f"\\boxed{{1}}{many}\\boxed{{2}}"):
        for kind in ("multiple_choice", "math", "text", "list", None):
            start = time.process_time()
            verify(text, "[5, 15]", AnswerSpec(kind))
            assert time.process_time() - start < 3, (text[:30], kind)
    for kind in (*TYPES, None):
        start = time.process_time()
        grade("[5, 15]", many, AnswerSpec(kind))
        assert time.process_time() - start < 3, kind
