"""What rows say beside their turns: taken, or refused by name; and in which split a question stands."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mmreflect.data.conversations import text_in
from mmreflect.data.store import open_dataset
from mmreflect.files import read_jsonl

Cli = Callable[..., tuple[int, str]]
Row = dict[str, Any]


def user(content: Any) -> Row:
    return {"role": "user", "content": content}


def said(content: Any, **more: Any) -> Row:
    return {"role": "assistant", "content": content, **more}


def build(builder: str, rows: list[Row], tmp_path: Path, run_cli: Cli, **more: Any) -> tuple[Path, dict[str, Row]]:
    """Build rows by a builder; return the folder, and the rejects by their rows' own ids."""
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    own: Row = {"sources": {"mine": {"path": str(file), **more}}}
    tree = {"builder": builder, "output": str(tmp_path / "out")}
    code, text = run_cli(
        "build", tree | (own if builder == "mix" else {"source": str(file), "validation": 0.0, **more})
    )
    assert code == 0 and "Traceback" not in text, text
    found = [line for file in (tmp_path / "out/rejects").glob("*.jsonl") for line in read_jsonl(file)]
    return tmp_path / "out", {line["id"].removeprefix("mine/"): line for line in found}


def told(row: Row) -> list[tuple[str, str]]:
    """The turns of a built row, as their roles and texts."""
    return [(turn["role"], text_in(turn)) for turn in row["messages"]]


