"""Miniature releases of published picture datasets, each with sound, null and odd rows."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from video_releases import write_json

SIZE = (40, 30)


def png(shade: int) -> bytes:
    """A picture of one shade."""
    held = io.BytesIO()
    Image.new("RGB", SIZE, (shade, 90, 200)).save(held, format="PNG")
    return held.getvalue()


def write_png(path: Path, shade: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(shade))


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> str:
    """Write rows in row groups of two, as large releases have many."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=2)
    return str(path)


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def held(shade: int, name: str = "a.png") -> dict[str, Any]:
    """A picture as `datasets` writes it into a cell."""
    return {"bytes": png(shade), "path": name}


def turns(*texts: str) -> list[dict[str, Any]]:
    return [{"from": ("human", "gpt")[place % 2], "value": text} for place, text in enumerate(texts)]


def virl39k(root: Path) -> dict[str, Any]:
    base = {
        "category": "(GradeSchool) Geometric",
        "source": "Processed",
        "PassRate_32BTrained": 0.625,
        "PassRate_7BBase": 0.25,
    }
    rows = [
        {"qid": "P-1", "question": "<image>\nFind x.", "answer": "\\boxed{\\frac{1}{2}}", "image": ["images/P-1-0.jpg"], **base},
        {"qid": "P-2", "question": "As in <image> shown, what is it?\n(A) 1\n(B) 2", "answer": "\\boxed{B}", "image": ["images/P-2-0.jpg"], **base, "PassRate_7BBase": float("nan")},
        {"qid": "P-3", "question": "Compare the two.\n<image>", "answer": "\\boxed{3}", "image": ["images/P-3-0.jpg", "images/P-1-0.jpg"], **base, "PassRate_7BBase": -1.0},
        {"qid": "P-4", "question": "What is 2+2?", "answer": "\\boxed{4}", "image": [], **base, "PassRate_32BTrained": 0.0},
        {"qid": "P-5", "question": "<image>Broken", "answer": "\\boxed{\\left\\{x+y", "image": ["images/P-1-0.jpg"], **base},
        {"qid": "P-6", "question": "<image>No answer", "answer": None, "image": ["images/P-1-0.jpg"], **base},
        {"qid": "P-7", "question": "<image>", "answer": "\\boxed{1}", "image": ["images/P-1-0.jpg"], **base},
        {"qid": "P-8", "question": "<image> and <image>?", "answer": "\\boxed{1}", "image": ["images/P-1-0.jpg"], **base},
        {"qid": "P-9", "question": "Without <image>?", "answer": "\\boxed{1}", "image": [], **base},
        {"qid": "P-1", "question": "<image>Twice", "answer": "\\boxed{1}", "image": ["images/P-1-0.jpg"], **base},
    ]  # fmt: skip
    for number in (1, 2, 3):
        write_png(root / f"ViRL39K/images/P-{number}-0.jpg", number)
    annotations = write_parquet(root / "ViRL39K/39Krelease.parquet", rows)
    return {"name": "virl39k", "annotations": annotations, "pictures": str(root / "ViRL39K")}


def geometry3k(root: Path) -> dict[str, Any]:
    base = {
        "problem_text": "Find m \\angle A.",
        "choices": ["30", "40", "60", "80"],
        "answer": "D",
        "problem_type_graph": ["Circle"],
        "problem_type_goal": ["Angle"],
    }
    problems: dict[str, dict[str, Any]] = {
        "2": {**base, "id": 2}, "10": {**base, "id": 10, "answer": "A"}, "11": {**base, "id": 11, "answer": "E"},
        "12": {**base, "id": 12, "answer": None}, "13": {**base, "id": 13, "choices": ["1", "1", "2", "3"], "answer": "B"},
        "14": {**base, "id": 14, "problem_text": ""},
    }  # fmt: skip
    for name, problem in problems.items():
        write_json(root / f"geometry3k/train/{name}/data.json", problem)
        write_png(root / f"geometry3k/train/{name}/img_diagram.png", int(name))
    logic = {
        "text_logic_form": ["Find(MeasureOf(Angle(A)))"],
        "diagram_logic_form": ["Circle(O)"],
        "point_positions": {"A": [1, 2]},
    }
    write_json(root / "geometry3k/train/2/logic_form.json", logic)
    return {"name": "geometry3k", "annotations": str(root / "geometry3k/train")}


