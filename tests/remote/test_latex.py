"""LaTeX in JSON replies: what a backslash means. The texts are what a model writes, letter by letter."""

import pytest
from pydantic import BaseModel, RootModel

from mmreflect.remote.structured import RejectedError, read_and_mend


class Said(BaseModel):
    text: str


def said(text: str) -> tuple[str, int]:
    value, mended = read_and_mend(f'{{"text": "{text}"}}', Said)
    return value.text, mended


@pytest.mark.parametrize(
    ("written", "meant", "mended"),
    [
        (r"$\frac{1}{2} \times 4 \neq \rho$ and \beta", r"$\frac{1}{2} \times 4 \neq \rho$ and \beta", 5),
        (r"\nabla f, \nu_1, \ne 0, \not= 1, \notin A", r"\nabla f, \nu_1, \ne 0, \not= 1, \notin A", 5),
        (r"\theta \text{ cm} \tan x \to 0 \tau", r"\theta \text{ cm} \tan x \to 0 \tau", 5),
        (r"\right) \rangle \rightarrow", r"\right) \rangle \rightarrow", 3),
        (r"\bar{x} \boxed{7} \binom{4}{2} \bm{v}", r"\bar{x} \boxed{7} \binom{4}{2} \bm{v}", 4),
        (r"\alpha \pi \sqrt{2} \leq \Delta \Big( \{ \, \%", r"\alpha \pi \sqrt{2} \leq \Delta \Big( \{ \, \%", 9),
        (r"\underline{x} \uparrow \upsilon", r"\underline{x} \uparrow \upsilon", 3),
        (r"It\'s", "It's", 1),
        # what JSON means stays
        (r"one\ntwo\nNow\n\nthree\n- four\n1. five", "one\ntwo\nNow\n\nthree\n- four\n1. five", 0),
        (r"a\tb\tTotal\r\nnext\rreturn", "a\tb\tTotal\r\nnext\rreturn", 0),
        (r"\"quoted\" a\/b \u00e9\ud83d\ude00", '"quoted" a/b \u00e9\U0001f600', 0),
        (r"\\frac{1}{2} \\times \\nu", r"\frac{1}{2} \times \nu", 0),
        (r"first\nin\nni\nnote\tints", "first\nin\nni\nnote\tints", 0),
        # both in one text
        (r"Step 1:\n\frac{1}{2}\nSo \neq 3", "Step 1:\n\\frac{1}{2}\nSo \\neq 3", 2),
        # a writer who doubles backslashes means a new line and a letter, but never one and `eq`
        (r"\\alpha = 1\nu = 2\ne = 3 \neq 4", "\\alpha = 1\nu = 2\ne = 3 \\neq 4", 1),
        # the rows of an environment that is not escaped break as they are written
        (r"\begin{cases} 1 \\ 2 \\[2pt] 3 \end{cases}", r"\begin{cases} 1 \\ 2 \\[2pt] 3 \end{cases}", 4),
        (r"\\begin{cases} 1 \\\\ 2 \\end{cases}", r"\begin{cases} 1 \\ 2 \end{cases}", 0),
    ],
)  # fmt: skip
def test_what_a_backslash_means(written: str, meant: str, mended: int) -> None:
    assert said(written) == (meant, mended)


@pytest.mark.parametrize(
    ("written", "shown"),
    [(r"\b(x)", r"'\x08'"), (r"a\f1", r"'\x0c'"), (r"a\u0000b", r"'\x00'"), (r"\u001b[31m", r"'\x1b'"), ("a\x0cb", r"'\x0c'")],
)  # fmt: skip
def test_control_characters_are_refused(written: str, shown: str) -> None:
    with pytest.raises(RejectedError) as caught:
        said(written)
    assert str(caught.value) == f"the reply holds the control character {shown}"


def test_keys_and_lists_are_looked_at_too() -> None:
    for text in (r'{"a\b": "x"}', r'{"a": [{"b": "\f"}]}'):
        with pytest.raises(RejectedError, match="control character"):
            read_and_mend(text, RootModel[dict])


@pytest.mark.parametrize(
    ("reply", "mended"),
    [
        ('Let S = {x | x > 0, then: {"text": "I look again."}', 0),
        ('Let S = {x | x > 0}, then {"text": "I look again."} as {y | y', 0),
        ("{'text': 'I look again.'}", 1),
        ("{“text”: “I look again.”}", 1),
        ('{"text": "I look again.",}', 1),
    ],
)
def test_prose_and_quotes(reply: str, mended: int) -> None:
    assert read_and_mend(reply, Said) == (Said(text="I look again."), mended)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("{'text': 'It's mine, I say'}", "the reply is not JSON"),
        ("{'text': 'I say \"no\"'}", "the reply is not JSON"),
        ("{“text”: “I say “no”.”}", "the reply is not JSON"),
        ("{'text': 'cut", "its JSON does not end"),
        ("S = {x | x > 0", "holds no JSON object"),
    ],
)
def test_what_is_not_certain_is_refused(reply: str, reason: str) -> None:
    with pytest.raises(RejectedError, match=reason):
        read_and_mend(reply, Said)


def test_an_apostrophe_between_double_quotes_stays() -> None:
    assert said("it's 'so', “truly”") == ("it's 'so', “truly”", 0)


def test_single_quotes_hold_latex_and_apostrophes_that_are_escaped() -> None:
    value, mended = read_and_mend(r"{'text': 'It\'s \frac{1}{2}'}", Said)
    assert (value.text, mended) == (r"It's \frac{1}{2}", 3)
