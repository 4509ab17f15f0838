"""The pieces of asking a teacher: shares that are drawn, filters, prompts."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mmreflect.errors import UserError
from mmreflect.records import Media, Sample
from mmreflect.teaching.drawing import drawn, within
from mmreflect.teaching.filters import (
    LEAKS,
    latin_share,
    leak_in,
    likeness,
    repetition_in,
    says,
    sentence_count,
    unboxed,
)
from mmreflect.teaching.prompts import Prompts

Cli = Callable[..., tuple[int, str]]
Sums = Callable[..., Path]


@pytest.mark.parametrize(
    ("rights", "wrongs", "share", "most", "kept"),
    [
        (300, 200, 0.3, None, (86, 200)),  # 286: 85.8 right ones, and all 200 wrong ones
        (10, 200, 0.3, None, (10, 25)),  # 35: 10.5, and a half goes to the even number
        (5, 5, 0.3, 3, (1, 2)),
        (0, 5, 0.3, None, (0, 1)),
        (5, 0, 0.3, None, (0, 0)),
        (4, 6, None, None, (4, 6)),
        (4, 6, 1.0, None, (4, 0)),
    ],
)
def test_drawing_in_a_share(
    rights: int, wrongs: int, share: float | None, most: int | None, kept: tuple[int, int]
) -> None:
    right = [place % 2 == 0 for place in range(2 * min(rights, wrongs))]
    right += [rights > wrongs] * abs(rights - wrongs)
    names = [f"n{place}" for place in range(len(right))]
    found = drawn(right, names, share, most, seed=1)
    assert (sum(right[place] for place in found), sum(not right[place] for place in found)) == kept
    assert found == drawn(right, names, share, most, seed=1)


def test_the_share_of_ten_thousand() -> None:
    """SRPO's vector: of 10,000 samples the share of refined attempts is 0.30, within 0.02."""
    right = [place % 5 < 3 for place in range(10_000)]
    kept = [right[place] for start in range(0, 10_000, 1000) for place in drawn(right[start : start + 1000], [f"{start}/{place}" for place in range(1000)], 0.3, None, 0)]  # fmt: skip
    assert abs(sum(kept) / len(kept) - 0.3) <= 0.002 and len(kept) == 5720


def test_rows_within_a_budget() -> None:
    """Four rows of 10 in a budget of 35: three; whatever is first, a row of 40 never fits into 39."""
    names = ["a", "b", "c", "d"]
    assert len(within([10, 10, 10, 10], names, 35, 0)) == 3 and within([40], ["a"], 39.5, 0) == set()
    assert within([40, 5, 5], names[:3], 39, 0) == {1, 2} and within([10] * 4, names, 40, 0) == {0, 1, 2, 3}
    assert len({tuple(sorted(within([10] * 4, names, 10, seed))) for seed in range(40)}) == 4, "the seed decides"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("By the Ground Truth it is 3.", "Ground Truth"),
        ("The correct answer is given as 3.", "answer is given"),
        ("I was told the right answer.", "I was told the right answer"),
        ("It agrees with the reference.", "agrees with the reference"),
        ("The expected answer is 3.", "expected answer"),
        ("According to the solution key it is B.", "solution key"),
        ("The correct answer is 3, as the fourth bar ends at 40.", None),
        ("I was given a chart with four bars.", None),
        ("The ground is wet; in truth it rained.", None),
    ],
)
def test_leaks(text: str, found: str | None) -> None:
    assert leak_in(text, LEAKS) == found


def test_other_filters() -> None:
    gram = "one two three four five six seven eight. "
    assert repetition_in(gram * 4) is None and repetition_in(gram * 5) == "one two three four five six seven eight"
    # five words have one run of five, six have two: 1 shared of 2
    assert likeness("a b c d e", "A, b c d e f") == 0.5 and likeness("a", "b") == 1
    assert latin_share("ab αβ 12") == 1 and latin_share("ab 你好") == 0.5 and latin_share("12") == 1
    assert sentence_count("I look. I add them.\nSo 3!") == 3 and sentence_count("---") == 0
    assert unboxed(r"a \boxed{1} b \boxed{\frac{1}{2}}") == r"a 1 b \frac{1}{2}"
    assert says("It is 3.", "3") and not says("It is 3.5 or 33", "3") and says("A red cup", "red Cup")


GOLDEN = Path(__file__).parent / "golden"
BUILDERS = Path(__file__).parents[2] / "data_builders/prompts"
PICTURE = Media("image", "a.png")
SAMPLE = Sample(
    "s",
    [
        {"role": "system", "content": "Another system turn."},
        {"role": "user", "content": [{"type": "text", "text": "Look at "}, {"type": "image"}, {"type": "text", "text": ": how many {{ bars }}?"}]},
    ],
    [PICTURE],
    "3",
)  # fmt: skip
VALUES = {
    "reasoning": "I count. Four.", "answer": "4", "gold": "3", "reflection": "One is a line.", "caption": "Bars.", "attempt": "Four: \\boxed{4}",
    "critique": "One is a line.", "lines": "1: Four", "thoughts": "Four", "second_think": True, "regime": "revise",
}  # fmt: skip


@pytest.mark.parametrize("builder", ["srpo_reflection", "cold_start", "first_try"])
def test_prompts_stay_as_they_are(builder: str) -> None:
    """Every prompt, filled in; after a change that is wanted: write the text that the failure shows into golden/."""
    prompts = Prompts(BUILDERS / builder)
    pieces = []
    for name in sorted(path.stem for path in (BUILDERS / builder).glob("*.jinja")):
        if "{{ question }}" in (BUILDERS / builder / f"{name}.jinja").read_text():
            turn = prompts.turn(name, SAMPLE, **VALUES)
            assert turn.role == "user" and [part for part in turn.content if not isinstance(part, str)] == [PICTURE]
            text = "".join(part if isinstance(part, str) else "[picture]" for part in turn.content)
        else:
            text = prompts.text(name, **VALUES)
        pieces.append(f"==== {name}\n{text}\n")
    assert "".join(pieces) == (GOLDEN / f"{builder}.txt").read_text()


def test_prompts_of_the_users_own(tmp_path: Path) -> None:
    folder, ours = BUILDERS / "srpo_reflection", Prompts(BUILDERS / "srpo_reflection")
    own = tmp_path / "own"
    own.mkdir()
    (own / "judge.jinja").write_text("{{ question }} {{ answer }}?")
    mine = Prompts(folder, str(own))
    mine.check()
    assert mine.hash != ours.hash
    assert mine.turn("judge", SAMPLE, answer="4").content == ["Look at ", PICTURE, ": how many {{ bars }}? 4?"]
    for text, message in (
        ("{{ questoin }}", "unknown variable in .*judge.jinja 'questoin'[\\s\\S]*did you mean 'question'"),
        ("{% if %}", "judge.jinja, line 1: Expected an expression"),
    ):
        (own / "judge.jinja").write_text(text)
        with pytest.raises(UserError, match=message):
            Prompts(folder, str(own)).check()
    (own / "judge.jinja").write_text("{{ question }} and {{ question }}")
    with pytest.raises(UserError, match=r"shows 2 pictures and clips of 1[\s\S]*just once"):
        Prompts(folder, str(own)).turn("judge", SAMPLE, answer="4")
    (own / "jugde.jinja").write_text("x")
    with pytest.raises(UserError, match=r"unknown template .* 'jugde'[\s\S]*did you mean 'judge'"):
        Prompts(folder, str(own))
    with pytest.raises(UserError, match="no such folder of prompts"):
        Prompts(folder, str(tmp_path / "nowhere"))
