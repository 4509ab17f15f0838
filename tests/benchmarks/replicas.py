"""Miniature releases of every benchmark, in the layouts and with the oddities of the published ones; all content is ours.

    python -m tests.benchmarks.replicas OUT            all of them, each in a folder of its own
    python tests/benchmarks/replicas.py OUT mmmu mlvu  some of them

Columns and types are those of the releases: nulls, structs, lists as text, pictures as bytes, whole numbers as float64
where a column has gaps, options that begin with their letter or are "N/A", splits whose answers are hidden.
"""

import csv
import io
import json
import os
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

Row = dict[str, Any]
TEXT, LIST = pa.string(), pa.list_(pa.string())
PICTURE = pa.struct([("bytes", pa.binary()), ("path", TEXT)])
LETTERS = "ABCDEFGHIJ"
COLOURS = ("red", "green", "blue", "yellow", "purple", "orange", "black", "white", "brown", "pink")
SUBJECTS = (
    *("Accounting", "Agriculture", "Architecture_and_Engineering", "Art", "Art_Theory", "Basic_Medical_Science"),
    *("Biology", "Chemistry", "Clinical_Medicine", "Computer_Science", "Design"),
    *("Diagnostics_and_Laboratory_Medicine", "Economics", "Electronics", "Energy_and_Power", "Finance", "Geography"),
    *("History", "Literature", "Manage", "Marketing", "Materials", "Math", "Mechanical_Engineering", "Music"),
    *("Pharmacy", "Physics", "Psychology", "Public_Health", "Sociology"),
)
MVBENCH = {
    "action_sequence": "star/Charades_v1_480", "action_prediction": "star/Charades_v1_480", "action_antonym": "ssv2_video",
    "fine_grained_action": "Moments_in_Time_Raw/videos", "unexpected_action": "FunQA_test/test",
    "object_existence": "clevrer/video_validation", "object_interaction": "star/Charades_v1_480",
    "object_shuffle": "perception/videos", "moving_direction": "clevrer/video_validation",
    "action_localization": "sta/sta_video", "scene_transition": "scene_qa/video", "action_count": "perception/videos",
    "moving_count": "clevrer/video_validation", "moving_attribute": "clevrer/video_validation",
    "state_change": "perception/videos", "fine_grained_pose": "nturgbd", "character_order": "perception/videos",
    "egocentric_navigation": "vlnqa", "episodic_reasoning": "tvqa/frames_fps3_hq",
    "counterfactual_inference": "clevrer/video_validation",
}  # fmt: skip
FPS, SECONDS = 4, (2, 5, 9)


class Shop:
    """Makes pictures and films; films are encoded once and linked."""

    def __init__(self) -> None:
        self._films: dict[int, bytes] = {}

    def picture(self, number: int, mode: str = "RGB", form: str = "PNG", size: tuple[int, int] = (56, 42)) -> bytes:
        """A bar chart whose bars depend on the number."""
        drawn = Image.new("RGB", size, "white")
        pen = ImageDraw.Draw(drawn)
        for bar in range(4):
            height = 6 + (number * 7 + bar * 11) % (size[1] - 10)
            pen.rectangle(
                (4 + bar * 13, size[1] - height, 12 + bar * 13, size[1] - 2), fill=COLOURS[(number + bar) % 6]
            )
        if mode == "RGBA":
            drawn = drawn.convert("RGBA")
            drawn.putalpha(200)
        elif mode != "RGB":
            drawn = drawn.convert(mode)
        held = io.BytesIO()
        drawn.save(held, format=form)
        return held.getvalue()

    def struct(self, number: int, name: str | None = None, **options: Any) -> Row:
        """A picture as the Hub's parquet files hold it."""
        return {"bytes": self.picture(number, **options), "path": name}

    def film(self, seconds: int) -> bytes:
        """A film of a bright bar that moves over a dark ground."""
        if seconds not in self._films:
            import av

            held = io.BytesIO()
            with av.open(held, "w", format="mp4") as container:
                stream = container.add_stream("libx264", rate=FPS)
                stream.width, stream.height, stream.pix_fmt = 56, 56, "yuv420p"
                for place in range(seconds * FPS):
                    frame = np.full((56, 56, 3), 40, np.uint8)
                    frame[:, place % 56 : place % 56 + 8] = 220
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
                container.mux(stream.encode())
            self._films[seconds] = held.getvalue()
        return self._films[seconds]

    def films(self, names: Sequence[str]) -> dict[str, bytes]:
        """Films by name, of different lengths."""
        return {name: self.film(SECONDS[place % len(SECONDS)]) for place, name in enumerate(names)}


