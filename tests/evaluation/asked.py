"""Runs of one's own questions through the command line, answered from a script: what pages and exports are tested on."""

import json
from pathlib import Path
from typing import Any

from PIL import Image

from mmreflect.cli import main

NASTY = "<script>alert(1)</script></style>\"'&<img src=x onerror=alert(2)>"
FIXED = (
    "<think>at first sight</think><answer>A</answer><reflection>Wait, I made a mistake.</reflection><answer>B</answer>"
)
HARMED = "<think>sure</think><answer>3</answer><reflection>Hmm, on second thought</reflection><answer>4</answer>"
CONFIRMED = "<think>so</think><answer>5</answer><reflection>Let me verify: yes.</reflection><answer>5</answer>"


def question(name: str, answer: str, category: str, **more: Any) -> dict[str, Any]:
    """Return a question in the form of MathVista's release; with choices it is one of multiple choice."""
    chosen = bool(more.get("choices"))
    fixed = {"choices": None, "unit": None, "precision": None, "decoded_image": "2.png"}
    kind = {"question_type": "multi_choice", "answer_type": "text"}
    meta = {"split": "testmini", "category": category, "skills": ["counting", "reading"] if chosen else ["counting"]}
    free = {"question_type": "free_form", "answer_type": "integer"}
    known = {"pid": name, "question": f"How many in {name}?", "answer": answer, "metadata": meta}
    return {**known, **fixed, **(kind if chosen else free), **more}


QUESTIONS = [
    question("q1", "green", "colours", choices=["red", "green"], decoded_image="1.png"),
    question("q2", "3", "counts"),
    question("q3", "5", "counts"),
    question("q4", "9", NASTY, question=f"Is {NASTY} 9?"),
    question("q5", "7", "counts"),
    question("q6", "8", "colours"),
]
REPLIES = {"q1": FIXED, "q2": HARMED, "q3": CONFIRMED, "q4": f"It is {NASTY}: 1.", "q5": "", "q6": "x" * 400}
"""By hand: q1 and q3 right, q2, q4, q5 and q6 wrong; q5 empty, q6 cut off at 300 tokens."""


def ask(
    folder: Path,
    replies: dict[str, str | list[str]],
    questions: list[dict[str, Any]] | None = None,
    **settings: Any,
) -> Path:
    """Ask questions of a script and return the run's folder.

    Args:
        replies: by question, one or one per draw; a question without any gets the answer 0.
        settings: further keys of the configuration.
    """
    asked = QUESTIONS if questions is None else questions
    folder.mkdir(parents=True, exist_ok=True)
    for number, colour in ((1, (200, 0, 0)), (2, (0, 0, 200))):
        Image.new("RGB", (24, 16), colour).save(folder / f"{number}.png")
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    script = [{"sample_id": key, "replies": [said] if isinstance(said, str) else said} for key, said in replies.items()]
    script.append({"sample_id": "*", "replies": ["<answer>0</answer>"]})
    (folder / "replies.jsonl").write_text("".join(json.dumps(row) + "\n" for row in script))
    config = {
        "benchmark": "mathvista",
        "output": str(folder / "run"),
        "engine": {"name": "scripted", "replies": str(folder / "replies.jsonl")},
        "release": {"source": str(folder / "questions.jsonl")},
        "max_new_tokens": 300,
        **settings,
    }
    (folder / "eval.yaml").write_text(json.dumps(config))
    assert main(["eval", str(folder / "eval.yaml")]) == 0
    return Path(config["output"])


def rows_of(file: Path) -> list[dict[str, Any]]:
    """Return the rows of a JSONL file."""
    return [json.loads(line) for line in file.read_text().splitlines()]
