"""The forms in which a release is read: files of every type, layouts of folders, media and archives."""

import base64
import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import replica_making as making
from PIL import Image

from mmreflect.errors import UserError
from mmreflect.evaluation.releases import Release, questions
from mmreflect.evaluation.releases.shelf import ReleaseFiles

Open = Callable[..., Release]
Row = dict[str, Any]
SHOP = making.Shop()


def picture(number: int) -> str:
    return base64.b64encode(SHOP.picture(number)).decode()


def chart_rows(count: int = 3) -> list[Row]:
    return [
        {"type": "human_test", "question": f"How tall, {place}?", "answer": str(place), "image": f"images/{place}.png"}
        for place in range(count)
    ]


def with_pictures(folder: Path, count: int = 3) -> Path:
    making.write_all(folder / "images", {f"{place}.png": SHOP.picture(place) for place in range(count)})
    return folder


def texts(release: Release) -> list[str]:
    found = questions(release)
    assert not found.aside
    for place, question in enumerate(found.asked):
        with Image.open(question.sample.media[0].path) as opened:
            assert opened.size == (56, 42), place
    return [question.item.turns[0].content[1] for question in found.asked]  # type: ignore[misc]


ASKED = [f"How tall, {place}?\nAnswer the question with a single word." for place in range(3)]


@pytest.mark.parametrize("form", ["list.json", "keyed.json", "wrapped.json", "rows.jsonl", "rows.csv", "rows.tsv", "rows.parquet"])  # fmt: skip
def test_one_file_of_any_type(open_replica: Open, tmp_path: Path, form: str) -> None:
    rows, file = chart_rows(), with_pictures(tmp_path) / form
    if form == "rows.csv":
        making.write_csv(file, rows)
    elif form == "rows.tsv":  # pictures as base64, and the third row's is that of the first
        shown = [{"index": place, **row, "image": picture(place)} for place, row in enumerate(rows)]
        with open(file, "w", newline="") as opened:
            writer = csv.DictWriter(opened, list(shown[0]), delimiter="\t")
            writer.writeheader()
            writer.writerows([*shown[:2], {**shown[2], "image": "0"}])
    elif form == "rows.parquet":
        shown = [{**row, "image": SHOP.struct(place)} for place, row in enumerate(rows)]
        making.parquet(file, shown, {"image": making.PICTURE})
    else:
        forms: dict[str, Any] = {"list.json": rows, "keyed.json": {f"q{place}": row for place, row in enumerate(rows)}, "wrapped.json": {"version": 1, "data": rows}, "rows.jsonl": rows}  # fmt: skip
        making.write(file, forms[form])
    release = open_replica("chartqa", source=str(file))
    assert texts(release) == ASKED and release.count() == 3
    names = [question.id for question in questions(release).asked]
    assert names == (["q0", "q1", "q2"] if form == "keyed.json" else ["test-0", "test-1", "test-2"])
    if form == "rows.tsv":
        paths = [question.sample.media[0].path for question in questions(release).asked]
        assert paths[0] == paths[2] != paths[1]


def test_cells_of_text_are_read_as_their_columns_kinds(open_replica: Open, tmp_path: Path) -> None:
    rows = [
        {"id": "1", "question": "Which?", "options": "['red', 'blue']", "decoded_image": picture(1), "answer": "A", "level": "2", "subject": "algebra"},
        {"id": "2", "question": "How many?", "options": "[]", "decoded_image": picture(2), "answer": "7", "level": "3.0", "subject": "algebra"},
    ]  # fmt: skip
    making.write_csv(tmp_path / "test.csv", rows)
    first, second = open_replica("mathvision", source=str(tmp_path)).rows()
    assert (first["options"], first["level"], second["options"], second["level"]) == (["red", "blue"], 2, [], 3)
    assert (type(second["level"]), first["id"]) == (int, "1")


@pytest.mark.parametrize(
    "name",
    ["test-00000-of-00001.parquet", "data/test-00000-of-00001-0a1b.parquet", "test.parquet", "test/part.parquet", "mine.parquet", "data/mine.parquet"],
)  # fmt: skip
def test_folders_of_one_split(open_replica: Open, tmp_path: Path, name: str) -> None:
    rows = [{**row, "image": SHOP.struct(place)} for place, row in enumerate(chart_rows())]
    making.parquet(tmp_path / name, rows, {"image": making.PICTURE})
    assert texts(open_replica("chartqa", source=str(tmp_path))) == ASKED


