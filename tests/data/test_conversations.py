"""Conversations as other tools write them: turns, names and marks, by hand and through the builders."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

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
    for row in ({"question": "q", "conversations": [1]}, {"image": "a", "images": []}, {"image": None}, {"image": 3}):
        assert with_our_names(row) == row


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
        ([user("What is the tag <image> for?")], {"image": 0, "video": 0}),
        ([user("x"), 7], ONE),
    ):
        assert with_media(turns, media) == turns


def test_other_numbers_of_marks_are_refused() -> None:
    with pytest.raises(UserError) as told:
        with_media([user("<image><video>")], {"image": 2, "video": 1})
    assert told.value.given == "the question marks other numbers of media than there are"
    assert told.value.expected == "1 <image> for 2, 1 <video> for 1"


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
    rows.append({**rows[0], "id": "two", "messages": [user("<image> or <image>?"), user("x")], "images": ["0.png"]})
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
