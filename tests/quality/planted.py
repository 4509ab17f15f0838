"""Rows with planted faults, pictures that tell them apart, and what is read of a dataset built from them."""

import hashlib
import json
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from mmreflect.data.store import open_dataset
from mmreflect.files import read_jsonl

Rows = list[dict[str, Any]]
SAME, NEAR = "an earlier row is the same", "an earlier row is nearly the same"
TEXT = (
    "A train of 12 cars leaves the old town at noon and meets another one of 7 cars on a bridge; how many cars are on"
)


def digest(folder: Path) -> dict[str, str]:
    ignored = {"config.yaml", "result.json", "run.lock", "run.json"}
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in ignored)
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def scene(seed: int) -> Image.Image:
    """A picture of its own for every seed: discs here and there."""
    picture = Image.new("RGB", (160, 120), "white")
    draw = ImageDraw.Draw(picture)
    for place in range(12):
        shade = hashlib.sha256(f"{seed} {place}".encode()).digest()
        x, y = shade[3] % 130, shade[4] % 90
        draw.ellipse([x, y, x + 20 + shade[5] % 40, y + 20 + shade[6] % 40], fill=(shade[0], shade[1], shade[2]))
    return picture


def row(name: str, question: str, response: str | None = r"It is \boxed{4}.", answer: str | None = "4", *images: str) -> dict[str, Any]:  # fmt: skip
    return {"id": name, "question": question, "response": response, "answer": answer, "images": list(images)}


def evaluation(folder: Path) -> Path:
    """A JSONL file of an evaluation: a question in words, one with scene 3, and one whose picture is broken."""
    folder.mkdir()
    scene(3).save(folder / "x.jpg", quality=60)
    rows: Rows = [
        {"id": "held", "question": f"{TEXT} it?"},
        {"id": "shown", "question": "How many patches?", "images": ["x.jpg"]},
        {"id": "gone", "question": "What?", "images": ["gone.png"]},
    ]
    (folder / "eval.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    return folder / "eval.jsonl"


def kept(folder: Path) -> list[str]:
    return [str(one["id"]) for one in open_dataset(str(folder)).rows("train")]


def rejects(folder: Path) -> dict[str, dict[str, Any]]:
    return {str(line["id"]): line for file in sorted((folder / "rejects").glob("*.jsonl")) for line in read_jsonl(file)}


PLANTED = [
    row("a", "How many patches?", r"It is \boxed{4}.", "4", "0.png"),
    row("a-same", "How many patches?", r"It is \boxed{4}.", "4", "0.png"),
    row("a-other-response", "How many patches?", r"Counted anew, I say that there must be \boxed{4}.", "4", "0.png"),
    row("a-other-question", "What is the sum of the corners?", r"It is \boxed{4}.", "4", "0.png"),
    row("a-other-picture", "How many patches?", r"It is \boxed{4}.", "4", "1.png"),
    row("a-jpeg", "How many patches?", r"It is \boxed{4}.", "4", "jpeg.jpg"),
    row("a-half", "How many patches?", r"It is \boxed{4}.", "4", "half.png"),
    row("b", f"{TEXT} it?", r"Together \boxed{19}.", "19"),
    row("b-near", f"{TEXT} it then?", r"Together \boxed{19}.", "19"),
    row("b-other-answer", f"{TEXT} it, and 1?", r"Together \boxed{20}.", "20"),
    row("c", "How many patches?", r"It is \boxed{4}.", "4", "2.png", "0.png"),
    row("c-same", "How many patches?", r"It is \boxed{4}.", "4", "2.png", "0.png"),
    row("c-near", "How many patches?", r"It is \boxed{4}.", "4", "2.png", "half.png"),
    row("c-far", "How many patches?", r"It is \boxed{4}.", "4", "2.png", "3.png"),
]
