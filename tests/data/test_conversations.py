"""Conversations as other tools write them: turns, names and marks, by hand and through the builders."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mmreflect.data.columns import check_taken, with_system
from mmreflect.data.conversations import our_turns, text_in, with_media, with_our_names
from mmreflect.data.store import open_dataset
from mmreflect.errors import UserError
from mmreflect.files import read_jsonl

Cli = Callable[..., tuple[int, str]]
Row = dict[str, Any]
ONE = {"image": 1, "video": 0}


def user(content: Any) -> Row:
    return {"role": "user", "content": content}


def test_from_and_value_become_role_and_content() -> None:
    turns = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b", "weight": 1}, {"from": "bot", "value": "c"}]
    assert our_turns(turns) == [
        user("a"),
        {"role": "assistant", "content": "b", "weight": 1},
        {"role": "bot", "content": "c"},
    ]
    odd = [{"from": "human"}, {"role": "user", "from": "x", "value": "y", "content": "z"}, 7]
    assert our_turns(odd) == odd and our_turns("text") == "text" and our_turns(None) is None


def test_names_become_ours_and_ours_stay() -> None:
    assert with_our_names({"conversations": [1], "image": "a", "video": ["b"]}) == {
        "messages": [1],
        "images": ["a"],
        "videos": ["b"],
    }
    nulls = {"messages": None, "question": None, "conversations": [1], "images": None, "image": "a", "videos": []}
    assert with_our_names(nulls) == {"messages": [1], "question": None, "images": ["a"], "videos": []}
    assert with_our_names({"image": {"path": "a"}, "images": []}) == {"images": [{"path": "a"}]}
    assert with_our_names({"image": "", "video": None, "question": "q"}) == {"question": "q"}
    row = {"messages": [2], "conversations": [1], "images": ["a"]}
    assert with_our_names(row) == row, "whether both say the same is asked later"
    assert with_our_names({"question": "q", "messages": [], "conversations": [1]}) == {"question": "q", "messages": [1]}
    with pytest.raises(UserError, match="the row has both 'image' and 'images'"):
        with_our_names({"image": "a", "images": ["b"]})


def test_a_system_turn_stands_first_and_only_once() -> None:
    system = {"role": "system", "content": "Be short."}
    assert with_system([user("x")], "Be short.") == [system, user("x")]
    assert with_system([system, user("x")], "Be  short.\n") == [system, user("x")]
    for nothing in (None, "", " ", [], {}):
        assert with_system([user("x")], nothing) == [user("x")]
    with pytest.raises(UserError, match="the column 'system' says something else than the system turn"):
        with_system([system, user("x")], "Other.")
    with pytest.raises(UserError, match=r"the column 'system' is no text \(\['a', 'b'\]\)"):
        with_system([user("x")], ["a", "b"])


def said(content: Any, **more: Any) -> Row:
    return {"role": "assistant", "content": content, **more}


REFUSED: list[tuple[Row, list[Row], str]] = [
    ({"tools": [{"name": "x"}]}, [user("x")], "the column 'tools' belongs to the conversation"),
    ({"audios": ["a.wav"]}, [user("<audio>x")], "the column 'audios' belongs"),
    ({"rejected": {"from": "gpt", "value": "no"}}, [user("x")], "the column 'rejected' belongs"),
    ({"rejected_response": "no"}, [user("x")], "the column 'rejected_response' belongs"),
    ({"objects": {"ref": []}}, [user("Where is <bbox>?")], "the column 'objects' belongs"),
    ({}, [user("Picture 1: <img>a.png</img> What?")], "a turn names a picture in its text"),
    ({"tools": '[{"name": "f"}]'}, [user("x")], "the column 'tools' belongs to the conversation"),
    (
        {},
        [user("x"), said("y", loss=False)],
        "the column 'messages.loss' says that a turn is to be learned less, or not",
    ),
    ({}, [user("x"), said("y", weight=0), said("z", weight=1)], "the column 'messages.weight' says"),
    ({}, [user("x"), said("y", loss_scale=0.5)], "the column 'messages.loss_scale' says"),
    ({}, [user("x"), said("y", reasoning_content="because")], "the column 'messages.reasoning_content' is not read"),
    ({}, [user("x"), said(None, tool_calls=[{"x": 1}])], "the column 'messages.tool_calls' is not read"),
    ({"label": False}, [user("x"), said("y")], "the column 'label' says that the answer is a bad one"),
    ({"kto_tag": 0}, [user("x"), said("y")], "the column 'kto_tag' says that the answer is a bad one"),
]


@pytest.mark.parametrize(("row", "turns", "said"), REFUSED)
def test_what_would_change_a_conversation_is_refused(row: Row, turns: list[Row], said: str) -> None:
    with pytest.raises(UserError, match=said):
        check_taken(row, turns)


def test_what_says_nothing_of_the_conversation_is_no_matter() -> None:
    check_taken({"tools": [], "audios": None, "objects": {"a": 1}, "level": 3}, [user("What is the tag <img> for?")])
    check_taken({}, [said("y", loss=True, weight=1.0, loss_scale=None, tool_calls=[], think={"a": None}), 7])
    check_taken({}, [{**user("x"), "weight": 0, "loss": False}, said("y")])
    for nothing in ("[]", " {} ", "", "null", {}):
        check_taken({"tools": nothing}, [user("x")])
    check_taken({"label": 0, "kto_tag": True, "rejected": {"from": None, "value": None}}, [user("x"), said("y")])
    check_taken({"label": False, "kto_tag": False}, [user("Is it a cat?")])
    check_taken({}, [said("y", think="z", loss=False)], ["messages.think", "messages.loss"])


def test_media_stand_where_they_are_marked() -> None:
    """By hand: `Is <image>like` cut at its mark; what is only space between marks is no text."""
    reply = {"role": "assistant", "content": "No."}
    turns = [user("Is <image>like\n<image> <video>"), reply, user("And now?")]
    assert with_media(turns, {"image": 2, "video": 1}) == [
        user(
            [
                {"type": "text", "text": "Is "},
                {"type": "image"},
                {"type": "text", "text": "like\n"},
                {"type": "image"},
                {"type": "video"},
            ]
        ),
        reply,
        user("And now?"),
    ]


def test_unmarked_media_stand_before_the_first_question() -> None:
    system = {"role": "system", "content": "Be short."}
    found = with_media([system, user("What?"), user("And?")], {"image": 1, "video": 1})
    assert found == [system, user([{"type": "image"}, {"type": "video"}, {"type": "text", "text": "What?"}]), user("And?")]  # fmt: skip


def test_turns_of_parts_and_rows_without_media_stay() -> None:
    for turns, media in (
        ([user([{"type": "image"}, {"type": "text", "text": "<image>?"}])], ONE),
        ([user([{"type": "text", "text": "x"}]), {"role": "assistant", "content": "<image>"}], ONE),
        ([user("What is the tag <image> for?")], {"video": 0}),
        ([user([{"type": "text", "text": "What is the tag <image> for?"}])], {"image": 0, "video": 0}),
        ([{"role": "system", "content": "Use <image>."}, user("x")], {"image": 0, "video": 0}),
        ([user([{"type": "text", "text": "x"}])], ONE),
        ([user("x"), 7], ONE),
    ):
        assert with_media(turns, media) == turns


def test_marks_in_answers_in_system_turns_and_of_kinds_that_do_not_count_are_text() -> None:
    reply = {"role": "assistant", "content": "It is <image> in SVG, <video> in HTML."}
    assert with_media([user("<image>What is <video>?"), reply], {"image": 1}) == [
        user([{"type": "image"}, {"type": "text", "text": "What is <video>?"}]),
        reply,
    ]
    system = {"role": "system", "content": "Pictures are marked <image>."}
    found = with_media([system, user("What?"), reply], ONE)
    assert found == [system, user([{"type": "image"}, {"type": "text", "text": "What?"}]), reply]
    parts = {"role": "assistant", "content": [{"type": "text", "text": "red"}]}
    assert with_media([user("<image>x"), parts], ONE) == [
        user([{"type": "image"}, {"type": "text", "text": "x"}]),
        parts,
    ]


def test_other_numbers_of_marks_are_refused() -> None:
    with pytest.raises(UserError) as told:
        with_media([user("<image><video>")], {"image": 2, "video": 1})
    assert told.value.given == "the question marks other numbers of media than there are"
    assert told.value.expected == "1 <image> for 2, 1 <video> for 1"
    with pytest.raises(UserError) as told:
        with_media([user("<image>\nWhat is shown?")], {"image": 0, "video": 0})
    assert told.value.expected == "1 <image> for 0"
    assert told.value.do.endswith("where the mark is text, write the turn as parts of type text")


def layouts(number: int) -> dict[str, Row]:
    """One question about one picture, as each tool writes it."""
    picture, question = f"{number}.png", f"What colour is {number}?"
    ours = [user([{"type": "image"}, {"type": "text", "text": question}]), {"role": "assistant", "content": "red"}]
    flat = [user(f"<image>{question}"), {"role": "assistant", "content": "red"}]
    spoken = [{"from": "human", "value": f"<image>{question}"}, {"from": "gpt", "value": "red"}]
    return {
        "ours": {"messages": ours, "images": [picture]},
        "ms_swift": {"messages": flat, "images": [picture]},
        "llava": {"conversations": spoken, "image": picture},
        "qwen": {"messages": spoken, "images": [picture]},
        "unmarked": {"messages": [user(question), flat[1]], "images": [picture]},
    }


@pytest.mark.parametrize("builder", ["rows", "mix"])
@pytest.mark.parametrize("layout", list(layouts(0)))
def test_a_set_of_each_tool_is_read(builder: str, layout: str, tmp_path: Path, run_cli: Cli) -> None:
    rows = [{"id": str(number), "answer": "red", **layouts(number)[layout]} for number in range(3)]
    rows.append(
        {
            **rows[0],
            "id": "two",
            "conversations": None,
            "messages": [user("<image> or <image>?"), user("x")],
            "image": None,
            "images": ["0.png"],
        }
    )
    for number in range(3):
        Image.new("RGB", (32, 32), (80 * number, 0, 90)).save(tmp_path / f"{number}.png")
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = str(tmp_path / "rows.jsonl")
    own: Row = {"source": source, "validation": 0.0} if builder == "rows" else {"sources": {"mine": {"path": source}}}
    code, text = run_cli("build", {"builder": builder, **own, "output": str(tmp_path / "out")})
    assert code == 0, text
    built = list(open_dataset(str(tmp_path / "out")).rows("train"))
    expected = [{"type": "image"}, {"type": "text", "text": "What colour is 0?"}]
    assert [part for part in built[0]["messages"][0]["content"] if part] == expected
    assert built[0]["messages"][1]["role"] == "assistant" and len(built) == 3
    for number, row in enumerate(built):
        assert (tmp_path / "out" / row["images"][0]).read_bytes() == (tmp_path / f"{number}.png").read_bytes()
    (bad,) = read_jsonl(tmp_path / "out/rejects/train-00000.jsonl")
    assert bad["reason"].endswith("the question marks other numbers of media than there are"), bad


def test_an_array_of_rows_is_read_and_questions_written_in_two_ways_stay_in_one_split(
    tmp_path: Path, run_cli: Cli
) -> None:
    asked = [f"What is {number}?" for number in range(12)]
    rows: list[Any] = [{"id": f"q{number}", "question": text, "response": "x"} for number, text in enumerate(asked)]
    rows += [
        {"id": f"c{number}", "system": None, "conversations": [{"from": "human", "value": text}, {"from": "gpt", "value": "y"}]}
        for number, text in enumerate(asked)
    ]  # fmt: skip
    rows += ["no row", {"id": None, "question": "Why?", "system": "Be short."}]
    rows.append({"id": "s", "system": "Be short.", "conversations": [{"from": "human", "value": "How?"}]})
    (tmp_path / "rows.json").write_text(json.dumps(rows, indent=1))
    tree = {
        "builder": "rows",
        "source": str(tmp_path / "rows.json"),
        "output": str(tmp_path / "out"),
        "validation": 0.4,
    }
    code, text = run_cli("build", {**tree, "quality": {"repeats": "count", "near_repeats": "off"}})
    assert code == 0, text
    splits = {split: [row["id"] for row in open_dataset(str(tmp_path / "out")).rows(split)] for split in ("train", "validation")}  # fmt: skip
    for number in range(12):
        assert sum({f"q{number}", f"c{number}"} <= set(ids) for ids in splits.values()) == 1
    assert "row-000025" in splits["train"] + splits["validation"] and len(splits["validation"]) > 3
    rows = [row for split in splits for row in open_dataset(str(tmp_path / "out")).rows(split)]
    (row,) = (row for row in rows if row["id"] == "s")
    assert row["messages"][0] == {"role": "system", "content": "Be short."}
    rejects = [line for file in (tmp_path / "out/rejects").glob("*.jsonl") for line in read_jsonl(file)]
    assert [line["reason"] for line in rejects] == ["an item is no row"]


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
        split: {[text for role, text in told(row) if role == "user"][-1].strip() for row in open_dataset(str(out)).rows(split)}
        for split in ("train", "validation")
    }  # fmt: skip
    assert not found["train"] & found["validation"] and found["train"] | found["validation"] == set(asked)
    assert len(found["validation"]) == 9, "30 % of 30"


def test_system_turns_tell_rows_apart_that_all_ask_the_same(tmp_path: Path, run_cli: Cli) -> None:
    rows = [{"question": "Sum it up.", "system": f"A text about {number}."} for number in range(10)]
    quality = {"repeats": "count", "near_repeats": "off"}
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    tree = {
        "builder": "rows",
        "source": str(file),
        "output": str(tmp_path / "out"),
        "validation": 0.2,
        "quality": quality,
    }
    code, text = run_cli("build", tree)
    assert code == 0, text
    assert "2 rows, which ask what train asks: all rows do, and their system turns alone tell them apart" in " ".join(text.split())  # fmt: skip
    assert sum(1 for _ in open_dataset(str(tmp_path / "out")).rows("validation")) == 2


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