TAKEN: dict[str, tuple[Row, list[tuple[str, str]]]] = {
    "system and history": (
        {"question": "and 3?", "response": "6", "system": "Be short.", "history": [["2 * 2?", "4"]]},
        [("system", "Be short."), ("user", "2 * 2?"), ("assistant", "4"), ("user", "and 3?"), ("assistant", "6")],
    ),
    "a response to a conversation": (
        {"messages": [user("q1")], "response": "the answer"},
        [("user", "q1"), ("assistant", "the answer")],
    ),
    "the same twice": (
        {"question": "q2", "prompt": " q2", "conversations": [{"from": "human", "value": "Look. q2"}, {"from": "gpt", "value": "a"}], "response": "a"},
        [("user", "Look. q2"), ("assistant", "a")],
    ),
    "no tools": ({"messages": [user("q3"), said("a")], "tools": "[]", "label": True}, [("user", "q3"), ("assistant", "a")]),
    "weights of one": ({"messages": [user("q4"), said("a", loss=True, weight=1)]}, [("user", "q4"), ("assistant", "a")]),
    "parts": (
        {"messages": [user([{"type": "text", "text": "What does <image> mean?"}])]},
        [("user", "What does <image> mean?")],
    ),
}  # fmt: skip
LEFT: dict[str, tuple[Row, str]] = {
    "loss": ({"messages": [user("q"), said("bad", loss=False), user("r"), said("good", loss=True)]}, "messages.loss"),
    "reasoning": ({"messages": [user("q"), said("a", reasoning_content="long")]}, "messages.reasoning_content"),
    "think": ({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a", "think": "b"}]}, "messages.think"),
    "history": ({"question": "q", "history": "earlier"}, "history"),
    "history beside turns": ({"messages": [user("q"), said("a")], "history": [["a", "b"]]}, "history"),
    "two questions": ({"question": "short", "conversations": [{"from": "human", "value": "the long form?"}]}, "question"),
    "two conversations": ({"messages": [user("q")], "conversations": [{"from": "human", "value": "other"}]}, "conversations"),
    "two answers": ({"messages": [user("q"), said("a")], "response": "b"}, "response"),
    "a system of two": ({"question": "q", "response": "a", "system": ["a", "b"]}, "system"),
    "two systems": ({"messages": [{"role": "system", "content": "x"}, user("q")], "system": "y"}, "system"),
    "a bad answer": ({"question": "q", "response": "bad", "label": False}, "label"),
    "a tag": ({"messages": [user("q"), said("bad")], "kto_tag": False}, "kto_tag"),
    "tools": ({"question": "q", "tools": '[{"name": "f"}]'}, "tools"),
    "input": ({"question": "Translate.", "input": "Guten Tag"}, "input"),
    "chosen alone": ({"question": "q", "chosen": "a"}, "chosen"),
}  # fmt: skip


@pytest.mark.parametrize("builder", ["rows", "mix"])
def test_what_a_row_says_is_taken_or_refused_by_its_name(builder: str, tmp_path: Path, run_cli: Cli) -> None:
    """A row whose picture is lost, in a conversation and in the short form, and a mark in a system turn, beside those."""
    Image.new("RGB", (32, 32), "red").save(tmp_path / "a.png")
    lost = {"conversations": [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "x"}]}
    shown = {"messages": [{"role": "system", "content": "Use <image> tags."}, user("What?")], "images": ["a.png"]}
    rows = [{"id": name, **row} for name, (row, _) in (TAKEN | LEFT).items()]
    rows += [{"id": "lost", **lost}, {"id": "short", "question": "<image>What?"}, {"id": "shown", **shown}]
    out, rejects = build(builder, rows, tmp_path, run_cli)
    assert set(rejects) == {*LEFT, "lost", "short"}
    for name, (_, column) in LEFT.items():
        assert f"the column {column!r} " in rejects[name]["reason"], rejects[name]
        assert "set it to null in `columns`" in rejects[name]["do"]
    assert rejects["lost"]["expected"] == rejects["short"]["expected"] == "1 <image> for 0"
    built = {row["id"].removeprefix("mine/"): row for row in open_dataset(str(out)).rows("train")}
    assert {name: told(row) for name, row in built.items() if name != "shown"} == {
        n: turns for n, (_, turns) in TAKEN.items()
    }
    assert [turn["content"] for turn in built["shown"]["messages"]] == [
        "Use <image> tags.",
        [{"type": "image"}, {"type": "text", "text": "What?"}],
    ]


def test_a_marked_picture_of_a_question_stands_where_it_is_marked(tmp_path: Path, run_cli: Cli) -> None:
    Image.new("RGB", (32, 32), "red").save(tmp_path / "a.png")
    row = {"id": "a", "question": "See <image>. What?", "images": ["a.png"], "system": "Be short."}
    out, _ = build("rows", [row], tmp_path, run_cli)
    (built,) = open_dataset(str(out)).rows("train")
    assert [part["type"] for part in built["messages"][1]["content"]] == ["text", "image", "text"]


def test_what_a_mixture_sets_to_null_is_decided(tmp_path: Path, run_cli: Cli) -> None:
    names = ("tools", "kto_tag", "history", "input", "messages.loss", "messages.think", "image")
    rows = [{"id": name, **LEFT[name][0]} for name in ("loss", "think", "tools", "a tag", "history", "input")]
    rows.append({"id": "mark", "question": "What is the tag <image> for?"})
    out, rejects = build("mix", rows, tmp_path, run_cli, columns=dict.fromkeys(names))
    assert not rejects
    assert {row["id"]: told(row) for row in open_dataset(str(out)).rows("train")} == {
        "mine/loss": [("user", "q"), ("assistant", "bad"), ("user", "r"), ("assistant", "good")],
        "mine/think": [("user", "q"), ("assistant", "a")],
        "mine/tools": [("user", "q")],
        "mine/a tag": [("user", "q"), ("assistant", "bad")],
        "mine/history": [("user", "q")],
        "mine/input": [("user", "Translate.")],
        "mine/mark": [("user", "What is the tag <image> for?")],
    }


WAYS: dict[str, Callable[[str], tuple[Row, Row]]] = {
    "system column and turn": lambda x: (
        {"messages": [user(x), said("a")], "system": "Be careful."},
        {"messages": [{"role": "system", "content": "Be careful."}, user(x), said("b")]},
    ),
    "system and none": lambda x: (
        {"messages": [user(x), said("a")]},
        {"messages": [{"role": "system", "content": "Be careful."}, user(x), said("b")]},
    ),
    "two systems": lambda x: ({"question": x, "system": "Be careful."}, {"question": x, "system": "Be short."}),
    "space behind": lambda x: ({"question": f"{x}\n", "response": "a"}, {"messages": [user(x), said("b")]}),
    "space alone": lambda x: ({"question": f"{x} \n", "response": "a"}, {"question": x, "response": "b"}),
    "space before": lambda x: (
        {"question": f"\n{x}", "response": "a"},
        {"conversations": [{"from": "human", "value": f"\n{x}"}, {"from": "gpt", "value": "b"}]},
    ),
    "history and turns": lambda x: (
        {"question": x, "response": "a", "history": [["Ready?", "Yes."]]},
        {"messages": [user("Ready?"), said("Yes."), user(x), said("b")]},
    ),
    "an opening": lambda x: (
        {"messages": [user(x), said("a")]},
        {"messages": [user(x), said("b"), user("Are you sure?"), said("yes")]},
    ),
    "parts": lambda x: ({"question": x}, {"messages": [user([{"type": "text", "text": x}]), said("b")]}),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_question_stands_in_one_split_however_it_is_written(way: str, tmp_path: Path, run_cli: Cli) -> None:
    """Thirty questions, each twice; every one must be in one split alone, and the build must not refuse its own split."""
    asked = [f"What is {number} plus {number + 7}?" for number in range(30)]
    rows = [row for text in asked for row in WAYS[way](text)]
    quality = {"repeats": "count", "near_repeats": "off"}
    out, rejects = build("rows", rows, tmp_path, run_cli, validation=0.3, quality=quality)
    assert not rejects
    found = {
        split: {text.strip() for row in open_dataset(str(out)).rows(split) for _, text in told(row) if text.strip() in asked}
        for split in ("train", "validation")
    }  # fmt: skip
    assert not found["train"] & found["validation"] and found["train"] | found["validation"] == set(asked)
    assert len(found["validation"]) == 9, "30 % of 30"


ONE_GROUP: dict[str, tuple[Callable[[int], Row], str]] = {
    "systems": (
        lambda number: {"question": "Sum it up.", "system": f"A text about {number}."},
        "which ask what train asks: all rows do, and their system turns alone tell them apart",
    ),
    "openings": (
        lambda number: {"messages": [user("Hello!"), said("Hi."), user(f"What is {number}?"), said("A number.")]},
        "which may begin as train's do: their first questions join all rows",
    ),
}


@pytest.mark.parametrize("name", ONE_GROUP)
def test_rows_that_are_one_group_are_told_apart_by_what_is_left_and_the_plan_says_so(
    name: str, tmp_path: Path, run_cli: Cli
) -> None:
    make, words = ONE_GROUP[name]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(make(number)) + "\n" for number in range(10)))
    tree = {"builder": "rows", "source": str(file), "output": str(tmp_path / "out"), "validation": 0.2}
    code, text = run_cli("build", {**tree, "quality": {"repeats": "count", "near_repeats": "off"}})
    assert code == 0 and f"2 rows, {words}" in " ".join(text.split()), text
    assert sum(1 for _ in open_dataset(str(tmp_path / "out")).rows("validation")) == 2


