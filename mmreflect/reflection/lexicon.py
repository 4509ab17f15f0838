"""Words with which a text turns back on itself, in four classes, matched as whole words, longest phrase first.

`PRESETS` are the lists that papers count with, so that their curves can be drawn again; ours is the sum of the classes.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

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


Matching = Literal["words", "substrings", "openers"]


@dataclass(frozen=True, slots=True)
class Preset:
    """A published list.

    Attributes:
        matching: `words` are whole and of either case, the longest phrase first; `substrings` are found anywhere in the
            lower-cased text, each phrase on its own; `openers` are as written with no blank before them: such are
            tokens of their own in vocabularies where a word's blank belongs to it.
    """

    phrases: Sequence[str]
    matching: Matching = "words"


PRESETS: dict[str, Preset] = {
    "arlcp13": Preset(
        ("wait", "alternatively", "hold on", "another thought", "verify", "think again", "but", "however",
         "alternative", "check", "double-check", "oh", "hmm")
    ),
    "cyclic5": Preset(("wait", "Wait", "but", "But", "Alternatively"), "openers"),
    "simplerl7": Preset(("recheck", "rethink", "try again", "wait", "alternatively", "retry", "however"), "substrings"),
    "rlvsdistill27": Preset(
        ("actually", "aha", "alternatively", "correction:", "another approach", "different method",
         "checking our work", "double-check", "hmm", "however", "i made a mistake", "i need to reconsider",
         "i realize", "let me recalculate", "let me think", "let's check", "let's reconsider", "looking back",
         "make sure", "ok", "on second thought", "retracing", "to be sure", "to confirm", "verify", "wait",
         "we could also")
    ),
    "oneshot3": Preset(("rethink", "recheck", "recalculate")),
    "vlrethinker3": Preset(("wait,", "wait a", "alternatively"), "substrings"),
}  # fmt: skip
"""By the names of their papers: ARLCP, CyclicReflex, SimpleRL-Zoo, RL vs Distillation, 1-shot RLVR, VL-Rethinker."""


def preset_count(text: str, name: str) -> int:
    """Count the phrases of a published list as its paper does."""
    preset = PRESETS[name]
    if preset.matching == "substrings":
        lowered = text.lower()
        return sum(lowered.count(phrase) for phrase in preset.phrases)
    longest = sorted(preset.phrases, key=len, reverse=True)
    alternatives = "|".join(re.escape(phrase) for phrase in longest)
    if preset.matching == "openers":
        return len(re.findall(rf"(?<![\w \t-])(?:{alternatives})(?![\w-])", text))
    return len(re.findall(rf"(?<![\w-])(?:{alternatives})(?![\w-])", text, re.IGNORECASE))
