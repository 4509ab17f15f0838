"""Other people's rows, and rows by their places: what is read, and what is refused by name."""

from pathlib import Path
from typing import Any

import pytest

from mmreflect.data.foreign import Stored, read_foreign
from mmreflect.data.index import RowIndex
from mmreflect.data.streams import parquet_length
from mmreflect.errors import UserError


def read(row: dict[str, Any], **more: Any) -> Any:
    return read_foreign(row, 7, more.get("folder", Path("/data")), more.get("columns", {}), more.get("facts", []))


def test_a_question_with_its_media_where_they_are_marked() -> None:
    row = {"question": "Is <image> like <image>?", "images": ["a.png", {"bytes": b"x", "path": "d/b.jpg"}], "answer": 3}
    made = read({**row, "options": ["yes", "no"], "response": "Yes."})
    assert [part["type"] for part in made.messages[0]["content"]] == ["text", "image", "text", "image", "text"]
    assert made.images == [Path("/data/a.png"), Stored(b"x", "b.jpg")] and made.answer == "3"
    assert made.id == "row-000007" and made.facts == {"options": ["yes", "no"]}
    assert made.messages[1] == {"role": "assistant", "content": [{"type": "text", "text": "Yes."}]}


def test_unmarked_media_stand_before_and_a_mark_is_text_where_no_pictures_are_taken() -> None:
    made = read({"question": "What is it?", "video": "a.mp4"})
    assert [part["type"] for part in made.messages[0]["content"]] == ["video", "text"]
    made = read({"question": "What does the tag <image> mean?", "images": []}, columns={"images": None})
    assert made.messages[0]["content"] == [{"type": "text", "text": "What does the tag <image> mean?"}]


def test_an_empty_list_beside_a_picture_is_no_second_name_of_it() -> None:
    for nothing in (None, []):
        assert read({"question": "q", "images": nothing, "image": "a.png"}).images == [Path("/data/a.png")]
    assert read({"question": "q", "image": "", "video": []}).images == []


def test_a_pair_with_a_prompt_in_text_has_its_picture_where_it_is_marked() -> None:
    made = read({"prompt": "See <image>. What?", "chosen": "a", "rejected": "b", "image": "a.png"})
    assert [part["type"] for part in made.messages[0]["content"]] == ["text", "image", "text"]
    made = read({"prompt": "What?", "chosen": "a", "rejected": "b", "image": "a.png"})
    assert [part["type"] for part in made.messages[0]["content"]] == ["image", "text"]
    made = read({"prompt": "What?", "chosen": "a", "rejected": "b"})
    assert made.messages[0]["content"] == [{"type": "text", "text": "What?"}] and made.rejected == "b"


def test_a_pair_whose_prompt_is_a_conversation() -> None:
    """As LLaMA-Factory writes preferences; each side is one turn."""
    spoken = [{"from": "human", "value": "<image>x"}]
    sides = {"chosen": {"from": "gpt", "value": "a"}, "rejected": {"from": "gpt", "value": "b"}}
    made = read({"conversations": spoken, **sides, "images": ["a.png"]})
    assert [turn["role"] for turn in made.messages] == ["user", "assistant"] and made.rejected == "b"
    assert made.messages[0]["content"] == [{"type": "image"}, {"type": "text", "text": "x"}]


def test_a_conversation_under_its_usual_name_with_its_system_turn() -> None:
    spoken = [{"from": "human", "value": "<image>x"}, {"from": "gpt", "value": "y"}]
    made = read({"messages": None, "conversations": spoken, "image": "a.png", "system": "Be short."})
    assert [turn["role"] for turn in made.messages] == ["system", "user", "assistant"]
    assert made.messages[1]["content"] == [{"type": "image"}, {"type": "text", "text": "x"}]


def test_messages_of_a_table_lose_its_empty_columns() -> None:
    parts = [{"type": "image", "text": None}, {"type": "text", "text": "How many?"}]
    made = read({"id": 5, "messages": [{"role": "user", "content": parts, "name": None}], "image": b"png"})
    assert made.messages == [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "How many?"}]}]
    assert made.id == "5" and made.images == [Stored(b"png", None)]


