"""Reducing what a reasoning model says to its final answer, which is all that official extractors understand."""

import re

from mmreflect.answers.extract import blocks, outside_parts

_OPENED = re.compile(r"<\s*answer\s*>", re.IGNORECASE)


def final_text(text: str) -> str:
    """Return the last `<answer>` block outside thinking and reflection, or else what follows the last of them.

    A block that is never closed counts from its opening where no other is closed. Where nothing follows the last part,
    what stands before it is the answer. Where a text is nothing but thinking, a block inside it counts; thoughts
    without one leave nothing. A text without tags comes back as it is.
    """
    if "<" not in text:
        return text
    parts = outside_parts(text)
    outside = "\n".join(parts)
    if closed := blocks(outside):
        return closed[-1].text.strip()
    if opened := list(_OPENED.finditer(outside)):
        return outside[opened[-1].end() :].strip()
    if outside == text:
        return text
    if not outside.strip() and (inside := blocks(text)):
        return inside[-1].text.strip()
    return next((part.strip() for part in reversed(parts) if part.strip()), "")


def shown_text(text: str) -> str:
    """Return a text without its thinking and reflection, tags of answers kept; all of it where it is nothing else."""
    outside = "\n".join(outside_parts(text)) if "<" in text else text
    return outside if outside.strip() else text
