"""Numbers in words, by hand."""

import pytest

from mmreflect.teaching.number_words import numbers_in_words, words_for

SAID = [
    ("three balls and twenty-one cubes", ["3", "21"]),
    ("Twenty one or a hundred; zero", ["21", "100", "0"]),
    ("half of it, a third, two thirds, a quarter", ["half", "order 3", "2", "order 3", "order 4"]),
    ("twice, doubled, a dozen", ["times 2", "times 2", "12"]),
    ("someone often tenfold", []),
    ("三个球,二十一个,十个,十五,一百,一百零五,两半", ["3", "21", "10", "15", "100", "105", "2", "half"]),
    ("三三两两", ["三三两两"]),
    ("零", ["0"]),
]


@pytest.mark.parametrize(("text", "numbers"), SAID)
def test_what_words_say(text: str, numbers: list[str]) -> None:
    assert numbers_in_words(text) == numbers


def test_words_and_numbers_are_each_others() -> None:
    for value in range(101):
        assert {number for word in words_for(str(value)) for number in numbers_in_words(word)} == {str(value)}
    assert words_for("101") == words_for("3.0") == words_for("B") == words_for("³") == []
