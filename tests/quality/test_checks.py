"""One row alone, by hand: what passes, what fails and why, and what is not asked of it."""

from dataclasses import replace
from typing import Any

import pytest

from mmreflect.answers.spec import AnswerSpec
from mmreflect.config import parse
from mmreflect.errors import UserError
from mmreflect.quality import CHECKS, QualityConfig, Texts, check_row
from mmreflect.quality.stated import said_answers, stated_answers
from mmreflect.quality.texts import grams, likeness, repetition_in, script_share, scripts_in, words_of

RUN = "one two three four five six seven eight. "
PLAIN = Texts("How many?", r"There are \boxed{4}.", "4", {})


def states(texts: Texts, exempt: tuple[str, ...] = (), **keys: Any) -> dict[str, str]:
    found = check_row(texts, QualityConfig(**keys), exempt)
    return {finding.check: finding.reason or finding.state for finding in found}


def test_a_good_row_passes_all_that_apply() -> None:
    every = dict.fromkeys(CHECKS, "passed") | {"rejected_side": "does not apply"}
    assert states(PLAIN) == every and tuple(states(PLAIN)) == CHECKS


def test_of_an_rl_row_the_reference_and_its_texts_alone_are_checked() -> None:
    found = states(replace(PLAIN, response=None))
    assert found.pop("reference") == "passed" and found.pop("control") == "passed"
    assert set(found.values()) == {"does not apply"}
    bare = states(replace(PLAIN, response=None, gold=None))
    assert bare.pop("control") == "passed" and set(bare.values()) == {"does not apply"}


@pytest.mark.parametrize(
    ("gold", "facts"),
    [
        (r"\frac{{{", {}),
        ("", {}),
        ("   ", {}),
        ("Z", {"options": ["x", "y"]}),
        ("3", {"options": ["x", "y"]}),
        ("3", {"answer_type": "nonsense"}),
        ("banana", {"answer_type": "float"}),
        ("3", {"options": "xy"}),
    ],
)
def test_a_reference_that_nothing_can_be_graded_against(gold: str, facts: dict[str, Any]) -> None:
    bad = replace(PLAIN, response=None, gold=gold, facts=facts)
    assert states(bad)["reference"] == "the answer cannot be graded against"
    assert states(bad, ungraded="keep")["reference"] == "kept"
    assert check_row(bad, QualityConfig())[0].facts["gold"] == gold
    assert states(bad, answer="off")["reference"] == "the answer cannot be graded against", "it is not the response's"


@pytest.mark.parametrize(
    ("response", "counts"),
    [
        (r"\boxed{4}", [1]),
        (r"\boxed{4} or rather \boxed{5}", [2]),
        (r"$\boxed{1}$ and $\boxed{2}$", [1]),
        (r"\boxed{1}, \boxed{2}; then \boxed{3}", [2]),
        ("<answer>4</answer>", [1]),
        ("<answer>4</answer> <answer>5</answer>", [2]),
        (r"<think>\boxed{3}? \boxed{4}!</think><answer>4</answer>", [1]),
        ("<think>a</think><answer>3</answer><reflection>no</reflection><answer>4</answer>", [1, 1]),
        ("<think>a</think><answer>3</answer><reflection>no</reflection><think>b</think><answer>4</answer>", [1, 1]),
        ("<think>a</think><answer>3</answer><reflection>r</reflection><answer>4</answer><answer>5</answer>", [1, 2]),
        ("<think>a</think><answer>3</answer><reflection>looks right</reflection>", [1]),
        ("The answer is 4.", []),
        (r"<answer>4</answer>, that is \boxed{4}", [1]),
        (r"<answer>4</answer> No, really it is \boxed{9}", [2]),
        (r"\boxed{9}. <answer>4</answer>", [2]),
        (r"<answer>\boxed{4}</answer>", [1]),
        (r"\boxed{1} and $\boxed{2}$ <answer>1 and 2</answer>", [1]),
    ],
)
def test_answers_are_counted_before_and_behind_a_reflection(response: str, counts: list[int]) -> None:
    assert stated_answers(response) == counts


MATHS, OPTIONS = AnswerSpec("math"), AnswerSpec("multiple_choice", (("A", "red"), ("B", "blue")))


