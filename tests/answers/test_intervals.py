"""Reading intervals and measuring their agreement, against numbers from hand calculation."""

import pytest

from mmreflect.answers.intervals import clamped, interval_of, iou, parse_interval


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("<think>x</think><time_interval>[12.3, 28.7]</time_interval>", (12.3, 28.7)),
        ("<time_interval> [220.0, 260.0] </time_interval>", (220.0, 260.0)),
        ("<time_interval>[ 5 ,6.5 ]</time_interval>", (5.0, 6.5)),
        ("<time_interval>[-3,10]</time_interval>", (-3.0, 10.0)),
        ("<time_interval>[1,2]</time_interval><time_interval>[3,4]</time_interval>", (1.0, 2.0)),
        ("<time_interval>[.5,1.]</time_interval>", (0.5, 1.0)),
        ("<time_interval>12.3 to 28.7</time_interval>", None),
        ("<time_interval>[12.3, 28.7]", None),
        ("<time_interval>[1,2,3]</time_interval>", None),
        ("[12.3, 28.7]", None),
    ],
)
def test_the_first_interval_in_its_tag_is_read(text: str, wanted: object) -> None:
    assert parse_interval(text) == wanted


def test_another_tag_is_read_by_its_name() -> None:
    text = "<think>maybe</think><answer>[3, 9.5]</answer>"
    assert parse_interval(text, "answer") == (3.0, 9.5)
    assert parse_interval(text) is None


@pytest.mark.parametrize(
    ("given", "duration", "wanted"),
    [
        ((12.3, 28.7), 60.0, (12.3, 28.7)),
        ((28.7, 12.3), 60.0, None),
        ((5.0, 6.5), 60.0, None),
        ((-3.0, 10.0), 60.0, (0.0, 10.0)),
        ((10.0, 999.0), 40.0, (10.0, 40.0)),
        ((10.1, 12.1), 40.0, (10.1, 12.1)),
        ((39.0, 50.0), 40.0, None),
        ((50.0, 60.0), 40.0, None),
    ],
)
def test_clamping_keeps_what_lies_in_the_video(given: tuple[float, float], duration: float, wanted: object) -> None:
    assert clamped(given, duration, 2.0) == wanted


@pytest.mark.parametrize(
    ("left", "right", "wanted"),
    [
        ((10, 20), (15, 30), 0.25),
        ((0, 5), (6, 9), 0.0),
        ((220, 260), (222, 240), 0.45),
        ((1, 2), (1, 2), 1.0),
        ((5, 5), (5, 5), 0.0),
        ((20, 10), (10, 20), 0.0),
        (None, (1, 2), 0.0),
    ],
)
def test_iou(left: object, right: object, wanted: float) -> None:
    assert iou(left, right) == pytest.approx(wanted)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value", [None, [1], [2, 1], ["1", 2], [True, 2], [1, float("nan")], "[1, 2]", [1, float("inf")]]
)
def test_what_is_no_interval(value: object) -> None:
    assert interval_of(value) is None


def test_an_interval_of_a_row() -> None:
    assert interval_of([1, 2.5]) == (1.0, 2.5)
