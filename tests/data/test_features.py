"""The types that a README declares for columns, by hand; what the loader does with them is in tests/publishing."""

import json
from pathlib import Path
from typing import Any

import pytest

from mmreflect.data.features import features_of, holds_json

JSON = {"dtype": "json"}


def told(folder: Path, *shards: list[dict[str, Any]]) -> dict[str, Any]:
    files = []
    for number, rows in enumerate(shards):
        files.append(folder / f"{number:05}.jsonl")
        files[-1].write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {one.pop("name"): one for one in features_of(files)}


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([1, None], {"dtype": "int64"}),
        ([1, 1.5], {"dtype": "float64"}),
        ([True, None], {"dtype": "bool"}),
        ([None, None], {"dtype": "null"}),
        ([None, "x"], {"dtype": "string"}),
        (["2024-01-31", "x"], {"dtype": "string"}),
        (["2024-01-31", "2024-01-31 10:00"], JSON),
        ([[], ["x"]], {"list": "string"}),
        ([[], [[1], []]], {"list": {"list": "int64"}}),
        ([[], [{"a": 1}, {"b": "x"}]], {"list": [{"name": "a", "dtype": "int64"}, {"name": "b", "dtype": "string"}]}),
        ([{"a": 1}, None, {"b": []}], {"struct": [{"name": "a", "dtype": "int64"}, {"name": "b", "list": "null"}]}),
        ([1, "x"], JSON),
        ([True, 1], JSON),
        ([1, [1]], JSON),
        ([[1, "x"]], {"list": "json"}),
        ([2**53, 1.5], {"dtype": "float64"}),
        ([2**53 + 1, 1], {"dtype": "int64"}),
        ([2**53 + 1, 1.5], JSON),
        ([2**63, 1], {"dtype": "float64"}),
    ],
)
def test_a_column_has_the_union_of_what_all_shards_hold(
    values: list[Any], dtype: dict[str, Any], tmp_path: Path
) -> None:
    assert told(tmp_path, *([{"x": value}] for value in values))["x"] == dtype


def deep(levels: int) -> dict[str, Any]:
    return {"x": deep(levels - 1)} if levels else {}


@pytest.mark.parametrize(
    "facts",
    [
        [{"a": 1}, {"a": "x"}],
        [{"a": {"b": [1]}}, {"a": {"b": ["x"]}}],
        [{"day": "2024-01-31", "a": 1}],
        [{"half": "\ud800"}],
        [{f"key {number}": 1 for number in range(201)}],
        [deep(14)],
    ],
)
def test_facts_that_no_table_holds_are_json_as_a_whole(facts: list[dict[str, Any]], tmp_path: Path) -> None:
    found = told(tmp_path, *([{"id": "a", "facts": one}] for one in facts))
    assert found == {"id": {"dtype": "string"}, "facts": JSON} and holds_json([found["facts"]])


def test_columns_without_values_have_their_types(tmp_path: Path) -> None:
    row: dict[str, Any] = {"id": "a", "images": [], "videos": [], "answer": None, "facts": {}, "more": None}
    assert told(tmp_path, [row]) == {
        "id": {"dtype": "string"},
        "images": {"list": "string"},
        "videos": {"list": "string"},
        "answer": {"dtype": "string"},
        "facts": {"struct": []},
        "more": {"dtype": "null"},
    }
    assert not holds_json(features_of([tmp_path / "00000.jsonl"]))
