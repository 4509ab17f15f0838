"""Early stopping and truncation: which lines present an answer, and where the end tag is put in."""

from pathlib import Path
from typing import Any

import pytest

from mmreflect.decoding import Decoding, early_stop, follow, truncate_reflection
from mmreflect.errors import UserError
from mmreflect.reflection.candidates import presents_candidate


@pytest.mark.parametrize(
    ("line", "presents"),
    [
        (r"which gives \boxed{5}", True),
        ("<answer>B</answer>", True),
        ("So the answer is 12.", True),
        ("The answer is not clear yet.", False),
        ("Therefore x = 7", True),
        ("Thus there are 3.", True),
        ("Hence the length is 5 cm.", True),
        ("So it must be option (C).", True),
        ("Therefore B", True),
        ("So 3 of them are red, the others I have to look at.", False),
        ("2 + 3 = 5", False),
        ("So I", False),
        ("The bar reaches 12.", False),
        ("Let me count the shapes: 4", False),
        ("", False),
    ],
)
def test_lines_that_present_an_answer(line: str, presents: bool) -> None:
    assert presents_candidate(line) is presents


def forced_texts(decoding: Decoding, vocabulary: Any, wanted: str, said: str = "", limit: int = 200) -> tuple[str, str]:
    """What comes of a model that wants to say a text: the whole reply with what was forced in brackets, and the rest."""
    watch = decoding.watch("q", vocabulary.tokenize(said))
    waiting, out, forced = vocabulary.tokenize(wanted), "", False
    while waiting and len(out) < limit:
        token = watch.say().forced
        out += "[" * (token is not None and not forced) + "]" * (token is None and forced)
        forced = token is not None
        token = waiting.pop(0) if token is None else token
        out += vocabulary.detokenize([token])
        watch.take(token)
    return out, vocabulary.detokenize(waiting)


@pytest.mark.parametrize(
    ("flags", "stop_after", "kept"),
    [([0, 1, 0, 1, 1], 1, 2), ([0, 1, 0, 1, 1], 3, 5), ([0, 0], 1, None), ([1, 0, 1, 0], 3, None)],
)
def test_the_end_tag_follows_the_line_of_the_candidate(
    flags: list[int], stop_after: int, kept: int | None, letters: Any
) -> None:
    """Lines are kept up to the one with the candidate; with fewer candidates nothing is cut."""
    decoding = early_stop.create(early_stop.Config(stop_after=stop_after), letters)
    lines = ["so 5\n" if flag else "hm\n" for flag in flags]
    out, _ = forced_texts(decoding, letters, "".join([*lines, "6"]))
    wanted = lines if kept is None else [*lines[:kept], "[</think>]", *lines[kept:]]
    assert out == "".join([*wanted, "6"])


def test_without_a_candidate_nothing_is_cut_and_a_line_waits_for_its_newline(letters: Any) -> None:
    decoding = early_stop.create(early_stop.Config(), letters)
    assert forced_texts(decoding, letters, "look\nhm\nso 5")[0] == "look\nhm\nso 5"
    assert forced_texts(decoding, letters, "so 5 or so\nso 5\nx")[0] == "so 5 or so\nso 5\n[</think>]x"


def test_a_model_that_has_ended_its_thinking_is_left_alone(letters: Any) -> None:
    decoding = early_stop.create(early_stop.Config(), letters)
    text = "hm\n</think>so 5\nso 6\n"
    assert forced_texts(decoding, letters, text)[0] == text
    assert forced_texts(decoding, letters, "so 5\nx", said="hm</think>")[0] == "so 5\nx"
    assert forced_texts(decoding, letters, "so 5\nx", said="hm\n")[0] == "so 5\n[</think>]x"


def test_a_second_thinking_ends_after_its_first_candidate_too(letters: Any) -> None:
    decoding = early_stop.create(early_stop.Config(), letters)
    wanted = "so 5\n6<think>hm\nso 6\n7"
    assert forced_texts(decoding, letters, wanted)[0] == "so 5\n[</think>]6<think>hm\nso 6\n[</think>]7"


