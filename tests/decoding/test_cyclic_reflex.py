"""CyclicReflex: the wave's vectors by hand, the token ids of the code, and where the wave begins and ends."""

from typing import Any

import pytest

from mmreflect.decoding import NOTHING, follow
from mmreflect.decoding.cyclic_reflex import Config, CyclicReflex, create, delta
from mmreflect.errors import UserError


@pytest.mark.parametrize(
    ("t", "value"), [(0, 0), (150, 2.5), (300, 5), (450, 2.5), (600, 0), (900, -5), (1050, -2.5), (1200, 0)]
)
def test_the_wave(t: int, value: float) -> None:
    assert delta(t, 5.0, 1200) == pytest.approx(value)
    assert delta(t, 5.0, 1200, phase=0.5) == pytest.approx(-value), "half a period later the signs are turned"


def biases(decoding: CyclicReflex, text: str, said: str = "") -> list[float]:
    """What is added to the logit of the first word before each token of a text."""
    watch = decoding.watch("q", decoding.vocabulary.tokenize(said))
    found = []
    for token in decoding.vocabulary.tokenize(text):
        found.append(watch.say().bias.get(decoding.token_ids[0], 0.0))
        watch.take(token)
    return found


def test_parity_looks_bare_words_up(words: Any) -> None:
    decoding = create(Config(), words)
    assert [words.pieces[token] for token in decoding.token_ids] == ["wait", "Wait", "but", "But", "Alternatively"]
    assert decoding.report() == {"tokens": 5, "left_out": []}


def test_variants_after_a_blank_are_added_and_what_is_no_token_is_named(
    words: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    decoding = create(Config(with_space_variants=True), words)
    assert {words.pieces[token] for token in decoding.token_ids} >= {"wait", " wait", " Wait"}
    assert decoding.report() == {"tokens": 7, "left_out": [" but", " But", " Alternatively"]}
    assert "3 words left out, no single token: ' but', ' But', ' Alternatively'" in " ".join(
        capsys.readouterr().out.split()
    )


def test_words_without_any_token_are_refused(letters: Any) -> None:
    with pytest.raises(UserError, match="none of the words is a single token of this model: 'wait', 'Wait'"):
        create(Config(), letters)


def test_the_wave_acts_on_every_position_up_to_the_end_of_the_thinking(words: Any) -> None:
    decoding = create(Config(amplitude=4.0, period=4), words)  # by hand: 0, 4, 0, -4 and so on
    assert biases(decoding, "so so so so</think>so so") == [0, 4, 0, -4, 0, 4, 0, -4, 0, 0, 0]


def test_an_end_tag_of_several_tokens_is_seen_when_it_is_complete(letters: Any) -> None:
    decoding = create(Config(amplitude=4.0, period=4, words=["w"], end_tag="</t>"), letters)
    assert biases(decoding, "a</t>a") == [0, 4, 0, -4, 0, 0]


def test_the_active_window(words: Any) -> None:
    decoding = create(Config(amplitude=4.0, period=4, start=1, stop=4), words)
    assert biases(decoding, "so so so so") == [0, 4, 0, -4, 0, 0, 0]


def test_the_baseline_tip_is_constant(words: Any) -> None:
    decoding = create(Config(wave="constant", amplitude=-3.0), words)
    assert biases(decoding, "so so</think>so") == [-3, -3, -3, -3, 0]


def test_a_reply_that_goes_on_counts_on_and_restarts_only_when_told(words: Any) -> None:
    kept = create(Config(amplitude=4.0, period=4), words)
    assert biases(kept, "so so", said="so ") == [0, -4, 0]
    assert biases(kept, "so so", said="so</think>") == [0, 0, 0]
    anew = create(Config(amplitude=4.0, period=4, reset_on_think=True), words)
    assert biases(anew, "so so", said="so</think>") == [0, 4, 0]
    assert biases(anew, "so</think>so<think>so so") == [0, 4, 0, 0, 0, 4, 0]


def test_what_was_biased_is_counted_by_following_again(words: Any) -> None:
    decoding = create(Config(amplitude=4.0, period=4), words)
    found = follow(decoding.watch("q", []), words.tokenize("so so so so</think>so"))
    assert found.facts == {"forced": 0, "cuts": 0, "biased": 4} and not any(found.forced)
    watch = decoding.watch("q", words.tokenize("</think>"))
    assert watch.say() == NOTHING