@pytest.mark.parametrize(
    ("response", "spec", "said"),
    [
        ("The answer is 3. Wait, the answer is 4.", MATHS, ["3", "4"]),
        ("The answer is 3, wait, the answer is 4", MATHS, ["3", "4"]),
        ("The answer is 3. Hmm, once more. The answer is 4.", None, ["3", "4"]),
        ("The answer is 3. So the answer is 3.0.", MATHS, ["3"]),
        ("The answer is clear. The answer is 4.", MATHS, ["4"]),
        ("The answer is red. So the answer is (A).", OPTIONS, ["red"]),
        ("The answer is red. No, the answer is B", OPTIONS, ["red", "B"]),
        ("The answer is a red car. The answer is red car.", AnswerSpec("text"), ["a red car"]),
        ("The answer is yes. The answer is no.", AnswerSpec("yes_no"), ["yes", "no"]),
        (r"\boxed{3}. Wait, the answer is 4.", MATHS, ["3", "4"]),
        (r"The answer is 4? No: \boxed{3}", MATHS, ["3"]),
        ("<think>The answer is 3.</think> The answer is 4.", MATHS, ["4"]),
        ("<answer>3</answer><reflection>The answer is 5.</reflection><answer>4</answer>", MATHS, ["4"]),
        ("<answer>3</answer><reflection>no</reflection> The answer is 4.", MATHS, ["3", "4"]),
        ("I cannot say.", MATHS, []),
        ("#### 5\n#### 7", MATHS, ["5", "7"]),
        ("Final answer 5. Final answer 7.", MATHS, ["5", "7"]),
        ("Final answer 5. The answer is 5.", MATHS, ["5"]),
        (r"\boxed{A} The correct option is B.", OPTIONS, ["A", "B"]),
        (r"\boxed{7} Wait, it should be 8.", MATHS, ["7", "8"]),
        (r"\boxed{7} It should be 7.", MATHS, ["7"]),
        (r"\boxed{7} No, that's 8 boxes.", MATHS, ["7", "8 boxes"]),
        (r"It should be 8? That is actually 9. No: \boxed{7}", MATHS, ["7"]),
        (r"\boxed{7}. It must be 5 more than 2, and it is clear.", MATHS, ["7"]),
        ("<answer>7</answer> Therefore the result is 8.", MATHS, ["7", "8"]),
        ("<answer>7</answer> Therefore the result is right.", MATHS, ["7"]),
        ("The answer is A. But B is also possible, so the answer could be B.", OPTIONS, ["A", "B"]),
        ("The answer to the first part is 3. So the total is 4 + 3. The answer is 7.", MATHS, ["7"]),
        ("The answer to (a) is 3. The answer to the question is 4. The answer is 5.", MATHS, ["4", "5"]),
        ("答案是5。答案为7", MATHS, ["5", "7"]),
    ],
)
def test_the_answers_that_words_say(response: str, spec: AnswerSpec | None, said: list[str]) -> None:
    assert said_answers(response, spec) == said


def test_exactly_one_final_answer() -> None:
    def found(response: str, mode: Any = "one", gold: str | None = "4") -> str:
        return states(replace(PLAIN, response=response, gold=gold), final_answer=mode)["final_answer"]

    assert found("The answer is 4.") == "passed"
    assert found("The answer is 4.", "marked") == "no final answer in a box or a tag"
    assert found("I cannot say.\nNobody can.") == "no final answer"
    assert found("I like it.", gold=None) == "does not apply"
    assert found(r"\boxed{4} \boxed{4}") == "several final answers"
    assert found(r"\boxed{4} \boxed{4}", gold=None) == "several final answers"
    for wrong in (
        "The answer is 4. Wait, the answer is 5.",
        r"<answer>4</answer> or \boxed{5}",
        r"\boxed{4}; the answer is 5",
    ):
        assert found(wrong) == found(wrong, "marked") == "several final answers"
    assert found("<answer>4") == found("<answer>4", "marked") == "an answer tag is never closed"
    assert found("<think>In <answer> tags.</think> The answer is 4.") == "passed"
    assert "final_answer" not in states(PLAIN, final_answer="off")


def test_the_final_answer_is_right_by_the_verifier() -> None:
    def found(gold: str | None, facts: dict[str, Any] | None = None, **keys: Any) -> str:
        return states(replace(PLAIN, gold=gold, facts=facts or {}), **keys)["answer"]

    assert found("4.0") == "passed" and found("5") == "the final answer is wrong"
    assert found(None) == "does not apply"
    assert found("  ") == "the final answer could not be graded" and found("  ", ungraded="keep") == "kept"
    assert found("4", {"answer_type": "mathh"}) == "the final answer could not be graded"
    wrong = check_row(replace(PLAIN, gold="5"), QualityConfig())[2]
    assert wrong.facts["final_answer"] == "4" and wrong.facts["gold"] == "5"


