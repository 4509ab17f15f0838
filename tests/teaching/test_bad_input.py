"""What every builder says to bad input: speakers that say nothing usable, rows of the source that are none, old caches."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from remote.loopback import Act, Body, completion, serving
from teaching.schooling import School, schooling, text_of_body
from teaching.staff import POSTS

from mmreflect.data.store import open_dataset
from mmreflect.files import read_json, read_jsonl
from mmreflect.remote import pace

Cli = Callable[..., tuple[int, str]]
Sums = Callable[..., Path]
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "FIRST_WAIT_S", 0.01)


SAYS: dict[str, tuple[Act, dict[str, str]]] = {
    "nonsense": (
        Act(completion("colourless green ideas {[<")),
        {
            "srpo_reflection": "attempt: the tags are not as asked for", "first_try": "no rollout ends right",
            "cold_start": "distilled: no right solution that can be chosen", "re_rest": "repair: it is not a reflection",
            "lemma": "student: the attempt is no error that can be used", "super_correct": "template: the tags are not",
            "super_correct_pairs": "attempt: the tags are not as asked for",
            "trr_safety": "attempt: the tags are not as asked for",
        },
    ),
    "empty": (
        Act(completion("")),
        {
            "srpo_reflection": "attempt: the tags are not as asked for", "first_try": "no rollout ends right",
            "cold_start": "distilled: no right solution that can be chosen", "re_rest": "repair: it is not a reflection",
            "lemma": "student: the attempt is no error that can be used", "super_correct": "template: the tags are not",
            "super_correct_pairs": "attempt: the tags are not as asked for",
            "trr_safety": "attempt: the tags are not as asked for",
        },
    ),
    "filtered": (Act(completion("", "content_filter")), dict.fromkeys(POSTS, "the reply was withheld")),
    "cut off": (Act(completion("<think>and on", "length")), dict.fromkeys(POSTS, "cut off") | {"first_try": "no rollout"}),
}  # fmt: skip


FAST = ("srpo_reflection", "super_correct")
NAMES = [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in POSTS]
SAID = [
    (kind, name) if kind == "nonsense" or name in FAST else pytest.param(kind, name, marks=pytest.mark.slow)
    for kind in SAYS
    for name in POSTS
]


@pytest.mark.parametrize(("kind", "name"), SAID)
def test_speakers_that_say_nothing_usable(kind: str, name: str, sums: Sums, tmp_path: Path, run_cli: Cli) -> None:
    act, reasons = SAYS[kind]
    source = sums(2, POSTS[name].write)
    with serving(lambda body, number: act) as server:
        tree = POSTS[name].tree(server, source, tmp_path / "out", tmp_path / "cache", shard_rows=100)
        code, text = run_cli("build", tree)
    assert code == 2 and "rows of split 'train' were rejected" in text and "Traceback" not in text, text
    assert not (tmp_path / "out/manifest.json").exists()
    rejects = list(read_jsonl(tmp_path / "out/rejects/train-00000.jsonl"))
    assert any(reasons[name] in row["reason"] for row in rejects), rejects


@pytest.mark.parametrize("name", NAMES[:-1])
def test_a_picture_that_is_too_large_for_the_server(name: str, sums: Sums, tmp_path: Path, run_cli: Cli) -> None:
    """Only the questions with a picture are lost, and the log says what the server said, and what helps."""
    post, source = POSTS[name], sums(24)
    large = Act({"error": {"message": "image of 99 MB is too large"}}, status=413)

    def behave(body: Body, number: int) -> Act:
        return large if "image_url" in json.dumps(body) else Act(completion(post.say(text_of_body(body), body)))

    with serving(behave) as server:
        tree = post.tree(server, source, tmp_path / "out", tmp_path / "cache", shard_rows=1000)
        code, text = run_cli("build", tree)
    assert code == 0 and "Traceback" not in text, text
    rejects = [row for row in read_jsonl(tmp_path / "out/rejects/train-00000.jsonl") if "refused" in row["reason"]]
    assert {int(row["id"][4:]) % 2 for row in rejects} == {1}
    for row in rejects:
        assert "the server refused the request" in row["reason"] and "image of 99 MB is too large" in row["detail"]
    rows = list(open_dataset(str(tmp_path / "out")).rows("train"))
    assert rows and not any(row["images"] for row in rows)


@pytest.mark.parametrize("name", NAMES)
def test_rows_of_the_source_that_cannot_be_used(name: str, sums: Sums, tmp_path: Path, run_cli: Cli) -> None:
    """One row has no answer, one no turns, one no id: each is named, and the others are made."""
    post, source = POSTS[name], sums(24, POSTS[name].write)
    file = source / "train/00000.jsonl"
    rows = list(read_jsonl(file))
    without, turnless, nameless = rows[-1], rows[-2], rows[-3]
    without["answer"] = None
    del turnless["messages"], nameless["id"]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with schooling(School(post.say)) as server:
        tree = post.tree(server, source, tmp_path / "out", tmp_path / "cache", shard_rows=1000)
        code, text = run_cli("build", tree)
    assert code == 0 and "Traceback" not in text, text
    found: dict[str, set[str]] = {}
    for row in read_jsonl(tmp_path / "out/rejects/train-00000.jsonl"):
        found.setdefault(row["id"], set()).add(row["reason"])
    gold = (
        "neither a letter from A to D nor a number" if name == "srpo_reflection" else "the reference cannot be graded"
    )
    assert any(gold in reason for reason in found[without["id"]]) and len(found[without["id"]]) == 1
    assert found[turnless["id"]] == {f"row {turnless['id']!r} has no 'messages'"}
    assert found["?"] == {"row '?' has no 'id'"}


@pytest.mark.parametrize("name", NAMES)
def test_answers_to_another_version_of_a_prompt_are_not_taken(
    name: str, sums: Sums, tmp_path: Path, run_cli: Cli
) -> None:
    """The cache knows a request by its words: an edited prompt asks anew, and asks only what it is part of."""
    post, own = POSTS[name], tmp_path / "own"
    folder = ROOT / "data_builders/prompts" / post.builder
    template = "attempt_system" if (folder / "attempt_system.jinja").is_file() else "template" if name == "super_correct" else "system"  # fmt: skip
    own.mkdir()
    source = sums(post.few, post.write)
    marks, asked = [], []
    with schooling(School(post.say)) as server:
        for place, words in enumerate(["", " Take your time."]):
            text = (folder / f"{template}.jinja").read_text().rstrip() + words + "\n"
            (own / f"{template}.jinja").write_text(text)
            output = tmp_path / f"out-{place}"
            tree = post.tree(server, source, output, tmp_path / "cache", shard_rows=1000)
            code, said = run_cli("build", tree | {"prompts": str(own)})
            assert code == 0, said
            marks.append(open_dataset(str(output)).manifest["prompts"])
            asked.append(read_json(output / "result.json")["this_start"]["answered"])
    assert marks[0] != marks[1] and asked[0] > 0 and asked[1] >= post.few


def test_a_disk_that_fills_up_leaves_no_half_shard(
    sums: Sums, tmp_path: Path, run_cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full in the middle of the second shard's picture, rows and account by turns; then there is room."""
    import errno

    from mmreflect.building import shards

    post = POSTS["super_correct"]
    source, writes = sums(12), {"sync_folder": "media", "write_jsonl": "rows", "write_json": "account"}

    def full(*parts: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with schooling(School(post.say)) as server:
        for name in writes:
            tree: dict[str, Any] = post.tree(server, source, tmp_path / "out", tmp_path / "cache", shard_rows=6)
            with monkeypatch.context() as patch:
                patch.setattr(shards, name, full)
                code, text = run_cli("build", tree)
            assert code == 2 and f"the disk of {tmp_path / 'out'} is full" in text and "Traceback" not in text, text
            assert not list((tmp_path / "out/train").glob("*")) if (tmp_path / "out/train").exists() else True
        code, text = run_cli("build", tree)
        assert code == 0, text
    dataset = open_dataset(str(tmp_path / "out"))
    assert len(list(dataset.samples("train"))) >= 5
    assert all(Path(medium.path).is_file() for row in dataset.samples("train") for medium in row.media)
