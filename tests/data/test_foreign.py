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


def test_unmarked_media_stand_before_and_a_mark_without_media_is_text() -> None:
    made = read({"question": "What is it?", "video": "a.mp4"})
    assert [part["type"] for part in made.messages[0]["content"]] == ["video", "text"]
    made = read({"question": "What does the tag <image> mean?"})
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
    ({"messages": "hello"}, {}, "a list is wanted, and there is str"),
    ({"prompt": [], "chosen": "a", "rejected": "b"}, {}, "a pair lacks"),
]


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
