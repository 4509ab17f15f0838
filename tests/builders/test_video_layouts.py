"""Converters for published video datasets, on miniature releases with real, tiny videos."""

import csv
import hashlib
import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from video_releases import (
    EXPECTED,
    LAYOUTS,
    ONE_FILM,
    RELEASES,
    VIDEO_R1,
    activitynet_captions,
    cg_bench,
    charades_sta,
    clevrer,
    llava_video,
    nextqa,
    perception_test,
    rextime,
    star,
    timerft,
    video_r1,
    write_csv,
    write_json,
    write_video,
)

from mmreflect.data.loading import DataConfig, load_samples
from mmreflect.data.store import open_dataset
from mmreflect.files import read_jsonl

Cli = Callable[..., tuple[int, str]]
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """One video of 10 seconds and one of 30."""
    folder = tmp_path_factory.mktemp("films")
    return {seconds: write_video(folder / f"{seconds}.mp4", seconds) for seconds in (10, 30)}


@pytest.fixture
def place(films: dict[int, Path]) -> Callable[..., None]:
    """Put videos of 10 seconds, or of another length, at paths of a release."""

    def put(folder: Path, names: Iterable[str], seconds: int = 10) -> None:
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(films[seconds], folder / name)

    return put


@pytest.fixture
def root(tmp_path: Path, place: Callable[..., None]) -> Path:
    """The videos of all miniature releases."""
    folder = tmp_path / "data"
    for name, files in RELEASES.items():
        place(folder / name, files)
    place(folder / "timerft", ["uncut.mp4"], 30)
    return folder


def build(run_cli: Cli, output: Path, *layouts: dict[str, Any], **keys: Any) -> str:
    sources = [item if "layout" in item else {"layout": item} for item in layouts]
    code, text = run_cli("build", {"builder": "videos", "output": str(output), "sources": sources, **ONE_FILM, **keys})
    assert code == 0, text
    return " ".join(text.split())


def rows_of(output: Path, split: str = "train") -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in open_dataset(str(output)).rows(split)}


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
def test_a_release_becomes_questions_and_counted_drops(layout: Callable[..., Any], run_cli: Cli, root: Path) -> None:
    name = layout.__name__
    answers, reasons, shown = EXPECTED[name]
    text = build(run_cli, root / "out", layout(root))
    assert all(words in text for words in shown), text
    rows = rows_of(root / "out")
    assert {key: (row["answer"], row["facts"]["gt_interval"]) for key, row in rows.items()} == answers
    rejects = open_dataset(str(root / "out")).manifest["rejects"]
    dropped = {reason.removeprefix(f"{name}: "): count for reason, count in rejects.items() if ":" in reason}
    late = {"star": 1, "timerft": 1}.get(name, 0)  # found out when the videos are opened
    assert dropped == reasons | ({f"{'STAR' if name == 'star' else 'TimeRFT'}: a video is not as long as its annotation says": 1} if late else {})  # fmt: skip
    logged = list(read_jsonl(root / "out/rejects/sources.jsonl"))
    assert len(logged) == sum(reasons.values()) and all(row["row"] and row["source"] == name for row in logged)


def test_rows_have_one_form_and_load_for_training(run_cli: Cli, root: Path) -> None:
    """Options lettered in the text, answers that our own grader reads, spans kept, one set of keys in every row."""
    build(run_cli, root / "out", *(layout(root) for layout in LAYOUTS))
    rows = rows_of(root / "out")
    assert len(rows) == sum(len(answers) for answers, _, _ in EXPECTED.values())
    assert len({tuple(row["facts"]) for row in rows.values()}) == 1
    one = rows["nextqa-401-6"]
    assert one["messages"][0]["content"][0] == {"type": "video"}
    assert one["messages"][0]["content"][1]["text"] == "why does the boy run\nA. one\nB. two, or so\nC. three\nD. four\nE. five"  # fmt: skip
    assert one["facts"] == {"task": "qa", "answer_type": "multiple_choice", "options": ["one", "two, or so", "three", "four", "five"], "option": "B", "duration": 10.0, "gt_interval": None, "source": "NExT-QA", "category": "CW"}  # fmt: skip
    assert rows["video-r1-2"]["messages"][0]["content"][1]["text"] == "What next?\nA. one\nB. two"
    grounded = rows["cg-bench-5"]["facts"]
    assert (grounded["task"], grounded["answer_type"], grounded["option"]) == ("grounding", "temporal_iou", "C")
    assert rows["star-Interaction_T1_4"]["videos"][0]["span"] == [1.7, 6.2]
    assert rows["star-Interaction_T1_4"]["facts"]["duration"] == 4.5
    samples = load_samples(DataConfig(path=str(root / "out"), tolerate=0.0), need="answer")
    spans = {sample.id: sample.media[0].span for sample in samples}
    assert spans["star-Interaction_T1_4"] == (1.7, 6.2) and spans["nextqa-401-6"] is None


