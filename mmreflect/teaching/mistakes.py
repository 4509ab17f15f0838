"""Types of mistakes in a solution, and which of them are mistakes of seeing. What each one means stands in a prompt."""

import re

from mmreflect.records import Sample
from mmreflect.teaching.prompts import Prompts

REASONING = ("calculation", "counting", "formula_confusion", "misinterpretation", "missing_step", "concept_confusion")
"""The six types that LEMMA injects (arXiv 2503.17439)."""
SEEING = (
    "misread_value",
    "wrong_series",
    "wrong_object",
    "miscounted_objects",
    "wrong_relation",
    "drawing_assumption",
    "ignored_evidence",
    "wrong_moment",
)
"""Ours: types that need something to look at; the last one needs a clip."""
_MOMENT = "wrong_moment"
_SIGHT = re.compile(
    r"\b(pictures?|images?|photos?|charts?|graphs?|plots?|figures?|diagrams?|drawings?|drawn|tables?|ax[ie]s|legends?|"
    r"ticks?|labels?|labelled|bars?|frames?|clips?|videos?|see|seen|shows?|shown|look(ing)?|visible|marked)\b",
    re.IGNORECASE,
)


def types_of(sheet: Prompts) -> dict[str, str]:
    """Return the types of the template `error_types` with what they are: a line `name: meaning` each."""
    pairs = [line.partition(":") for line in sheet.lines("error_types")]
    return {name.strip(): meaning.strip() for name, _, meaning in pairs}


def why_unseen(kind: str | None, sample: Sample) -> str | None:
    """Say why a mistake cannot be made about a sample; None where it can."""
    shown = {medium.kind for medium in sample.media}
    if kind in SEEING and not shown:
        return "there is nothing to see, so that it cannot be seen wrongly"
    if kind == _MOMENT and "video" not in shown:
        return "there is no clip, so that no moment can be taken for another"
    return None


def speaks_of_sight(text: str) -> bool:
    """Tell whether a text says anything of what is visible."""
    return _SIGHT.search(text) is not None
