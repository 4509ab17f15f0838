import pytest

from mmreflect.reflection.lexicon import PRESETS, lexicon_counts, preset_count, reflection_count
from mmreflect.reflection.tags import follows, reflection_of

SRPO = "<think>a</think><answer>b</answer><reflection>c</reflection><think>d</think><answer>e</answer>"


@pytest.mark.parametrize(
    ("text", "ok"),
    [
        (SRPO, True),
        (SRPO + "\n", True),
        (SRPO + " more", False),
        ("<think>a</think><answer>b</answer><reflection>c</reflection><answer>e</answer>", False),
        (SRPO + "<answer>f</answer>", False),
        (SRPO.replace(">c<", "><"), False),
        (SRPO.replace(">c<", ">  <"), False),
        ("Well. " + SRPO, False),
    ],
)
def test_srpo_layout(text: str, ok: bool) -> None:
    """T8 of SRPO, but for leading words, which its code allows and we refuse."""
    assert follows(text, "srpo") is ok


def test_cold_start_layout() -> None:
    assert follows("<think>a</think>\n<answer>b</answer>\n<reflection>c</reflection>\n<answer>e</answer>", "cold_start")
    assert not follows("<think>a</think><answer>b</answer>", "cold_start")
    assert follows("<think>a</think><answer>b</answer>", "think")


def test_long_unclosed_text_is_refused_quickly() -> None:
    assert not follows("<think>" * 2000, "srpo")
    assert not follows("<think>" + "a " * 20000, "srpo")


def test_reflection_text() -> None:
    assert reflection_of("<reflection> x y </reflection>") == "x y"
    assert reflection_of("<reflection>cut off") == "cut off"
    assert reflection_of("<reflection></reflection>") is None


TEXT = "Wait, let me double-check the axis. Alternatively, look again: 3, not 8. However, fine."


def test_lexicon_vector() -> None:
    assert reflection_count(TEXT) == 3
    assert lexicon_counts(TEXT)["visual"] == 1


@pytest.mark.parametrize(
    ("text", "count"), [("await", 0), ("double-check", 1), ("alternatively", 1), ("checked", 0), ("", 0)]
)
def test_lexicon_edges(text: str, count: int) -> None:
    assert reflection_count(text) == count


@pytest.mark.parametrize(
    ("name", "count"), [("arlcp13", 4), ("simplerl7", 3), ("oneshot3", 0), ("rlvsdistill27", 4), ("vlrethinker3", 2), ("cyclic5", 1)]
)  # fmt: skip
def test_published_lists_count_as_their_papers_do(name: str, count: int) -> None:
    assert preset_count(TEXT, name) == count


def test_edges_of_the_published_lists() -> None:
    assert [preset_count("await", name) for name in PRESETS] == [0, 0, 1, 0, 0, 0]
    assert preset_count("double-check", "arlcp13") == 1 and preset_count("checked alternatively", "arlcp13") == 1
    assert preset_count("I see\n\nWait but wait.", "cyclic5") == 1, "a word after a blank is another token"
    assert preset_count("Correction: OK, I realize", "rlvsdistill27") == 3