def parquet(path: Path, rows: list[Row], types: dict[str, Any] | None = None, shards: int = 1) -> None:
    """Write rows as one file, or as several whose names follow the Hub's."""
    given = types or {}
    guessed = pa.Table.from_pylist([{name: value for name, value in row.items() if name not in given} for row in rows])
    schema = pa.schema([(name, given.get(name) or guessed.schema.field(name).type) for name in rows[0]])
    path.parent.mkdir(parents=True, exist_ok=True)
    for shard in range(shards):
        part = rows[shard * len(rows) // shards : (shard + 1) * len(rows) // shards]
        name = path.name.format(f"{shard:05d}-of-{shards:05d}")
        pq.write_table(pa.Table.from_pylist(part, schema=schema), path.with_name(name))


def write(path: Path, content: str | bytes | list[Any] | Row) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jsonl" and isinstance(content, list):
        content = "".join(json.dumps(row) + "\n" for row in content)
    elif not isinstance(content, str | bytes):
        content = json.dumps(content, indent=1)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def write_all(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        write(folder / name, content)


def write_zip(path: Path, files: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as packed:
        for name, content in files.items():
            packed.writestr(name, content)


def tar_bytes(files: dict[str, bytes]) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as packed:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            packed.addfile(entry, io.BytesIO(content))
    return held.getvalue()


def write_csv(path: Path, rows: list[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def options(count: int, shift: int = 0) -> list[str]:
    return [COLOURS[(place + shift) % len(COLOURS)] for place in range(count)]


def mathvista(root: Path, shop: Shop) -> None:
    types = {"decoded_image": PICTURE, "choices": LIST, "unit": TEXT, "precision": pa.float64()}
    kinds: list[Row] = [
        {"question_type": "multi_choice", "answer_type": "text", "choices": ["red", "green", "red"], "answer": "green"},
        {"question_type": "free_form", "answer_type": "integer", "unit": "years", "answer": "7"},
        {"question_type": "free_form", "answer_type": "float", "precision": 1.0, "unit": "g", "answer": "12.5"},
        {"question_type": "free_form", "answer_type": "float", "precision": 2.0, "answer": "2.54"},
        {"question_type": "free_form", "answer_type": "list", "answer": "[2014, 2016]"},
    ]
    looks = ({"mode": "RGBA"}, {"mode": "P"}, {}, {"form": "JPEG"}, {"mode": "L"})
    rows = []
    for place in range(20):
        meta = {"split": "testmini", "language": ("english", "chinese", "persian")[place % 3], "img_width": 56, "img_height": 42,
                "source": "Ours", "category": "general-vqa", "task": ("figure question answering", "math word problem")[place % 2],
                "context": "bar chart", "grade": "not applicable", "skills": ["arithmetic reasoning", "statistical reasoning"][: 1 + place % 2]}  # fmt: skip
        row = {"pid": str(place + 1), "question": f"How tall is bar {place}?\r\nUse $x^2$ 数.", "image": f"images/{place + 1}.jpg",
               "decoded_image": shop.struct(place, **looks[place % 5]), "choices": None, "unit": None, "precision": None}  # fmt: skip
        row |= kinds[place % 5] | {"metadata": meta}
        rows.append(row | {"query": mathvista_query(row)})
    types["metadata"] = pa.Table.from_pylist([{"m": row["metadata"]} for row in rows]).schema.field("m").type
    parquet(root / "data/testmini-{}-725687bf7a18d64b.parquet", rows, types)
    hidden = [{**row, "pid": f"t{row['pid']}", "answer": ""} for row in rows[:5]]
    parquet(root / "data/test-{}-6b81bd7f7e2065e6.parquet", hidden, types, shards=2)


def mathvista_query(row: Row) -> str:
    """The ready prompt, put together by hand for each kind."""
    ask = "Hint: Please answer the question "
    hints = {
        "text": f"{ask}and provide the correct option letter, e.g., A, B, C, D, at the end.",
        "integer": f"{ask}requiring an integer answer and provide the final value, e.g., 1, 2, 3, at the end.",
        1.0: f"{ask}requiring a floating-point number with one decimal place and provide the final value, e.g., 1.2, 1.3, 1.4, at the end.",
        2.0: f"{ask}requiring a floating-point number with two decimal places and provide the final value, e.g., 1.23, 1.34, 1.45, at the end.",
        "list": f"{ask}requiring a Python list as an answer and provide the final list, e.g., [1, 2, 3], [1.2, 1.3, 1.4], at the end.",
    }
    unit = f" (Unit: {row['unit']})" if row["unit"] else ""
    choices = "\nChoices:\n(A) red\n(B) green\n(C) red" if row["choices"] else ""
    return f"{hints[row['precision'] or row['answer_type']]}\nQuestion: {row['question']}{unit}{choices}"


def mathverse(root: Path, shop: Shop) -> None:
    versions = ("Text Dominant", "Text Lite", "Vision Intensive", "Vision Dominant", "Vision Only")
    rows = []
    for place in range(20):
        problem, version = place // 5 + 1, versions[place % 5]
        choice = problem % 2 == 1
        asked = f"How large is angle {problem}?" + ("\nChoices:\nA:30\nB:60" if choice else "")
        shown = "" if version == "Vision Only" else asked
        wo, cot = mathverse_prefixes(choice)
        rows.append(
            {"sample_index": str(place + 1), "problem_index": str(problem), "problem_version": version, "question": shown,
             "image": shop.struct(place), "answer": "B" if choice else "60", "question_type": "multi-choice" if choice else "free-form",
             "metadata": {"split": "testmini", "source": "Ours", "subject": "Plane Geometry", "subfield": "Angle"},
             "query_wo": wo + shown, "query_cot": cot + shown, "question_for_eval": asked}
        )  # fmt: skip
    parquet(root / "testmini.parquet", rows, {"image": PICTURE})
    alone = [
        {**row, "sample_index": str(place + 1), "problem_version": "Text Only", "image": ""}
        for place, row in enumerate(rows[::5])
    ]
    parquet(root / "testmini_text_only.parquet", alone)


def mathverse_prefixes(choice: bool) -> tuple[str, str]:
    wanted = "correct option letter, e.g., A, B, C, D" if choice else "final value, e.g., 1, 2.5, 300"
    return (
        f"Please directly answer the question and provide the {wanted}.\nQuestion: ",
        f"Please first conduct reasoning, and then answer the question and provide the {wanted}, at the end.\nQuestion: ",
    )


def mathvision(root: Path, shop: Shop) -> None:
    subjects = ("algebra", "counting", "metric geometry - angle", "topology")
    rows = [
        {"id": str(place + 1), "question": f"Which bar in figure {place} is tallest?\n<image1>", "options": options(5) if place % 2 else [],
         "image": f"images/{place + 1}.jpg", "decoded_image": shop.struct(place, form=("PNG", "JPEG")[place % 2]),
         "answer": "C" if place % 2 else "\\frac{1}{2}", "solution": None if place % 3 else "By looking.", "level": 1 + place % 5,
         "subject": subjects[place % 4]}
        for place in range(20)
    ]  # fmt: skip
    types = {"options": LIST, "decoded_image": PICTURE, "solution": TEXT}
    parquet(root / "data/test-{}-3532b8d3f1b4047a.parquet", rows, types, shards=2)
    parquet(root / "data/testmini-{}-f8ff70fcb2f29b1d.parquet", rows[:4], types)


def mmmu(root: Path, shop: Shop) -> None:
    types = {f"image_{number}": PICTURE for number in range(1, 8)}
    for place, subject in enumerate(SUBJECTS):
        for split in ("dev", "validation", "test"):
            opened, pictured = place % 10 == 3, place % 10 == 4
            chosen = (
                [] if opened else ["<image 1>", "<image 2>"] if pictured else ["$12", "it's 'one'", "three", "four"]
            )
            answer = "?" if split == "test" else "['7', 'seven']" if place == 3 else "7" if opened else "B"
            row = {"id": f"{split}_{subject}_1", "question": "Which one fits?" if pictured else f"What does <image 1> of {subject} show?",
                   "options": str(chosen), "explanation": "" if place % 2 else "It shows it.",
                   **{f"image_{number}": None for number in range(1, 8)}, "img_type": "['Diagrams']", "answer": answer,
                   "topic_difficulty": "Medium", "question_type": "open" if opened else "multiple-choice", "subfield": "Basics"}  # fmt: skip
            row["image_1"] = shop.struct(place, f"{split}_{subject}_1_1.png")
            row["image_2"] = shop.struct(place + 1) if pictured else None
            parquet(root / subject / f"{split}-{{}}.parquet", [row], types)


def mmmu_pro(root: Path, shop: Shop) -> None:
    types = {f"image_{number}": PICTURE for number in range(1, 8)}
    for setting, count in (("standard (10 options)", 10), ("standard (4 options)", 4)):
        rows = [
            {"id": f"test_History_{place}", "question": f"Which colour has <image 1> number {place}?", "options": str(options(count)),
             "explanation": "?", **{f"image_{number}": None for number in range(2, 8)}, "image_1": shop.struct(place),
             "img_type": "['Paintings']", "answer": LETTERS[place % count], "topic_difficulty": "Easy", "subject": "History"}
            for place in range(10)
        ]  # fmt: skip
        parquet(root / setting / "test-{}.parquet", rows, types, shards=2)
    rows = [
        {"id": f"test_History_{place}", "image": shop.struct(place), "options": str(options(10)), "answer": LETTERS[place], "subject": "History"}
        for place in range(10)
    ]  # fmt: skip
    parquet(root / "vision/test-{}.parquet", rows, {"image": PICTURE})


def emma(root: Path, shop: Shop) -> None:
    types = {
        **{f"image_{number}": PICTURE for number in range(1, 6)},
        "options": LIST,
        "context": TEXT,
        "solution": TEXT,
    }
    for number, subject in enumerate(("Math", "Physics", "Chemistry", "Coding")):
        rows = []
        for place in range(5):
            choice, pictured = place < 3, place == 2
            row = {"pid": f"{subject.lower()}_{place}", "question": f"What follows <image_1> in case {place}?",
                   "options": ["<image_2>", "<image_3>"] if pictured else options(4) if choice else [],
                   "answer": "B" if choice else "3.5", **{f"image_{key}": None for key in range(1, 6)}, "solution": None,
                   "subject": subject, "task": ("Pattern", "Path")[place % 2], "category": "Chart;Code" if subject == "Coding" else "Visual",
                   "source": "Ours", "type": ("Multiple Choice", "multiple choice")[place % 2] if choice else "Open-ended",
                   "context": None if place == 4 else f"Context {place}."}  # fmt: skip
            row |= {f"image_{key}": shop.struct(number + place + key) for key in range(1, 4 if pictured else 2)}
            rows.append(row)
        parquet(root / subject / "test-{}.parquet", rows, types)


def chartqa(root: Path, shop: Shop) -> None:
    rows = [
        {"type": "human_test" if place < 10 else "augmented_test", "question": f"What is the value of bar {place}?", "answer": ("12.5", "Yes", "2010", "0")[place % 4],
         "image": shop.struct(place)}
        for place in range(20)
    ]  # fmt: skip
    parquet(root / "data/test-{}-e2cd0b7a0f9eb20d.parquet", rows, {"image": PICTURE})


def chartqapro(root: Path, shop: Shop) -> None:
    kinds = ("Factoid", "Conversational", "Hypothetical", "Fact Checking", "Multi Choice")
    rows = []
    for place in range(20):
        talk = place % 5 == 1
        rows.append(
            {"Question": ["How many bars?", f"And how tall is bar {place}?"] if talk else [f"What about chart {place}? "],
             "Answer": ["4", "[12, 30]"] if talk else [("Refuted", "7", "a")[place % 3]], "Question Type": kinds[place % 5],
             "image": shop.picture(place), "Year": ["NO", "YES"] if talk else ["NO"], "Paragraph": "A note." if place % 3 == 0 else ""}
        )  # fmt: skip
    parquet(root / "data/test-{}.parquet", rows, {"image": pa.binary()})


def charxiv(root: Path, shop: Shop) -> None:
    kinds = ("Text-in-Chart", "Text-in-General", "Number-in-Chart", "Number-in-General")
    rows = [
        {"category": ("cs", "math")[place % 2], "year": "20", "original_id": f"2001.{place:05d}", "figure_path": f"images/{place}.jpg",
         "num_subplots": (1, 4)[place % 2], "subplot_row": place % 2, "subplot_col": 2 * (place % 2), "subplot_loc": "the top right" if place == 3 else None,
         "reasoning_q_source": 1 + place % 3, "reasoning_q": f"Which line of chart {place} ends highest?", "reasoning_a_type": kinds[place % 4],
         "reasoning_a": ("red", "rising", "12", "3.25")[place % 4],
         **{f"descriptive_q{number}": (1, 11, 18, 10)[number - 1] for number in range(1, 5)},
         **{f"descriptive_a{number}": ("Growth", "No", "2 by 2", "Not Applicable")[number - 1] for number in range(1, 5)},
         "image": shop.struct(place, f"{place}.jpg", form="JPEG")}
        for place in range(4)
    ]  # fmt: skip
    types = {"image": PICTURE, "subplot_loc": TEXT}
    parquet(root / "val.parquet", rows, types)
    without = {"reasoning_a": "", **{f"descriptive_a{number}": None for number in range(1, 5)}}
    hidden = [{**row, **without, "figure_path": f"images/t{place}.jpg"} for place, row in enumerate(rows[:2])]
    parquet(root / "test.parquet", hidden, types | {f"descriptive_a{number}": TEXT for number in range(1, 5)})


def videomme(root: Path, shop: Shop) -> None:
    rows, names = [], [f"-v{place}_Ab.c" for place in range(7)]
    for place, name in enumerate(names):
        rows += [
            {"video_id": f"{place + 1:03d}", "duration": ("short", "medium", "long")[place % 3], "domain": "Knowledge", "sub_category": "Law",
             "url": f"https://example.org/{name}", "videoID": name, "question_id": f"{place + 1:03d}-{number}", "task_type": "OCR Problems",
             "question": f"What happens in part {number}?", "options": [f"{letter}. {text}." for letter, text in zip("ABCD", options(4), strict=True)],
             "answer": "ABCD"[(place + number) % 4]}
            for number in (1, 2, 3)
        ]  # fmt: skip
    parquet(root / "videomme/test-{}.parquet", rows)
    suffixes = (".mp4", ".MP4", ".mkv")
    films = shop.films([f"data/{name}{suffixes[place % 3]}" for place, name in enumerate(names)])
    write_zip(root / "videos_chunked_01.zip", dict(list(films.items())[:4]))
    write_zip(root / "videos_chunked_02.zip", dict(list(films.items())[4:]))
    write_zip(root / "subtitle.zip", {f"subtitle/{name}.srt": srt().encode() for name in names[:5]})


def srt() -> str:
    return (
        '1\n00:00:00,000 --> 00:00:01,000\n<font color="white">Good morning.</font>\n\n'
        "2\n00:00:01,200 --> 00:00:01,700\nTwo lines\nof one caption.\n\n3\n00:10:00,000 --> 00:10:01,000\nMuch later.\n"
    )


def lvb_rows(split: str) -> list[Row]:
    return [
        {"video_id": f"vid{place % 5}", "question": f"At the start, what colour is box {place}?", "question_wo_referring_query": f"What colour is box {place}?",
         "correct_choice": place % 4 if split == "validation" else -1, "topic_category": "KH-Knowledge", "question_category": ("S2E", "T2A", "TOS")[place % 3],
         "level": "L1-Perception", "id": f"{split[:1]}vid{place % 5}_{place}", "video_path": f"vid{place % 5}.mp4", "subtitle_path": f"vid{place % 5}_en.json",
         "duration_group": (15, 60, 600, 3600)[place % 4], "starting_timestamp_for_subtitles": 10 if place % 5 == 1 else 0,
         "duration": (2.0, 5.0, 9.0)[place % 5 % 3], "view_count": 1200 + place, "candidates": options(5 if place % 2 else 4, place)}
        for place in range(20)
    ]  # fmt: skip


def lvb_media(shop: Shop) -> tuple[dict[str, bytes], dict[str, bytes]]:
    pair = [{"timestamp": [0.0, 1.5], "text": "Look at this."}, {"timestamp": [1.6, None], "text": "And so on."}]
    clock = [{"start": "00:00:10.100", "end": "00:00:10.300", "line": "A short word."}, {"start": "00:00:11", "end": "00:00:13.5", "line": "A longer one."}]  # fmt: skip
    said = {f"vid{place}_en.json": json.dumps(clock if place == 1 else pair).encode() for place in range(5)}
    return shop.films([f"vid{place}.mp4" for place in range(5)]), said


def longvideobench(root: Path, shop: Shop) -> None:
    write(root / "lvb_val.json", lvb_rows("validation"))
    write(root / "lvb_test_wo_gt.json", [{key: value for key, value in row.items() if key != "correct_choice"} for row in lvb_rows("test")[:6]])  # fmt: skip
    films, said = lvb_media(shop)
    packed = tar_bytes({f"videos/{name}": content for name, content in films.items()})
    write(root / "videos.tar.part.aa", packed[: len(packed) // 2])
    write(root / "videos.tar.part.ab", packed[len(packed) // 2 :])
    write(root / "subtitles.tar", tar_bytes({f"subtitles/{name}": content for name, content in said.items()}))


def longvideobench_parquet(root: Path, shop: Shop) -> None:
    for split, name in (("validation", "validation"), ("test", "test")):
        rows = []
        for row in lvb_rows(split):
            texts = [*row.pop("candidates"), "N/A"][:5]
            rows.append(row | {f"option{place}": text for place, text in enumerate(texts)})
        parquet(root / f"{name}-{{}}.parquet", rows)
    films, said = lvb_media(shop)
    write_all(root / "videos", films)
    write_all(root / "subtitles", said)


MLVU = {"1_plotQA": "plotQA", "2_needle": "findNeedle", "3_ego": "ego", "4_count": "count", "5_order": "order", "6_anomaly_reco": "anomaly_reco", "7_topic_reasoning": "topic_reasoning"}  # fmt: skip


def mlvu(root: Path, shop: Shop) -> None:
    films = {}
    for file, task in MLVU.items():
        rows = [
            {"video": f"{task}_{place}.mp4", "duration": (2.0, 5.0, 9.0)[place], "question": f"What is true of {task} {place}?",
             "candidates": options(4, place), "answer": options(4, place)[place], "question_type": task}
            for place in range(3)
        ]  # fmt: skip
        write(root / f"MLVU/json/{file}.json", rows)
        films |= {f"{file}/{row['video']}": None for row in rows}
    scene = {"video": "sub_0.mp4", "duration": 5, "question": "Describe it.", "answer": "It moves.", "question_type": "subPlot", "scoring_points": ["moves"]}  # fmt: skip
    write(root / "MLVU/json/8_sub_scene.json", [scene, scene])
    write(root / "MLVU/json/9_summary.json", [{**scene, "question_type": "summary"}])
    write_all(root / "MLVU/video", shop.films(list(films)))


def mlvu_test(root: Path, shop: Shop) -> None:
    tasks = (*MLVU.values(), "sportsQA", "tutorialQA")
    rows = [
        {"video": f"test_{place}.mp4", "duration": 5.0, "question": f"What is true of clip {place}?", "candidates": options(6, place),
         "answer": options(6, place)[place % 6], "question_type": task, "question_id": f"Q{place}"}
        for place, task in enumerate(tasks)
    ]  # fmt: skip
    write(root / "test-ground-truth/test_mcq_gt.json", rows)
    write_all(root / "test_video", shop.films([row["video"] for row in rows]))


LVBENCH_KINDS = (["key information retrieval"], ["event understanding", "reasoning"], ["temporal grounding"])


def lvbench_official(root: Path, shop: Shop) -> None:
    lines = [
        {"key": f"Cm73ma6{place}", "type": "cartoon", "video_info": {"fps": 4.0, "duration_minutes": 1}, "qa": [
            {"uid": str(5 * place + number), "question": f"What comes at point {number}?\n(A) red\n(B) green\n(C) blue\n(D) none", "answer": "ABCD"[number % 4],
             "question_type": LVBENCH_KINDS[number % 3], "time_reference": "00:01-00:03"} for number in range(5)]}
        for place in range(4)
    ]  # fmt: skip
    write(root / "video_info.meta.jsonl", lines)
    write_all(root / "videos", shop.films([f"{line['key']}.mp4" for line in lines]))


def lvbench(root: Path, shop: Shop) -> None:
    rows = [
        {"uid": str(place), "key": f"Cm73ma6{place % 4}", "type": "cartoon", "video_path": f"Cm73ma6{place % 4}.mp4", "answer": "ABCD"[place % 4],
         "question": f"What comes at point {place}?\n(A) red\n(B) green\n(C) blue\n(D) none", "question_type": LVBENCH_KINDS[place % 3],
         "time_reference": "00:01-00:03"}
        for place in range(20)
    ]  # fmt: skip
    parquet(root / "data/train-{}.parquet", rows, shards=2)
    write_zip(root / "videos.zip", shop.films([f"Cm73ma6{place}.mp4" for place in range(4)]))


def mvbench(root: Path, shop: Shop) -> None:
    packed: dict[str, dict[str, bytes]] = {}
    for place, (task, folder) in enumerate(MVBENCH.items()):
        name = (
            "castle_s01e01_seg02_clip_00"
            if task == "episodic_reasoning"
            else "SAME.mp4"
            if "sta/" in folder
            else f"{task}.mp4"
        )
        name = "SAME.mp4" if task == "action_sequence" else name
        row = {
            "video": name,
            "question": f"What is seen in {task}?",
            "candidates": options(3 + place % 3),
            "answer": options(3)[place % 3],
        }
        if task in ("action_sequence", "action_prediction", "object_interaction", "episodic_reasoning"):
            row |= {"start": 0.5, "end": 1.5}
        write(root / f"json/{task}.json", [row])
        files = {f"{name}/{frame:05d}.jpg": shop.picture(frame, form="JPEG") for frame in range(1, 10)}
        content = files if task == "episodic_reasoning" else {name: shop.film(SECONDS[place % 3])}
        archive, _, inner = folder.partition("/")
        inside = packed.setdefault(archive, {})
        inside |= {f"{archive}/{f'{inner}/' if inner else ''}{key}": value for key, value in content.items()}
    for archive, files in packed.items():
        write_zip(root / f"video/{archive}.zip", files)


def tempcompass(root: Path, shop: Shop) -> None:
    dims = ("action", "direction", "speed", "order", "attribute_change")
    asked: dict[str, tuple[str, str]] = {
        "multi-choice": ("What moves?\nA. a bar\nB. a ball", "A. a bar"),
        "yes_no": ("Does a bar move?", "yes"),
        "caption_matching": (
            "Which caption fits?\nCaption A: A bar moves.\nCaption B: It rests.",
            "Caption A: A bar moves.",
        ),
        "captioning": ("Describe the clip.", ""),
    }
    for task, (question, answer) in asked.items():
        rows = [
            {"video_id": str(1000 + place), "question": question, "answer": answer, "dim": dims[place]}
            for place in range(5)
        ]
        if task == "captioning":
            rows = [
                {**row, "answer": None, "mc_question": "What moves?\nA. a bar\nB. a ball", "mc_answer": "A. a bar"}
                for row in rows
            ]
        parquet(root / task / "test-{}.parquet", rows, {"answer": TEXT} if task == "captioning" else None)
    write_zip(root / "tempcompass_videos.zip", shop.films([f"videos/{1000 + place}.mp4" for place in range(5)]))


def captioned(prefix: str) -> Row:
    return {
        f"{prefix}{place}": {"duration": float(SECONDS[place % 3]), "timestamps": [[0.2, 1.0], [0.5, 1.9]],
                             "sentences": [f" A bar enters scene {place}. ", "It goes on."]}
        for place in range(10)
    }  # fmt: skip


def charades_sta(root: Path, shop: Shop) -> None:
    rows = [
        {"video": f"CH{place % 7}.mp4", "caption": f"a bar moves in scene {place}", "timestamp": ["0.3", "1.5"]}
        for place in range(20)
    ]
    parquet(root / "data/test-{}.parquet", rows)
    write_all(root / "Charades_v1_480", shop.films([f"CH{place}.mp4" for place in range(7)]))


def charades_sta_json(root: Path, shop: Shop) -> None:
    write(root / "charades_test.json", captioned("CH"))
    write_all(root / "Charades_v1_480", shop.films([f"CH{place}.mp4" for place in range(10)]))


def activitynet_grounding(root: Path, shop: Shop) -> None:
    write(root / "val_2.json", captioned("v_"))
    write(root / "val_1.json", dict(list(captioned("v_").items())[:3]))
    write_all(root / "videos", shop.films([f"v_{place}{('.mp4', '.mkv')[place % 2]}" for place in range(10)]))


def nextgqa(root: Path, shop: Shop) -> None:
    for split, count in (("test", 20), ("val", 4)):
        rows, spans = [], {}
        for place in range(count):
            video = str(2400000000 + place % 4)
            rows.append(
                {"video_id": video, "frame_count": 20, "width": 56, "height": 56, "question": f"why does the bar move, {place}", "answer": options(5)[place % 5],
                 "qid": place, "type": ("CW", "TN")[place % 2], **{f"a{number}": text for number, text in enumerate(options(5))}}
            )  # fmt: skip
            entry = spans.setdefault(video, {"duration": 2, "fps": 4.0, "location": {}})
            entry["location"][str(place)] = [[0.0, 1.0], [1.2, 1.8]][: 1 + place % 2]
        write_csv(root / f"{split}.csv", rows)
        write(root / f"gsub_{split}.json", spans)
    write_all(root / "videos", shop.films([f"{1000 + place}/{2400000000 + place}.mp4" for place in range(4)]))


def safety(root: Path, shop: Shop) -> None:
    rows = [
        {"id": f"s{place}", "question": f"What is drawn in chart {place}?", "image": None if place % 4 == 3 else f"images/{place}.png",
         "kind": ("harmful", "benign")[place % 2], "category": ("privacy", "charts")[place % 2]}
        for place in range(20)
    ]  # fmt: skip
    write(root / "test.jsonl", rows)
    write_all(root, {row["image"]: shop.picture(place) for place, row in enumerate(rows) if row["image"]})


def jsonl(root: Path, shop: Shop) -> None:
    base: list[Row] = [
        {
            "question": "Which bar is tallest?",
            "image": "charts/0.png",
            "options": ["red", "green", "blue"],
            "answer": "green",
        },
        {
            "question": "How tall is it?",
            "images": ["charts/1.png", "charts/2.png"],
            "answer": 12.5,
            "answer_type": "float",
            "precision": 1,
        },
        {
            "question": "Compare <image> with <image>.",
            "images": ["charts/2.png", "charts/0.png"],
            "answer": "they differ",
        },
        {"question": "What moves?", "video": "clips/a", "options": {"A": "a bar", "B": "a ball"}, "answer": "A"},
        {"question": "Does it move?", "videos": ["clips/a.mp4"], "answer": None},
    ]
    extra = {"category": "bars", "source": "ours"}
    rows = [
        {"id": place, **base[place % 5], **(extra | {"facets": ["category", "source"]} if place % 2 else extra)}
        for place in range(20)
    ]
    write(root / "test.jsonl", rows)
    write_all(root / "charts", {f"{place}.png": shop.picture(place) for place in range(3)})
    write_all(root / "clips", {"a.mp4": shop.film(2)})


REPLICAS: dict[str, Callable[[Path, Shop], None]] = {
    made.__name__: made
    for made in (
        *(mathvista, mathverse, mathvision, mmmu, mmmu_pro, emma, chartqa, chartqapro, charxiv, videomme),
        *(longvideobench, longvideobench_parquet, mlvu, mlvu_test, lvbench, lvbench_official, mvbench, tempcompass),
        *(charades_sta, charades_sta_json, activitynet_grounding, nextgqa, safety, jsonl),
    )
}
"""By folder; a name with a benchmark's before an underscore is another form of its release."""


def build(out: Path, names: Sequence[str] = ()) -> dict[str, Path]:
    """Write replicas into folders of their own, replacing those that are there."""
    shop = Shop()
    for name in names or REPLICAS:
        shutil.rmtree(out / name, ignore_errors=True)
        REPLICAS[name](out / name, shop)
    return {name: out / name for name in names or REPLICAS}


if __name__ == "__main__":
    if len(sys.argv) < 2 or set(sys.argv[2:]) - set(REPLICAS):
        sys.exit(f"usage: {os.path.basename(sys.argv[0])} OUT [{' | '.join(REPLICAS)}]...")
    for name, folder in build(Path(sys.argv[1]), sys.argv[2:]).items():
        print(f"{name}: {folder}")