def test_columns_and_facts_by_their_names() -> None:
    row = {"qid": "x", "extra": {"a.b": 1}, "problem": "1 + 1?", "reward": {"truth": "2"}, "level": 3, "id": "bad"}
    made = read(row, columns={"id": None, "question": "problem", "answer": "reward.truth"}, facts=["level"])
    assert (made.id, made.answer, made.facts) == ("row-000007", "2", {"level": 3})


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def reply(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


def system(content: Any) -> dict[str, Any]:
    return {"role": "system", "content": content}


def test_a_pair_keeps_its_system_turn_wherever_it_is_said() -> None:
    sides = {"chosen": [system("S"), user("q"), reply("a")], "rejected": [user("q"), reply("b")]}
    for row in ({**PAIR, "system": "S"}, {**sides, "prompt": "q"}, {**sides, "prompt": [user("q")], "system": "S"}):
        made = read(row)
        assert [turn["role"] for turn in made.messages] == ["system", "user", "assistant"] and made.rejected == "b"
        assert made.messages[0]["content"] in ("S", [{"type": "text", "text": "S"}])


def test_a_pair_in_the_layouts_of_others() -> None:
    """TRL's without a prompt; a prompt that ends on the chosen reply; LLaMA-Factory's alpaca, with input and history."""
    whole = {"chosen": [user("q"), reply("a")], "rejected": [user("q"), reply("b")]}
    full = [user("q"), reply("a")]
    for row in (
        whole,
        {**whole, "prompt": "q\n", "messages": full},
        {"messages": full, "chosen": "a", "rejected": "b"},
    ):
        made = read(row)
        assert [turn["role"] for turn in made.messages] == ["user", "assistant"] and made.rejected == "b"
    alpaca = {
        "instruction": "Translate.",
        "input": "Guten Tag",
        "chosen": "a",
        "rejected": "b",
        "history": [["x", "y"]],
    }
    made = read(alpaca, columns={"question": "instruction"})
    assert [turn["content"][0]["text"] for turn in made.messages] == ["x", "y", "Translate.\nGuten Tag", "a"]


def test_an_instruction_has_its_input_behind_it() -> None:
    row = {"instruction": "Translate.", "input": "Guten Tag", "output": "Good day", "system": "Be short."}
    made = read(row, columns={"question": "instruction", "response": "output"})
    assert [turn["content"][0]["text"] for turn in made.messages] == ["Be short.", "Translate.\nGuten Tag", "Good day"]
    made = read({**row, "input": ""}, columns={"question": "instruction", "response": "output", "system": None})
    assert [turn["content"][0]["text"] for turn in made.messages] == ["Translate.", "Good day"]
    made = read(row, columns={"question": "instruction", "input": None})
    assert made.messages[-1]["content"][0]["text"] == "Translate."


def test_what_is_mapped_or_null_is_decided() -> None:
    """Learning from the chosen side alone, with and without its prompt; and messages beside a pair that is not taken."""
    row = {"prompt": "q", "chosen": [user("q"), reply("a")], "rejected": [user("q"), reply("b")]}
    for columns in ({"messages": "chosen", "rejected": None}, {"messages": "chosen", "rejected": None, "prompt": None}):
        made = read(row, columns=columns)
        assert made.messages == [user("q"), reply("a")] and made.rejected is None
    beside = {"messages": [user("q"), reply("a", think="z")], "chosen": "c", "rejected": "r", "tools": "[1]"}
    nulls = dict.fromkeys(("chosen", "rejected", "tools", "messages.think"))
    assert read(beside, columns=nulls).messages == [user("q"), reply("a")]


PAIR: dict[str, Any] = {"prompt": "q", "chosen": "a", "rejected": "b"}
REFUSED: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"question": " "}, {}, "the question is empty, or no text"),
    ({"question": "<image>", "images": ["a", "b"]}, {}, "the question marks other numbers of media"),
    ({"question": "q"}, {"columns": {"answer": "label"}}, "column 'label' is missing"),
    ({"question": "q"}, {"facts": ["level"]}, "column 'level' is missing"),
    ({"question": "q", "facts": [1]}, {}, "facts is no mapping ([1])"),
    ({"question": "q", "images": [3]}, {}, "image: int"),
    ({"question": "q", "images": ["a"], "image": "b"}, {}, "the row has both 'image' and 'images'"),
    ({"conversations": [{"from": "human", "value": "x"}], "tools": ["t"]}, {}, "the column 'tools' belongs"),
    ({"question": "q", "images": ["a.png"]}, {"folder": None}, "image: a path (a.png)"),
    ({"messages": [{"from": "human"}]}, {}, "a turn has no role and content"),
    ({"question": "What does the tag <image> mean?"}, {}, "the question marks other numbers of media"),
    ({**PAIR, "tools": "[{}]", "system": "Be terse."}, {}, "the column 'tools' belongs"),
    ({**PAIR, "prompt": "<img>0.png</img>what?"}, {}, "a turn names a picture in its text (<img>)"),
    ({**PAIR, "audios": ["x.wav"]}, {}, "the column 'audios' belongs"),
    ({**PAIR, "chosen": reply("a", weight=0)}, {}, "the column 'messages.weight' says"),
    ({"messages": [user("q"), reply("first")], "chosen": "a", "rejected": "b"}, {}, "the prompt of the pair ends on an answer"),
    ({**PAIR, "chosen": [user("other"), reply("x"), user("more"), reply("a")]}, {}, "the column 'chosen' holds turns before its reply"),
    ({**PAIR, "prompt": None, "chosen": [user("q"), reply("a")], "rejected": [user("r"), reply("b")]}, {}, "the column 'rejected' holds"),
    ({**PAIR, "chosen": [system("x"), user("q"), reply("a")], "rejected": [system("y"), user("q"), reply("b")]}, {}, "the column 'system' says something else"),
    ({**PAIR, "messages": [user("another")]}, {}, "the column 'messages' says something else"),
    ({**PAIR, "response": "c"}, {}, "the column 'response' stands beside"),
    ({**PAIR, "prompt": [user("q")], "history": [["a", "b"]]}, {}, "the column 'history' stands beside"),
    ({**PAIR, "rejected": []}, {}, "a pair lacks"),
    ({"messages": [user("q")], "rejected_response": "b"}, {}, "a side of the pair does not end on the assistant's turn"),
    ({"messages": [user("q"), reply("a")], "rejected_response": ["b"]}, {}, "the column 'rejected_response' belongs"),
    ({**PAIR, "chosen": [reply("x"), user("q")]}, {}, "a side of the pair does not end on the assistant's turn"),
    ({"messages": [user("q")], "chosen": "c", "rejected": "r"}, {"columns": {"rejected": None}}, "the column 'chosen' belongs"),
    ({"messages": "hello"}, {}, "a list is wanted, and there is str"),
    ({"prompt": [], "chosen": "a", "rejected": "b"}, {}, "a pair lacks"),
]  # fmt: skip