def test_rows_that_are_refused_are_no_validation(tmp_path: Path, run_cli: Cli) -> None:
    """Two good rows among thirty that are refused: one of the two is held out, whatever the seed draws."""
    rows = [{"id": f"bad-{number}", "question": f"What is {number}?", "tools": "[1]"} for number in range(30)]
    rows += [{"id": "a", "question": "How?"}, {"id": "b", "question": "Why?"}]
    out, rejects = build("rows", rows, tmp_path, run_cli, validation=0.01)
    assert len(rejects) == 30
    assert len(list(open_dataset(str(out)).rows("validation"))) == len(list(open_dataset(str(out)).rows("train"))) == 1


def test_an_evaluation_set_asks_in_every_layout(tmp_path: Path, run_cli: Cli) -> None:
    """A question behind its history; and a column that asks something else is counted, as it is not compared."""
    held = tmp_path / "held.jsonl"
    past = [["What is two by two?", "It is four."]]
    lines = [
        {"question": "And how much is that by three?", "history": past, "system": "Be short."},
        {
            "question": "Which bird sings there?",
            "conversations": [{"from": "human", "value": "Name the bird in full."}],
        },
        {"question": "How far is it?", "history": 7},
    ]
    held.write_text("".join(json.dumps(line) + "\n" for line in lines))
    turns = [user("What is two by two?"), said("It is four."), user("And how much is that by three?"), said("Twelve.")]
    rows = [{"id": "past", "messages": turns}, {"id": "bird", "question": "Which bird sings there?"}, {"id": "c", "question": "C?"}]  # fmt: skip
    out, rejects = build("rows", rows, tmp_path, run_cli, quality={"against": [str(held)]})
    assert set(rejects) == {"past", "bird"}
    overlap = open_dataset(str(out)).manifest["quality"]["compared"]["overlap"][str(held)]
    assert overlap["why_unread"] == {
        "the column 'history' is no list of questions and answers": 1,
        "the column 'conversations' asks something else than what is compared": 1,
    }
    assert "rows_by_question_alone" not in overlap


