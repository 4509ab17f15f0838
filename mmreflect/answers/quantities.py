"""Reading a number with its unit, in all the ways that numbers are written."""

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from mmreflect.answers.markup import straighten, tidy
from mmreflect.answers.units import read_unit, units_agree

MAX_DIGITS = 60
MAX_EXPONENT = 400
NEAR_DECIMALS = 6
"""A decimal with this many places or more stands for the number that it is the rounding of: 0.333333 is 1/3."""

_INTEGER = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d{1,2}(?:,\d{2})+,\d{3}(?!\d)|\d{1,3}(?: \d{3})+(?!\d)|\d+)"
_DECIMAL = rf"(?:{_INTEGER}(?:\.\d+|\.(?!\d))?|\.\d+)"
_FRAC = rf"\\[dtc]?frac\s*(?:\{{\s*([-+]?{_DECIMAL})\s*\}}|(\d)|\s(\d+))\s*(?:\{{\s*([-+]?{_DECIMAL})\s*\}}|(\d)(?!\d))"
_MIXED = re.compile(rf"(\d+)\s*{_FRAC}")
_MIXED_SLASH = re.compile(r"(\d+)(?:\s+|\s*(?:\band\b|&)\s*)(\d+)\s*/\s*(\d+)(?!\d)")
_FRACTION = re.compile(_FRAC)
_SLASH = re.compile(rf"({_DECIMAL})\s*(?:/|÷|\\div|⁄)\s*({_DECIMAL})(?![\d.])")
_SCIENTIFIC = re.compile(
    rf"({_DECIMAL})(?:[eE]([-+]?\d+)(?![\w.])"
    r"|\s*(?:\\times|\\cdot|\*|×|·|x)\s*10\s*(?:\^|\*\*)\s*(?:\{\s*([-+]?\d+)\s*\}|\(\s*([-+]?\d+)\s*\)|([-+]?\d+)))"
)
_POWER_OF_TEN = re.compile(r"10\s*(?:\^|\*\*)\s*(?:\{\s*([-+]?\d+)\s*\}|([-+]?\d+))()()")
_PLAIN = re.compile(_DECIMAL)
_CURRENCY = re.compile(r"(?:US\s*|A|C|HK)?\\?\$|[€£¥₹₩₽]|(?:USD|EUR|GBP|RMB|Rs\.?|CNY|JPY)(?=[\s\d])")
_SUPERSCRIPTS = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻]+")
_SUPER_DIGITS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
_VULGAR = dict(
    zip(
        "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞",
        ["1/2", "1/3", "2/3", "1/4", "3/4", "1/5", "2/5", "3/5", "4/5", "1/6", "5/6", "1/8", "3/8", "5/8", "7/8"],
        strict=True,
    )
)
_FULLWIDTH = str.maketrans({chr(0xFF01 + index): chr(0x21 + index) for index in range(94)})
_DOLLARS = re.compile(r"^([\s*_-]*)(?:US)?\\?\$\s*(?=[\d.-])")
_SPACING = re.compile(r"(?<!\\)\\[;: ]|~|\\q?quad\b")


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number with its unit in the form of `read_unit`; `places` are the decimals it was written with."""

    value: Fraction
    unit: str
    places: int

    def __str__(self) -> str:
        """Write the number, as a decimal where it has a short one, and its unit."""
        return f"{number_text(self.value)} {self.unit}".strip()


def number_text(value: Fraction | float) -> str:
    """Write a number: an integer, a decimal of at most 12 places, or a fraction."""
    if isinstance(value, float):
        return f"{value:.12g}"
    if value.denominator == 1:
        return str(value.numerator)
    scaled = value * 10**12
    if scaled.denominator == 1:
        sign, digits = "-" if value < 0 else "", str(abs(scaled.numerator)).rjust(13, "0")
        return f"{sign}{digits[:-12]}.{digits[-12:].rstrip('0')}"
    return f"{value.numerator}/{value.denominator}"


def linear(text: str) -> str:
    r"""Bring a formula to plain characters: `\dfrac` to `\frac`, `1½` to `1 1/2`, `cm²` to `cm^{2}`, no `\left`."""
    if text.count("$") == 1:
        text = _DOLLARS.sub(r"\1USD ", text)  # currency; a pair would be math mode
    text = tidy(text)
    if not text.isascii():
        text = straighten(text.translate(_FULLWIDTH))
        text = _SUPERSCRIPTS.sub(lambda match: "^{" + match.group().translate(_SUPER_DIGITS) + "}", text)
        text = re.sub(r"(\d?)\s*([½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞])", _spell_vulgar, text)
        text = "".join(str(int(char)) if char.isdecimal() else char for char in text)
    if "\\" in text:
        text = re.sub(r"\\(?:left|right|displaystyle|[bB]igg?[lr]?)(?![a-zA-Z])\.?", "", text)
        text = re.sub(r"(?<!\\)\\[,!]", "", text)
        text = re.sub(r"\\[dtc]frac(?![a-zA-Z])", r"\\frac", _SPACING.sub(" ", text))
        text = text.replace("\\%", "%").replace("\\$", "$")
    return text.replace("{,}", ",").strip()


def _spell_vulgar(match: re.Match[str]) -> str:
    return (match.group(1) + " " if match.group(1) else "") + _VULGAR[match.group(2)]


def _fraction(text: str) -> Fraction | None:
    digits = text.replace(",", "").replace(" ", "")
    return Fraction(digits) if len(digits) <= MAX_DIGITS else None


def _divide(top: str, bottom: str) -> Fraction | None:
    above, below = _fraction(top), _fraction(bottom)
    return above / below if above is not None and below else None


def _scale(number: str, exponent: str) -> Fraction | None:
    value = _fraction(number)
    if value is None or len(exponent) > 5 or abs(int(exponent)) > MAX_EXPONENT:
        return None
    return value * Fraction(10) ** int(exponent)


def _readings(text: str) -> list[tuple[Fraction | None, int]]:
    """Return every number that the text can begin with and where it ends, the longest way of writing first."""
    found: list[tuple[Fraction | None, int]] = []
    if match := _MIXED.match(text):
        _, *parts = groups = [group for group in match.groups() if group]
        part = _divide(parts[0], parts[1])
        found.append((part + int(groups[0]) if part is not None and len(groups[0]) < MAX_DIGITS else None, match.end()))
    if match := _MIXED_SLASH.match(text):
        part = _divide(match.group(2), match.group(3))
        found.append(
            (part + int(match.group(1)) if part is not None and match.end() < MAX_DIGITS else None, match.end())
        )
    if match := _FRACTION.match(text):
        top, bottom = (group for group in match.groups() if group)
        found.append((_divide(top, bottom), match.end()))
    if match := _SLASH.match(text):
        found.append((_divide(match.group(1), match.group(2)), match.end()))
    if match := _SCIENTIFIC.match(text):
        number, *exponents = (group for group in match.groups() if group)
        found.append((_scale(number, exponents[0]), match.end()))
    if match := _POWER_OF_TEN.match(text):
        found.append((_scale("1", match.group(1) or match.group(2)), match.end()))
    if match := _PLAIN.match(text):
        found.append((_fraction(match.group()), match.end()))
    return found


@lru_cache(maxsize=8192)
def read_quantity(text: str) -> Quantity | None:
    """Read a text that is one number with or without a unit; None for everything else, and past the digit caps.

    Thousands separators (`1,234`, `1 234`, `12{,}345`), currency signs, fractions, mixed numbers, scientific notation,
    percent and degree signs are understood. "3,4" is no number: whether it is 3.4 or two answers cannot be told.
    """
    text = linear(text)
    if not text or len(text) > 200:
        return None
    while text.startswith(("(", "{")) and text.endswith((")", "}")) and not re.search(r"[(){},]", text[1:-1]):
        text = text[1:-1].strip()
    sign, unit, rest = 1, "", text
    for _ in range(3):  # "-$5", "$-5", "+5"
        if rest[:1] in ("-", "+"):
            sign, rest = sign * (-1 if rest[0] == "-" else 1), rest[1:].lstrip()
        elif match := _CURRENCY.match(rest):
            unit, rest = read_unit(match.group().strip("\\")) or "", rest[match.end() :].lstrip()
    for value, end in _readings(rest):
        if value is None:
            continue
        tail = read_unit(rest[end:])
        if tail is not None:
            match = re.match(r"[\d, ]*\.(\d+)", rest[:end])
            return Quantity(sign * value, tail or unit, len(match.group(1)) if match else 0)
    return None


def same_number(one: Quantity, other: Quantity) -> bool:
    """Whether two numbers are equal: exactly, or as the rounding that a long decimal stands for."""
    if one.value == other.value:
        return True
    places = max(one.places, other.places)
    if places < NEAR_DECIMALS or abs(one.value - other.value) > Fraction(1, 10**NEAR_DECIMALS):
        return False
    return round(one.value, NEAR_DECIMALS) == round(other.value, NEAR_DECIMALS)


def same_quantity(answer: Quantity, gold: Quantity) -> tuple[bool, str]:
    """Compare two quantities; returns whether they agree, and why.

    A unit on both sides must agree and is never converted. A percent sign on one side only may be read either way:
    50% is both 0.5 and 50, because references write it both ways.
    """
    if "%" in (answer.unit, gold.unit) and answer.unit != gold.unit:
        if answer.unit and gold.unit:
            return False, "another unit"
        factor = Fraction(1, 100)
        if answer.unit == "%":
            forms = [(answer, gold), (Quantity(answer.value * factor, "", answer.places), gold)]
        else:
            forms = [(answer, gold), (answer, Quantity(gold.value * factor, "", gold.places))]
        equal = any(same_number(one, other) for one, other in forms)
    elif not units_agree(answer.unit, gold.unit):
        return False, "another unit"
    else:
        equal = same_number(answer, gold)
    return equal, "equal numbers" if equal else "another number"