@pytest.mark.parametrize(("row", "more", "message"), REFUSED)
def test_what_is_refused(row: dict[str, Any], more: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        read(row, **more)
    assert message in caught.value.given


def test_rows_by_their_places(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"n": 0}\n\n{"n": 1}\n  \n{"n": 2}')
    (tmp_path / "b.jsonl").write_bytes('{"n": "ä"}\n[3]\n\xff\n'.encode("latin-1").replace(b"\xe4", "ä".encode()))
    rows = RowIndex([tmp_path / "a.jsonl", tmp_path / "b.jsonl"])
    assert len(rows) == 6 and [row["n"] for row in rows[:4]] == [0, 1, 2, "ä"] and rows[-6] == {"n": 0}
    for place, words in ((4, "b.jsonl, row 2: list"), (5, "b.jsonl, row 3 is not UTF-8 text")):
        with pytest.raises(UserError, match=words):
            rows[place]
    with pytest.raises(UserError, match="no such file"):
        RowIndex([tmp_path / "c.jsonl"])


def test_a_file_that_is_no_parquet(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("no")
    with pytest.raises(UserError, match="is no Parquet file"):
        parquet_length(tmp_path / "a.parquet")
    with pytest.raises(UserError, match="no such file"):
        parquet_length(tmp_path / "b.parquet")