def test_the_cut_is_read_off_the_finished_reply(letters: Any) -> None:
    decoding = early_stop.create(early_stop.Config(), letters)
    found = follow(decoding.watch("q", []), letters.tokenize("so 5\n</think>5"))
    assert found.facts == {"forced": 8, "cuts": 1, "biased": 0, "correction_expected": 0}
    assert found.forced == [False] * 5 + [True] * 8 + [False]


def classifier(folder: Path, body: str) -> str:
    path = folder / "mine.py"
    path.write_text(f"def probability(question):\n    return {body}\n")
    return f"{path}:probability"


def test_a_classifier_of_questions_lets_some_think_on(letters: Any, tmp_path: Path) -> None:
    options = early_stop.Config(classifier=classifier(tmp_path, "0.05 if 'hard' in question else 0.04"))
    decoding = early_stop.create(options, letters)
    assert decoding.expects_correction("a hard one") and not decoding.expects_correction("an easy one")
    assert decoding.watch("a hard one", []).facts() == {"correction_expected": 1}
    assert early_stop.files(options) == [tmp_path / "mine.py"]


@pytest.mark.parametrize("body", ["'maybe'", "1.5"])
def test_a_classifier_must_return_a_probability(body: str, letters: Any, tmp_path: Path) -> None:
    decoding = early_stop.create(early_stop.Config(classifier=classifier(tmp_path, body)), letters)
    with pytest.raises(UserError, match="a probability, True or False"):
        decoding.watch("q", [])


def test_a_missing_classifier_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"(?s)unknown function in .*did you mean 'probability'\?"):
        early_stop.check(early_stop.Config(classifier=classifier(tmp_path, "1")[:-1]))
    with pytest.raises(UserError, match=r"no such file: gone\.py"):
        early_stop.check(early_stop.Config(classifier="gone.py:f"))


@pytest.mark.parametrize(
    ("most", "out"),
    [
        (0, "5<reflection>[</reflection>]abcdef"),
        (3, "5<reflection>abc[</reflection>]def"),
        (5, "5<reflection>abcde[</reflection>]f"),
        (6, "5<reflection>abcdef"),
    ],
)
def test_a_reflection_is_cut_after_so_many_tokens(most: int, out: str, letters: Any) -> None:
    decoding = truncate_reflection.create(truncate_reflection.Config(max_tokens=most), letters)
    made, left = forced_texts(decoding, letters, "5<reflection>abcdef")
    assert made == out and not left


def test_an_end_tag_that_the_model_has_begun_is_left_to_it(letters: Any) -> None:
    decoding = truncate_reflection.create(truncate_reflection.Config(max_tokens=4), letters)
    text = "<reflection>ab</reflection>5"
    assert forced_texts(decoding, letters, text)[0] == text
    assert forced_texts(decoding, letters, "<reflection>abc</ </reflection>5")[0] == (
        "<reflection>abc</ [</reflection>]</reflection>5"
    )


def test_thinking_after_the_first_candidate_is_a_reflection_too(letters: Any) -> None:
    options = truncate_reflection.Config(begins="candidate", max_tokens=2)
    decoding = truncate_reflection.create(options, letters)
    assert forced_texts(decoding, letters, "hm\nso 5\nabcd")[0] == "hm\nso 5\nab[</think>]cd"
    assert forced_texts(decoding, letters, "hm\n</think>so 5\nabcd")[0] == "hm\n</think>so 5\nabcd"


def test_a_tag_without_text_is_known_by_its_id(words: Any) -> None:
    """A special token, which decoding leaves out."""
    silent = words.pieces.index("</think>")
    shown = words.detokenize
    words.detokenize = lambda token_ids: shown([token for token in token_ids if token != silent])
    decoding = early_stop.create(early_stop.Config(), words)
    assert (
        forced_texts(decoding, words, "</think>so 5\nx")[1] == ""
        and "[" not in forced_texts(decoding, words, "</think>so 5\nx")[0]
    )
    assert follow(decoding.watch("q", []), words.tokenize("so 5\n</think>so 6\nx")).facts["forced"] == 1