@pytest.mark.parametrize("pattern", ["{}/test-00000-of-00001.parquet", "data/{}/test.parquet", "{}_test.parquet", "test/{}.parquet", "{}.parquet", "{}/test/0.parquet"])  # fmt: skip
def test_folders_of_configurations(open_replica: Open, releases: Path, tmp_path: Path, pattern: str) -> None:
    for config in ("Math", "Physics", "Chemistry", "Coding"):
        target = tmp_path / pattern.format(config)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(releases / "emma" / config / "test-00000-of-00001.parquet", target)
    release = open_replica("emma", source=str(tmp_path))
    assert release.configs == ("Math", "Physics", "Chemistry", "Coding") and release.count() == 20
    assert [question.id for question in questions(release).asked][5] == "physics_0"


def test_one_table_for_all_configurations(open_replica: Open, releases: Path, tmp_path: Path) -> None:
    table = pq.read_table(releases / "emma/Math/test-00000-of-00001.parquet")
    pq.write_table(table, tmp_path / "test.parquet")
    release = open_replica("emma", source=str(tmp_path))
    assert (release.configs, release.count()) == ((), 5)


def test_a_table_of_vlmevalkit(open_replica: Open, tmp_path: Path) -> None:
    rows = [
        {"index": "5", "hint": "Look closely.", "question": "Which bar?", "A": "red", "B": "blue", "C": "", "answer": "B", "category": "bars", "image": picture(1)},
        {"index": "6", "hint": "", "question": "How many?", "A": "", "B": "", "C": "", "answer": "4", "category": "bars", "image": str([picture(1), picture(2)])},
    ]  # fmt: skip
    with open(tmp_path / "MINE.tsv", "w", newline="") as opened:
        writer = csv.DictWriter(opened, list(rows[0]), delimiter="\t")
        writer.writeheader()
        writer.writerows(rows)
    first, second = questions(open_replica("jsonl", source=str(tmp_path / "MINE.tsv"))).asked
    assert (
        first.item.turns[0].content[1:] == ["Look closely.\nWhich bar?\n(A) red\n(B) blue"] and first.sample.gold == "B"
    )
    assert [len(question.sample.media) for question in (first, second)] == [1, 2]
    assert second.id == "6" and second.item.turns[0].content[2] == "How many?" and "image" not in first.row


