"""Evaluation sets in the layouts that they are published in, and rows of them that nobody could have meant."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from quality.planted import Rows, kept, rejects, row, scene

from mmreflect.cli import main
from mmreflect.data.store import open_dataset
from mmreflect.errors import UserError
from mmreflect.quality.foreign import check_foreign, read_foreign

Cli = Callable[..., tuple[int, str]]
Build = Callable[..., dict[str, Any]]
PICTURE = "a picture stands in an evaluation set"
QUESTION = "the question stands in an evaluation set"
ASKED = "How many of the seven old boats are in the harbour?"


def content(tmp_path: Path, name: str) -> bytes:
    return (tmp_path / "in" / name).read_bytes()


def url(found: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(found).decode()}"


def user(*parts: Any) -> list[dict[str, Any]]:
    return [{"role": "human", "content": list(parts)}]


SHOWN: dict[str, Callable[[bytes], dict[str, Any]]] = {
    "path": lambda found: {"question": "x?", "images": ["1.png"]},
    "one path": lambda found: {"question": "x?", "images": "1.png"},
    "one picture": lambda found: {"question": "x?", "image": "1.png"},
    "mapping": lambda found: {"question": "x?", "image": {"path": "1.png", "bytes": None}},
    "numbered": lambda found: {"question": "x?", "image_1": None, "image_2": "1.png"},
    "data URL": lambda found: {"question": "x?", "images": [url(found)]},
    "base64": lambda found: {"question": "x?", "image": base64.b64encode(found).decode()},
    "bytes in base64": lambda found: {"question": "x?", "images": [{"bytes": base64.b64encode(found).decode()}]},
    "part": lambda found: {"messages": user({"type": "image", "image": "1.png"}, {"type": "text", "text": "x?"})},
    "part of a request": lambda found: {"messages": user({"type": "image_url", "image_url": {"url": url(found)}})},
    "part of a prompt": lambda found: {"prompt": user({"type": "image", "path": "1.png", "text": None})},
}


@pytest.mark.parametrize("layout", SHOWN)
def test_a_picture_is_found_in_every_layout(layout: str, build: Build, tmp_path: Path) -> None:
    held = tmp_path / "in/held.jsonl"
    held.write_text(json.dumps(SHOWN[layout](content(tmp_path, "1.png"))) + "\n")
    rows = [row("a", "How many patches?", None, "4", "0.png"), row("b", "Of which colour?", None, "red", "1.png")]
    manifest = build(rows, against=[str(held)])
    assert rejects(tmp_path / "out")["b"]["reason"] == PICTURE and kept(tmp_path / "out") == ["a"]
    overlap = manifest["quality"]["compared"]["overlap"][str(held)]
    assert overlap["pictures"] == 1 and overlap["unread"] == 0 and "why_unread" not in overlap


TABLES: Rows = [
    {"id": "t1", "question": ASKED, "image": None, "level": 1},
    {"id": "t2", "question": "x?", "image": "1.png", "level": 2},
]


@pytest.mark.parametrize("kind", ["file", "folder", "folder of pictures", "prompt"])
def test_a_parquet_file_or_a_folder_of_them(kind: str, build: Build, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = [{**one, "image": one["image"] and {"bytes": content(tmp_path, "1.png"), "path": None}} for one in TABLES]
    if kind == "prompt":
        tables = [{"prompt": user({"type": "text", "text": one.pop("question")}), **one} for one in tables]
    (tmp_path / "set/data").mkdir(parents=True)
    for number, one in enumerate(tables):
        pq.write_table(
            pa.Table.from_pylist([one], pa.Table.from_pylist(tables).schema), tmp_path / f"set/data/{number}.parquet"
        )
    against = tmp_path / "set"
    if kind == "file":
        against = tmp_path / "all.parquet"
        pq.write_table(pa.Table.from_pylist(tables), against)
    elif kind == "folder of pictures":
        scene(3).save(tmp_path / "set/three.png")
    rows = [
        row("a", "How many patches?", None, "4", "0.png"),
        row("asked", f"{ASKED} ", None, "4"),
        row("shown", "Of which colour?", None, "red", "1.png"),
        row("other", "Of which colour?", None, "red", "3.png"),
    ]
    manifest = build(rows, against=[str(against)])
    found = {name: (line["reason"], line["of"]) for name, line in rejects(tmp_path / "out").items()}
    wanted = {"asked": (QUESTION, "t1"), "shown": (PICTURE, "t2")}
    if kind == "folder of pictures":
        wanted["other"] = (PICTURE, "three.png")
    assert found == wanted
    overlap = manifest["quality"]["compared"]["overlap"][str(against)]
    assert (overlap["questions"], overlap["pictures"], overlap["unread"]) == (2, 1 + (kind == "folder of pictures"), 0)


def test_a_row_whose_picture_is_missing_counts_by_its_question(build: Build, tmp_path: Path, run_cli: Cli) -> None:
    held = tmp_path / "held.jsonl"
    lines: Rows = [
        {"id": "gone", "question": ASKED, "images": ["gone.png"]},
        {"id": "web", "question": "Which web?", "image": "https://example.org/a.png"},
        {"id": "unread", "question": "Which path?", "image_path": "x/y.png"},
        {"id": "bot", "messages": [{"role": "bot", "content": "x"}]},
    ]
    held.write_text("".join(json.dumps(line) + "\n" for line in lines) + "no JSON\n")
    rows = [row("shown", ASKED, None, "4", "1.png"), row("web", "Which web?", None, "4", "2.png"), row("c", "C?", None)]
    manifest = build(rows, against=[str(held)])
    assert {name: line["of"] for name, line in rejects(tmp_path / "out").items()} == {"shown": "gone", "web": "web"}
    overlap = manifest["quality"]["compared"]["overlap"][str(held)]
    why = {
        "a line is no JSON object": 1,
        "a picture is an address on the web, and is not fetched": 1,
        "a picture is missing": 1,
        "a turn has a role that is none of ours": 1,
        "the column 'image_path', which may name a medium, is not read": 1,
    }
    assert overlap["why_unread"] == why and overlap["unread"] == 5 and overlap["rows_by_question_alone"] == 3
    code, text = run_cli("build", (tmp_path / "config.yaml").read_text(), f"output={tmp_path / 'again'}")
    said = " ".join(text.split())
    assert code == 0 and f"not compared, or not wholly of {held}:" in said and "a picture is missing (1)" in said
    assert "rows that count by their questions alone, whatever is shown with these: 3" in said
    assert main(["export", str(tmp_path / "out"), "format=card", f"output={tmp_path / 'card.md'}"]) == 0
    assert "why\\_unread, a picture is missing | 1 |" in (tmp_path / "card.md").read_text()


ODD: dict[str, tuple[dict[str, Any], list[str]]] = {
    "images of ints": ({"question": "a b", "images": [5]}, ["a picture is neither a path, nor bytes, nor a data URL"]),
    "images null": ({"question": "a b", "images": [None]}, ["a picture is neither a path, nor bytes, nor a data URL"]),
    "nested": ({"question": "a b", "images": [["x.png"]]}, ["a picture is neither a path, nor bytes, nor a data URL"]),
    "mapping": ({"question": "a b", "images": {"a": 1}}, ["a picture is neither a path, nor bytes, nor a data URL"]),
    "path null": ({"question": "a b", "images": [{"path": None}]}, ["a picture is neither a path, nor bytes, nor a data URL"]),
    "no bytes": ({"question": "a b", "images": [{"bytes": "eA=="}]}, ["a picture is missing"]),
    "name": ({"question": "a b", "images": ["\0" * 9]}, ["a picture is missing"]),
    "long name": ({"question": "a b", "images": ["x" * 300]}, ["a picture cannot be decoded, so that it is compared to the byte alone"]),
    "crop": ({"question": "a b", "images": [{"path": "p.png", "crop": [0, 0]}]}, ["a picture is no path, and no mapping with one"]),
    "empty crop": ({"question": "a b", "images": [{"path": "p.png", "crop": [3, 3, 3, 3]}]}, ["a part of a picture or video cannot be read"]),
    "videos int": ({"question": "a b", "videos": 5}, ["a video is neither a path, nor bytes, nor a data URL"]),
    "video start": ({"question": "a b", "videos": [{"start": 1}]}, ["a video is neither a path, nor bytes, nor a data URL"]),
    "video": ({"question": "a b", "video": "p.png"}, []),
    "video in bytes": ({"question": "a b", "video": {"bytes": "QUJD" * 30}}, []),
    "no picture": ({"question": "a b", "image": url(b"none")}, ["a picture cannot be decoded, so that it is compared to the byte alone"]),
    "prompt": ({"prompt": "What is it?", "answer": "3"}, []),
    "prompt int": ({"prompt": 5}, ["'prompt' is neither text nor a list of turns"]),
    "question list": ({"question": ["a"]}, ["'question' is neither text nor a list of turns"]),
    "messages text": ({"messages": "text"}, ["'messages' is neither text nor a list of turns"]),
    "no content": ({"messages": [{"role": "user"}]}, ["a turn is no mapping with role and content"]),
    "content null": ({"messages": [{"role": "user", "content": None}]}, ["the content of a turn is neither text nor a list of parts"]),
    "part": ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, ["a part of a turn is no text, image or video"]),
    "part of nothing": ({"messages": [{"role": "user", "content": [7]}]}, ["a part of a turn is no text, image or video"]),
    "system": ({"messages": [{"role": "system", "content": "s"}]}, ["no turn is the user's"]),
    "empty pair": ({"prompt": user({"type": "text", "text": "x"}), "rejected": [], "chosen": []}, []),
    "half a pair": ({"prompt": "x", "rejected": "s"}, []),
    "id": ({"id": [1], "question": "q"}, []),
    "facts": ({"question": "q", "facts": "none"}, []),
    "surrogate": ({"question": "q \ud800", "images": ["\ud800.png"]}, ["a picture is missing"]),
    "nothing": ({}, ["a row neither asks nor shows anything"]),
    "signs": ({"question": "?!"}, ["a row neither asks nor shows anything"]),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_no_row_ends_in_a_traceback(name: str, tmp_path: Path) -> None:
    """Each beside a good row, whose question counts in any case."""
    odd, reasons = ODD[name]
    scene(0).save(tmp_path / "p.png")
    file = tmp_path / "held.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in (odd, {"question": "zzz yyy"})))
    check_foreign(str(file))
    found = read_foreign(str(file))
    assert list(found.unread.elements()) == reasons and found.marks[-1].words is not None
    assert len(found.marks) == 2 or reasons


def test_rows_that_cannot_be_compared_are_refused_before_anything_is_built(tmp_path: Path, run_cli: Cli) -> None:
    (tmp_path / "q.jsonl").write_text(json.dumps({"question": "How many?", "answer": "3"}) + "\n")
    tree = {"builder": "rows", "source": str(tmp_path / "q.jsonl"), "output": str(tmp_path / "out"), "validation": 0.0}
    held = tmp_path / "held.jsonl"
    held.write_text(json.dumps({"prompt": 5}) + "\n")
    code, text = run_cli("build", tree, f"quality.against=[{held}]")
    said = " ".join(text.split())
    assert code == 2 and not (tmp_path / "out").exists()
    assert "of whose first rows none can be compared ('prompt' is neither text nor a list of turns)" in said
    held.write_text(json.dumps({"prompt": "What is it?", "answer": "3"}) + "\n")
    code, text = run_cli("build", tree, f"quality.against=[{held}]")
    assert code == 0 and "Traceback" not in text, text
    overlap = open_dataset(str(tmp_path / "out")).manifest["quality"]["compared"]["overlap"][str(held)]
    assert overlap == {"questions": 1, "pictures": 0, "unread": 0, "found": {}}


def test_a_broken_table_is_named_before_anything_is_built(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set/a.parquet").write_text("no")
    with pytest.raises(UserError, match=r"set/a\.parquet cannot be read"):
        check_foreign(str(tmp_path / "set"))
    with pytest.raises(UserError, match="in which no row can be read"):
        check_foreign(str(tmp_path / "set/a.parquet"))


def test_a_table_without_a_question_names_its_columns(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist([{"id": "1", "problem": "How many?", "gold": "3"}]), tmp_path / "a.parquet")
    with pytest.raises(UserError, match="whose rows have no question; their columns: id, problem, gold") as told:
        check_foreign(str(tmp_path / "a.parquet"))
    assert told.value.do == "rename 'problem' to 'question'"
