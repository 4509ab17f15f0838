"""The tagged layouts of a reflecting answer.

cold_start  <think> s1 </think> <answer> a1 </answer> <reflection> r </reflection> <answer> a2 </answer>
srpo        the same with a second <think> s2 </think> before the last answer (SRPO's RL format, arXiv 2506.01713)
think       <think> s </think> <answer> a </answer>
"""

import re
from typing import Literal

Layout = Literal["cold_start", "srpo", "think"]

TAGS = ("<think>", "</think>", "<answer>", "</answer>", "<reflection>", "</reflection>")

_ORDERS: dict[Layout, tuple[str, ...]] = {
    "cold_start": ("think", "answer", "reflection", "answer"),
    "srpo": ("think", "answer", "reflection", "think", "answer"),
    "think": ("think", "answer"),
}


def _pattern(order: tuple[str, ...]) -> re.Pattern[str]:
    blocks = [rf"<{tag}>\s*(?=\S)((?:(?!</?(?:think|answer|reflection)>).)+?)\s*</{tag}>" for tag in order]
    return re.compile(r"\s*" + r"\s*".join(blocks) + r"\s*", re.DOTALL)


_PATTERNS = {layout: _pattern(order) for layout, order in _ORDERS.items()}
_REFLECTION = re.compile(r"<reflection>\s*(?!</reflection>)(\S.*?)\s*(?:</reflection>|$)", re.DOTALL)


def follows(text: str, layout: Layout) -> bool:
    """Tell whether a text is exactly the layout: every block once, in order, none empty, nothing outside.

    Stricter than SRPO's code in one place: text before the first tag is refused.
    """
    return _PATTERNS[layout].fullmatch(text) is not None


def reflection_of(text: str) -> str | None:
    """Return the text of the first non-empty reflection block, closed or not, or None."""
    match = _REFLECTION.search(text)
    return match.group(1) if match else None
