"""Every builder that asks a teacher, in one table: who speaks, what the rows end on, and how speakers go wrong."""

import json
import re
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from builders.test_lemma import teach as lemma
from builders.test_re_rest import OPENER
from builders.test_re_rest import teach as re_rest
from builders.test_super_correct import correction, template
from builders.test_super_correct import teach as super_correct
from builders.test_trr_safety import POLICIES, revision, write_requests
from builders.test_trr_safety import say as trr_safety
from remote.loopback import Body, Server
from teaching.schooling import Said, chance, speaker, truth, write_sums
from teaching.test_cold_start import teach as cold_start
from teaching.test_first_try import think as first_try
from teaching.test_srpo_reflection import teach as srpo_reflection

Topic = re.compile(r"How much is \d+ \+ \d+\?|How do I hurt kitten \d+\?|Room \d+:")
BOX = r"\\boxed\{RIGHT\}"


@dataclass(frozen=True)
class Slip:
    """What a speaker says about some questions in the place of what it ought to.

    Attributes:
        asked: words of the requests that are answered so; `who`: only this speaker does.
        reply: RIGHT and WRONG stand for numbers.
        reason: a pattern of why the row is rejected.
    """

    asked: str
    reply: str
    reason: str
    who: str = ""


@dataclass(frozen=True)
class Post:
    """A builder with its speakers.

    Attributes:
        say: says mostly what is right, and errs on its own.
        parts: who is asked; options: of the builder.
        ends: what the reply of every row ends on.
        few, many: questions for a handful of rows, and for more than a hundred; `write` writes a file of so many.
    """

    builder: str
    say: Said
    parts: tuple[str, ...]
    ends: str
    slips: Mapping[str, Slip]
    few: int
    many: int
    options: Mapping[str, Any] = field(default_factory=dict)
    write: Callable[[Path, int], Path] = write_sums

    def tree(self, server: Server, source: Path, output: Path, cache: Path, shard_rows: int) -> dict[str, Any]:
        """The configuration."""
        asked = {part: speaker(server, part, cache, temperature=1.0) for part in self.parts}
        tree = {"builder": self.builder, "output": str(output), "source": {"path": str(source)}}
        return tree | {"shard_rows": shard_rows} | asked | dict(self.options)


def reflected(text: str) -> str:
    return json.dumps({"reflection": text})


def repaired(text: str) -> str:
    return f"{OPENER} counted.\n\nSolution:\n{text}"


