from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mmreflect.building.examples import Example, store_example
from mmreflect.data.checksums import sha256_of
from mmreflect.data.store import MANIFEST
from mmreflect.files import write_json, write_jsonl

Make = Callable[..., Path]


def picture(number: int, size: int = 28) -> Image.Image:
    return Image.new("RGB", (size, size), (40 * number % 256, 90, 200))


def asked(text: str, *media: str) -> dict[str, Any]:
    parts = [{"type": kind} for kind in media]
    return {"role": "user", "content": [*parts, {"type": "text", "text": text}]}


def replied(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": [{"type": "text", "text": text}]}


def example(number: int, reply: str | None = "<think>t</think><answer>1</answer>", **more: Any) -> Example:
    """A question with a picture; without a reply it is a question only."""
    turns = [asked(f"Question {number}?", "image"), *([] if reply is None else [replied(reply)])]
    given: dict[str, Any] = {"images": [picture(number)], "answer": str(number), "facts": {"kind": "a"}}
    return Example(f"row-{number}", **({"messages": turns} | given | more))


def pair(number: int, **more: Any) -> Example:
    return example(number, "<answer>right</answer>", rejected="<answer>wrong words</answer>", **more)


@pytest.fixture
def dataset(tmp_path: Path) -> Make:
    """A finished dataset of these examples by split, in shards of two rows."""

    def make(splits: dict[str, Sequence[Example]], name: str = "set", **manifest: Any) -> Path:
        folder = tmp_path / name
        entries = {}
        for split, examples in splits.items():
            shards = []
            for number, start in enumerate(range(0, len(examples), 2)):
                rows = [
                    store_example(one, folder, folder / "media" / split / f"{number:05}", start + place, {})
                    for place, one in enumerate(examples[start : start + 2])
                ]
                file = folder / split / f"{number:05}.jsonl"
                write_jsonl(file, rows)
                shards.append({"file": f"{split}/{file.name}", "rows": len(rows), "sha256": sha256_of(file)})
            entries[split] = {"rows": len(examples), "shards": shards}
        write_json(
            folder / MANIFEST, {"builder": "made", "config": {"seed": 7}, "splits": entries, "rejects": {}, **manifest}
        )
        return folder

    return make
