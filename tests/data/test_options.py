"""Options in another order: what follows, and what is refused because nobody could say whether it follows."""

import random
from typing import Any

import pytest

from mmreflect.data.options import UnmovableError, block_of, following, options_of, orders, permuted

TEXTS = ["a cup", "a book", "a pen", "a hat"]
OPTIONS = list(zip("ABCD", TEXTS, strict=True))
ORDER = [2, 0, 3, 1]
"""A is now what C was, B what A was, C what D was, D what B was; so A -> B, B -> D, C -> A, D -> C."""
FOLLOWS = {"A": "B", "B": "D", "C": "A", "D": "C"}
LIST = "A. a cup\nB. a book\nC. a pen\nD. a hat"


def row(
    answer: str = "B", response: str | None = None, text: str = f"What falls?\n{LIST}", **facts: Any
) -> dict[str, Any]:
    turns: list[dict[str, Any]] = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}]
    if response is not None:
        turns.append({"role": "assistant", "content": [{"type": "text", "text": response}]})
    return {"id": "q", "messages": turns, "answer": answer, "facts": {"options": TEXTS, **facts}}


def texts_of(messages: list[dict[str, Any]]) -> list[str]:
    return [part["text"] for turn in messages for part in turn["content"] if part["type"] == "text"]


def test_everything_follows() -> None:
    said = "I see a book, option B, not (A). A cup would break. D. a hat is red.\nThe answer is B: \\boxed{B}"
    made = permuted(row("B", said, option="B", first_answer="A", note="seen at noon"), OPTIONS, ORDER)
    question, response = texts_of(made.messages)
    assert question == "What falls?\nA. a pen\nB. a cup\nC. a hat\nD. a book"
    assert (
        response == "I see a book, option D, not (B). A cup would break. C. a hat is red.\nThe answer is D: \\boxed{D}"
    )
    assert made.answer == "D"
    assert made.facts == {
        "options": ["a pen", "a cup", "a hat", "a book"], "option": "D", "first_answer": "B", "note": "seen at noon",
    }  # fmt: skip
    assert made.messages[0]["content"][0] == {"type": "image"}


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [("B", "D"), ("(B)", "(D)"), ("b", "D"), ("B.", "D."), ("B. a book", "D. a book"), ("a book", "a book"),
     ("\\boxed{B}", "\\boxed{D}"), ("A", "B")],
)  # fmt: skip
def test_the_reference_keeps_its_form(answer: str, wanted: str) -> None:
    assert permuted(row(answer), OPTIONS, ORDER).answer == wanted


def test_a_mapping_stays_a_mapping_and_text_stays_text() -> None:
    given = row(text="Which? (A) a cup (B) a book (C) a pen (D) a hat Answer with A, B, C or D.")
    given["facts"]["options"] = dict(OPTIONS)
    given["messages"][0]["content"] = given["messages"][0]["content"][1]["text"]
    made = permuted(given, OPTIONS, ORDER)
    assert made.messages[0]["content"] == "Which? (A) a pen (B) a cup (C) a hat (D) a book Answer with A, B, C or D."
    assert made.facts["options"] == {"A": "a pen", "B": "a cup", "C": "a hat", "D": "a book"}