def geometry3k_hub(root: Path) -> dict[str, Any]:
    rows = [
        {"images": [held(1)], "problem": "<image>Find x.", "answer": "2 \\sqrt { 3 }"},
        {"images": [held(2), held(3)], "problem": "<image><image>Which is larger?", "answer": "11"},
        {"images": [], "problem": "<image>Find y.", "answer": "1"},
        {"images": [held(4)], "problem": "<image>Find z.", "answer": ""},
        {"images": [{"bytes": b"", "path": None}], "problem": "<image>Find w.", "answer": "1"},
    ]
    return {"name": "geometry3k", "annotations": write_parquet(root / "geo3k/train-00000-of-00001.parquet", rows)}


def geoqa(root: Path) -> dict[str, Any]:
    base = {
        "subject": "如图,AB∥CD,∠ABC=50°,则∠BCD等于()",
        "choices": ["130°", "50°", "40°", "60°"],
        "label": 1,
        "formal_point": ["平行线"],
    }
    rows = [{**base, "id": 0}, {**base, "id": 1, "label": "0"}, {**base, "id": 2, "label": 4}, {**base, "id": 3, "label": None}, {**base, "id": 4}, {**base, "id": 5, "choices": None}]  # fmt: skip
    for row in rows:
        write_json(root / f"GeoQA3/json/{row['id']}.json", row)
        write_png(root / f"GeoQA3/image/{row['id']}.png", row["id"])
    (root / "GeoQA3/test_ids.txt").write_text("4\n")
    return {"name": "geoqa", "annotations": str(root / "GeoQA3/json"), "pictures": str(root / "GeoQA3/image"), "test_ids": str(root / "GeoQA3/test_ids.txt")}  # fmt: skip


def geoqa_r1v(root: Path) -> dict[str, Any]:
    rows = [
        {"image": held(1), "problem": "Find the angle.", "solution": "<answer> 145° </answer>"},
        {"image": held(2), "problem": "Find the side.", "solution": "<answer> </answer>"},
        {"image": None, "problem": "Find the area.", "solution": "<answer> 2 </answer>"},
        {"image": held(3), "problem": "  ", "solution": "<answer> 2 </answer>"},
    ]
    return {"name": "geoqa_r1v", "annotations": write_parquet(root / "r1v/train-00000-of-00001.parquet", rows)}


def chartqa(root: Path) -> dict[str, Any]:
    rows = [
        {"imgname": "1.png", "query": "How many bars?", "label": "14"},
        {"imgname": "1.png", "query": "Which years?", "label": "[2007, 2008]"},
        {"imgname": "2.png", "query": "Which is red?", "label": ["Favorable"]},
        {"imgname": "2.png", "query": "Which two?", "label": ["Yes", "No"]},
        {"imgname": "2.png", "query": "Nothing?", "label": []},
        {"imgname": None, "query": "Where?", "label": "1"},
    ]
    for number in (1, 2):
        write_png(root / f"ChartQA/train/png/{number}.png", number)
    return {"name": "chartqa", "annotations": write_json(root / "ChartQA/train/train_human.json", rows), "pictures": str(root / "ChartQA/train/png")}  # fmt: skip


def chartqa_hub(root: Path) -> dict[str, Any]:
    rows = [
        {"image": held(1), "query": "How many bars?", "label": ["14"], "human_or_machine": 0},
        {"image": held(1), "query": "What is the title?", "label": ["Births"], "human_or_machine": 1},
        {"image": held(2), "query": "How many?", "label": [None], "human_or_machine": 1},
    ]
    write_parquet(root / "chartqa-hub/test-00000-of-00001.parquet", rows)
    write_parquet(root / "chartqa-hub/train-00000-of-00001.parquet", rows)
    return {"name": "chartqa", "annotations": str(root / "chartqa-hub/train-*.parquet")}


