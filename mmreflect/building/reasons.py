"""Why rows are rejected, in words that are the same for all such rows: what a manifest counts."""

import re

from mmreflect.data.foreign import COLUMNS

_PLACE = re.compile(r"(?:^|(?<=: ))(?:row (?:'[^']*'|\"[^\"]*\"|\d+): |[^:]*, (?:line|row) \d+(?:: | (?=is )))")
_ROW = re.compile(r"\brow (?:'[^']*'|\"[^\"]*\"|\d+)")
_ASIDE = re.compile(r"\s*\((?!s\))[^()]*(?:\([^()]*\)[^()]*)*\)")
_VALUE = re.compile(r"\[.*\]|\{.*\}", re.DOTALL)
_PATH = re.compile(r"(?:(?<=\s)|^)\S*[/\\]\S*?(?=[:,;]?(?:\s|$))")
_QUOTED = re.compile(r"(?<!column )(?<!\w)(?:'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\")(?!\w)", re.DOTALL)
_LONGEST, _GAP = 200, "…"
_NUMBER = re.compile(r"(?<![\w<])-?\d[\d,.]*(?!\w)")
_NOTHING_SAID = re.compile(rf" is (?:{_GAP}|N|None|True|False)$")
_NAMES = {*COLUMNS, "role", "content", "type", "text", "path"}


def general_words(reason: str, *own: object) -> str:
    """Return a reason without what tells its row apart: ids, paths, numbers, and values as they stand in the row.

    Args:
        own: paths and the like that the row is known to hold, which may have blanks in them.
    """
    text = reason
    for item in sorted({str(item) for item in own if str(item)}, key=len, reverse=True):
        text = text.replace(item, "/")
    text = _ROW.sub("the row", _PLACE.sub("", text))
    text = _QUOTED.sub(_kept, _VALUE.sub(_GAP, _ASIDE.sub("", text)))
    text = " ".join(_NUMBER.sub("N", _PATH.sub(_GAP, text)).split())
    return text.removesuffix(_GAP).rstrip(" :,;")[:_LONGEST] if text.endswith(f": {_GAP}") else text[:_LONGEST]


def told_by(reason: str, expected: str) -> str:
    """Return a reason of which only "X is …" is left as "X is not ...", in words of what was expected."""
    return _NOTHING_SAID.sub(lambda _: f" is not {expected}", reason) if expected else reason


def _kept(quoted: re.Match[str]) -> str:
    return quoted.group() if (quoted[1] or quoted[2]) in _NAMES else _GAP