def test_rows_of_a_shard_share_the_copy_of_a_video(run_cli: Cli, root: Path) -> None:
    build(run_cli, root / "out", nextqa(root))
    rows = rows_of(root / "out")
    assert rows["nextqa-401-6"]["videos"] == rows["nextqa-401-7"]["videos"] != rows["nextqa-402-6"]["videos"]
    assert len(list((root / "out/media").rglob("*.mp4"))) == 2
    assert (root / "out" / rows["nextqa-402-6"]["videos"][0]).read_bytes() == (root / "vidor/0016/402.mp4").read_bytes()


@pytest.mark.parametrize(
    ("keys", "answers", "reason"),
    [
        ({"task": "qa"}, {"cg-bench-1": "B", "cg-bench-2": "B", "cg-bench-5": "C"}, None),
        ({"clues": "single"}, {"cg-bench-1": "[1.0, 5.0]", "cg-bench-5": "[3.0, 9.0]"}, "several clues"),
        ({"one_per_video": True}, {"cg-bench-1": "[1.0, 5.0]", "cg-bench-5": "[3.0, 9.0]"}, "a further question about its video"),
    ],
)  # fmt: skip
def test_options_of_cg_bench(keys: dict[str, Any], answers: dict[str, str], reason: str | None, run_cli: Cli, root: Path) -> None:  # fmt: skip
    build(run_cli, root / "out", {**cg_bench(root), **keys})
    assert {name: row["answer"] for name, row in rows_of(root / "out").items()} == answers
    rejects = open_dataset(str(root / "out")).manifest["rejects"]
    assert reason is None or rejects[f"cg_bench: {reason}"] == 1


def test_other_options_choose_other_questions(run_cli: Cli, root: Path) -> None:
    part = {**video_r1(root), "part": "CLEVRER", "types": ["numerical", "multiple choice"]}
    build(run_cli, root / "r1", part)
    assert rows_of(root / "r1")["video-r1-3"]["facts"]["answer_type"] == "math"
    build(run_cli, root / "rex", {**rextime(root), "min_span": 0.0, "task": "qa"})
    assert {name: row["answer"] for name, row in rows_of(root / "rex").items()} == {"rextime-qvh_val241": "A", "rextime-anet_val92": "A", "rextime-anet_val93": "D"}  # fmt: skip
    build(run_cli, root / "open", {**llava_video(root), "open_ended": True})
    assert rows_of(root / "open")["llava-video-c-0"]["answer"] == "A long text."
    text = build(run_cli, root / "clevrer-out", {**clevrer(root), "types": ["predictive"]})
    assert list(rows_of(root / "clevrer-out")) == ["clevrer-00000-1"] and "question_type 'explanatory' (2)" in text


def test_answers_of_nextgqa_are_texts(run_cli: Cli, root: Path) -> None:
    source = nextqa(root)
    rows = list(csv.DictReader(Path(source["annotations"]).read_text().splitlines()))
    for row in rows:
        row["answer"] = {"0": "one", "1": "two, or so", "2": "three", "4": "six", "": ""}[row["answer"]]
    write_csv(Path(source["annotations"]), rows)
    build(run_cli, root / "out", source)
    assert {name: row["answer"] for name, row in rows_of(root / "out").items()} == {"nextqa-401-6": "B", "nextqa-402-6": "A"}  # fmt: skip


