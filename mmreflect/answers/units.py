"""Units of measurement, read into one form; a unit is compared, never converted."""

import re
from functools import lru_cache

_NAMES = """
m: meter meters metre metres
km: kilometer kilometers kilometre kilometres kms
cm: centimeter centimeters centimetre centimetres cms
mm: millimeter millimeters millimetre millimetres
dm: decimeter decimeters decimetre decimetres
µm: μm um micrometer micrometers micron microns
nm: nanometer nanometers nanometre nanometres
in: inch inches
ft: foot feet
yd: yard yards
mi: mile miles
g: gram grams gramme grammes gm
kg: kilogram kilograms kilogramme kilogrammes kgs
mg: milligram milligrams
ton: tons tonne tonnes
lb: lbs pound pounds
oz: ounce ounces
s: sec secs second seconds
ms: millisecond milliseconds
min: mins minute minutes
h: hr hrs hour hours
day: days
week: weeks
month: months
year: years yr yrs
L: l liter liters litre litres
mL: ml milliliter milliliters millilitre millilitres
gal: gallon gallons
N: newton newtons
kN: kilonewton kilonewtons
J: joule joules
kJ: kilojoule kilojoules
cal: calorie calories
kcal: kilocalorie kilocalories
W: watt watts
kW: kilowatt kilowatts
kWh:
V: volt volts
mV:
kV:
A: amp amps ampere amperes
mA:
Ω: ohm ohms \\omega \\Omega
Hz: hertz
kHz:
MHz:
GHz:
Pa: pascal pascals
kPa:
MPa:
atm:
mol: mole moles
K: kelvin kelvins
°C: celsius degc °c
°F: fahrenheit degf °f
C: coulomb coulombs
tesla: teslas
°: degree degrees deg
rad: radian radians
mph:
kph:
dollar: dollars usd us$ bucks
cent: cents ¢
euro: euros eur €
GBP: £ gbp
yen: jpy ¥
yuan: rmb cny
rupee: rupees ₹ inr
unit: units
%: percent percentage pct
"""
_KNOWN: dict[str, str] = {}
for _line in _NAMES.strip().splitlines():
    _canonical, _, _aliases = _line.partition(":")
    _KNOWN.update(dict.fromkeys([_canonical, *_aliases.split()], _canonical))
_KNOWN["$"] = "dollar"

_FILLERS = frozenset(
    [
        "in",
        "total",
        "of",
        "the",
        "each",
        "altogether",
        "approximately",
        "approx",
        "about",
        "only",
        "exactly",
        "roughly",
        "a",
        "an",
    ]
)
_NO_UNITS = frozenset(
    [
        "or",
        "and",
        "to",
        "not",
        "plus",
        "minus",
        "times",
        "over",
        "sin",
        "cos",
        "tan",
        "cot",
        "sec",
        "csc",
        "log",
        "ln",
        "lim",
        "exp",
        "sqrt",
        "root",
        "pi",
        "inf",
        "infinity",
        "mod",
        "if",
        "is",
        "are",
        "then",
        "but",
        "than",
        "maybe",
    ]
)
_POWER = re.compile(r"\^?\{?(-?\d)\}?$")
_WORD = re.compile(r"[a-z]{3,}(?:-[a-z]+)*$")
_SUPERSCRIPTS = str.maketrans("²³", "23")
_CURRENCIES = "$€£¥₹₩₽¢"


@lru_cache(maxsize=4096)
def read_unit(text: str) -> str | None:
    """Return one form of a unit: "cm^2" for "square centimeters"; "" for no unit; None when this is no unit at all.

    Words that no table knows are units too ("12 apples"), so that apples are not oranges; single unknown letters are
    variables and never units.
    """
    text = text.strip().strip(".,;()[]").strip()
    if not text:
        return ""
    text = re.sub(r"\^\s*\{?\s*(?:\\circ|\\degree|∘)\s*\}?|\\degree\b", "° ", text.replace("\\%", "%"))
    text = re.sub(r"°\s+(?=[CF]\b)", "°", text)
    text = re.sub(r"\bdegrees?\s+(?=(?:celsius|fahrenheit|[CF])\b)", "°", text, flags=re.IGNORECASE)
    text = re.sub(r"°(?=celsius|fahrenheit)", "", text, flags=re.IGNORECASE)
    text = re.sub(r"\bper\s*cent\b", "percent", text, flags=re.IGNORECASE)
    if len(text) > 60 or re.search(r"[\\{}=+<>,]", re.sub(r"\\(?:cdot|times)\b|\^\{-?\d\}", "", text)):
        return None
    powers, words = _parts(text)
    if powers is None:
        return None
    if powers:
        return "·".join(name if power == 1 else f"{name}^{power}" for name, power in sorted(powers.items()))
    return " ".join(words)


def _parts(text: str) -> tuple[dict[str, int] | None, list[str]]:
    """Return the known units with their powers, and the unknown words; (None, []) for what is no unit."""
    powers: dict[str, int] = {}
    words: list[str] = []
    sign, wanted = 1, 1
    for token in re.findall(r"/|[^\s/·*]+", re.sub(r"\\(?:cdot|times)\b", " ", text)):
        lowered = token.lower()
        if lowered in ("/", "per"):
            sign = -1
            continue
        if lowered in ("square", "sq", "squared", "sq.", "cubic", "cubed"):
            power = 2 if lowered.startswith("sq") else 3
            if lowered.endswith("ed") and powers:
                powers[next(reversed(powers))] *= power
            else:
                wanted = power
            continue
        name, power = _known(token)
        if name:
            powers[name] = powers.get(name, 0) + sign * power * wanted
            wanted = 1
        elif lowered in _NO_UNITS:
            return None, []
        elif lowered in _FILLERS:
            continue
        elif _WORD.match(lowered) and len(words) < 4:
            words.append(_singular(lowered))
        else:
            return None, []
    return powers, words


def _known(token: str) -> tuple[str | None, int]:
    name = _KNOWN.get(token) or (_KNOWN.get(token.lower()) if len(token) > 1 else None)
    if name:
        return name, 1
    match = _POWER.search(token)
    if match and match.start():
        name = _KNOWN.get(token[: match.start()])
        if name:
            return name, int(match.group(1))
    return None, 1


def _singular(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


def known_units(text: str) -> set[str]:
    """Return the units of the table that a text names, in the form of `read_unit`; words of no table are none.

    "kilometers per hour" has two of them, and "square centimeters" is one.
    """
    powers, words = _parts(text.strip().translate(_SUPERSCRIPTS))
    return {name if power == 1 else f"{name}^{power}" for name, power in (powers or {}).items()} if not words else set()


def units_agree(one: str, other: str) -> bool:
    """Whether two units, as `read_unit` returns them, can stand for the same thing; no unit agrees with every unit.

    Plain words agree when they share one: "red apples" are "apples".
    """
    if not one or not other or one == other or "unit" in (one, other):
        return True
    return bool(set(one.split()) & set(other.split())) and "·" not in one + other