def test_relative_paths_become_absolute(
    open_replica: Open, releases: Path, release_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(releases)
    found = questions(
        open_replica("charades_sta", source="charades_sta", media="charades_sta/Charades_v1_480", limit=1)
    )
    assert found.asked[0].sample.media[0].path == str(releases / "charades_sta/Charades_v1_480/CH0.mp4")


@pytest.mark.parametrize("whole", [True, False])
def test_what_save_to_disk_wrote(open_replica: Open, tmp_path: Path, whole: bool) -> None:
    import datasets

    rows = [{**row, "image": SHOP.struct(place)} for place, row in enumerate(chart_rows())]
    features = datasets.Features(
        {"type": datasets.Value("string"), "question": datasets.Value("string"), "answer": datasets.Value("string"), "image": datasets.Image()}
    )  # fmt: skip
    table = datasets.Dataset.from_list(rows, features=features)
    (datasets.DatasetDict({"test": table}) if whole else table).save_to_disk(tmp_path / "saved")
    release = open_replica("chartqa", source=str(tmp_path / "saved"))
    assert release.count() == 3 and texts(release) == ASKED


def test_rows_that_are_there_twice_are_read_once(open_replica: Open, releases: Path, tmp_path: Path) -> None:
    shutil.copy(releases / "mathverse/testmini.parquet", tmp_path)
    rows = pq.read_table(tmp_path / "testmini.parquet").to_pylist()
    making.write(
        tmp_path / "testmini.json", [{**row, "image": f"images/{place}.png"} for place, row in enumerate(rows)]
    )
    release = open_replica("mathverse", source=str(tmp_path))
    assert release.count() == len(questions(release).asked) == 20


def test_other_names_of_a_copy(open_replica: Open, tmp_path: Path) -> None:
    rows = [
        {"query": "How tall, 0?", "label": ["12"], "human_or_machine": 0, "image": SHOP.struct(0)},
        {"query": "How tall, 1?", "label": ["13"], "human_or_machine": 1, "image": SHOP.struct(1)},
    ]
    making.parquet(tmp_path / "test.parquet", rows, {"image": making.PICTURE})
    release = open_replica("chartqa", source=str(tmp_path))
    assert texts(release) == ASKED[:2]
    assert [(row["type"], row["answer"]) for row in release.rows()] == [("human_test", "12"), ("augmented_test", "13")]
    one = {"video_name": "a.mp4", "duration": 2.0, "question": "What moves?\n(A) a bar\n(B) a ball", "answer": "B", "task_type": "count"}  # fmt: skip
    making.write(tmp_path / "mlvu/dev.json", [one])
    making.write_all(tmp_path / "mlvu", {"a.mp4": SHOP.film(2)})
    (question,) = questions(open_replica("mlvu", source=str(tmp_path / "mlvu"))).asked
    assert question.item.turns[1].content[1] == "Question: What moves?\nOptions:\n(A) a bar\n(B) a ball\nOnly give the best option."  # fmt: skip
    assert (question.item.gold, question.row["question_type"]) == ("B", "count")


def test_media_may_lie_elsewhere(open_replica: Open, releases: Path, tmp_path: Path) -> None:
    shutil.copy(releases / "charades_sta_json/charades_test.json", tmp_path / "charades_test.json")
    videos = str(releases / "charades_sta_json/Charades_v1_480")
    found = questions(open_replica("charades_sta_json", source=str(tmp_path), media=videos))
    assert len(found.asked) == 20 and found.asked[0].sample.media[0].path == f"{videos}/CH0.mp4"
    file = open_replica("charades_sta_json", source=str(tmp_path / "charades_test.json"), media=videos)
    assert len(questions(file).asked) == 20


@pytest.fixture
def files(tmp_path: Path) -> ReleaseFiles:
    (tmp_path / "media").mkdir()
    return ReleaseFiles(lambda: tmp_path / "media", cache=tmp_path / "cache", max_frames=4)


def test_pictures_in_every_form(files: ReleaseFiles, tmp_path: Path) -> None:
    content = SHOP.picture(1)
    making.write_all(tmp_path / "media/images", {"a.png": content})
    drawn = Image.open(io.BytesIO(content))
    coded = base64.b64encode(content).decode()
    forms: list[Any] = [
        content,
        bytearray(content),
        {"bytes": content, "path": "b.png"},
        coded,
        f"data:image/png;base64,{coded}",
    ]
    assert len({files.picture(value, "x").path for value in forms}) == 1
    named = [files.picture(value, "x").path for value in ("images/a.png", "a.png", {"bytes": None, "path": "a.png"}, tmp_path / "media/images/a.png")]  # fmt: skip
    assert set(named) == {str(tmp_path / "media/images/a.png")}
    for mode in ("RGB", "RGBA", "P", "L", "CMYK"):
        path = files.picture(drawn.convert(mode), "x").path
        with Image.open(path) as opened:
            assert (opened.mode, opened.size) == ("RGB" if mode == "CMYK" else mode, (56, 42))
    assert Path(files.picture(SHOP.picture(2, form="WEBP"), "x").path).suffix == ".webp"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "picture 'x' is null"), (7, "picture 'x' is int"), (b"", "the picture is empty"), ("images/none.png", "no such picture: images/none.png"),
        ("no path!", "picture 'x' is the text 'no path!'"), (SHOP.picture(1)[:60], "the picture cannot be decoded"), (b"<html>", "not a picture"),
        ({"bytes": None, "path": None}, "picture 'x' is NoneType"),
    ],
)  # fmt: skip
def test_pictures_that_are_none(files: ReleaseFiles, value: Any, said: str) -> None:
    for _ in range(2):  # the second time the reason is remembered
        with pytest.raises(UserError) as caught:
            files.picture(value, "x")
        assert said in caught.value.given