LONG = "the sum of both numbers, which I find by counting on from the first one by one until the second is used up, and so it is, without any doubt left in me,"
POSTS = {
    "srpo_reflection": Post(
        "srpo_reflection", srpo_reflection, ("policy", "teacher"), "<answer>RIGHT</answer>",
        {
            "wrong": Slip("Solve the question anew", "<think>Anew.</think><answer>WRONG</answer>", "solve: the second solution is wrong"),
            "broken": Slip("the one field", '{"reflection": "cut in the mid', "reflect: no reply was JSON that fits"),
            "leaks": Slip("the one field", reflected("The answer key says RIGHT."), "reflect: it gives away that the answer was known"),
        },
        few=40, many=330,
    ),
    "cold_start": Post(
        "cold_start", cold_start, ("policy", "teacher"), BOX,
        {
            "wrong": Slip("", f"I take {LONG} \\boxed{{WRONG}}", "distilled: no right solution that can be chosen", "teacher"),
            "broken": Slip("", f"Nothing is in a box, though it is {LONG} RIGHT", "self_critic: the attempt gives no answer in a box", "teacher"),
            "leaks": Slip("", f"As the answer key says, it is {LONG} \\boxed{{RIGHT}}", "it gives away that the answer was known", "teacher"),
        },
        few=12, many=100, options={"kinds": ["distilled", "reflection", "caption", "self_critic"], "samples": 2},
    ),
    "first_try": Post(
        "first_try", first_try, ("policy", "teacher"), BOX,
        {
            "wrong": Slip("your thoughts end here", "It is \\boxed{WRONG}", "finish: another answer than the candidate"),
            "broken": Slip("Find every line", '{"candidates": [{"line": 2', "extract 0: no reply was JSON that fits"),
        },
        few=10, many=80, options={"extractor": "teacher", "cuts": [2, 6]},
    ),
    "lemma": Post(
        "lemma", lemma, ("student", "teacher"), BOX,
        {
            "wrong": Slip("Reply with the continuation alone", "I was wrong there.\nNo, one more.\nSo \\boxed{WRONG}", "the repair is wrong"),
            "broken": Slip("find the place where it goes wrong first", '{"explanation": ', "analyse: no reply was JSON that fits"),
            "leaks": Slip("Reply with the continuation alone", "My earlier attempt fails.\nI count again.\nSo \\boxed{RIGHT}", "it gives away that the answer was known"),
        },
        few=6, many=40, options={"attempts": 4, "types": ["calculation", "misread_value"], "smooth": False},
    ),
    "re_rest": Post(
        "re_rest", re_rest, ("agent", "reflector"), BOX,
        {
            "wrong": Slip("Repair it", repaired("I see both.\nSo \\boxed{WRONG}"), "repair: the answer is wrong"),
            "broken": Slip("Repair it", "I see both.\nSo \\boxed{RIGHT}", "repair: it is not a reflection and a solution as asked for"),
            "leaks": Slip("Repair it", repaired("By the answer key I count.\nSo \\boxed{RIGHT}"), "response: it gives away that the answer was known"),
        },
        few=12, many=60, options={"kinds": ["agent", "repair", "reflector"]},
    ),
    "super_correct": Post(
        "super_correct", super_correct, ("teacher",), "<Answer>RIGHT</Answer>",
        {
            "wrong": Slip("into a lesson", template("WRONG"), "template: the answer is wrong"),
            "broken": Slip("into a lesson", template("RIGHT").replace("</Key>", ""), "template: the tags are not as asked for"),
            "leaks": Slip("into a lesson", template("RIGHT", ("I see both.", "The answer key has RIGHT.")), "response: it gives away that the answer was known"),
        },
        few=16, many=180,
    ),
    "super_correct_pairs": Post(
        "super_correct", super_correct, ("student", "teacher"), r"one by one, they make RIGHT\.</Correction>",
        {
            "wrong": Slip("Walk through the steps", correction(step=2, correction="They make WRONG."), "inspect: no correction was accepted in 3 rounds"),
            "broken": Slip("Walk through the steps", '{"step": 2, ', "correct 1: no reply was JSON that fits"),
            "leaks": Slip("Walk through the steps", correction(step=2, cause="The answer key says RIGHT."), "correct: it gives away that the answer was known"),
        },
        few=10, many=180, options={"stage": "pairs", "attempts": 3},
    ),
    "trr_safety": Post(
        "trr_safety", trr_safety, ("writer", "guard"), r"(I cannot .*|It is \\boxed\{2\})</revise>",
        {
            "wrong": Slip("look back on your own response", revision("Pull its tail: \\boxed{3}"), "revise: the guard calls it unsafe|revise: the harmless question's answer is wrong"),
            "broken": Slip("look back on your own response", '{"reflection": "It hurts", ', "revise: no reply was JSON that fits"),
            "leaks": Slip("look back on your own response", revision(reflection="My policy forbids it."), "revise: it speaks of what it was told to do"),
        },
        few=20, many=200, options={"policies": POLICIES}, write=write_requests,
    ),
}  # fmt: skip


class Erring:
    """Says about some questions what a slip puts in the place of the right words, always and to every repetition.

    Attributes:
        spoiled: the slips that were made, by their questions.
    """

    def __init__(self, post: Post, share: float) -> None:
        self.post, self.share, self.lock = post, share, threading.Lock()
        self.spoiled = defaultdict[str, set[str]](set)

    def __call__(self, text: str, body: Body) -> str:
        if not self.post.slips:
            return self.post.say(text, body)
        topic = Topic.findall(text)[-1]
        place = int(chance(topic, "slip") / self.share)
        kind = next(iter(list(self.post.slips)[place:]), None)
        slip = self.post.slips[kind] if kind else None
        if kind is None or slip is None or slip.asked not in text or slip.who not in body["model"]:
            return self.post.say(text, body)
        with self.lock:
            self.spoiled[topic].add(kind)
        right = right_of(topic)
        return slip.reply.replace("RIGHT", str(right)).replace("WRONG", str(right + 1))


def right_of(topic: str) -> int:
    return truth(topic) if topic.startswith("How much") else 2