REFUSED = [
    (row(text="What falls?"), "the options are not listed in the question just once"),
    (row(text=f"{LIST}\n{LIST}"), "the options are not listed in the question just once"),
    (row(text=f"Why is option C wrong?\n{LIST}"), "the question speaks of an option by its letter"),
    (row("Z"), "the reference is none of the options"),
    (row("B", "I see point B. \\boxed{B}"), "a letter stands in the response that may be an option"),
    (row("B", "B holds, so \\boxed{B}"), "a letter stands in the response that may be an option"),
    (row("B", None, attempt="Surely option A."), "facts.attempt speaks of an option"),
    (row("B", None, guess="a"), "facts.guess speaks of an option"),
    (row("B", None, attempt="Surely the second option."), "facts.attempt speaks of an option"),
    (row(text=f"Why is the last option wrong?\n{LIST}"), "the question speaks of an option by its place"),
    (row(text=f"Why is option c wrong?\n{LIST}"), "the question speaks of an option by its letter"),
    (row("B", None, guess="A"), "facts.guess speaks of an option"),
    (row("B", None, steps=[{"text": "so (C) it is"}]), "facts.steps speaks of an option"),
    (row("B", None, attempt="Surely A."), "facts.attempt speaks of an option"),
    (row(text=f"If A is wrong, which one is right?\n{LIST}"), "a letter stands in the question that may be an option"),
    (row(text=f"Which of A, B, C and D falls?\n{LIST}"), "a letter stands in the question that may be an option"),
    (row(text=f"A isn't right. Which is?\n{LIST}"), "a letter stands in the question that may be an option"),
    (
        row(text=f"In triangle ABC, how large is angle C?\n{LIST}"),
        "a letter stands in the question that may be an option",
    ),
]
ASKED = [
    "A cup, a book, a pen: which one falls?", "A few things fall. Which one?", "Which of the following options falls?",
    "Choose from the options below. Answer with the letter (A, B, C, or D) alone.", "Reply with A/B/C/D.",
    "Pick one of A-D.", "Give the letter from A to D.", "请用字母A、B、C或D回答。", "A 30-degree angle is drawn. What falls?",
]  # fmt: skip


@pytest.mark.parametrize("asked", ASKED)
def test_questions_that_speak_of_no_option(asked: str) -> None:
    made = permuted(row("B", "\\boxed{B}", text=f"{asked}\n{LIST}"), OPTIONS, ORDER)
    assert texts_of(made.messages)[0].startswith(f"{asked}\nA. a pen") and made.answer == "D"


@pytest.mark.parametrize(("given", "reason"), REFUSED)
def test_what_is_refused(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnmovableError) as caught:
        permuted(given, OPTIONS, ORDER)
    assert caught.value.given == reason


SAID = [
    ("Option (a) is not right and option b is right. \\boxed{B}", "Option (b) is not right and option d is right. \\boxed{D}"),
    ("选项B是对的。\\boxed{B}", "选项D是对的。\\boxed{D}"),
    ("故选（B）。", "故选（D）。"),
    ("The correct option is B.", "The correct option is D."),
    ("The answer must be 'B'.", "The answer must be 'D'."),
    ("The correct choice is: **B**", "The correct choice is: **D**"),
    ("It is \\boxed{b}", "It is \\boxed{d}"),
    ("The answer is a book.", "The answer is a book."),
    ("My first answer was wrong. The final answer is B", "My first answer was wrong. The final answer is D"),
    ("As $a + b = 3$, option A fits.", "As $a + b = 3$, option B fits."),
    ("A cup falls: a bird sees it.", "A cup falls: a bird sees it."),
    ("I'd say option D, I think.", "I'd say option C, I think."),
    ("The dot is here. A dot is round. I'd say a round one. \\boxed{B}", "The dot is here. A dot is round. I'd say a round one. \\boxed{D}"),
    ("A pair of them falls. A few stay. A well-known thing. \\boxed{B}", "A pair of them falls. A few stay. A well-known thing. \\boxed{D}"),
    ("Option (b) fits, as the pen is old: a pen falls.", "Option (d) fits, as the pen is old: a pen falls."),
]  # fmt: skip


@pytest.mark.parametrize(("said", "wanted"), SAID)
def test_a_response_that_follows(said: str, wanted: str) -> None:
    assert following(said, OPTIONS, FOLLOWS) == wanted


BY_PLACE = [
    "The first option is right.", "the last option", "It is option 2.", "the second choice", "Choice (3) holds",
    "the former", "the latter", "the first correct option", "the second one", "the first and third options", "the 2nd choice",
    "The second is right", "the first answer is", "the option above", "option two", "第二个是对的", "前者", "选②",
    "The choice in third place", "The next option", "better than the previous one", "the one between both in the list",
    "The remaining two above", "unlike the final option", "后两个", "listed second",
]  # fmt: skip
BY_LETTER = [
    "So b.", "a fits best", "I think A fits.", "A fits.", "选A和B", "B's claim", "It is 'B'", "_B_", "the points a and b",
    "Between A and C", "\\boxed{BC}", "B是对的", "both (b) and (c)", "A would break", "**B**",
    "A isn't right.", "A doesn't fit.", "A won’t do.", "A looked tempting.", "A only holds at night.", "A seemed wrong.",
    "A best fits. The best one is here.", "A right angle. The right angle is here.", "A zorp is here.",
    "A fell over. The fell is high.", "Option b fits, and a zorp too.", "a isn't right", "a only holds", "A never holds",
]  # fmt: skip