def test_pairs_of_a_mixture_are_whole_or_refused(tmp_path: Path, run_cli: Cli) -> None:
    spoken = {"conversations": [{"from": "human", "value": "q"}], "chosen": {"from": "gpt", "value": "good"}}
    pair = {**spoken, "rejected": {"from": "gpt", "value": "bad"}, "system": "Be terse."}
    rows: list[Row] = [
        {"id": "good", **pair},
        {"id": "swift", "messages": [user("r"), said("good")], "rejected_response": "bad"},
        {"id": "tools", **pair, "tools": "[{}]"},
        {
            "id": "answered",
            **pair,
            "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "other"}],
        },
        {"id": "context", **pair, "chosen": [user("other"), said("mid"), user("more"), said("good")]},
    ]
    out, rejects = build("mix", rows, tmp_path, run_cli)
    assert {name: line["reason"] for name, line in rejects.items()} == {
        "tools": "mine: the column 'tools' belongs to the conversation and is not read",
        "answered": "mine: the prompt of the pair ends on an answer, which is not the chosen one",
        "context": "mine: the column 'chosen' holds turns before its reply that are not those of the prompt",
    }
    good, swift = open_dataset(str(out)).rows("train")
    assert told({"messages": good["prompt"]}) == [("system", "Be terse."), ("user", "q")]
    assert text_in(good["rejected"][0]) == text_in(swift["rejected"][0]) == "bad"
    assert told({"messages": [*swift["prompt"], *swift["chosen"]]}) == [("user", "r"), ("assistant", "good")]


def test_the_chosen_side_alone_is_learned_where_columns_say_so(tmp_path: Path, run_cli: Cli) -> None:
    row = {"id": "a", "prompt": "q", "chosen": [user("q"), said("good")], "rejected": [user("q"), said("bad")]}
    out, _ = build("mix", [row], tmp_path, run_cli, columns={"messages": "chosen", "rejected": None})
    (built,) = open_dataset(str(out)).rows("train")
    assert told(built) == [("user", "q"), ("assistant", "good")] and "rejected" not in built


ODD: list[Any] = [
    None, "", [], {}, "x", 5, True, False, float("nan"), ["a"], [["a", "b"]], [["a", None]], {"a": 1}, "\ud800", [7],
    {"from": "gpt", "value": "a"}, said("a"), [user("x")], [user("x"), said("a")], [{"role": ["user"], "content": "x"}],
    [user([{"type": "text", "text": 5}, 3])], [{"role": "user"}], [{"from": "human", "value": "<image>x"}],
    [{"role": "system", "content": "s"}, {**user("x"), "loss": [1]}], [said("a", weight={"a": 1})],
]  # fmt: skip
NAMES = (
    "messages",
    "conversations",
    "question",
    "prompt",
    "chosen",
    "rejected",
    "response",
    "system",
    "history",
    "input",
)
NAMES += ("tools", "label", "kto_tag", "rejected_response", "objects", "images", "image")


@pytest.mark.parametrize("builder", ["rows", "mix"])
def test_odd_columns_end_in_a_reason(builder: str, tmp_path: Path, run_cli: Cli) -> None:
    """Six hundred rows of odd values in up to six columns, and one good row that stays."""
    draw = random.Random(builder)
    rows = [{name: draw.choice(ODD) for name in draw.sample(NAMES, draw.randint(1, 6))} for _ in range(600)]
    rows = [{"id": f"r{number}", **row} for number, row in enumerate(rows)]
    out, rejects = build(builder, [{"id": "good", "question": "How?"}, *rows], tmp_path, run_cli)
    kept = {row["id"].removeprefix("mine/") for row in open_dataset(str(out)).rows("train")}
    assert "good" in kept and not kept & set(rejects) and len(kept) + len(rejects) == 601
