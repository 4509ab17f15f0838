"""Value axes: round ticks, what can be read between them, and how numbers are written."""

import math
import random
from dataclasses import dataclass
from fractions import Fraction

STEPS = (Fraction(1), Fraction(2), Fraction(5, 2), Fraction(5), Fraction(10))

PARTS = ((2, False), (2, False), (2, True), (5, True), (4, True))
"""Into how many parts a step is read by eye, and whether small ticks stand there."""


@dataclass(frozen=True, slots=True)
class Scale:
    """A value axis from `low` to `high` with a tick every `step`.

    Attributes:
        resolution: what every value is a multiple of; for a logarithmic axis it plays no part: there values are one
            digit and zeros, and stand on a tick.
        minor: between ticks, small ones stand at every `resolution`.
        log: logarithmic; `low` and `high` are powers of ten then.
    """

    low: Fraction
    high: Fraction
    step: Fraction
    resolution: Fraction
    minor: bool = False
    log: bool = False

    def ticks(self) -> list[Fraction]:
        """Return the labelled ticks from the lowest to the highest."""
        if self.log:
            found, value = [], self.low
            while value <= self.high:
                found.append(value)
                value *= 10
            return found
        return [self.low + self.step * place for place in range(int((self.high - self.low) / self.step) + 1)]

    def small_ticks(self) -> list[Fraction]:
        """Return the ticks without labels."""
        if self.log:
            return [tick * digit for tick in self.ticks()[:-1] for digit in range(2, 10)]
        if not self.minor:
            return []
        count = int((self.high - self.low) / self.resolution)
        every = [self.low + self.resolution * place for place in range(count + 1)]
        return [value for value in every if (value - self.low) % self.step]

    def share(self, value: Fraction | float) -> float:
        """Return how far up the axis a value stands: 0 at `low`, 1 at `high`."""
        if self.log:
            return math.log10(float(value / self.low)) / math.log10(float(self.high / self.low))
        return float((value - self.low) / (self.high - self.low))


def nice_step(span: Fraction, most: int) -> Fraction:
    """Return the smallest round step that divides a span into at most `most` parts."""
    power = Fraction(10) ** math.floor(math.log10(float(span) / most))
    return next((power * step for step in STEPS if span <= power * step * most), power * 10)


def is_nice(step: Fraction) -> bool:
    """Tell whether a step is one of `STEPS` times a power of ten: people read no multiples of 1.25."""
    return nice_step(step, 1) == step


def read_scale(rng: random.Random, top: Fraction, finest: Fraction) -> Scale:
    """Draw an axis from 0 on which values can be read exactly: on a tick, halfway, or on a small tick.

    Args:
        top: the highest value that will stand on it.
        finest: what every value of the topic is a multiple of.
    """
    step = nice_step(top, rng.randint(5, 9))
    able = [(parts, minor) for parts, minor in PARTS if is_nice(step / parts) and not (step / parts) % finest]
    parts, minor = rng.choice(able or [(1, False)])
    return Scale(Fraction(0), step * math.ceil(top / step), step, step / parts, minor)


def label_scale(rng: random.Random, low: Fraction, high: Fraction, finest: Fraction) -> Scale:
    """Draw an axis around values that are written on their marks."""
    step = max(nice_step(high - low, rng.randint(4, 8)), finest)
    start = step * math.floor(low / step)
    return Scale(start, start + step * math.ceil((high - start) / step), step, finest)


def log_scale(low: Fraction, high: Fraction) -> Scale:
    """Return a logarithmic axis around values that are one digit and zeros."""
    first = Fraction(10) ** math.floor(math.log10(float(low)))
    last = first
    while last < high:
        last *= 10
    return Scale(first, last, Fraction(10), Fraction(1), True, True)


def places_of(value: Fraction) -> int:
    """Return how many decimals a number has, at most 6."""
    return next((places for places in range(6) if (value * 10**places).denominator == 1), 6)


def written(value: Fraction, places: int, comma: bool = False) -> str:
    """Write a number with fixed decimals, rounded half away from zero."""
    scaled = abs(value) * 10**places
    whole = int(scaled + Fraction(1, 2))
    digits = str(whole).rjust(places + 1, "0")
    head, tail = (digits[:-places], "." + digits[-places:]) if places else (digits, "")
    head = f"{int(head):,}" if comma else head
    return ("-" if value < 0 and whole else "") + head + tail


def tick_texts(ticks: list[Fraction], numbers: str, unit: str) -> list[str]:
    """Write the labels of an axis, all with the same decimals."""
    prefix, suffix = ("$", "") if unit.startswith("$") else ("", "%") if unit == "%" else ("", "")
    if numbers == "short" and max(ticks) >= 5000 and all(tick % 100 == 0 for tick in ticks):
        thousands = [tick / 1000 for tick in ticks]
        places = max(places_of(value) for value in thousands)
        return [
            f"{prefix}{written(value, places)}{'K' if value else ''}{suffix}" if value else f"{prefix}0{suffix}"
            for value in thousands
        ]
    places = max(places_of(tick) for tick in ticks)
    return [f"{prefix}{written(tick, places, numbers != 'plain')}{suffix}" for tick in ticks]
