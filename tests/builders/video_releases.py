"""Miniature releases of published video datasets, each with sound, null and odd rows."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

ONE_FILM = {"quality": {"repeats": "off"}}
"""Films of these releases are copies of one, so that rows of different videos look like the same row."""


def write_video(path: Path, seconds: int) -> Path:
    """Write a video of two frames per second that grows brighter."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=2)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for place in range(2 * seconds):
            picture = np.full((32, 32, 3), place * 4 % 256, np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def write_json(path: Path, value: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return str(path)


def write_csv(path: Path, rows: list[dict[str, Any]]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


VIDEO_R1 = {"data_type": "video", "problem_type": "multiple choice", "problem": "What next?", "solution": "<answer>B</answer>",
            "options": ["A. It rains", "B. It snows"], "data_source": "STAR"}  # fmt: skip


def video_r1(root: Path) -> dict[str, Any]:
    rows = [
        {**VIDEO_R1, "problem_id": 1, "path": "./STAR/a.mp4", "duration": 10.2, "fps": 2},
        {**VIDEO_R1, "problem_id": 2, "path": "./STAR/b.mp4", "options": ["A) one", "B) two"], "solution": "<answer> A </answer>"},
        {**VIDEO_R1, "problem_id": 3, "path": "./CLEVRER/c.mp4", "options": [], "problem_type": "numerical", "solution": "<answer>3</answer>"},
        {**VIDEO_R1, "problem_id": 4, "path": "./STAR/d.mp4", "solution": "<answer>AB</answer>"},
        {**VIDEO_R1, "problem_id": 5, "path": "./STAR/d.mp4", "solution": "B"},
        {**VIDEO_R1, "problem_id": 6, "path": "./STAR/d.mp4", "options": None},
        {**VIDEO_R1, "problem_id": 7, "path": "./Math/e.png", "data_type": "image"},
        {**VIDEO_R1, "problem_id": 8, "path": "./STAR/d.mp4", "problem": None},
        {**VIDEO_R1, "problem_id": 9, "path": "./STAR/d.mp4", "solution": "<answer>D</answer>"},
    ]  # fmt: skip
    annotations = write_json(root / "Video-R1-data/Video-R1-260k.json", rows)
    return {"name": "video_r1", "annotations": annotations, "videos": str(root / "Video-R1-data")}


def llava_video(root: Path) -> dict[str, Any]:
    def row(name: str, *turns: str) -> dict[str, Any]:
        speakers = [{"from": ("human", "gpt")[place % 2], "value": text} for place, text in enumerate(turns)]
        return {"id": name, "conversations": speakers, "data_source": "0_30_s", "video": f"source/{name}.mp4"}

    tail = "\nPlease respond with only the letter of the correct answer."
    rows = [
        row("a", f"<image>\nWhat is on the arm?\nA. A tattoo\nB. A watch{tail}", "A.", "And now?\nA. Black\nB. Silver\nPlease provide your answer by stating the letter followed by the full option.", "B. Silver."),
        row("b", f"<image>\nWhy?\nOptions:\nA. fun.\nB. vision.\nC. warm.{tail}", "C. warm."),
        row("c", "<image>\nDescribe the video.", "A long text."),
        row("d", f"<image>\nBroken\nA. one\nC. three{tail}", "A."),
        row("e", f"<image>\nOdd\nA. one\nB. two{tail}", "the first"),
        row("f"),
        row("g", f"<image>\nTwice\nA. one\nB. one{tail}", "A. one"),
    ]  # fmt: skip
    annotations = write_json(root / "llava/mc.json", rows)
    return {"name": "llava_video", "annotations": annotations, "videos": str(root / "llava")}


def nextqa(root: Path) -> dict[str, Any]:
    base = {"frame_count": 300, "width": 64, "height": 48, "type": "CW", "a0": "one", "a1": "two, or so", "a2": "three", "a3": "four", "a4": "five"}  # fmt: skip
    rows = [
        {"video": "401", "question": "why does the boy run", "answer": 1, "qid": 6, **base},
        {"video": "401", "question": "how", "answer": 4, "qid": 7, **base},
        {"video": "402", "question": "where", "answer": 0, "qid": 6, **base},
        {"video": "402", "question": "", "answer": 0, "qid": 8, **base},
        {"video": "402", "question": "what", "answer": "", "qid": 9, **base},
        {"video": "402", "question": "which", "answer": 2, "qid": 10, **base, "a1": "three"},
        {"video": "404", "question": "who", "answer": 2, "qid": 1, **base},
    ]
    annotations = write_csv(root / "nextqa/train.csv", rows)
    mapped = write_json(root / "nextqa/map_vid_vidorID.json", {"401": "0101/401", "402": "0016/402"})
    return {"name": "nextqa", "annotations": annotations, "videos": str(root / "vidor"), "video_map": mapped}


def star(root: Path) -> dict[str, Any]:
    choices = [{"choice_id": 1, "choice": "The box."}, {"choice_id": 0, "choice": "The bag."}]
    base = {"video_id": "TJZ0P", "question": "Which object was opened?", "answer": "The box.", "choices": choices}
    rows = [
        {"question_id": "Interaction_T1_4", "start": 1.7, "end": 6.2, **base},
        {"question_id": "Sequence_T2_9", "start": "2.0", "end": "8.0", **base, "answer": "The bag."},
        {"question_id": "Interaction_T1_5", "start": 5.0, "end": 5.0, **base},
        {"question_id": "Interaction_T1_6", "start": 1.0, "end": 2.0, **base, "answer": "The cup."},
        {"question_id": "Interaction_T1_7", "start": None, "end": 2.0, **base},
        {"question_id": "Interaction_T1_8", "start": 20.0, "end": 28.0, **base},
    ]
    return {"name": "star", "annotations": write_json(root / "STAR_train.json", rows), "videos": str(root / "charades")}


def perception_test(root: Path) -> dict[str, Any]:
    row = {"question": "What is hidden?", "options": ["a cup", "a ball", "a key"], "answer_id": 2, "area": "Memory", "reasoning": "Descriptive", "tag": ["x"]}  # fmt: skip
    metadata = {"frame_rate": 30, "num_frames": 300, "split": "train"}
    videos = {
        "video_1": {"metadata": metadata, "mc_question": [{**row, "id": 0}, {**row, "id": 1, "options": ["a", None, "c"]}]},
        "video_2": {"metadata": None, "mc_question": [{**row, "id": 0, "answer_id": 0}, {**row, "id": 3, "answer_id": None}]},
        "video_3": {"metadata": metadata, "grounded_question": []},
    }  # fmt: skip
    annotations = write_json(root / "mc_question_train.json", videos)
    return {"name": "perception_test", "annotations": annotations, "videos": str(root / "perception")}


def clevrer(root: Path) -> dict[str, Any]:
    def asked(number: int, kind: str, *right: str) -> dict[str, Any]:
        choices = [{"choice_id": place, "choice": f"event {place}", "answer": word} for place, word in enumerate(right)]
        return {"question_id": number, "question": "Which event?", "question_type": kind, "choices": choices}

    plain = {"question_id": 0, "question": "How many cubes?", "question_type": "descriptive", "question_subtype": "count", "answer": "3"}  # fmt: skip
    rows = [
        {"scene_index": 0, "video_filename": "video_00000.mp4", "questions": [plain, asked(1, "predictive", "wrong", "correct"), asked(2, "explanatory", "correct", "wrong", "correct"), asked(3, "explanatory", "wrong", "wrong")]},
        {"scene_index": 1001, "video_filename": "video_01001.mp4", "questions": [asked(1, "counterfactual", "correct", "wrong"), {**plain, "answer": None}]},
        {"scene_index": 2, "video_filename": None, "questions": None},
    ]  # fmt: skip
    return {"name": "clevrer", "annotations": write_json(root / "clevrer.json", rows), "videos": str(root / "clevrer")}


def timerft(root: Path) -> dict[str, Any]:
    base = {"duration": 10.1, "video_start": None, "video_end": None, "difficulty": 30.0, "pred": [0.0, 3.0]}
    rows = [
        {"video": "./dataset/timer1/videos/timerft_data/a.mp4", "timestamp": [1.0, 4.0], "sentence": "A sweater hangs.", "qid": "my|cosmo|a|A sweater hangs.", **base},
        {"video": "./dataset/DATASET/DiDeMo/b_00:00:39:000.mp4", "timestamp": [2.5, 10.6], "sentence": "birds", "qid": "my|didemo|b|birds", **base, "video_start": 39.0, "video_end": 49.1},
        {"video": "x/uncut.mp4", "timestamp": [0.0, 3.5], "sentence": "news", "qid": "my|internvid-vtime|u|news", **base, "video_start": 120.6, "video_end": 130.7},
        {"video": "x/a.mp4", "timestamp": [4.0, 4.0], "sentence": "none", "qid": "q4", **base},
        {"video": "x/a.mp4", "timestamp": [4.0, 19.0], "sentence": "late", "qid": "q5", **base},
        {"video": "x/a.mp4", "timestamp": [4.0], "sentence": "half", "qid": "q6", **base},
        {"video": "x/a.mp4", "timestamp": [1.0, 4.0], "sentence": "A sweater hangs.", "qid": "my|cosmo|a|A sweater hangs.", **base},
    ]  # fmt: skip
    return {
        "name": "timerft",
        "annotations": write_json(root / "train_2k5.json", rows),
        "videos": str(root / "timerft"),
    }


def cg_bench(root: Path) -> dict[str, Any]:
    base = {"video_uid": "Y4", "question": "Which pattern?", "choices": ["bulb", "bolt", "star"], "answer": "bolt", "right_answer": "B", "duration": 10, "domain": "Art", "sub_category": "Event"}  # fmt: skip
    rows = [
        {"qid": 1, **base, "clue_intervals": [[1, 5]]},
        {"qid": 2, **base, "clue_intervals": [[6, 7], [2, 4]]},
        {"qid": 3, **base, "video_uid": "Z9", "clue_intervals": []},
        {"qid": 4, **base, "video_uid": "Z9", "clue_intervals": [[0, 9.5]], "right_answer": None},
        {"qid": 5, **base, "video_uid": "Z9", "clue_intervals": [[3, 9]], "right_answer": "C"},
    ]
    return {"name": "cg_bench", "annotations": write_json(root / "cgbench.json", rows), "videos": str(root / "cg")}


def rextime(root: Path) -> dict[str, Any]:
    base = {"duration": 10, "question": "What before?", "answer": "From <s0> to <e0>, <option>.", "category": "sequential", "options": ["eat", "run", "sing", "tour"], "ans": "A"}  # fmt: skip
    rows = [
        {"qid": "qvh_val241", "vid": "2I9_510.0_660.0", "source": "qvhighlights_val", "span": [0, 8], **base},
        {"qid": "anet_val92", "vid": "v_ZM", "source": "ActivityNet_val_2", "span": [5, 8], **base},
        {"qid": "anet_val93", "vid": "v_ZM", "source": "ActivityNet_val_2", "span": [5, 9], **base, "ans": "D"},
        {"qid": "anet_val94", "vid": "v_ZM", "source": "ActivityNet_val_2", "span": None, **base},
    ]
    annotations = write_json(root / "rextime_val.json", rows)
    return {"name": "rextime", "annotations": annotations, "activitynet": str(root / "anet"), "qvhighlights": str(root / "qvh")}  # fmt: skip


def charades_sta(root: Path) -> dict[str, Any]:
    lines = ["AO8RW 0.0 6.9##a person is putting a book on a shelf.", "AO8RW 3.1 11.2##person closes the door.", "",
             "AO8RW 3.1##broken", "Q9 30.0 2.0##backwards", "Q9 1.5 4.5##a person eats."]  # fmt: skip
    annotations = root / "charades_sta_train.txt"
    root.mkdir(parents=True, exist_ok=True)
    annotations.write_text("\n".join(lines))
    lengths = write_csv(root / "Charades_v1_train.csv", [{"id": "AO8RW", "length": "10.04"}])
    return {"name": "charades_sta", "annotations": str(annotations), "videos": str(root / "charades"), "lengths": lengths}  # fmt: skip


def activitynet_captions(root: Path) -> dict[str, Any]:
    videos = {
        "v_1": {"duration": 10.0, "timestamps": [[0.5, 4], [4, 9.9]], "sentences": [" A man sits. ", None]},
        "v_2": {"duration": 9.8, "timestamps": [[0, 3]], "sentences": ["one", "two"]},
        "v_3": {"duration": 10.0, "timestamps": [[2, 13]], "sentences": ["too late"]},
    }
    annotations = write_json(root / "train.json", videos)
    return {"name": "activitynet_captions", "annotations": annotations, "videos": str(root / "anet")}


RELEASES = {
    "Video-R1-data": ["STAR/a.mp4", "STAR/b.mp4", "CLEVRER/c.mp4", "NeXT-QA/n.mp4"],
    "llava": ["source/a.mp4", "source/b.mp4", "source/c.mp4"],
    "vidor": ["0101/401.mp4", "0016/402.mp4"],
    "charades": ["TJZ0P.mp4", "AO8RW.mp4", "Q9.mp4"],
    "perception": ["video_1.mp4", "video_2.mp4"],
    "clevrer": ["video_00000-01000/video_00000.mp4", "video_01001.mp4"],
    "timerft": ["a.mp4", "b_00:00:39:000.mp4"],
    "cg": ["Y4.mp4", "Z9.mkv"],
    "anet": ["v_ZM.mp4", "v_1.mp4"],
    "qvh": ["2I9_510.0_660.0.mp4"],
}
LAYOUTS = [video_r1, llava_video, nextqa, star, perception_test, clevrer, timerft, cg_bench, rextime, charades_sta, activitynet_captions]  # fmt: skip

EXPECTED: dict[str, tuple[dict[str, tuple[str, list[float] | None]], dict[str, int], list[str]]] = {
    "video_r1": (
        {"video-r1-1": ("B", None), "video-r1-2": ("A", None)},
        {"no list 'options'": 1, "the answer is no single letter": 1, "no <answer> in 'solution'": 1, "no 'problem'": 1, "the answer is none of the options": 1},
        ["2 of 2 questions", "not asked for 2: problem_type 'numerical' (1); data_type 'image' (1)"],
    ),
    "llava_video": (
        {"llava-video-a-0": ("A", None), "llava-video-a-1": ("B", None), "llava-video-b-0": ("C", None)},
        {"the options cannot be read": 1, "the answer starts with no letter": 1, "no conversation": 1, "the right option stands twice": 1},
        ["not asked for 1: an open question (1)"],
    ),
    "nextqa": (
        {"nextqa-401-6": ("B", None), "nextqa-401-7": ("E", None), "nextqa-402-6": ("A", None)},
        {"no 'question'": 1, "no 'answer'": 1, "the right option stands twice": 1, "the video is not in the map": 1},
        ["3 of 3 questions. dropped 4"],
    ),
    "star": (
        {"star-Interaction_T1_4": ("B", None), "star-Sequence_T2_9": ("A", None)},
        {"the interval has no length": 1, "the answer is none of the options": 1, "no number 'start'": 1},
        ["3 of 3 questions"],
    ),
    "perception_test": (
        {"perception-test-video_1-0": ("C", None), "perception-test-video_2-0": ("A", None)},
        {"an option is empty": 1, "no number 'answer_id'": 1},
        ["not asked for 1: no questions of this kind about the video (1)"],
    ),
    "clevrer": (
        {"clevrer-00000-0": ("3", None), "clevrer-00000-1": ("B", None), "clevrer-01001-1": ("A", None)},
        {"several right options": 1, "no right option": 1, "no 'answer'": 1, "no video or no list of questions": 1},
        ["3 of 3 questions"],
    ),
    "timerft": (
        {"timerft-my|cosmo|a|A sweater hangs.": ("[1.0, 4.0]", [1.0, 4.0]), "timerft-my|didemo|b|birds": ("[2.5, 10.1]", [2.5, 10.1])},
        {"the interval has no length": 1, "the interval does not lie in the video": 1, "no interval 'timestamp'": 1, "its id stands before": 1},
        ["3 of 3 questions"],
    ),
    "cg_bench": (
        {"cg-bench-1": ("[1.0, 5.0]", [1.0, 5.0]), "cg-bench-2": ("[2.0, 7.0]", [2.0, 7.0]), "cg-bench-5": ("[3.0, 9.0]", [3.0, 9.0])},
        {"no clue": 1, "no 'right_answer'": 1},
        ["3 of 3 questions"],
    ),
    "rextime": (
        {"rextime-qvh_val241": ("[0.0, 8.0]", [0.0, 8.0]), "rextime-anet_val93": ("[5.0, 9.0]", [5.0, 9.0])},
        {"the span is shorter than 4 s": 1, "no interval 'span'": 1},
        ["2 of 2 questions"],
    ),
    "charades_sta": (
        {"charades-sta-AO8RW-1": ("[0.0, 6.9]", [0.0, 6.9]), "charades-sta-AO8RW-2": ("[3.1, 10.04]", [3.1, 10.04]), "charades-sta-Q9-5": ("[1.5, 4.5]", [1.5, 4.5])},
        {"the line is not of the form 'VID start end##sentence'": 1, "the interval has no length": 1},
        ["3 of 3 questions"],
    ),
    "activitynet_captions": (
        {"activitynet-captions-v_1-0": ("[0.5, 4.0]", [0.5, 4.0])},
        {"no sentence": 1, "not as many timestamps as sentences": 1, "the interval does not lie in the video": 1},
        ["1 of 1 questions"],
    ),
}  # fmt: skip
"""What becomes of each: answers and gold intervals by id, drops by reason, and words of the plan."""
