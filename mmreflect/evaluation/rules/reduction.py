"""Reducing what a reasoning model says to its final answer, which is all that official extractors understand."""

import re

from mmreflect.answers.extract import blocks, outside_thinking

_OPENED = re.compile(r"<\s*answer\s*>", re.IGNORECASE)
_REFLECTION = re.compile(r"<reflection>.*?(?:</reflection>|$)", re.DOTALL)


def final_text(text: str) -> str:
    """Return the last `<answer>` block outside the thinking, or else all that stands outside thinking and reflection.

    A block that is never closed counts from its opening where no other is closed. Where a text is nothing but thinking,
    a block inside it counts; thoughts without one leave nothing. A text without tags comes back as it is.
    """
    if "<" not in text:
        return text
    outside = _REFLECTION.sub("", outside_thinking(text))
    if closed := blocks(outside):
        return closed[-1].text.strip()
    if opened := list(_OPENED.finditer(outside)):
        return outside[opened[-1].end() :].strip()
    if outside == text:
        return text
    inside = [] if outside.strip() else blocks(text)
    return inside[-1].text.strip() if inside else outside.strip()
