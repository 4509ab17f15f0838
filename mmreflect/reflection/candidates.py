r"""Does a line of thinking present a candidate answer? Rules in the place of an LLM ("First Try Matters", section 2.1).

A line does when it holds a box or an `<answer>` block, when it says that the answer is something, or when it concludes
(so, thus, therefore, ...) and ends with a number or an option's letter. A bare "=" is no conclusion: "2 + 3 = 5" is a
step on the way far more often than the quantity that was asked for, which is all that counts in the paper.
"""

import re

from mmreflect.answers.extract import candidates
from mmreflect.answers.markup import after_phrase

_ANSWER = re.compile(r"\banswer\b", re.IGNORECASE)
_NOT = re.compile(r"(?:not|unclear|unknown|still)\b", re.IGNORECASE)
_CUE = re.compile(
    r"\b(?:so|thus|therefore|hence|equals|we get|we have|gives|yields|the result|finally|in conclusion)\b",
    re.IGNORECASE,
)
_VALUE_AT_END = re.compile(
    r"(?<![\w.])(?:[-+]?\s?\$?\d[\d,]*(?:\.\d+)?(?:/\d+)?\s*(?:%|°|[ckm]?m|k?g|s|h|units?|degrees?)?"
    r"|(?:\([A-Z]\)|[A-HJ-Z]))[\s.!$*)]*$"
)


def presents_candidate(line: str) -> bool:
    """Tell whether a line presents a candidate answer; it is never asked whether that is right."""
    if candidates(line):
        return True
    if _ANSWER.search(line) and (said := after_phrase(line)) and not _NOT.match(said):
        return True
    cue = _CUE.search(line)
    return cue is not None and _VALUE_AT_END.search(line, cue.end()) is not None