def dvqa(root: Path) -> dict[str, Any]:
    base = {
        "image": "bar_train_00000001.png",
        "question": "How many bars are there?",
        "template_id": "structure",
        "answer_bbox": [],
    }
    rows = [
        {**base, "question_id": 1, "answer": "two"},
        {**base, "question_id": 2, "answer": "pair", "question": "Which is least?", "template_id": "reasoning", "answer_bbox": [4.5, 10, 20, 8]},
        {"image": base["image"], "question": "Which is most?", "question_id": 3, "answer": "cat", "question_type": "data", "bbox_answer": [0, 0, 5, 5]},
        {**base, "question_id": 4, "answer": "x", "answer_bbox": [1, 2, 0, 4]},
        {**base, "question_id": 5, "answer": "x", "answer_bbox": [1, 2]},
        {**base, "question_id": 6, "answer": None},
        {**base, "question_id": 7, "answer": "x", "answer_bbox": [30, 2, 20, 4]},
    ]  # fmt: skip
    write_png(root / "DVQA/images/bar_train_00000001.png", 5)
    return {"name": "dvqa", "annotations": write_json(root / "DVQA/qa/train_qa.json", rows), "pictures": str(root / "DVQA/images")}  # fmt: skip


def ai2d(root: Path) -> dict[str, Any]:
    def asked(number: int, right: Any = 3, letters: bool = False) -> dict[str, Any]:
        return {"abcLabel": letters, "answerTexts": ["ears", "nose", "mouth", "face"], "correctAnswer": right, "questionId": f"0.png-{number}"}  # fmt: skip

    questions = {
        "What is A?": asked(0, 1, letters=True),
        "Which part hears?": asked(1, 0),
        "Which part?": asked(2, 7),
        "Which?": asked(3, None),
    }
    write_json(root / "ai2d/questions/0.png.json", {"imageName": "0.png", "questions": questions})
    write_json(root / "ai2d/questions/1.png.json", {"imageName": "1.png", "questions": {"What eats?": {**asked(0), "questionId": "1.png-0"}}})  # fmt: skip
    write_json(root / "ai2d/questions/2.png.json", {"imageName": "2.png", "questions": {}})
    for number in (0, 1):
        write_png(root / f"ai2d/images/{number}.png", number)
        write_png(root / f"ai2d/abc_images/{number}.png", 100 + number)
    (root / "ai2d/ai2d_test_ids.csv").write_text("1\n77\n")
    folder = root / "ai2d"
    return {"name": "ai2d", "annotations": str(folder / "questions"), "pictures": str(folder / "images"), "letters": str(folder / "abc_images"), "test_ids": str(folder / "ai2d_test_ids.csv")}  # fmt: skip


SCIENCE: dict[str, Any] = {"question": "Which is a mammal?", "choices": ["cat", "crow"], "answer": 0, "hint": "Look at the picture.", "image": "image.png", "task": "closed choice", "grade": "grade3", "subject": "natural science", "topic": "biology", "category": "Animals", "skill": "Classify", "lecture": "Mammals have fur.", "solution": "A cat has fur.", "split": "train"}  # fmt: skip


def scienceqa(root: Path) -> dict[str, Any]:
    problems = {
        "1": SCIENCE, "2": {**SCIENCE, "image": None}, "3": {**SCIENCE, "split": "test"}, "4": {**SCIENCE, "hint": "", "answer": 1, "solution": "", "lecture": ""},
        "5": {**SCIENCE, "answer": 5}, "6": {**SCIENCE, "choices": ["cat"]}, "7": {**SCIENCE, "question": None},
    }  # fmt: skip
    for number in (1, 4, 5, 6, 7):
        write_png(root / f"ScienceQA/images/train/{number}/image.png", number)
    return {"name": "scienceqa", "annotations": write_json(root / "ScienceQA/problems.json", problems), "pictures": str(root / "ScienceQA/images")}  # fmt: skip


def scienceqa_hub(root: Path) -> dict[str, Any]:
    bare = {key: value for key, value in SCIENCE.items() if key != "split"}
    rows = [{**bare, "image": held(1)}, {**bare, "image": None}, {**bare, "image": held(2), "answer": None}]
    return {
        "name": "scienceqa",
        "annotations": write_parquet(root / "scienceqa-hub/train-00000-of-00001.parquet", rows),
    }


