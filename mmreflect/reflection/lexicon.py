"""Words with which a text turns back on itself, in four classes, matched as whole words, longest phrase first."""

import re
from collections import Counter

LEXICON: dict[str, tuple[str, ...]] = {
    "doubt": (
        "wait", "hold on", "hmm", "oh", "actually", "on second thought", "seems off", "does this make sense",
        "something is wrong",
    ),
    "verify": (
        "verify", "check", "recheck", "double-check", "double check", "let's check", "let me check",
        "checking our work", "to confirm", "to be sure", "make sure", "looking back",
    ),
    "revise": (
        "rethink", "reconsider", "recalculate", "retry", "try again", "think again", "redo", "retracing",
        "correction", "i made a mistake", "i realize",
    ),
    "alternative": (
        "alternatively", "alternative", "another approach", "another thought", "another way", "different method",
        "we could also",
    ),
    "visual": (
        "look again", "looking at the image again", "re-examine the image", "zoom in", "upon closer inspection",
        "back to the figure", "back to the chart",
    ),
}  # fmt: skip
"""`visual` is counted apart: it is no part of `reflection_count`."""

_CLASS_OF = {phrase: name for name, phrases in LEXICON.items() for phrase in phrases}
_PHRASES = re.compile(
    r"(?<![\w-])(" + "|".join(re.escape(phrase) for phrase in sorted(_CLASS_OF, key=len, reverse=True)) + r")(?![\w-])",
    re.IGNORECASE,
)


def lexicon_counts(text: str) -> Counter[str]:
    """Count the phrases of each class; a place in the text counts once, for its longest phrase."""
    return Counter(_CLASS_OF[match.group(1).lower()] for match in _PHRASES.finditer(text))


def reflection_count(text: str) -> int:
    """Count the phrases of all classes but `visual`."""
    return sum(count for name, count in lexicon_counts(text).items() if name != "visual")
