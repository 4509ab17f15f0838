"""What the columns of a dataset hold, as `datasets` declares it in the front matter of a README.

Without it the loader takes the types of all shards from the first rows of the first one, and ends at the first shard
whose facts have another key, or text where that had null. The shards stay as they were written: what is declared is the
union of what all of them hold, and the loader fills up what a row does not have.

Facts that no table can hold (a key with values of different kinds, hundreds of keys, text that looks like a date, which
the loader would turn into one) are declared as JSON, which the loader gives back as they are. That needs `datasets`
4.7; an integer beyond 64 bits is read as a float, and in JSON not at all.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmreflect.data.store import read_rows

JSON = {"dtype": "json"}
_MOST_KEYS, _DEEPEST = 200, 12
_DATE = re.compile(r"\d{4}-\d\d-\d\d(?:[ T][\d:.]+Z?)?")
_HALF = re.compile("[\ud800-\udfff]")
_EXACT = 2**53
"""Integers beyond it have no float of their own."""
_GROUPS = (("bool",), ("int", "long", "float"), ("string", "date", "half"))
_TEXT, _PATHS = {"dtype": "string"}, {"list": "string"}
_UNSEEN = {"id": _TEXT, "answer": _TEXT, "images": _PATHS, "videos": _PATHS}
"""Columns whose type is known though no row says anything there."""


@dataclass(slots=True)
class _Seen:
    """What stands at one place of all rows.

    Attributes:
        plain: kinds of the values that are neither mappings nor lists; `wide`, where there is too much to follow.
        fields: of the mappings there; `items`: what their lists hold. None where there is none.
    """

    plain: set[str] = field(default_factory=set)
    fields: "dict[str, _Seen] | None" = None
    items: "_Seen | None" = None

    def add(self, value: Any, depth: int = 0) -> None:
        """See one value more."""
        if value is None:
            return
        if depth > _DEEPEST:
            self.plain.add("wide")
        elif isinstance(value, dict):
            self.fields = {} if self.fields is None else self.fields
            for name, item in value.items():
                if name not in self.fields and len(self.fields) >= _MOST_KEYS:
                    self.plain.add("wide")
                else:
                    self.fields.setdefault(name, _Seen()).add(item, depth + 1)
        elif isinstance(value, list):
            self.items = self.items or _Seen()
            for item in value:
                self.items.add(item, depth + 1)
        else:
            self.plain.add(_kind(value))

    def mixed(self) -> bool:
        """Tell whether no one type holds what stands at this place itself."""
        groups = [group for group in _GROUPS if self.plain.intersection(group)]
        kinds = len(groups) + (self.fields is not None) + (self.items is not None)
        return kinds > 1 or "wide" in self.plain or {"long", "float"} <= self.plain

    def hostile(self) -> bool:
        """Tell whether something at or below this place would not come out of a table as it went in."""
        inner = [*(self.fields or {}).values(), *([self.items] if self.items else [])]
        return self.mixed() or bool(self.plain & {"date", "half"}) or any(one.hostile() for one in inner)

    def feature(self) -> dict[str, Any]:
        """Return the type in the form of a README."""
        if self.mixed() or self.plain == {"date"}:
            return JSON
        if self.fields is not None:
            return {"struct": _named(self.fields)}
        if self.items is not None:
            inner = self.items.feature()
            simple = inner.get("struct", inner["dtype"] if list(inner) == ["dtype"] else inner)
            return {"list": simple}
        if not self.plain:
            return {"dtype": "null"}
        if "float" in self.plain:
            return {"dtype": "float64"}
        return {"dtype": {"bool": "bool", "int": "int64", "long": "int64"}.get(min(self.plain), "string")}


def features_of(files: Iterable[Path]) -> list[dict[str, Any]]:
    """Return the columns of shards and their types, in the order in which they first stand there.

    Raises:
        UserError: a shard is missing, or a line of it is no JSON object.
    """
    columns: dict[str, _Seen] = {}
    for row in _rows(files):
        for name, value in row.items():
            columns.setdefault(name, _Seen()).add(value)
    if "facts" in columns and columns["facts"].hostile():
        columns["facts"].plain.add("wide")
    return _named(columns)


def holds_json(features: Any) -> bool:
    """Tell whether a column, or a part of one, is declared as JSON."""
    if isinstance(features, dict):
        return features.get("dtype") == "json" or holds_json([features.get("struct"), features.get("list")])
    return features == "json" or (isinstance(features, list) and any(holds_json(one) for one in features))


def _rows(files: Iterable[Path]) -> Iterator[dict[str, Any]]:
    for file in files:
        yield from read_rows(file)


def _named(columns: dict[str, _Seen]) -> list[dict[str, Any]]:
    return [{"name": name, **_type(name, seen)} for name, seen in columns.items()]


def _type(name: str, seen: _Seen) -> dict[str, Any]:
    found = seen.feature()
    return _UNSEEN.get(name, found) if found in ({"dtype": "null"}, {"list": "null"}) else found


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int" if abs(value) <= _EXACT else "long" if -(2**63) <= value < 2**63 else "float"
    if isinstance(value, float):
        return "float"
    if _DATE.fullmatch(value):
        return "date"
    return "string" if value.isascii() or not _HALF.search(value) else "half"
