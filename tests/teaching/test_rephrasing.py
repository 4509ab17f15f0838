"""What a question in other words keeps, and what it must not change."""

import pytest

from mmreflect.building import Rejected
from mmreflect.teaching.rephrasing import check_same

KEPT = [
    ("How many of the three balls are red?", "Of the 3 balls, how many are red?"),
    ("How much is 1 + 2?", "Add one and 2; what do you get?"),
    ("Which one is red?", "Name what is red."),
    ("What is half of it in cm?", "Give a half of that in cm."),
    ("A side is 5 cm long. How long are 4?", "If a side measures 5 centimeters, how long are 4 of them?"),
    ("A car drives 50 km/h. How far in two hours?", "How far does a car at 50 km/h get in 2 hours?"),
    ("How many balls are not red?", "How many balls aren't red?"),
    ("It costs $5. How much are 3?", "What do 3 cost, at $5 each?"),
    ("图中有三个红球和两个蓝球,不是红色的有几个?", "数一数:3个红球、2个蓝球中,几个不是红色?"),
    ("它是不是红色?", "它是红色的吗?"),
    ("线段长5厘米,四段多长?", "若线段为5 cm,4段共多长?"),
    ("In the box are 3 in all. Why?", "All 3 are in the box. Why?"),
]
CHANGED = [
    ("How many of the three balls are red?", "Of the five balls, how many are red?", "numbers"),
    ("How many of twenty-one are red?", "Of twenty-two, how many are red?", "numbers"),
    ("图中三个球有几个红色?", "图中四个球里红色的有几个?", "numbers"),
    ("What is half of it?", "What is a third of it?", "numbers"),
    ("Who is in the second row?", "Who stands in the third row?", "numbers"),
    ("How long is twice that?", "How long is that tripled?", "numbers"),
    ("A ball costs 4. How many?", "How many balls cost 4, if two?", "numbers"),
    ("How many of one ball?", "How many of two balls?", "numbers"),
    ("A side is 5 cm long. How long are 4?", "If a side measures 5 mm, how long are 4 of them?", "units"),
    ("Give it in centimetres.", "Give the result in millimetres.", "units"),
    ("A side is 5 cm, one is 7 mm. Sum?", "Add the sides of 7 cm and 5 mm.", "units of the numbers"),
    ("线段长5厘米,四段多长?", "若线段为5毫米,4段共多长?", "units"),
    ("How big is it, if a side is 3 cm²?", "If a side is 3 cm, how big is it?", "units"),
]
DENIED = [
    ("How many balls are not red?", "How many of the balls are red?"),
    ("How many are red?", "How many aren't red?"),
    ("Which has no wheel?", "Which one has a wheel?"),
    ("哪个不是红色?", "红色的是哪个?"),
    ("他没吃几个?", "他吃了几个?"),
]


@pytest.mark.parametrize(("old", "new"), KEPT)
def test_what_is_the_same_in_other_words(old: str, new: str) -> None:
    check_same(old, new, "", 3.0)


@pytest.mark.parametrize(("old", "new", "what"), CHANGED)
def test_what_is_changed(old: str, new: str, what: str) -> None:
    with pytest.raises(Rejected, match=f"rephrase: the {what} are not the same"):
        check_same(old, new, "", 3.0)


@pytest.mark.parametrize(("old", "new"), DENIED)
def test_what_is_denied_in_one_alone(old: str, new: str) -> None:
    with pytest.raises(Rejected, match="rephrase: it is not denied as often"):
        check_same(old, new, "", 3.0)


def test_a_reject_says_what_is_missing() -> None:
    with pytest.raises(Rejected) as told:
        check_same("Add the three and 4.", "Sum up five and 4.", "", 3.0)
    assert told.value.facts == {"detail": "without ['3'], with ['5']", "question": "Sum up five and 4."}
