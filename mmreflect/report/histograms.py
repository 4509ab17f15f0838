"""How often which length occurs, as inline SVG in the page's style."""

import math
from collections import Counter

from mmreflect.report.numbers import counted, quantity
from mmreflect.report.plots import Plot, drawing, mark

MOST_BINS = 24
_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 360, 150, 8, 18, 26


def histogram(title: str, counts: Counter[int], unit: str) -> Plot:
    """Draw counted whole numbers in at most `MOST_BINS` bins of one round width each.

    Raises:
        ValueError: there are none.
    """
    if not counts:
        raise ValueError("nothing is counted")
    width = bin_width(min(counts), max(counts))
    start = min(counts) // width * width
    bins: Counter[int] = Counter()
    for value, count in counts.items():
        bins[(value - start) // width] += count
    number, tallest = max(bins) + 1, max(bins.values())
    highest = min(place for place, count in bins.items() if count == tallest)
    step, room = (_WIDTH - 2 * _LEFT) / number, _HEIGHT - _TOP - _BOTTOM
    parts = [
        mark('<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>', _LEFT, _WIDTH - _LEFT, _TOP + room, _TOP + room)
    ]
    for place, count in sorted(bins.items()):
        high = max(1.0, room * count / tallest)
        x, y = _LEFT + step * place, _TOP + room - high
        parts.append(mark('<rect class="bin" x="{}" y="{}" width="{}" height="{}"/>', x, y, max(1.0, step - 1.5), high))
        if place == highest:
            where = min(max(x + step / 2, _LEFT + 10), _WIDTH - _LEFT - 10)
            parts.append(mark('<text x="{}" y="{}" text-anchor="middle">{}</text>', where, y - 5, quantity(count)))
    ends = ((_LEFT, "start", quantity(start)), (_WIDTH - _LEFT, "end", quantity(start + width * number - 1)))
    for x, anchor, text in (*ends, (_WIDTH / 2, "middle", unit)):
        parts.append(mark('<text x="{}" y="{}" text-anchor="{}">{}</text>', x, _HEIGHT - 8, anchor, text))
    told = "; ".join(
        f"{quantity(start + width * place)} to {quantity(start + width * (place + 1) - 1)}: {count:,}"
        for place, count in sorted(bins.items())
    )
    remark = f"{counted(sum(counts.values()), 'text')}, {counted(width, unit.removesuffix('s'))} to a bar."
    return Plot(title, drawing(title, f"{title} in {unit}. {told}.", _WIDTH, _HEIGHT, parts), [], remark)


def bin_width(low: int, high: int) -> int:
    """Return a round width, 1, 2 or 5 times a power of ten, by which at most `MOST_BINS` bins hold all values."""
    width = 1
    while high // width - low // width + 1 > MOST_BINS:
        power = 10 ** int(math.log10(width))
        width = {1: 2, 2: 5, 5: 10}[width // power] * power
    return width