@pytest.mark.parametrize("said", BY_PLACE + BY_LETTER)
def test_a_response_that_nobody_can_follow_for_sure(said: str) -> None:
    kind = "speaks of an option by its place" if said in BY_PLACE else "a letter stands in the response"
    with pytest.raises(UnmovableError, match=kind):
        following(f"{said} \\boxed{{B}}", OPTIONS, FOLLOWS)


@pytest.mark.parametrize("said", ["the final answer", "the other options", "20 options", "the first of May", "firstly", "at last"])  # fmt: skip
def test_no_place(said: str) -> None:
    assert following(said, OPTIONS, FOLLOWS) == said


def test_twins() -> None:
    """Two options have one text, and the response names the twin of the reference: right before, and after."""
    twins = [("A", "4"), ("B", "4"), ("C", "5")]
    given = row("A", "It is \\boxed{B}", text="2 + 2?\nA. 4\nB. 4\nC. 5")
    given["facts"]["options"] = ["4", "4", "5"]
    made = permuted(given, twins, [2, 0, 1])
    assert (made.answer, texts_of(made.messages)) == ("B", ["2 + 2?\nA. 5\nB. 4\nC. 4", "It is \\boxed{C}"])


def test_orders_are_different_and_the_same_for_a_seed() -> None:
    found = orders(OPTIONS, random.Random(1), 23)
    assert len({tuple(order) for order in found}) == 23 and [0, 1, 2, 3] not in found
    assert orders(OPTIONS, random.Random(1), 5) == found[:5]
    with pytest.raises(UnmovableError, match="there is no further order"):
        orders(OPTIONS, random.Random(1), 24)
    with pytest.raises(UnmovableError, match="there is no further order"):
        orders([("A", "4"), ("B", "4")], random.Random(1), 1)


STAYS = [
    "Each of the above", "Everything above", "Any one of the above", "All three above", "None of these colours",
    "The above are right", "Both answers", "以上都不是", "以上皆非", "都不对", "全都是", "all of the above", "None of the above.", "none of these", "Both of the above", "None of the other options",
]  # fmt: skip


@pytest.mark.parametrize("said", STAYS)
def test_an_option_about_the_others_stays_at_the_end(said: str) -> None:
    options = [*OPTIONS[:3], ("D", said)]
    assert all(order[3] == 3 for order in orders(options, random.Random(0), 5))
    with pytest.raises(UnmovableError, match="an option about the others is not the last"):
        orders([("A", said), ("B", "a cup"), ("C", "a hat")], random.Random(0), 1)


@pytest.mark.parametrize(
    ("said", "reason"),
    [("Both A and B", "speaks of a letter"), ("A and C", "speaks of a letter"), ("Figure C", "speaks of a letter"),
     ("both a and b", "speaks of a letter"), ("option 1 and 2", "by their place"), ("the former", "by their place"), ("the first two options", "by their place")],
)  # fmt: skip
def test_options_that_cannot_be_moved(said: str, reason: str) -> None:
    with pytest.raises(UnmovableError, match=reason):
        orders([*OPTIONS[:2], ("C", said)], random.Random(0), 1)


def test_options_that_only_look_like_it() -> None:
    """The article, a height above sea level and a first place are content."""
    options = [("A", "A cup of tea"), ("B", "above 10 m"), ("C", "all of Europe"), ("D", "the first of May")]
    assert len(orders(options, random.Random(0), 23)) == 23
    options = [("A", "A dog"), ("B", "首都是北京"), ("C", "A red car"), ("D", "some of it")]
    assert len(orders(options, random.Random(0), 23)) == 23


def test_numbers_that_begin_alike() -> None:
    options = [("A", "1"), ("B", "1.5"), ("C", "12")]
    assert block_of("x?\nA. 1\nB. 1.5\nC. 12", options) is not None
    assert block_of("x?\nA. 1\nB. 1.5\nC. 12.5", options) is None


def test_rows_without_options() -> None:
    with pytest.raises(UnmovableError, match="the row has no options"):
        options_of({"id": "q", "facts": {}})
