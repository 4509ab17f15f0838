"""SRPO's cold start: over HTTP from a teacher that errs, by a script, on a tiny model; killed in the middle."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from remote.loopback import Act, Body, completion, serving
from teaching.schooling import School, chance, schooling, speaker, text_of_body, truth

from mmreflect.data.store import open_dataset
from mmreflect.files import read_json, read_jsonl
from mmreflect.reflection.tags import follows
from mmreflect.remote import pace
from mmreflect.teaching.running import AHEAD

Cli = Callable[..., tuple[int, str]]
GOOD = "I look at both numbers. I add them one by one. That gives the sum."


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "FIRST_WAIT_S", 0.01)


def teach(text: str, body: Body) -> str:
    """40 % of the attempts are right; some lack a tag, are short or bad, some JSON is broken, some reflections leak."""
    right = truth(text)
    if body["model"] == "policy":
        answer = right if chance(right, text, "right") < 0.4 else right + 1
        if chance(text, "tag") < 0.05:
            return f"<think>{GOOD}</think> {answer}"
        return f"<think>{'Hm.' if chance(text, 'short') < 0.05 else GOOD}</think>\n<answer>{answer}</answer>"
    if "Score it from 1 to 5" in text:
        score = 2 if chance(text, "score") < 0.05 else 4
        return json.dumps({"reason": "clear", "score": score})
    if "the one field" in text:
        if "refusal" not in text and chance(text, "broken") < 0.2:
            return '{"reflection": "cut in the mid'
        if chance(text, "leak") < 0.1:
            return json.dumps({"reflection": f"The reference answer says {right}."})
        return "```json\n" + json.dumps({"reflection": "I looked at each number again. One step was off."}) + "\n```"
    return f"<think>Adding again step by step.</think><answer>{right if chance(text, 'solve') > 0.05 else 0}</answer>"


def config(source: Path, output: Path, policy: Any, teacher: Any, **more: Any) -> dict[str, Any]:
    tree = {"builder": "srpo_reflection", "output": str(output), "source": {"path": str(source)}, "shard_rows": 50}
    return {**tree, "policy": policy, "teacher": teacher, **more}


def through(server: Any, source: Path, output: Path, cache: Path, **more: Any) -> dict[str, Any]:
    return config(source, output, speaker(server, "policy", cache), speaker(server, "teacher", cache), **more)


@pytest.mark.parametrize("count", [50, pytest.param(180, marks=pytest.mark.slow)])
def test_over_http_from_a_teacher_that_errs(
    count: int, sums: Callable[..., Path], tmp_path: Path, run_cli: Cli
) -> None:
    source, school = sums(count), School(teach, faults=0.3)
    with schooling(school) as server:
        code, text = run_cli("build", through(server, source, tmp_path / "out", tmp_path / "cache"))
    assert code == 0, text
    dataset = open_dataset(str(tmp_path / "out"))
    samples = list(dataset.samples("train"))
    assert len(samples) >= (100 if count == 180 else 15)
    assert abs(sum(item.facts["first_correct"] for item in samples) / len(samples) - 0.3) <= 0.02
    for item in samples:
        facts = item.facts
        assert follows(item.response or "", "srpo") and (item.response or "").endswith(f"<answer>{item.gold}</answer>")
        assert facts["regime"] == ("refine" if facts["first_answer"] == item.gold else "revise")
        assert facts["first_correct"] == (facts["regime"] == "refine") and facts["judge_score"] == 4
        assert "reference answer" not in (item.response or "")
    reasons = dataset.manifest["rejects"]
    for words in ("tags are not as asked for", "fewer than 3 sentences", "a score below 3", "gives away that the answer was known", "the second solution is wrong", "not drawn: enough attempts that are right"):  # fmt: skip
        assert count < 180 or any(words in reason for reason in reasons), (words, reasons)
    assert sum(reasons.values()) + len(samples) == count
    assert set(school.answered.values()) == {1}, "no request was answered twice"
    pictures = [body for body in server.bodies if "image_url" in json.dumps(body)]
    assert 0.4 < len(pictures) / len(server.bodies) < 0.6, "every other question has a picture, and it is sent"
    assert all(len(item.media) == int(item.id[-4:]) % 2 for item in samples)
    asked = dataset.manifest["asked"]
    assert sum(part["requests"] for part in asked.values()) == len(school.answered)
    assert asked["policy"]["requests"] == count and asked["teacher"]["refused_replies"] > 0
    assert dataset.manifest["prompts"] == read_json(tmp_path / "out/run.json")["inputs"]["prompts"]
    assert read_json(tmp_path / "out/result.json")["this_start"]["answered"] == len(school.answered)
    rejected = [row for file in (tmp_path / "out/rejects").iterdir() for row in read_jsonl(file)]
    assert all(row["id"] == f"sum-{row['index']:04}" for row in rejected)
    assert {row["detail"] for row in rejected if "gives away" in row["reason"]} == {"reference answer"}


def test_a_server_that_takes_thoughts_out_of_replies(sums: Callable[..., Path], tmp_path: Path, run_cli: Cli) -> None:
    """Some servers, `transformers serve` among them, give what stands in a `<think>` block beside the reply."""

    def behave(body: Body, number: int) -> Act:
        text = teach(text_of_body(body), body)
        thought, end, rest = text.removeprefix("<think>").partition("</think>")
        more = {"reasoning_content": thought} if end else {}
        return Act(completion(rest.strip() if end else text, **more))

    source, rows = sums(30), []
    for label, behaviour in (("split", behave), ("whole", School(teach).behave)):
        with serving(behaviour) as server:
            code, text = run_cli("build", through(server, source, tmp_path / label, tmp_path / f"cache-{label}"))
        assert code == 0, text
        rows.append({item.id: item.response for item in open_dataset(str(tmp_path / label)).samples("train")})
    assert len(rows[0]) > 5 and rows[0] == rows[1]


def bytes_of(folder: Path) -> dict[str, bytes]:
    ignored = {"run.lock", "config.yaml", "result.json"}
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in ignored)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_killed_it_goes_on_to_the_same_bytes_and_asks_nothing_twice(
    sums: Callable[..., Path], tmp_path: Path, run_cli: Cli
) -> None:
    source, school = sums(60), School(teach, faults=0.2, delay=0.01)
    with schooling(school) as server:
        file = tmp_path / "build.json"
        tree = through(server, source, tmp_path / "cut", tmp_path / "cache", shard_rows=20)
        file.write_text(json.dumps(tree))
        command = [sys.executable, "-m", "mmreflect", "build", str(file)]
        for asked in (60,):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while process.poll() is None and sum(school.answered.values()) < asked:
                time.sleep(0.002)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        assert not (tmp_path / "cut/manifest.json").exists(), "killed in the middle"
        code, text = run_cli("build", tree)
        assert code == 0, text
        again = [count for count in school.answered.values() if count > 1]
        assert len(again) <= AHEAD * 8, "only what was under way at the kill, to the server or the disk, is asked again"
        fresh = School(teach)
        server.behave = fresh.behave
        whole = through(server, source, tmp_path / "whole", tmp_path / "other", shard_rows=20)
        assert run_cli("build", whole)[0] == 0
        assert set(fresh.answered) == set(school.answered)
    cut, other = bytes_of(tmp_path / "cut"), bytes_of(tmp_path / "whole")
    for name in ("manifest.json", "run.json"):
        for found, folder in ((cut, "cache"), (other, "other")):
            found[name] = found[name].replace(str(tmp_path / folder).encode(), b"CACHE")
    assert cut == other
