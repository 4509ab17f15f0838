"""Faults in the files of published video datasets cost a row, or are named; none ends in a traceback."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from video_releases import ONE_FILM, clevrer, nextqa, write_csv, write_json, write_video

from mmreflect.data.store import open_dataset
from mmreflect.layouts._files import UnusableError, number_at, optional_number, pair

Cli = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("film") / "film.mp4", 2)


def put(film: Path, *paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(film.read_bytes())


def build(run_cli: Cli, root: Path, layout: dict[str, Any]) -> tuple[int, str]:
    output = str(root / "out")
    code, text = run_cli("build", {"builder": "videos", "output": output, "sources": [{"layout": layout}], **ONE_FILM})
    assert "Traceback" not in text
    return code, " ".join(text.split())


def answers(root: Path) -> dict[str, str]:
    return {row["id"]: row["answer"] for row in open_dataset(str(root / "out")).rows("train")}


def changed(source: dict[str, Any], given: list[str], **columns: str) -> None:
    """Put other answers into the table of NExT-QA, and the same texts into a column of every row."""
    rows = list(csv.DictReader(Path(source["annotations"]).read_text().splitlines()))
    for row, answer in zip(rows, given, strict=False):
        row["answer"] = answer
    write_csv(Path(source["annotations"]), [row | columns for row in rows])


@pytest.fixture
def asked(tmp_path: Path, film: Path) -> dict[str, Any]:
    source = nextqa(tmp_path)
    put(film, tmp_path / "vidor/0101/401.mp4", tmp_path / "vidor/0016/402.mp4")
    return source


def test_a_quote_that_is_not_closed_is_named_with_its_line(run_cli: Cli, tmp_path: Path, asked: dict[str, Any]) -> None:
    table = Path(asked["annotations"])
    whole = table.read_text()
    table.write_text(whole + '405,300,64,48,"why\n')
    code, text = build(run_cli, tmp_path, asked)
    assert code == 2 and "train.csv is no table (line" in text and "unexpected end of data" in text
    table.write_text(whole + '405,300,64,48,"why' + "x" * 140_000)
    code, text = build(run_cli, tmp_path, asked)
    assert code == 2 and "train.csv is no table (line" in text and "the table of NExT-QA" in text
    assert "is a quote not closed? download it again" in text


def test_one_text_among_numbers_is_read_as_a_text(run_cli: Cli, tmp_path: Path, asked: dict[str, Any]) -> None:
    changed(asked, ["1", "five", "0"])
    assert build(run_cli, tmp_path, asked)[0] == 0
    assert answers(tmp_path) == {"nextqa-401-6": "B", "nextqa-401-7": "E", "nextqa-402-6": "A"}


def test_one_number_among_texts_is_read_as_a_number(run_cli: Cli, tmp_path: Path, asked: dict[str, Any]) -> None:
    changed(asked, ["one", "five", "3", "one", "", "three", "one"])
    assert build(run_cli, tmp_path, asked)[0] == 0
    assert answers(tmp_path) == {"nextqa-401-6": "A", "nextqa-401-7": "E", "nextqa-402-6": "D"}


@pytest.mark.parametrize(("others", "answer"), [("0", "C"), ("five", "B")])
def test_an_answer_that_could_be_both_is_read_like_most_of_its_file(
    others: str, answer: str, run_cli: Cli, tmp_path: Path, asked: dict[str, Any]
) -> None:
    """The option at place 1 is the text "2", and the one at place 2 is "three"."""
    changed(asked, ["2", *[others] * 6], a1="2")
    assert build(run_cli, tmp_path, asked)[0] == 0
    assert answers(tmp_path)["nextqa-401-6"] == answer


def test_a_name_of_thousands_of_digits_costs_its_row(run_cli: Cli, tmp_path: Path, film: Path) -> None:
    source = clevrer(tmp_path)
    put(film, tmp_path / "clevrer/video_00000.mp4", tmp_path / "clevrer/video_\u00b2.mp4")
    asked = [{"question_id": 0, "question": "How many?", "question_type": "descriptive", "answer": "3"}]
    names = ["video_00000.mp4", f"video_{'9' * 5000}.mp4", "video_\u00b2.mp4"]
    rows = [{"scene_index": 0, "video_filename": name, "questions": asked} for name in names]
    write_json(Path(source["annotations"]), rows)
    code, text = build(run_cli, tmp_path, source)
    assert code == 0 and "dropped 1: the video's name is too long for a file (1)" in text, text
    assert set(answers(tmp_path)) == {"clevrer-00000-0", "clevrer-\u00b2-0"}


def test_an_integer_of_hundreds_of_digits_is_no_number() -> None:
    huge = 10**400
    with pytest.raises(UnusableError, match="no number 'duration'"):
        number_at({"duration": huge}, "duration")
    with pytest.raises(UnusableError, match="no interval 'clue'"):
        pair([0, huge], "clue")
    assert optional_number({"duration": huge}, "duration") is None