def mathv360k(root: Path) -> dict[str, Any]:
    def hinted(hint: str, text: str) -> str:
        return f"<image>\nHint: Please answer the question {hint}, at the end.\nQuestion: {text}"

    letter, whole = (
        "and provide the correct option letter, e.g., A, B, C, D",
        "requiring an integer answer and provide the final value, e.g., 1, 2, 3",
    )
    rows = [
        {"id": "identity_1", "image": "GeoQA+/images/1.png", "conversations": turns(hinted(letter, "Find the angle.\nChoices:\n(A) 145°\n(B) 35°"), "The answer is B")},
        {"id": "identity_1", "image": "TabMWP/images/2.png", "conversations": turns(hinted(whole, "How many?"), "The answer is 12")},
        {"id": "identity_3", "image": "PlotQA/images/2.png", "conversations": turns(hinted("requiring a floating-point number with two decimal places and provide the final value", "How much?"), "The answer is 1.25")},
        {"id": "identity_4", "image": "VQA2.0/images/2.png", "conversations": turns("<image>\nIs it red?", "The answer is yes")},
        {"id": "identity_5", "image": "GeoQA+/images/1.png", "conversations": turns(hinted(letter, "Find it.\nChoices:\n(A) 1\n(B) 2"), "The answer is E")},
        {"id": "identity_6", "image": "GeoQA+/images/1.png", "conversations": turns("<image>\nOne?")},
        {"id": "identity_7", "image": "GeoQA+/images/1.png", "conversations": turns("<image>\nTwo?", "The answer is ")},
        {"id": "identity_8", "image": None, "conversations": turns("Three?", "The answer is 3")},
        {"id": "identity_9", "image": "GeoQA+/images/1.png", "conversations": [{"from": "gpt", "value": "x"}, {"from": "human", "value": "y"}]},
    ]  # fmt: skip
    for name, shade in (("GeoQA+/images/1", 1), ("TabMWP/images/2", 2), ("PlotQA/images/2", 3), ("VQA2.0/images/2", 4)):
        write_png(root / f"MathV360K/data_images/{name}.png", shade)
    return {"name": "mathv360k", "annotations": write_json(root / "MathV360K/train_samples_all_tuning.json", rows), "pictures": str(root / "MathV360K/data_images")}  # fmt: skip


PROMPT = "Generate an image description.\n\nFormat your response with the following sections, separated by ###:\n### Image Description:\n### Rationales:\n...\n### The final answer is: \n\n"


def mulberry(root: Path) -> dict[str, Any]:
    def row(images: Any, question: str, solution: str) -> dict[str, Any]:
        return {"images": images, "messages": [{"role": "user", "content": question}, {"role": "assistant", "content": solution}]}  # fmt: skip

    tail = "### Image Description:\nA scene.\n### Rationales:\nCount.\n### Let's think step by step.\n### Step 1:\nThree.\n### The final answer is:"
    rows = [
        row("/cauldron/clevr/images/1.png", f"<image>\n{PROMPT}Question: How many cubes are there?", f"{tail} 3."),
        row(["DVQA/images/2.png"], "<image>\nQuestion: Which bar?\nA. red\nB. blue", f"{tail} B. blue"),
        row(
            "DVQA/images/2.png", "<image>\nQuestion: Which one?", f"The final answer is: placeholder\n{tail} 'the cat'"
        ),
        row("DVQA/images/2.png", "<image>\nQuestion: Why?", "I am not sure."),
        row("DVQA/images/2.png", "<image>\nQuestion: How?", tail),
        row("", "<image>\nQuestion: Where?", f"{tail} here"),
    ]
    write_png(root / "mulberry_images/cauldron/clevr/images/1.png", 1)
    write_png(root / "mulberry_images/DVQA/images/2.png", 2)
    return {"name": "mulberry", "annotations": write_json(root / "mulberry_sft.json", rows), "pictures": str(root / "mulberry_images")}  # fmt: skip


