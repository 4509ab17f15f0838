"""Miniature releases of the benchmarks on pictures, and a user's own questions."""

from pathlib import Path

import pyarrow as pa
from replica_making import LETTERS, LIST, PICTURE, TEXT, Row, Shop, options, parquet, write, write_all

SUBJECTS = (
    *("Accounting", "Agriculture", "Architecture_and_Engineering", "Art", "Art_Theory", "Basic_Medical_Science"),
    *("Biology", "Chemistry", "Clinical_Medicine", "Computer_Science", "Design"),
    *("Diagnostics_and_Laboratory_Medicine", "Economics", "Electronics", "Energy_and_Power", "Finance", "Geography"),
    *("History", "Literature", "Manage", "Marketing", "Materials", "Math", "Mechanical_Engineering", "Music"),
    *("Pharmacy", "Physics", "Psychology", "Public_Health", "Sociology"),
)


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


RELEASES = (mathvista, mathverse, mathvision, mmmu, mmmu_pro, emma, chartqa, chartqapro, charxiv, safety, jsonl)
