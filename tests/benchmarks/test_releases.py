"""Every benchmark's release, in the layout in which it is published: rows, prompts to the letter, gold, counts."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import replicas

from mmreflect import recipes
from mmreflect.answers.spec import spec_of
from mmreflect.cli import main
from mmreflect.evaluation.releases import Question, Release, questions
from mmreflect.records import Media

Open = Callable[..., Release]


def shown(question: Question) -> str:
    """The turns as text, media as `<kind>` with what is particular about them."""

    def piece(part: str | Media) -> str:
        if isinstance(part, str):
            return part
        where = f"@{part.at:g}" if part.at is not None else f"{list(part.span)}" if part.span else ""
        return f"<{part.kind}{where}>"

    return "|".join(f"{turn.role}: {''.join(map(piece, turn.content))}" for turn in question.item.turns)


VIEWS = [
    # replica, split, configurations, questions, left out, hidden
    ("mathvista", "testmini", 0, 20, 0, False), ("mathvista", "test", 0, 5, 0, True),
    ("mathverse", "testmini", 1, 20, 0, False), ("mathverse", "testmini_text_only", 1, 4, 0, False),
    ("mathvision", "test", 0, 20, 0, False), ("mathvision", "testmini", 0, 4, 0, False),
    ("mmmu", "validation", 30, 30, 0, False), ("mmmu", "dev", 30, 30, 0, False), ("mmmu", "test", 30, 30, 0, True),
    ("mmmu_pro", "test", 2, 20, 0, False), ("emma", "test", 4, 20, 0, False), ("chartqa", "test", 0, 20, 0, False),
    ("chartqapro", "test", 0, 20, 0, False), ("charxiv", "validation", 0, 20, 0, False), ("charxiv", "test", 0, 10, 0, True),
    ("videomme", "test", 1, 21, 0, False), ("longvideobench", "validation", 0, 20, 0, False), ("longvideobench", "test", 0, 6, 0, True),
    ("longvideobench_parquet", "validation", 0, 20, 0, False), ("longvideobench_parquet", "test", 0, 20, 0, True),
    ("mlvu", "dev", 0, 21, 3, False), ("mlvu_test", "test", 0, 9, 0, False), ("lvbench", "train", 0, 20, 0, False),
    ("lvbench_official", "train", 0, 20, 0, False), ("mvbench", "train", 20, 20, 0, False), ("tempcompass", "test", 4, 20, 0, False),
    ("charades_sta", "test", 0, 20, 0, False), ("charades_sta_json", "test", 0, 20, 0, False),
    ("activitynet_grounding", "val_2", 0, 20, 0, False), ("activitynet_grounding", "val_1", 0, 6, 0, False),
    ("nextgqa", "test", 0, 20, 0, False), ("nextgqa", "val", 0, 4, 0, False), ("safety", "test", 0, 20, 0, False),
    ("jsonl", "test", 0, 20, 0, False),
]  # fmt: skip


def test_there_is_a_replica_of_every_benchmark_and_a_view_of_each() -> None:
    known = set(recipes.names("benchmark")) - {"dataset"}
    assert known <= set(replicas.REPLICAS) == {view[0] for view in VIEWS}


@pytest.mark.parametrize(("name", "split", "configs", "count", "left_out", "hidden"), VIEWS)
def test_a_release_becomes_questions(
    open_replica: Open, name: str, split: str, configs: int, count: int, left_out: int, hidden: bool
) -> None:
    styles = open_replica(name, split=split).benchmark.styles
    for style in styles:
        release = open_replica(name, split=split, style=style)
        assert (len(release.configs), release.hidden, release.split) == (configs, hidden, split)
        assert release.count() == count
        found = questions(release)
        assert (len(found.asked), len(found.aside), sum(found.left_out.values())) == (count, 0, left_out)
        for question in found.asked:
            check_question(question, hidden, name)


def check_question(question: Question, hidden: bool, name: str) -> None:
    sample = question.sample
    assert question.id == question.item.id == sample.id == question.row["id"]
    row = json.loads(json.dumps(question.row, allow_nan=False))  # plain JSON, and no picture in it
    assert row == question.row and len(json.dumps(row)) < 3000
    assert [turn.role for turn in sample.turns()][-1] == "user" and sample.messages[-1]["role"] == "user"
    assert all(Path(media.path).is_file() and Path(media.path).is_absolute() for media in sample.media)
    spec_of(sample.facts)  # which raises where the facts are not in the project's own sense
    unkeyed = (
        name == "safety"
        or (name == "jsonl" and question.row["answer"] is None)
        or question.row.get("task") == "captioning"
    )
    assert (sample.gold is None) == (hidden or unkeyed), question.id
    kept = sample.turns() if not question.prefill else [*sample.turns(), question.item.turns[-1]]
    assert [(turn.role, list(turn.content)) for turn in kept] == [
        (turn.role, list(turn.content)) for turn in question.item.turns
    ]


LETTER = "provide the correct option letter, e.g., A, B, C, D"
GROUND = (
    "user: <video>Please find the visual event described by a sentence in the video, determining its starting and ending times. The format should be: "
    "'The event happens in the start time - end time'. For example, The event 'person turn a light on' happens in the 24.3 - 30.4 seonds. "
    "Now I will give you the textual sentence: {}. Please return its start time and end time."
)
LAST_LINE = "The last line of your response should be of the following format: 'Answer: $LETTER' (without quotes) where LETTER is one of options."
TEN = "\nA. red\nB. green\nC. blue\nD. yellow\nE. purple\nF. orange\nG. black\nH. white\nI. brown\nJ. pink\n"
BOX = 'put the letter in one "\\boxed{}". '
OPEN_BOX = 'Answer the question using a single word or phrase and put the answer in one "\\boxed{}". '
STEPS = "Please solve the problem step by step."
ONLY = "Please ensure that your output only contains the final answer without any additional content (such as intermediate reasoning steps)."
WATCH = "system: Carefully watch this video and pay attention to every detail. Based on your observations, select the best option that accurately addresses the question."
WATCH_CLIP = (
    "system: Carefully watch the video and pay attention to the cause and sequence of events, the detail and movement of objects, and the action and pose of persons. "
    "Based on your observations, select the best option that accurately addresses the question.\n"
)
VIDEOMME = (
    "Select the best answer to the following multiple-choice question based on the video. Respond with only the letter (A, B, C, or D) of the correct option.\n"
    "What happens in part 1?\nA. red.\nB. green.\nC. blue.\nD. yellow.\nThe best answer is:"
)
DIRECTLY = "Answer with the option's letter from the given choices directly."
PROMPTS = [
    # replica, style, id, prompt, gold of the sample
    ("mathvista", "official", "1", f"user: <image>Hint: Please answer the question and {LETTER}, at the end.\nQuestion: How tall is bar 0?\r\nUse $x^2$ 数.\nChoices:\n(A) red\n(B) green\n(C) red", "B"),
    ("mathvista", "official", "3", "user: <image>Hint: Please answer the question requiring a floating-point number with one decimal place and provide the final value, e.g., 1.2, 1.3, 1.4, at the end.\nQuestion: How tall is bar 2?\r\nUse $x^2$ 数. (Unit: g)", "12.5"),
    ("mathvista", "official", "5", "user: <image>Hint: Please answer the question requiring a Python list as an answer and provide the final list, e.g., [1, 2, 3], [1.2, 1.3, 1.4], at the end.\nQuestion: How tall is bar 4?\r\nUse $x^2$ 数.", "[2014, 2016]"),
    ("mathverse", "query_wo", "1", f"user: <image>Please directly answer the question and {LETTER}.\nQuestion: How large is angle 1?\nChoices:\nA:30\nB:60", "B"),
    ("mathverse", "query_cot", "6", "user: <image>Please first conduct reasoning, and then answer the question and provide the final value, e.g., 1, 2.5, 300, at the end.\nQuestion: How large is angle 2?", "60"),
    ("mathvision", "official", "2", 'user: <image>Please solve the problem step by step and put your answer in one "\\boxed{}".Which bar in figure 1 is tallest?\n<image1>\nChoices: A. red\nB. green\nC. blue\nD. yellow\nE. purple', "C"),
    ("mathvision", "official", "1", 'user: <image>Please solve the problem step by step and put your answer in one "\\boxed{}".Which bar in figure 0 is tallest?\n<image1>', "\\frac{1}{2}"),
    ("mmmu", "official", "validation_Accounting_1", f"user: What does <image> of Accounting show?\n\n(A) $12\n(B) it's 'one'\n(C) three\n(D) four\n\n\n{DIRECTLY}", "B"),
    ("mmmu", "official", "validation_Art_Theory_1", f"user: Which one fits?\n\n(A) <image>\n(B) <image>\n\n\n{DIRECTLY}", "B"),
    ("mmmu", "official", "validation_Geography_1", f"user: What does <image> of Geography show?\n\n(A) $12\n(B) it's 'one'\n(C) three\n(D) four\n\n\n{DIRECTLY}", "B"),
    ("mmmu", "official", "validation_Electronics_1", "user: What does <image> of Electronics show?\n\nAnswer the question using a single word or phrase.", "7"),
    ("mmmu_pro", "cot", "standard (10 options): test_History_3", f"user: Which colour has <image> number 3?{TEN}Answer the preceding multiple choice question. {LAST_LINE} Think step by step before answering.", "D"),
    ("mmmu_pro", "direct", "standard (10 options): test_History_3", f"user: Which colour has <image> number 3?{TEN}Answer with the option letter from the given choices directly.", "D"),
    ("mmmu_pro", "cot", "vision: test_History_3", f"user: <image>Write out the multiple-choice question in the image and then solve it. {LAST_LINE} Think step by step before answering.", "D"),
    ("mmmu_pro", "direct", "vision: test_History_3", f"user: <image>Answer with the option letter from the given choices directly. {LAST_LINE}", "D"),
    ("emma", "cot", "math_0", f"user: Context 0.\n\nWhat follows <image> in case 0?\n\nA: red\nB: green\nC: blue\nD: yellow\n\n\nAnswer with the option's letter from the given choices and {BOX}{STEPS}", "B"),
    ("emma", "direct", "coding_2", f"user: Context 2.\n\nWhat follows <image> in case 2?\n\nA: <image>\nB: <image>\n\n\nAnswer with the option's letter from the given choices and {BOX}{ONLY}", "B"),
    ("emma", "cot", "physics_4", f"user: \n \n What follows <image> in case 4?\n\n{OPEN_BOX}{STEPS}", "3.5"),
    ("chartqa", "official", "test-2", "user: <image>What is the value of bar 2?\nAnswer the question with a single word.", "2010"),
    ("chartqapro", "official", "test-0", "user: <image>Context: A note.\n\nWhat about chart 0?\nAnswer the question with a short phrase.", "Refuted"),
    ("chartqapro", "official", "test-1", "user: <image>Q1: How many bars?\nA1: 4\nQ2: And how tall is bar 1?\nAnswer the question with a short phrase.", "[12, 30]"),
    ("charxiv", "own_words", "3_reasoning", "user: <image>Which line of chart 3 ends highest?\nAnswer with a number with 2 decimals.", "3.25"),
    ("charxiv", "own_words", "0_descriptive_1", "user: <image>For the plot: what is the title that is written at it?\nIf this cannot be said of it, answer 'Not Applicable'.", "Growth"),
    ("charxiv", "own_words", "1_descriptive_2", "user: <image>For the subplot in row 1 and column 2: do any lines cross each other? Answer yes or no.\nIf this cannot be said of it, answer 'Not Applicable'.", "No"),
    ("charxiv", "own_words", "3_descriptive_3", "user: <image>How are the subplots of the figure laid out? Answer as 'n by m', rows by columns.", "2 by 2"),
    ("videomme", "without_subtitles", "001-1", f"user: <video>{VIDEOMME}", "B"),
    # 8 frames at 4 fps: frames 0, 2, 4, 7 at 0, 0.5, 1 and 1.75 s; the first line ends at 1, and the second lies between
    ("videomme", "with_subtitles", "001-1", f"user: <video>This video's subtitles are listed below:\nGood morning.\n{VIDEOMME}", "B"),
    # 20 frames: 0, 6, 12, 19 at 0, 1.5, 3 and 4.75 s
    ("videomme", "with_subtitles", "002-1", f"user: <video>This video's subtitles are listed below:\nGood morning.\nTwo lines of one caption.\n{VIDEOMME}", "C"),
    ("videomme", "with_subtitles", "006-1", f"user: <video>{VIDEOMME}", "C"),  # a video without subtitles
    # min(4, 2) frames, a second apart; the lines' middles are 0.75 and (null: the end of the video) 1.8
    ("longvideobench", "interleaved", "vvid0_0", f"user: <image@0>Look at this.<image@1>Question: At the start, what colour is box 0?\nA. red\nB. green\nC. blue\nD. yellow\n{DIRECTLY}", "A"),
    # 10 s earlier: [0.1, 0.3], widened to [-0.3, 0.7], and [1, 3.5]; of 20 frames every fifth: 0, 1.25, 2.5, 3.75
    ("longvideobench", "interleaved", "vvid1_1", f"user: <image@0>A short word.<image@1.25>A longer one.<image@2.5><image@3.75>Question: At the start, what colour is box 1?\nA. green\nB. blue\nC. yellow\nD. purple\nE. orange\n{DIRECTLY}", "B"),
    ("longvideobench", "frames", "vvid0_0", f"user: <image@0><image@1>Question: At the start, what colour is box 0?\nA. red\nB. green\nC. blue\nD. yellow\n{DIRECTLY}", "A"),
    ("longvideobench_parquet", "interleaved", "vvid0_0", f"user: <image@0>Look at this.<image@1>Question: At the start, what colour is box 0?\nA. red\nB. green\nC. blue\nD. yellow\n{DIRECTLY}", "A"),
    ("mlvu", "official", "dev-4", f"{WATCH}|user: <video>Question: What is true of findNeedle 1?\nOptions:\n(A) green\n(B) blue\n(C) yellow\n(D) purple\nOnly give the best option.|assistant: Best Option: (", "B"),
    ("mlvu_test", "official", "test-5", f"{WATCH}|user: <video>Question: What is true of clip 5?\nOptions:\n(A) orange\n(B) black\n(C) white\n(D) brown\n(E) pink\n(F) red\nOnly give the best option.|assistant: Best Option: (", "F"),
    ("lvbench", "official", "7", "user: <video>What comes at point 7?\n(A) red\n(B) green\n(C) blue\n(D) none\nAnswer the question with the option letter.", "D"),
    ("lvbench_official", "official", "7", "user: <video>What comes at point 2?\n(A) red\n(B) green\n(C) blue\n(D) none\nAnswer the question with the option letter.", "C"),
    ("mvbench", "official", "action_sequence-0", f"{WATCH_CLIP}|user: <video[0.5, 1.5]>Question: What is seen in action_sequence?\nOptions:\n(A) red\n(B) green\n(C) blue\nOnly give the best option.", "A"),
    ("mvbench", "official", "object_shuffle-0", f"{WATCH_CLIP}|user: <video>Question: What is seen in object_shuffle?\nOptions:\n(A) red\n(B) green\n(C) blue\n(D) yellow\nOnly give the best option.", "B"),
    ("tempcompass", "official", "multi-choice_1000_0", "user: <video>What moves?\nA. a bar\nB. a ball\nPlease directly give the best option:", "A. a bar"),
    ("tempcompass", "official", "yes_no_1001_1", "user: <video>Does a bar move?\nPlease answer yes or no:", "yes"),
    ("tempcompass", "official", "caption_matching_1002_2", "user: <video>Which caption fits?\nCaption A: A bar moves.\nCaption B: It rests.\nPlease directly give the best option:", "Caption A: A bar moves."),
    ("tempcompass", "official", "captioning_1003_3", "user: <video>Describe the clip.", None),
    ("charades_sta", "official", "test-3", GROUND.format("a bar moves in scene 3"), "[0.3, 1.5]"),
    ("charades_sta_json", "official", "CH2-1", GROUND.format("It goes on."), "[0.5, 1.9]"),
    ("activitynet_grounding", "official", "v_3-0", GROUND.format("A bar enters scene 3."), "[0.2, 1.0]"),
    ("nextgqa", "official", "2400000001_1", "user: <video>Question: why does the bar move, 1\nOptions:\n(A) red\n(B) green\n(C) blue\n(D) yellow\n(E) purple\nGive the letter of the best option in <answer></answer> and the part of the video that shows it, in seconds, as <time_interval>[start, end]</time_interval>.", "B"),
    ("safety", "official", "s0", "user: <image>What is drawn in chart 0?", None),
    ("safety", "official", "s3", "user: What is drawn in chart 3?", None),
    ("jsonl", "plain", "0", "user: <image>Which bar is tallest?\n(A) red\n(B) green\n(C) blue", "B"),
    ("jsonl", "boxed", "1", "user: <image><image>How tall is it?\nPut your final answer within \\boxed{}.", "12.5"),
    ("jsonl", "plain", "2", "user: Compare <image> with <image>.", "they differ"),
    ("jsonl", "plain", "3", "user: <video>What moves?\n(A) a bar\n(B) a ball", "A"),
]  # fmt: skip


@pytest.fixture(scope="module")
def asked() -> dict[tuple[str, str], dict[str, Question]]:
    return {}


@pytest.mark.parametrize(("name", "style", "identity", "prompt", "gold"), PROMPTS, ids=[f"{row[0]}-{row[1]}-{row[2]}" for row in PROMPTS])  # fmt: skip
def test_prompts_to_the_letter(
    open_replica: Open, asked: Any, name: str, style: str, identity: str, prompt: str, gold: str | None
) -> None:
    if (name, style) not in asked:
        split = "test" if name == "mlvu_test" else None
        found = questions(open_replica(name, style=style, split=split)).asked
        asked[name, style] = {question.id: question for question in found}
    question = asked[name, style][identity]
    assert shown(question) == prompt
    assert question.sample.gold == gold


def test_every_style_has_its_prompt() -> None:
    for name in set(recipes.names("benchmark")) - {"dataset"}:
        styles = set(recipes.load("benchmark", name).BENCHMARK.styles)
        assert styles == {style for replica, style, *_ in PROMPTS if replica == name}, name


def test_rows_keep_the_types_of_the_release(open_replica: Open) -> None:
    first, second, third, *_ = open_replica("mathvista").rows()
    assert (first["precision"], third["precision"], type(third["precision"])) == (None, 1.0, float)
    assert (first["choices"], second["choices"], second["unit"]) == (["red", "green", "red"], None, "years")
    assert first["metadata"]["skills"] == ["arithmetic reasoning"] and isinstance(
        first["decoded_image"]["bytes"], bytes
    )
    assert next(open_replica("mmmu").rows())["options"] == "[]"  # a list as text
    assert next(open_replica("chartqapro").rows())["image"][:4] == b"\x89PNG"
    spans = [row["gt_spans"] for row in open_replica("nextgqa", limit=2).rows()]
    assert spans == [[[0.0, 1.0]], [[0.0, 1.0], [1.2, 1.8]]]


def test_facts_are_in_the_projects_own_sense(open_replica: Open) -> None:
    def facts(name: str, place: int) -> dict[str, Any]:
        split = "test" if name == "mlvu_test" else None
        known = questions(open_replica(name, split=split)).asked[place].sample.facts
        ours = ("options", "answer_type", "precision", "unit", "task", "gt_interval", "prefill")
        return {key: known[key] for key in ours if key in known}

    two = {"A": "red", "B": "green"}
    assert facts("mathvista", 0) == {"options": {**two, "C": "red"}}
    assert facts("mathvista", 1) == {"unit": "years"}  # "integer" is no type of the grader's
    assert facts("mathvista", 2) == {"answer_type": "float", "precision": 1.0, "unit": "g"}
    assert facts("mmmu", 4) == {"options": {"A": "$12", "B": "it's 'one'", "C": "three", "D": "four"}}  # a list as text
    assert facts("videomme", 0) == {"options": {"A": "red.", "B": "green.", "C": "blue.", "D": "yellow."}}  # "A. red."
    assert facts("charades_sta", 0) == {"answer_type": "temporal_iou", "task": "grounding", "gt_interval": [0.3, 1.5]}
    assert facts("mvbench", 0) == {"options": {**two, "C": "blue"}}  # the release's own task is no task of ours
    assert facts("mlvu", 0)["prefill"] == "Best Option: ("


def test_configurations_and_splits_are_read_alone(open_replica: Open) -> None:
    release = open_replica("mmmu_pro", config="standard (4 options)")
    assert (release.count(), release.configs) == (10, ("standard (4 options)",))
    chosen = questions(open_replica("mvbench", config=["state_change", "scene_transition"]))
    assert [question.id for question in chosen.asked] == ["state_change-0", "scene_transition-0"]


def test_limit_and_shard_choose_by_place(open_replica: Open) -> None:
    def names(**settings: Any) -> list[str]:
        release = open_replica("chartqa", **settings)
        found = [question.id for question in questions(release).asked]
        assert release.count() == len(found)
        return found

    assert names(limit=5) == [f"test-{place}" for place in range(5)]
    assert names(shard="2/4", limit=10) == ["test-1", "test-5", "test-9"]
    assert names(shard="20/20") == ["test-19"]


def test_clips_of_the_same_name_lie_in_their_tasks_folders(open_replica: Open) -> None:
    found = {question.row["task"]: question for question in questions(open_replica("mvbench")).asked}
    star, sta = (found[name].sample.media[0].path for name in ("action_sequence", "action_localization"))
    assert star.endswith("star/Charades_v1_480/SAME.mp4") and sta.endswith("sta/sta_video/SAME.mp4")


def test_a_folder_of_frames_is_a_video_of_its_rate(open_replica: Open) -> None:
    from mmreflect.media.video import load_video, video_info

    (question,) = questions(open_replica("mvbench", config="episodic_reasoning")).asked
    (media,) = question.sample.media
    info = video_info(media.path)
    assert (info.frames, info.fps, info.duration, info.width, info.height) == (9, 3.0, 3.0, 56, 42)
    assert media.span == (0.5, 1.5) and load_video(media).times_F[0] == pytest.approx(1 / 3)  # shown at 0.5


def test_pictures_are_written_once_by_their_content(open_replica: Open) -> None:
    first = questions(open_replica("mathvista"))
    times = {media.path: Path(media.path).stat().st_mtime_ns for item in first.asked for media in item.sample.media}
    assert {Path(path).suffix for path in times} == {".png", ".jpg"}
    again = questions(open_replica("mathvista"))
    assert {media.path: Path(media.path).stat().st_mtime_ns for item in again.asked for media in item.sample.media} == times  # fmt: skip
    assert not [path for path in Path(next(iter(times))).parents[1].rglob("*") if path.name.startswith(".")]


def test_the_mark_is_the_contents(open_replica: Open, tmp_path: Path) -> None:
    import shutil

    first = open_replica("jsonl")
    assert first.mark == open_replica("jsonl", limit=1).mark and first.mark.startswith("sha256:")
    shutil.copytree(first.settings.source, tmp_path / "moved")
    assert open_replica("jsonl", source=str(tmp_path / "moved")).mark == first.mark
    rows = (tmp_path / "moved/test.jsonl").read_text()
    (tmp_path / "moved/test.jsonl").write_text(rows.replace("tallest", "highest", 1))
    assert open_replica("jsonl", source=str(tmp_path / "moved")).mark != first.mark
    spans = open_replica("nextgqa")
    shutil.copytree(spans.settings.source, tmp_path / "spans")
    (tmp_path / "spans/gsub_test.json").write_text((tmp_path / "spans/gsub_test.json").read_text().replace("1.8", "1.9"))  # fmt: skip
    assert open_replica("nextgqa", source=str(tmp_path / "spans")).mark != spans.mark


@pytest.mark.parametrize("name", sorted(set(recipes.names("benchmark")) - {"dataset"}))
def test_rows_with_a_response_are_rescored(open_replica: Open, tmp_path: Path, name: str) -> None:
    """What is asked of a model is what `mmreflect eval rescore` reads: an answer that is right is scored as right."""
    found = questions(open_replica(name)).asked
    said = {
        "nextgqa": "<answer>{0}</answer><time_interval>{1}</time_interval>",
        "safety": "I'm sorry, I can't help.",
        "mathverse": "{0}",
    }
    file, output = tmp_path / "responses.jsonl", tmp_path / "scored.jsonl"
    with open(file, "w") as opened:
        for question in found:
            gold, whole = question.item.gold, said.get(name, "{0}")
            text = f"{gold[0]} - {gold[1]} seconds" if isinstance(gold, list) else str(gold)
            if name == "mmmu" and text.startswith("['"):
                text = "seven"
            response = whole.format(text, (question.row.get("gt_spans") or [None])[0])
            opened.write(json.dumps({**question.row, "response": response}) + "\n")
    assert main(["eval", "rescore", name, f"responses={file}", f"output={output}"]) == 0
    summary = json.loads((tmp_path / "scored.summary.json").read_text())["rescore"]
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    unscored = [row for row in rows if row.get("correct") is None and row.get("score") is None]
    assert len(rows) == len(found) and len(unscored) == {"tempcompass": 5, "jsonl": 4}.get(name, 0)
    right = [row for row in rows if row.get("score", row.get("correct"))]
    wrong = {"safety": 10}.get(name, 0)  # benign queries are refused as well
    assert len(right) == len(rows) - len(unscored) - wrong, [row for row in rows if row not in right][:3]
    lacking = {"tempcompass": ["fine_dim"], "mmmu_pro": ["topic_difficulty"]}.get(name, [])  # as the releases do
    assert summary["rows_without_id"] == 0 and list(summary["rows_without_facet"]) == lacking


def test_no_torch_is_needed(releases: Path, tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
sys.modules["torch"] = None
import mmreflect.evaluation.releases as releases
assert "datasets" not in sys.modules and "pyarrow" not in sys.modules
from mmreflect import recipes
for name in ("mmmu", "videomme"):
    leaf = recipes.load("benchmark", name).BENCHMARK
    settings = releases.ReleaseConfig(source={str(releases)!r} + "/" + name, check="exists")
    release = releases.open_release(leaf, settings, cache=Path({str(tmp_path)!r}), max_frames=4)
    print(release.count(), len(releases.questions(release).asked))
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert [line for line in done.stdout.splitlines() if "unpacking" not in line] == ["30 30", "21 21"]


def test_replicas_are_written_by_a_command(tmp_path: Path) -> None:
    script = Path(replicas.__file__)
    module = [sys.executable, "-m", "tests.benchmarks.replicas", str(tmp_path), "chartqa", "nextgqa"]
    done = subprocess.run(module, check=True, capture_output=True, text=True, cwd=script.parents[2])
    assert done.stdout.splitlines() == [f"chartqa: {tmp_path}/chartqa", f"nextgqa: {tmp_path}/nextgqa"]
    assert (tmp_path / "nextgqa/gsub_test.json").is_file()
    failed = subprocess.run([sys.executable, script, tmp_path, "chart"], capture_output=True, text=True)
    assert failed.returncode == 1 and "usage: replicas.py OUT [mathvista |" in failed.stderr
