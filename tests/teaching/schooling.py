"""A school for tests: sums to ask about, and a server that knows the truth and errs as it is told."""

import hashlib
import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from remote.loopback import Act, Body, Server, completion, serving

Said = Callable[[str, Body], str]


def write_sums(folder: Path, count: int, pictures: bool = True) -> Path:
    """A JSONL file with questions such as `How much is 3 + 4?`; every other one has a picture."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for place in range(count):
        left, right = place // 10 + 1, place % 10
        row: dict[str, Any] = {
            "id": f"sum-{place:04}",
            "question": f"How much is {left} + {right}?",
            "answer": left + right,
        }
        if pictures and place % 2:
            Image.new("RGB", (16, 16), (place % 256, 40, 90)).save(folder / f"{place}.png")
            row["images"] = [f"{place}.png"]
        rows.append(row)
    file = folder / "sums.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def text_of_body(body: Body) -> str:
    """All text of a request."""
    parts = [turn["content"] for turn in body["messages"]]
    return "\n".join(
        part if isinstance(part, str) else "".join(item.get("text", "") for item in part) for part in parts
    )


def truth(text: str) -> int:
    left, right = map(int, re.findall(r"How much is (\d+) \+ (\d+)\?", text)[-1])
    return left + right


def chance(*parts: object) -> float:
    """A number in [0, 1) that depends on its parts alone."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:6], "big") / 2**48


def fingerprint(body: Body) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


class School:
    """Speaks by `say`, and fails each request of a drawn share once or twice before it answers.

    Attributes:
        answered: how often each request got a whole reply.
    """

    def __init__(self, say: Said, faults: float = 0.0, delay: float = 0.0) -> None:
        self.say, self.faults, self.delay = say, faults, delay
        self.came, self.answered = Counter[str](), Counter[str]()
        self.lock = threading.Lock()

    def behave(self, body: Body, number: int) -> Act:
        mark = fingerprint(body)
        with self.lock:
            self.came[mark] += 1
            before = self.came[mark] - 1
        pause = self.delay * (0.5 + chance(mark, "delay"))
        if before == 0 and chance(mark, "faults") < self.faults:
            kind = int(4 * chance(mark, "kind"))
            if kind == 0:
                return Act({"error": {"message": "slow down"}}, status=429, headers={"Retry-After": "0"})
            if kind == 1:
                return Act({"error": {"message": "oops"}}, status=500)
            if kind == 2:
                return Act(completion("cut in the middle of the connection"), cut=30)
            return Act(b'{"object": "chat.completion", "choi', delay=pause)
        with self.lock:
            self.answered[mark] += 1
        text = self.say(text_of_body(body), body)
        return Act(completion(text, tokens_in=len(text_of_body(body)) // 4), delay=pause)


@contextmanager
def schooling(school: School) -> Iterator[Server]:
    with serving(school.behave) as server:
        yield server


def speaker(at: Server, model: str, cache: Path, **more: Any) -> dict[str, Any]:
    """The block of one who is asked through a server."""
    options = {"base_url": at.url, "model": model, "cache": str(cache), "concurrency": 8, **more.pop("server", {})}
    return {"engine": {"name": "openai", "server": options}, **more}


def scripted(file: Path, replies: dict[str, list[str]], **more: Any) -> dict[str, Any]:
    """The block of one who speaks from a script."""
    file.write_text("".join(json.dumps({"sample_id": name, "replies": said}) + "\n" for name, said in replies.items()))
    return {"engine": {"name": "scripted", "replies": str(file)}, "max_new_tokens": 4000, **more}
