"""What is looked for in texts: leaks of the reference, repetition, scripts, likeness."""

import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence

SURE_LEAKS = (
    r"\bground[- ]?truths?\b",
    r"\b(reference|gold(en)?) (answer|label|solution)s?\b",
    r"\b(answer|solution) key\b|\bsolution sheet\b",
    r"\b(I|we) (was|were) (given|told) the (correct|right) (answer|solution)\b",
    r"\bas (I was |we were )?told, the (correct|right) (answer|solution)\b",
    r"\bthe reference (says|states|gives)\b",
    r"(参考|标准|官方)(答案|解答)",
)
"""Ways of saying that the answer was given which mean nothing else, whoever wrote the response."""

PLACEHOLDERS = ("<image>", "<video>", "<audio>")
"""Where trainers put media: in a reply each of them is one medium too many."""
_CONTROL_TOKEN = re.compile(r"<\|(?!(?:object_ref|box|quad)_(?:start|end)\|>)[A-Za-z]\w*\|>")
_CONTROL_CHARACTER = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]|\r(?!\n)"
)
_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_WORD = re.compile(rf"[{_IDEOGRAPHS}]|[^\W{_IDEOGRAPHS}]+")
_LOOP = re.compile(r"(\S{1,16}?)\1{7,}")
_LETTERED, _UNLETTERED = 4, 16
_NAMES = {"CJK": "han", "HIRAGANA": "kana", "KATAKANA": "kana"}
SCRIPTS = ("latin", "greek", "cyrillic", "han", "kana", "hangul", "arabic", "hebrew", "devanagari", "bengali", "thai")
"""Scripts that can be asked for; letters of others are in none of them."""


def check_patterns(patterns: Sequence[str]) -> None:
    """Check that all are regular expressions.

    Raises:
        ValueError: one is none.
    """
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"leaks holds {pattern!r}, which is no regular expression: {error}") from None


def leak_in(text: str, patterns: Sequence[str]) -> str | None:
    """Return the words by which a text gives away that it was written with the answer in view, or None."""
    for pattern in patterns:
        found = re.search(pattern, text, re.IGNORECASE)
        if found:
            return found.group()
    return None


def control_token_in(text: str) -> str | None:
    """Return the first token of a chat template that a text spells out, such as <|im_end|> or <|image_pad|>, or None.

    A tokenizer reads it as the token itself: it ends the turn, or stands for a picture that is not there. The marks of
    Qwen2-VL's grounding (<|box_start|>, <|object_ref_end|> and the like) are none: they are words of its replies.
    """
    found = _CONTROL_TOKEN.search(text)
    return found.group() if found else None


def control_character_in(text: str) -> str | None:
    """Return the code of the first character of a text that is not to be seen and changes what is, or None.

    Control characters except tab and line break, overrides of the direction of writing, halves of surrogate pairs.
    """
    found = _CONTROL_CHARACTER.search(text)
    return f"U+{ord(found.group()):04X}" if found else None


def words_of(text: str) -> list[str]:
    """Return the words of a text in small letters; Chinese and Japanese, which have no blanks, letter by letter."""
    return [word.lower() for word in _WORD.findall(text)]


def repetition_in(text: str, length: int = 8, most: int = 4) -> str | None:
    """Return a run of `length` words that a text holds more than `most` times, or None.

    Without blanks there are no words: a piece of at most 16 characters that stands again and again is one, too. With a
    letter it may take 4 characters for each of those words; without one, as in rules of tables and in decimals, 16.
    """
    counts = Counter(grams(text, length))
    gram, count = max(counts.items(), key=lambda item: item[1], default=((), 0))
    if count > most:
        return " ".join(gram)
    for loop in _LOOP.finditer(text):
        lettered = any(character.isalpha() for character in loop[1])
        if len(loop[0]) > length * most * (_LETTERED if lettered else _UNLETTERED):
            return f"{loop[1]} ({len(loop[0]) // len(loop[1])} times without a break)"
    return None


def grams(text: str, length: int) -> list[tuple[str, ...]]:
    """Return the runs of `length` words of a text, in small letters."""
    words = words_of(text)
    return [tuple(words[start : start + length]) for start in range(len(words) - length + 1)]


def likeness(left: str, right: str, length: int = 5) -> float:
    """Return the Jaccard likeness of two texts: runs of words in both over runs in either; 1 where neither has any."""
    one, other = set(grams(left, length)), set(grams(right, length))
    return len(one & other) / len(one | other) if one | other else 1.0


def script_share(text: str, scripts: Collection[str]) -> float:
    """Return the share of a text's letters that are in some scripts; 1 where it has none.

    Letters of formulas count as what they are drawn after: ℝ is Latin, µ Greek.
    """
    letters = [character for character in text if character.isalpha()]
    return sum(_script(letter) in scripts for letter in letters) / len(letters) if letters else 1.0


def scripts_in(text: str) -> set[str]:
    """Return the scripts that a text has letters of."""
    return {_script(character) for character in text if character.isalpha()}


def latin_share(text: str) -> float:
    """Return the share of a text's letters that are Latin or Greek (as in formulas); 1 where it has none."""
    return script_share(text, ("latin", "greek"))


@functools.lru_cache(maxsize=1 << 14)
def _script(letter: str) -> str:
    name = unicodedata.name(unicodedata.normalize("NFKC", letter)[0], "").split(" ")[0]
    return _NAMES.get(name, name.lower())
