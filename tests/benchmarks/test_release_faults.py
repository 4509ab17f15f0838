"""What is wrong with a release is said with what was expected; what cannot be shown is set aside and counted."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import replica_making as making

from mmreflect.config import parse
from mmreflect.errors import UserError
from mmreflect.evaluation.releases import Release, ReleaseConfig, questions

Open = Callable[..., Release]
SHOP = making.Shop()
CHART = {"type": "human_test", "question": "How tall?", "answer": "1", "image": "0.png"}
VISION = {
    "id": "1",
    "question": "Which?",
    "options": [],
    "decoded_image": "0.png",
    "answer": "7",
    "level": 2,
    "subject": "algebra",
}


def refused(open_replica: Open, name: str, **settings: Any) -> str:
    """Open and read a release that must be refused, and return what is said on one line."""
    with pytest.raises(UserError) as caught:
        questions(open_replica(name, **settings))
    return " ".join(str(caught.value).split())


def written(folder: Path, name: str, content: Any) -> str:
    making.write(folder / name, content)
    making.write_all(folder, {"0.png": SHOP.picture(0)})
    return str(folder / name)


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("mmmu", {"split": "valid"}, "unknown split 'valid' expected: one of: dev, test, validation to do: did you mean 'validation'?"),
        ("mmmu", {"config": "Mathh"}, "unknown config 'Mathh' expected: one of: Accounting,"),
        ("mmmu", {"config": ["Math", "Math"]}, "config 'Math' stands twice expected: each once"),
        ("mmmu", {"config": []}, "config is an empty list expected: one name or several"),
        ("chartqa", {"config": "default"}, "config=default expected: no config: this benchmark has only one"),
        ("mathverse", {"style": "query"}, "unknown style of mathverse 'query' expected: one of: query_cot, query_wo to do: did you mean 'query_wo'?"),
        ("mmmu", {"revision": "main"}, "expected: a dataset on the Hub to do: remove the key"),
        ("mmmu", {"source": "./nowhere"}, "no such folder or file: source=./nowhere expected: a release, or a name on the Hub"),
        ("lvbench", {"media": "nowhere"}, "no such folder: media=nowhere expected: a folder of videos"),
        ("nextgqa", {"source": None}, "nextgqa is not on the Hub expected: a local folder or file with test.csv, gsub_test.json, videos to do: give it with source=FOLDER"),
        ("chartqa", {"shard": "21/21"}, "has no rows in this shard expected: at least one question of chartqa"),
    ],
)  # fmt: skip
def test_settings(open_replica: Open, name: str, settings: dict[str, Any], said: str) -> None:
    assert said in refused(open_replica, name, **settings)


@pytest.mark.parametrize("shard", ["0/4", "5/4", "1", "1/0", "a/b"])
def test_shards_that_are_none(shard: str) -> None:
    with pytest.raises(UserError, match=f"shard='{shard}' is no part of a whole; write 1/4 for the first of four"):
        parse(ReleaseConfig, {"shard": shard}, "release")


def test_folders_without_the_rows(open_replica: Open, releases: Path, tmp_path: Path) -> None:
    emma, chart = str(releases / "emma"), releases / "chartqa"
    assert "emma holds no rows of chartqa expected: its release, such as test-*.parquet" in refused(open_replica, "chartqa", source=emma)  # fmt: skip
    said = refused(open_replica, "mmmu", source=str(chart))
    assert "has no split 'validation' of mmmu expected: one of those that it has: test to do: name one of them (split=test)" in said  # fmt: skip
    shutil.copytree(releases / "emma", tmp_path / "emma")
    shutil.rmtree(tmp_path / "emma/Physics")
    said = refused(open_replica, "emma", source=str(tmp_path / "emma"))
    assert "has no rows of 'test' for 'Physics' expected: the 4 configurations of emma" in said
    assert "config=['Math', 'Chemistry', 'Coding']" in said
    shutil.copytree(releases / "nextgqa", tmp_path / "nextgqa")
    (tmp_path / "nextgqa/gsub_test.json").unlink()
    assert "gsub_test.json expected: a file of nextgqa's release to do: put it beside the rows" in refused(
        open_replica, "nextgqa", source=str(tmp_path / "nextgqa")
    )


@pytest.mark.parametrize(
    ("name", "benchmark", "content", "said"),
    [
        ("a.jsonl", "chartqa", [], "has no rows expected: at least one question of chartqa"),
        ("a.jsonl", "chartqa", [CHART, {key: value for key, value in CHART.items() if key != "question"} | {"Question": "x"}],
         "row 'test-1': column 'question' is missing expected: answer, image, question, type to do: rename 'Question'"),
        ("a.jsonl", "chartqa", [CHART | {"answer": 7}], "row 'test-0': column 'answer' holds int '7' expected: text"),
        ("a.jsonl", "chartqa", [CHART | {"answer": None}], "row 'test-0': column 'answer' holds null expected: text"),
        ("a.jsonl", "mathvision", [VISION | {"level": 2.5}], "row '1': column 'level' holds float '2.5' expected: integer"),
        ("a.csv", "mathvision", "id,question,options,decoded_image,answer,level,subject\n1,Which?,[],0.png,7,two,algebra\n", "column 'level' holds str 'two' expected: integer"),
        ("a.csv", "mathvision", "id,question,options,decoded_image,answer,level,subject\n1,Which?,[0.png,7,2,algebra\n", "a.csv, row 1 has another number of cells than the header"),
        ("a.jsonl", "mathvision", [{key: value for key, value in VISION.items() if key != "id"}], "column 'id' is missing"),
        ("a.jsonl", "chartqa", '{"type": \n', "line 1: not JSON"),
        ("a.json", "chartqa", "{", "a.json cannot be read ("),
        ("a.json", "chartqa", "[1, 2]", "a.json holds something else expected: a list of rows, or a mapping from key to row"),
        ("a.parquet", "chartqa", b"PAR1 and no more", "a.parquet cannot be read ("),
        ("a.arrow", "chartqa", b"no arrow either", "a.arrow cannot be read ("),
        ("a.csv", "chartqa", b"\xff\xfe\x00", "a.csv cannot be read ("),
        ("a.xlsx", "chartqa", b"", "is no table that can be read expected: a file of type .arrow, .csv, .json, .jsonl, .parquet, .tsv"),
        ("a.jsonl", "mathvision", [VISION, VISION, VISION | {"id": "2"}], "1 of the ids stand more than once, such as '1' expected: each id once"),
        ("a.json", "charades_sta", {"V": {"duration": 3, "timestamps": [[0, 1]], "sentences": ["a", "b"]}}, "record 1: V has 1 timestamps and 2 sentences expected: a record of charades_sta"),
        ("a.json", "activitynet_grounding", {"V": {"length": 3, "timestamp": [[0, 1]], "sentences": ["a"]}}, "record 1: no 'timestamps' expected: a record of activitynet_grounding to do: did you mean 'timestamps' where it says 'timestamp'?"),
        ("a.jsonl", "mmmu_pro", [{"id": "1", "options": "[]", "answer": "A", "subject": "Art"}], "record 1: no 'setting' expected: a record of mmmu_pro"),
        ("a.jsonl", "mvbench", [{"video": "a", "task": "dancing"}], "record 1: task is 'dancing', none of action_sequence,"),
        ("a.jsonl", "charxiv", [{"category": "cs"}], "validation, chart 1: column 'year' is missing"),
        ("a.jsonl", "jsonl", [{"question": "x"}], "record 1: no 'id' expected: a record of jsonl"),
        ("a.jsonl", "mlvu", [{"video": "a", "question": "Describe.", "candidates": None}], "has no rows"),
    ],
)  # fmt: skip
def test_files(open_replica: Open, tmp_path: Path, name: str, benchmark: str, content: Any, said: str) -> None:
    assert said in refused(open_replica, benchmark, source=written(tmp_path, name, content))


def test_charts_of_unknown_templates(open_replica: Open, releases: Path, tmp_path: Path) -> None:
    rows = pq.read_table(releases / "charxiv/val.parquet").to_pylist()
    rows[1]["descriptive_q2"] = 20
    making.parquet(tmp_path / "val.parquet", rows, {"image": making.PICTURE, "subplot_loc": making.TEXT})
    said = refused(open_replica, "charxiv", source=str(tmp_path))
    assert "record 2: descriptive_q2 is 20, the number of no template" in said


FAULTS: list[tuple[str, dict[str, Any], str]] = [
    ("jsonl", {"image": "none.png"}, "no such picture: none.png"),
    ("jsonl", {"image": "cut.png"}, "the picture cannot be decoded"),
    ("jsonl", {"image": "text.png"}, "not a picture"),
    ("jsonl", {"image": "empty.png"}, "not a picture"),
    ("jsonl", {"video": "none"}, "no such video: none"),
    ("jsonl", {"video": "cut.mp4"}, "the video is cut off"),
    ("jsonl", {"video": "twice"}, "video 'twice' stands for 2 files"),
    ("jsonl", {"video": 3}, "a video is '3', which is no path"),
    ("jsonl", {"images": "0.png"}, "images is '0.png', which is no list"),
    (
        "jsonl",
        {"question": "Is <image> like <image>?", "image": "0.png"},
        "the question marks 2 images, and the row has 1",
    ),
    ("jsonl", {"options": "red"}, "options='red'"),
    ("jsonl", {"answer_type": "numbr"}, "unknown answer_type 'numbr'"),
]


@pytest.mark.parametrize(("name", "fields", "reason"), FAULTS)
def test_questions_that_cannot_be_shown(
    open_replica: Open, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, fields: Any, reason: str
) -> None:
    good = [{"id": f"good{place}", "question": "How tall?", "image": "0.png", "answer": "1"} for place in range(3)]
    bad = {"id": "bad", "question": "How tall?", "answer": "1", **fields}
    source = written(tmp_path, "a.jsonl", [good[0], bad, *good[1:]])
    film = SHOP.film(2)
    media = {"cut.png": SHOP.picture(0)[:100], "text.png": b"<html>", "empty.png": b"", "cut.mp4": film[:400], "x/twice.mp4": film, "y/twice.mp4": SHOP.film(5)}  # fmt: skip
    making.write_all(tmp_path, media)
    report = tmp_path / "aside.jsonl"
    found = questions(open_replica(name, source=source, tolerate=0.25), report)
    assert [question.id for question in found.asked] == ["good0", "good1", "good2"]
    assert [item.id for item in found.aside] == ["bad"] and reason in found.aside[0].reason
    assert [json.loads(line) for line in report.read_text().splitlines()] == [{"id": "bad", "reason": found.aside[0].reason}]  # fmt: skip
    said = " ".join(capsys.readouterr().out.split())
    assert "set aside 1 question of 4; all in" in said and "bad: " in said
    said = refused(open_replica, name, source=source)
    assert "1 of 4 questions of" in said and "cannot be shown (25.0%); the first: bad: " in said
    assert "expected: at most 1.0% (tolerate) to do: add or repair the files, or raise tolerate" in said


def test_nothing_to_ask_is_refused_whatever_is_tolerated(open_replica: Open, tmp_path: Path) -> None:
    source = written(tmp_path, "a.jsonl", [CHART | {"image": "none.png"}])
    assert "1 of 1 questions of" in refused(open_replica, "chartqa", source=source, tolerate=1.0)


def test_existing_files_are_not_opened_if_so_told(open_replica: Open, tmp_path: Path) -> None:
    source = written(tmp_path, "a.jsonl", [CHART | {"image": "cut.png"}])
    making.write_all(tmp_path, {"cut.png": SHOP.picture(0)[:100]})
    assert len(questions(open_replica("chartqa", source=source, check="exists")).asked) == 1


@pytest.mark.parametrize(
    ("name", "lacking", "number", "reason"),
    [
        ("videomme", "videos_chunked_02.zip", 9, "no such video: -v4_Ab.c"),
        ("longvideobench", "subtitles.tar", 20, "no such subtitle file: vid0_en.json"),
        ("mvbench", "video/nturgbd.zip", 1, "no such video: nturgbd/fine_grained_pose.mp4"),
        ("videomme", "subtitle.zip", 21, "no such subtitle file: -v0_Ab.c"),
    ],
)  # fmt: skip
def test_what_was_not_downloaded(
    open_replica: Open, releases: Path, tmp_path: Path, name: str, lacking: str, number: int, reason: str
) -> None:
    shutil.copytree(releases / name, tmp_path / "release")
    (tmp_path / "release" / lacking).unlink()
    style = {"videomme": "with_subtitles"}.get(name)
    release = open_replica(name, source=str(tmp_path / "release"), style=style, tolerate=0.5)
    if number == release.count():
        said = refused(open_replica, name, source=str(tmp_path / "release"), style=style, tolerate=0.5)
        assert f"{number} of {number} questions" in said and reason in said
    else:
        found = questions(release)
        assert len(found.aside) == number and reason in found.aside[0].reason
    other = {"videomme": "without_subtitles", "longvideobench": "frames"}.get(name)
    if "subtitle" in lacking:  # a prompt without subtitles needs none
        assert not questions(open_replica(name, source=str(tmp_path / "release"), style=other)).aside


def test_pictures_that_a_row_marks_and_lacks(open_replica: Open, releases: Path, tmp_path: Path) -> None:
    rows = pq.read_table(releases / "mmmu/Art/dev-00000-of-00001.parquet").to_pylist()
    rows[0]["image_1"] = None
    types = {f"image_{number}": making.PICTURE for number in range(1, 8)}
    making.parquet(tmp_path / "dev.parquet", rows, types)
    assert "dev_Art_1: picture 'dev_Art_1_1' is null" in refused(open_replica, "mmmu", source=str(tmp_path), split="dev")  # fmt: skip


def test_a_row_without_what_its_prompt_needs(open_replica: Open, tmp_path: Path) -> None:
    rows = [
        {"video_id": "1", "question": "x", "dim": "speed", "answer": "yes", "task": task}
        for task in ("yes_no", "yesno")
    ]
    source = written(tmp_path, "test.jsonl", rows)
    making.write_all(tmp_path, {"1.mp4": SHOP.film(2)})
    (item,) = questions(open_replica("tempcompass", source=source, tolerate=0.5)).aside
    assert item.id == "yesno_1_1" and "task is 'yesno', none of multi-choice" in item.reason
    making.write(tmp_path / "safety.jsonl", [{"id": "1", "question": "x", "kind": "odd"}, {"id": "2", "question": "x", "kind": "benign"}])  # fmt: skip
    (item,) = questions(open_replica("safety", source=str(tmp_path / "safety.jsonl"), tolerate=0.5)).aside
    assert (item.id, item.reason) == ("1", "kind is 'odd', neither harmful nor benign")