def test_videos_by_path_end_name_and_stem(files: ReleaseFiles, tmp_path: Path) -> None:
    film = SHOP.film(2)
    making.write_all(tmp_path / "media", {"one/a.b.MP4": film, "one/c.mkv": film, "two/c.mkv": film, "three/d.mp4": film, "three/d.webm": film, "four/a.b.MP4": film})  # fmt: skip
    making.write_all(tmp_path / "media", {"two/c.mkv": SHOP.film(5), "three/d.webm": SHOP.film(5)})
    assert files.video("a.b").path.endswith("four/a.b.MP4")  # the first of two copies
    assert files.video("x/one/a.b.mp4").path.endswith("one/a.b.MP4")
    assert files.video("two/c").path.endswith("two/c.mkv") and files.video("d.webm").path.endswith("three/d.webm")
    assert files.length(files.video("a.b")) == (8, 4.0)
    for name, said in (("c", "video 'c' stands for 2 files: "), ("d", "video 'd' stands for 2 files: "), ("e", "no such video: e (in ")):  # fmt: skip
        with pytest.raises(UserError) as caught:
            files.video(name)
        assert said in caught.value.given
    making.write_all(tmp_path / "media/frames", {"00001.jpg": SHOP.picture(1, form="JPEG")})
    with pytest.raises(UserError) as caught:
        files.video("frames")
    assert "is a folder of frames, and the release states no rate" in caught.value.given


def test_subtitles_in_three_forms(files: ReleaseFiles, tmp_path: Path) -> None:
    clock = [{"start": "00:01:01.500", "end": "00:01:02", "line": " Hello. "}]
    pair = [{"timestamp": [0.5, 2], "text": "One."}, {"timestamp": [3, None], "text": "Two."}]
    made = {"a.srt": making.srt().replace("\n", "\r\n").encode(), "b.json": json.dumps(clock).encode(), "c.json": json.dumps(pair).encode(), "d.srt": b"", "bad.json": b"{}x",
            "odd.json": b'[{"text": "no time"}]', "bad.srt": b"1\nnow --> then\nx\n", "none.srt": b"no time in it"}  # fmt: skip
    making.write_all(tmp_path / "media", made)

    def lines(name: str) -> list[tuple[float, float, str]]:
        return [(line.start, line.end, line.text) for line in files.subtitles(name)]

    assert lines("a") == [(0, 1, "Good morning."), (1.2, 1.7, "Two lines of one caption."), (600, 601, "Much later.")]
    assert lines("b.json") == [(61.5, 62, "Hello.")] and lines("c.json") == [
        (0.5, 2, "One."),
        (3, float("inf"), "Two."),
    ]
    assert lines("d") == [] and lines("without_any") == []
    for name, said in (("nowhere.json", "no such subtitle file"), ("bad.json", "cannot be read"), ("odd.json", "KeyError: 'start'"), ("none", "no span of time in it")):  # fmt: skip
        with pytest.raises(UserError) as caught:
            files.subtitles(name)
        assert said in caught.value.given
    with pytest.raises(UserError, match="is no span of time"):
        files.subtitles("bad.srt")


def test_a_release_without_any_subtitles(files: ReleaseFiles) -> None:
    with pytest.raises(UserError, match="no such subtitle file: x"):
        files.subtitles("x")


def test_archives_are_unpacked_once_and_stay_inside(files: ReleaseFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    film = SHOP.film(2)
    making.write_zip(tmp_path / "media/deep/a.zip", {"inner/a.mp4": film, "../../../escaped.mp4": film})
    packed = making.tar_bytes({"b.mp4": film})
    for place, name in enumerate(("b.tar.part.aa", "b.tar.part.ab", "b.tar.part.ac")):
        making.write(tmp_path / "media" / name, packed[place * len(packed) // 3 : (place + 1) * len(packed) // 3])
    for name in ("a", "b", "inner/a.mp4", "escaped"):
        assert (tmp_path / "cache/unpacked") in Path(files.video(name).path).parents
    assert "deep/inner/a.mp4" in files.video("a").path and not list(tmp_path.parent.glob("escaped.mp4"))
    assert capsys.readouterr().out.count("unpacking") == 2
    again = ReleaseFiles(lambda: tmp_path / "media", cache=tmp_path / "cache", max_frames=4)
    assert again.video("b").path == files.video("b").path and "unpacking" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "evil.tar"])
def test_broken_archives(files: ReleaseFiles, tmp_path: Path, name: str) -> None:
    evil = making.tar_bytes({"../../evil.mp4": b"x" * 2000})
    making.write(tmp_path / "media" / name, evil if name == "evil.tar" else evil[:700])
    for _ in range(2):
        with pytest.raises(UserError, match=f"the archive cannot be unpacked: .*{name}"):
            files.video("a")
    assert not list(tmp_path.rglob("evil.mp4")) and not list((tmp_path / "cache").rglob(".partial*"))