def llava_cot(root: Path) -> dict[str, Any]:
    def staged(conclusion: str) -> str:
        return f"<SUMMARY> I will look. </SUMMARY>\n\n<CAPTION> A chart. </CAPTION>\n\n<REASONING> It is 4. </REASONING>\n\n<CONCLUSION> {conclusion} </CONCLUSION>"  # fmt: skip

    rows = [
        {"id": "a", "image": "chartqa/train/png/1.png", "conversations": turns("<image>\nHow many?", staged("4"), "And now?", staged("5"))},
        {"id": "b", "image": "geoqa+/images/2.png", "conversations": turns("Find x.\nA. 10\nB. 20", staged("B."))},
        {"id": "c", "image": "geoqa+/images/2.png", "conversations": turns("<image>\nDescribe.", staged("A long sentence about it."))},
        {"id": "d", "image": "geoqa+/images/2.png", "conversations": turns("<image>\nCut?", staged("1").replace("</REASONING>", ""))},
        {"id": "e", "image": "geoqa+/images/2.png", "conversations": turns("<image>\nEmpty?", staged(" "))},
        {"id": "f", "image": "geoqa+/images/2.png", "conversations": turns("Beyond?\nA. 10\nB. 20", staged("D"))},
        {"id": "g", "image": "geoqa+/images/2.png", "conversations": None},
    ]  # fmt: skip
    write_png(root / "llava-cot/chartqa/train/png/1.png", 1)
    write_png(root / "llava-cot/geoqa+/images/2.png", 2)
    return {"name": "llava_cot", "annotations": write_jsonl(root / "llava-cot/train.jsonl", rows), "pictures": str(root / "llava-cot")}  # fmt: skip


def visual_cot(root: Path) -> dict[str, Any]:
    base = {
        "question": "What is on the table?",
        "answer": "a cup",
        "possible_answers": ["cup"],
        "image": "1.jpg",
        "width": 40,
        "height": 30,
        "bboxs": [[2, 3, 12, 13]],
        "dataset": "gqa",
        "split": "train",
    }
    rows = [
        base,
        {**base, "bboxs": [[0, 0, 10, 10], [20, 5, 41, 30]], "dataset": "textcap", "image": "2.jpg"},
        {**base, "dataset": "visual7w", "image": "3.jpg"},
        {**base, "split": "val"},
        {**base, "bboxs": [[5, 5, 5, 9]]},
        {**base, "bboxs": []},
        {**base, "bboxs": [[0, 0, 80, 10]]},
        {**base, "answer": ""},
        {**base, "width": 80, "height": 60},
    ]
    for place, shade in (("gqa/1.jpg", 1), ("textvqa/2.jpg", 2), ("v7w/3.jpg", 3)):
        write_png(root / f"cot_image_data/{place}", shade)
    return {"name": "visual_cot", "annotations": write_jsonl(root / "metadata/mixed_cot_train.jsonl", rows), "pictures": str(root / "cot_image_data")}  # fmt: skip


def visual_cot_363k(root: Path) -> dict[str, Any]:
    ask = " Please provide the bounding box coordinate of the region that can help you answer the question better."
    base = {"dataset": "gqa", "split": "train", "question_id": 7, "image": ["cot/gqa/1.jpg", "cot/gqa/1.jpg###[2, 3, 12, 13]"],
            "conversations": turns(f"<image>\nWhat are the branches in front of?{ask}", "[0.05, 0.2, 0.3, 0.45]", "<image>", "window")}  # fmt: skip
    rows = [base, {**base, "image": ["cot/gqa/1.jpg"]}, {**base, "image": ["cot/gqa/1.jpg", "cot/gqa/1.jpg###[2, 3]"]}]
    write_png(root / "cot_image_data/gqa/1.jpg", 1)
    return {"name": "visual_cot", "annotations": write_json(root / "viscot_363k.json", rows), "pictures": str(root / "cot_image_data")}  # fmt: skip


def r1_onevision(root: Path) -> dict[str, Any]:
    def row(name: Any, image: str | None, question: str, solution: str) -> dict[str, Any]:
        return {"id": name, "image": image, "conversations": turns(question, solution)}

    coded = base64.b64encode(png(7)).decode()
    rows = [
        row("a_1", coded, "<image>\nHow many?", "<think>\nI count 3.\n</think>\n\nThe answer is \\boxed{3}."),
        row(
            "a_2",
            f"data:image/png;base64,{coded}",
            "Which?\nA. red\nB. blue",
            "<think>Blue.</think>\n\nThe answer is B.",
        ),
        row(
            "a_3",
            coded,
            "Describe it.",
            "<think>A scene.</think>\n\nThe picture shows a street with many people in it.",
        ),
        row("a_4", None, "No picture?", "<think>.</think>\\boxed{1}"),
        row("a_5", "!!", "No base64?", "<think>.</think>\\boxed{1}"),
    ]
    return {"name": "r1_onevision", "annotations": write_parquet(root / "R1-Onevision/geo170k/train-00000-of-00001.parquet", rows)}  # fmt: skip