def charades(root: Path, count: int = 30) -> dict[str, Any]:
    """A larger Charades-STA: three queries about each of ten videos, in three that the releases above know."""
    names = [f"C{number:03}" for number in range(count // 3)]
    lines = [f"{name} {start}.0 {start + 3}.0##a person does thing {start}." for name in names for start in range(3)]
    (root / "many.txt").write_text("\n".join(lines))
    for name in names:
        (root / "charades" / f"{name}.mp4").write_bytes((root / "charades/Q9.mp4").read_bytes() + name.encode())
    return {"name": "charades_sta", "annotations": str(root / "many.txt"), "videos": str(root / "charades")}


def test_drawing_depends_on_seed_and_id_alone(run_cli: Cli, root: Path) -> None:
    source = charades(root)
    text = build(run_cli, root / "a", {"layout": source, "limit": 12}, check="exists")
    assert "12 of 30 questions" in text
    first = set(rows_of(root / "a"))
    build(run_cli, root / "b", timerft(root), {"layout": source, "limit": 12}, check="exists")
    assert {name for name in rows_of(root / "b") if name.startswith("charades")} == first
    build(run_cli, root / "c", {"layout": source, "share": 0.5}, check="exists")
    half = set(rows_of(root / "c"))
    assert len(half) == 15 and first < half, "a larger draw holds the smaller one"
    build(run_cli, root / "d", {"layout": source, "limit": 12}, check="exists", seed=1)
    assert set(rows_of(root / "d")) != first
    text = build(run_cli, root / "e", {"layout": rextime(root), "limit": 921})
    assert "2 of 2 questions, 921 asked for" in text


def test_sources_are_mixed_video_by_video(run_cli: Cli, root: Path) -> None:
    for name in ("a", "b"):
        build(run_cli, root / name, charades(root), activitynet_captions(root), timerft(root), check="exists")
    names = list(rows_of(root / "a"))
    assert names == list(rows_of(root / "b"))
    videos = [name.split("-")[2] for name in names if name.startswith("charades")]
    runs = [video for place, video in enumerate(videos) if place == 0 or videos[place - 1] != video]
    assert len(runs) == len(set(videos)) == 10 and runs != sorted(runs)
    kinds = [name.startswith("charades") for name in names]
    assert kinds != sorted(kinds) and kinds != sorted(kinds, reverse=True)


def test_no_video_stands_in_two_splits(run_cli: Cli, root: Path) -> None:
    source = charades(root)
    build(run_cli, root / "out", source, validation=0.2, check="exists")
    videos = {split: {name.split("-")[2] for name in rows_of(root / "out", split)} for split in ("train", "validation")}
    assert not videos["train"] & videos["validation"] and len(videos["train"] | videos["validation"]) == 10
    assert len(rows_of(root / "out", "validation")) == 6
    build(run_cli, root / "one", {"layout": charades(root, 3)}, validation=0.9, check="exists")
    assert open_dataset(str(root / "one")).splits() == ["train"], "a single video stays in train"


def digest(folder: Path) -> dict[str, str]:
    ignored = {"config.yaml", "result.json", "run.lock"}
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in ignored)
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("media", ["copy", "link"])
def test_a_cut_build_goes_on_to_the_same_bytes(media: str, run_cli: Cli, root: Path) -> None:
    layouts = [nextqa(root), timerft(root), rextime(root)]
    for name in ("whole", "cut"):
        build(run_cli, root / name, *layouts, media=media, shard_rows=3)
    for name in ("manifest.json", "result.json", "train/00001.jsonl"):
        (root / "cut" / name).unlink()
    shard = root / "cut/media/train/00001"
    sorted(shard.iterdir())[0].unlink()
    (shard / "000099-v0.mp4").symlink_to(root / "vidor/0101/401.mp4")
    kept = (root / "cut/train/00000.jsonl").stat().st_mtime_ns
    build(run_cli, root / "cut", *layouts, media=media, shard_rows=3)
    assert digest(root / "cut") == digest(root / "whole")
    assert (root / "cut/train/00000.jsonl").stat().st_mtime_ns == kept
    assert (root / "vidor/0101/401.mp4").is_file(), "what a link leads to is left alone"


def test_links_are_absolute_and_videos_are_never_read_whole(
    monkeypatch: pytest.MonkeyPatch, run_cli: Cli, root: Path
) -> None:
    read_bytes = Path.read_bytes

    def refuse(path: Path) -> bytes:
        assert path.suffix not in (".mp4", ".mkv"), f"{path} is read whole"
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    source = cg_bench(root)
    for media in ("copy", "link"):
        build(run_cli, root / media, source, media=media)
    video = root / "link" / rows_of(root / "link")["cg-bench-5"]["videos"][0]
    assert video.is_symlink() and video.readlink() == (root / "cg/Z9.mkv").absolute()
    assert not any(path.is_symlink() for path in (root / "copy").rglob("*"))


def test_a_video_that_breaks_off_is_not_as_long_as_its_header_says(run_cli: Cli, root: Path) -> None:
    """A Matroska file without its last quarter, whose header still names ten seconds, under the name that the release gives it."""
    whole = write_video(root / "whole.mkv", 10).read_bytes()
    (root / "anet/v_ZM.mp4").write_bytes(whole[: len(whole) * 3 // 4])
    build(run_cli, root / "out", rextime(root))
    (row,) = (row for row in read_jsonl(root / "out/rejects/train-00000.jsonl") if "opened" in row["reason"])
    assert row["reason"] == "a video cannot be opened" and "the video breaks off after" in row["expected"]


def test_missing_broken_and_uncut_videos_are_quarantined(run_cli: Cli, root: Path) -> None:
    (root / "vidor/0101/401.mp4").unlink()
    (root / "anet/v_ZM.mp4").write_bytes((root / "anet/v_ZM.mp4").read_bytes()[:400])
    build(run_cli, root / "out", nextqa(root), rextime(root), timerft(root))
    manifest = open_dataset(str(root / "out")).manifest["rejects"]
    assert manifest["a video file is missing"] == 2
    assert manifest["a video cannot be opened"] == 1
    assert manifest["TimeRFT: a video is not as long as its annotation says"] == 1
    logged = list(read_jsonl(root / "out/rejects/train-00000.jsonl"))
    missing = [row for row in logged if row["reason"] == "a video file is missing"]
    assert missing[0]["id"] == "nextqa-401-6" and missing[0]["expected"].endswith("vidor/0101/401.mp4")
    assert "about 10.1 s" in next(row["expected"] for row in logged if "as long" in row["reason"])
    build(run_cli, root / "unread", nextqa(root), rextime(root), timerft(root), check="exists")
    assert open_dataset(str(root / "unread")).manifest["rejects"]["a video file is missing"] == 2
    assert len(rows_of(root / "unread")) == len(rows_of(root / "out")) + 2


def drop_key(path: str, key: str) -> None:
    rows = json.loads(Path(path).read_text())
    for row in rows if isinstance(rows, list) else rows.values():
        row.pop(key, None)
    Path(path).write_text(json.dumps(rows))


@pytest.mark.parametrize(
    ("layout", "key", "text"),
    [
        (video_r1, "solution", "no row has the key 'solution' (found: data_type, problem_type"),
        (llava_video, "conversations", "no row has the key 'conversations' (found: id, data_source, video)"),
        (star, "choices", "the layout of STAR"),
        (perception_test, "mc_question", "no row has the key 'mc_question' (found: metadata)"),
        (clevrer, "video_filename", "no row has the key 'video_filename' (found: scene_index, questions)"),
        (timerft, "timestamp", "no row has the key 'timestamp'"),
        (cg_bench, "clue_intervals", "no row has the key 'clue_intervals'"),
        (rextime, "options", "no row has the key 'options'"),
        (activitynet_captions, "sentences", "no row has the key 'sentences' (found: duration, timestamps)"),
    ],
)
def test_a_file_without_a_key_is_refused(layout: Callable[..., Any], key: str, text: str, run_cli: Cli, root: Path) -> None:  # fmt: skip
    source = layout(root)
    drop_key(source["annotations"], key)
    code, shown = run_cli("build", {"builder": "videos", "output": str(root / "out"), "sources": [{"layout": source}]})
    assert code == 2 and text in shown and source["annotations"] in shown and "Traceback" not in shown, shown


def refusal(run_cli: Cli, root: Path, layout: dict[str, Any], **keys: Any) -> str:
    tree = {"builder": "videos", "output": str(root / "out"), "sources": [{"layout": layout, **keys}]}
    code, shown = run_cli("build", tree)
    assert code == 2 and "Traceback" not in shown
    return shown


def test_what_is_no_release_is_refused(run_cli: Cli, root: Path) -> None:
    table = nextqa(root)
    lines = Path(table["annotations"]).read_text().replace("a4", "a5").replace("question", "questions")
    Path(table["annotations"]).write_text(lines)
    shown = refusal(run_cli, root, table)
    assert "train.csv: no row has the key 'question'" in shown and "did its name change to 'questions'?" in shown
    wrong = {**charades_sta(root), "annotations": table["annotations"]}
    assert "no line is of the form 'VID start end##sentence' (the first: 'video,questions," in refusal(run_cli, root, wrong)  # fmt: skip
    swapped = {**activitynet_captions(root), "annotations": cg_bench(root)["annotations"]}
    assert "cgbench.json holds a list" in refusal(run_cli, root, swapped)
    assert "train.json holds a mapping" in refusal(run_cli, root, {**cg_bench(root), "annotations": activitynet_captions(root)["annotations"]})  # fmt: skip
    assert "no such annotation file: gone.json" in refusal(run_cli, root, {**star(root), "annotations": "gone.json"})
    assert "no such folder of videos: gone" in refusal(run_cli, root, {**star(root), "videos": "gone"})
    cut = root / "cut.json"
    cut.write_text('[{"qid": 1,\n')
    assert "cut.json is not JSON (line 2" in refusal(run_cli, root, {**cg_bench(root), "annotations": str(cut)})
    shown = refusal(run_cli, root, {**video_r1(root), "part": "STRA"})
    assert "unknown part of" in shown and "did you mean 'STAR'?" in shown
    shown = refusal(run_cli, root, {**rextime(root), "min_span": 60.0})
    assert "source 1 rextime gives no question" in shown and "the span is shorter than 60 s (3)" in shown
    assert "sources.0.layout: unknown key 'video'; did you mean 'videos'?" in refusal(run_cli, root, {**star(root), "video": "x"})  # fmt: skip
    assert "unknown layout 'nextq'; did you mean 'nextqa'?" in refusal(run_cli, root, {"name": "nextq"})


def test_a_changed_annotation_file_is_read_again_and_is_another_dataset(run_cli: Cli, root: Path) -> None:
    source = rextime(root)
    build(run_cli, root / "out", source)
    rows = json.loads(Path(source["annotations"]).read_text())
    write_json(Path(source["annotations"]), [{**row, "question": "What after?"} for row in rows])
    tree = {"builder": "videos", "output": str(root / "out"), "sources": [{"layout": source}], **ONE_FILM}
    code, text = run_cli("build", tree)
    assert code == 2 and f"holds a run on another {source['annotations']}: it has changed since" in text
    build(run_cli, root / "again", source)
    assert rows_of(root / "again")["rextime-anet_val93"]["messages"][0]["content"][1]["text"].startswith("What after?")


@pytest.mark.parametrize(
    "name", [*sorted(path.name for path in (ROOT / "configs/build").glob("videos_*.yaml")), "revisor_data.yaml"]
)
def test_recipes_run_on_releases_at_their_places(
    name: str, monkeypatch: pytest.MonkeyPatch, run_cli: Cli, tmp_path: Path, place: Callable[..., None]
) -> None:
    """The recipes of the project, as they are, with miniature releases where their placeholders point."""
    from mmreflect.config import load_yaml

    monkeypatch.chdir(tmp_path)
    makers = {layout.__name__: layout for layout in LAYOUTS}
    tree = load_yaml(ROOT / "configs/build" / name)
    for source in tree["sources"]:
        given = source["layout"]
        made = makers[given["name"]](tmp_path / "made")
        for key, value in given.items():
            if key in ("annotations", "video_map", "lengths"):
                Path(value).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(made[key], value)
            elif key in ("videos", "activitynet", "qvhighlights"):
                place(Path(value), RELEASES.get(Path(made[key]).name, []))
    if name == "revisor_data.yaml":
        assert sum(source["limit"] for source in tree["sources"]) == 25444
        rows = [{**VIDEO_R1, "problem_id": part, "path": f"./{part}/x.mp4"} for part in ("STAR", "CLEVRER", "NeXT-QA", "PerceptionTest", "LLaVA-Video-178K")]  # fmt: skip
        write_json(Path("data/Video-R1-data/Video-R1-260k.json"), rows)
        place(Path("data/Video-R1-data"), [row["path"] for row in rows])
    code, text = run_cli("build", (ROOT / "configs/build" / name).read_text(), "quality.repeats=off")
    assert code == 0, text
    found = {row["facts"]["source"] for split in open_dataset(tree["output"]).splits() for row in rows_of(Path(tree["output"]), split).values()}  # fmt: skip
    assert len(found) == len(tree["sources"]), "every source gives rows"


def test_a_question_about_the_same_part_of_a_video_stands_in_one_split(run_cli: Cli, root: Path) -> None:
    """Two files of the same bytes: parts of them tell questions apart, paths do not."""
    rows = json.loads(Path(star(root)["annotations"]).read_text())[:2]
    rows = [{**row, "video_id": name, "question_id": f"{row['question_id']}-{name}"} for row in rows for name in ("TJZ0P", "Q9")]  # fmt: skip
    annotations = write_json(root / "STAR_train.json", rows)
    source = {"name": "star", "annotations": annotations, "videos": str(root / "charades")}
    tree = {"builder": "videos", "output": str(root / "out"), "sources": [{"layout": source}], "validation": 0.5}
    code, text = run_cli("build", tree)
    assert code == 2 and "2 questions stand in two splits with the same pictures" in text
    write_json(root / "STAR_train.json", [row for row in rows if (row["video_id"] == "Q9") == (row["start"] == 1.7)])
    build(run_cli, root / "parts", source, validation=0.5)
    assert {split: len(rows_of(root / "parts", split)) for split in ("train", "validation")} == {"train": 1, "validation": 1}  # fmt: skip