def test_the_sides_of_a_pair() -> None:
    def found(rejected: str, **keys: Any) -> str:
        return states(replace(PLAIN, rejected=rejected), **keys)["rejected_side"]

    assert found(r"There are \boxed{5}.") == "passed"
    assert found(r"There  are \boxed{4}.") == "both sides of the pair are the same"
    assert found(r"I count \boxed{4}.") == "the rejected side is right"
    assert found(r"I count \boxed{4}.", answer="off") == "passed"
    assert found(r"I count \boxed{4}.", exempt=("answer",)) == "passed"
    assert found("It is red.") == "passed", "it has no answer that could be right"


def test_length_is_counted_in_words_and_ideographs() -> None:
    assert words_of("Two WORDS, 3.5 and 你好") == ["two", "words", "3", "5", "and", "你", "好"]
    few, many = (states(PLAIN, **keys)["length"] for keys in ({"min_words": 5}, {"max_words": 3}))  # there are boxed 4
    assert few == "the response has fewer than 5 words" and many == "the response has more than 3 words"
    assert states(PLAIN, min_words=4, max_words=4)["length"] == "passed"
    assert "length" not in states(PLAIN, min_words=None, max_words=None)
    assert states(replace(PLAIN, response=""))["length"] == "the response has fewer than 1 words"


def test_a_run_of_eight_words_may_stand_four_times() -> None:
    four, five = (replace(PLAIN, response=rf"{RUN * times}\boxed{{4}}") for times in (4, 5))
    assert states(four)["repetition"] == "passed"
    assert states(five)["repetition"] == "the response repeats itself more than 4 times"
    assert states(five, repetition=5)["repetition"] == "passed" and "repetition" not in states(five, repetition=None)
    assert repetition_in("图里有三个红色圆。" * 5) == "图 里 有 三 个 红 色 圆", "ideographs are words of their own"


def test_scripts() -> None:
    assert script_share("ab αβ 12", ("latin", "greek")) == 1 and script_share("ab 你好", ("latin",)) == 0.5
    assert scripts_in("ℝ µ 𝑥 é") == {"latin", "greek"} and scripts_in("Привет こんにちは 안녕") == {
        "cyrillic",
        "kana",
        "hangul",
    }
    mixed = replace(PLAIN, response=r"答案是四个红色的圆 \boxed{4}")
    assert states(mixed)["script"] == "the response is in another script"
    assert states(replace(mixed, question="有几个?"))["script"] == "passed", "it keeps to the question's"
    assert states(mixed, scripts=["han"])["script"] == "the question is in another script"
    assert states(replace(mixed, question="有几个?"), scripts=["han"], script_share=0.6)["script"] == "passed"
    assert states(replace(PLAIN, question="有几个?"), scripts=["han"])["script"] == "the response is in another script"


def test_leaks() -> None:
    told = replace(PLAIN, response=r"The ground truth says \boxed{4}.")
    assert states(told)["leak"] == "the response gives away that the answer was known"
    assert "leak" not in states(told, leaks=[]) and states(PLAIN, leaks=["there are"])["leak"].startswith(
        "the response"
    )
    assert (
        states(replace(PLAIN, response=r"By the given answer choices \boxed{4}, a standard solution"))["leak"]
        == "passed"
    )


def test_what_a_builder_exempts_is_not_asked() -> None:
    bad = replace(PLAIN, response=RUN * 5, gold="5")
    assert set(states(bad, tuple(CHECKS))) == {"control"}, "which is always made"
    assert {"answer", "repetition"} & set(states(bad, ("answer", "repetition"))) == set()
    assert "answer" not in states(bad, ("final_answer",)), "without a final answer there is none to grade"


def test_likeness_by_hand() -> None:
    """Runs of five of "a b c d e f": 2; of "a b c d e g": 2; one in common of three."""
    assert likeness("a b c d e f", "a b c d e g") == pytest.approx(1 / 3)
    assert grams("A b, c", 2) == [("a", "b"), ("b", "c")]


def test_bad_settings_are_told() -> None:
    with pytest.raises(UserError) as told:
        parse(QualityConfig, {"scripts": ["latn"], "picture_bits": 11, "repats": "off"}, "quality")
    text = str(told.value)
    assert "scripts holds 'latn'; known: latin, greek" in text and "picture_bits: should be less than" in text
    assert "unknown key 'repats'; did you mean 'repeats'?" in text
    with pytest.raises(UserError, match="min_words=5 is above max_words=2; lower it"):
        parse(QualityConfig, {"min_words": 5, "max_words": 2}, "quality")
    with pytest.raises(UserError, match="against names a set twice"):
        parse(QualityConfig, {"against": ["a", "a"]}, "quality")
    assert parse(QualityConfig, {"repeats": False, "answer": False}, "quality").repeats == "off", "off is false in YAML"
