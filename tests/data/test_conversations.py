"""Conversations as other tools write them: turns, names and marks, by hand and through the builders."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mmreflect.data.columns import check_opinions, check_taken, with_system
from mmreflect.data.conversations import our_turns, with_media, with_our_names
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
]


@pytest.mark.parametrize(("row", "turns", "said"), REFUSED)
def test_what_would_change_a_conversation_is_refused(row: Row, turns: list[Row], said: str) -> None:
    with pytest.raises(UserError, match=said):
        check_taken(row, turns)


def test_what_says_nothing_of_the_conversation_is_no_matter() -> None:
    check_taken({"tools": [], "audios": None, "objects": {"a": 1}, "level": 3}, [user("What is the tag <img> for?")])
    check_taken({}, [said("y", loss=True, weight=1.0, loss_scale=None, tool_calls=[], think={"a": None}), 7])
    check_taken({}, [{**user("x"), "weight": 0, "loss": False}, said("y")])
    check_taken({}, [said("y", id="m1", index=0, timestamp="2026-01-01", prefix=False)])
    for nothing in ("[]", " {} ", "", "null", {}):
        check_taken({"tools": nothing}, [user("x")])
    check_taken({"rejected": {"from": None, "value": None}}, [user("x"), said("y")])
    check_taken({}, [said("y", think="z", loss=False)], ["messages.think", "messages.loss"])


def test_an_answer_that_is_said_to_be_bad_is_none_to_learn() -> None:
    for bad in ({"label": False}, {"kto_tag": False}, {"kto_tag": 0}, {"kto_tag": "false"}):
        with pytest.raises(UserError, match=f"the column '{next(iter(bad))}' says that the answer is a bad one"):
            check_opinions(bad, [user("x"), said("y")])
    check_opinions({"label": 0, "kto_tag": True}, [user("Which class?"), said("0")])
    check_opinions({"label": False, "kto_tag": False}, [user("Is it a cat?")])


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
