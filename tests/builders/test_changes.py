"""What may be corrected when a build, or a merge of parts, is started again, as nothing that is there depends on it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from quality.conftest import source
from quality.planted import PLANTED, digest, evaluation
from remote.loopback import Act, Body, completion, serving
from teaching.schooling import text_of_body, truth

from mmreflect.cli import main
from mmreflect.config import load_yaml
from mmreflect.data.store import open_dataset
from mmreflect.files import read_jsonl
from mmreflect.remote import pace

__all__ = ["source"]
Cli = Callable[..., tuple[int, str]]
Sums = Callable[..., Path]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "FIRST_WAIT_S", 0.01)


def rating(at: str, data: Path, folder: Path, **more: Any) -> dict[str, Any]:
    server = {"base_url": at, "model": "m", "cache": str(folder / "cache"), "concurrency": 4, "retries": 1}
    tree = {"builder": "pass_rate", "output": str(folder / "out"), "source": {"path": str(data)}, "rollouts": 2}
    return tree | {"max_new_tokens": 32, "engine": {"name": "openai", "server": server}, **more}


def test_what_a_server_refuses_or_withholds_is_not_graded_and_the_others_go_on(
    sums: Sums, tmp_path: Path, run_cli: Cli
) -> None:
    """Of sums 1 to 8: one filtered, one refused by the model, one by the server; of a fourth one of two replies."""
    seen: list[int] = []

    def behave(body: Body, number: int) -> Act:
        right = truth(text_of_body(body))
        if right == 4:
            seen.append(body["seed"])
        if right == 1 or (right == 4 and body["seed"] == seen[0]):
            return Act(completion("", finish="content_filter"))
        if right == 2:
            return Act(completion(None, refusal="I cannot"))
        if right == 3:
            return Act({"error": {"message": "blocked"}}, status=400)
        return Act(completion(f"\\boxed{{{right}}}"))

    with serving(behave) as server:
        code, text = run_cli("build", rating(server.url, sums(8, pictures=False), tmp_path))
        assert code == 0, text
    dataset = open_dataset(str(tmp_path / "out"))
    facts = {sample.id: sample.facts for sample in dataset.samples("train")}
    assert sorted(facts) == [f"sum-{number:04}" for number in range(3, 8)]
    assert [facts["sum-0003"][name] for name in ("pass_rate", "passes", "ungraded")] == [1.0, 1, 1]
    lost = {row["id"]: row for row in read_jsonl(tmp_path / "out/rejects/train-00000.jsonl")}
    assert {row["reason"] for row in lost.values()} == {"too few rollouts could be graded"}
    assert lost["sum-0000"]["detail"] == "0 of 2; the server withheld the reply (content_filter)"
    assert lost["sum-0001"]["detail"] == "0 of 2; the model refused to reply: I cannot"
    assert lost["sum-0002"]["detail"] == f"0 of 2; {server.url}: status 400: blocked"
    assert all((row["ungraded"], row["pass_rate"]) == (2, None) for row in lost.values())


def test_a_stopped_build_goes_on_with_rejecting_and_not_the_other_way_round(
    sums: Sums, tmp_path: Path, run_cli: Cli
) -> None:
    def behave(body: Body, number: int) -> Act:
        text = text_of_body(body)
        if "How much is" in text and truth(text) == 6:
            return Act({"error": {"message": "oops"}}, status=500)
        return Act(completion("\\boxed{1}"))

    with serving(behave) as server:
        tree = rating(server.url, sums(8, pictures=False), tmp_path, shard_rows=4)
        code, text = run_cli("build", tree)
        assert code == 2 and "with unanswered=reject it goes on, and such rollouts count as not graded" in text, text
        first = (tmp_path / "out/train/00000.jsonl").read_bytes()
        code, text = run_cli("build", tree, "unanswered=reject", "--plan")
        assert code == 0 and "unanswered: 'stop' -> 'reject'" in " ".join(text.split()), text
        code, text = run_cli("build", tree, "unanswered=reject")
        assert code == 0 and "unanswered: 'stop' -> 'reject'" in " ".join(text.split()), text
        assert (tmp_path / "out/train/00000.jsonl").read_bytes() == first
        assert open_dataset(str(tmp_path / "out")).manifest["config"]["unanswered"] == "reject"
        code, text = run_cli("build", tree)
        assert code == 2 and "another configuration" in text, "what was left out would be missing without a word"


def test_parts_of_which_one_had_to_reject(sums: Sums, tmp_path: Path, run_cli: Cli) -> None:
    def behave(body: Body, number: int) -> Act:
        return Act(completion("\\boxed{1}"))

    with serving(behave) as server:
        tree = rating(server.url, sums(8, pictures=False), tmp_path, shard_rows=4)
        for number, word in enumerate(("stop", "reject"), 1):
            words = [f"shard={number}/2", f"output={tmp_path / f'part{number}'}", f"unanswered={word}"]
            assert run_cli("build", tree, *words)[0] == 0
    assert main(["build", "merge", *(str(tmp_path / name) for name in ("whole", "part1", "part2"))]) == 0
    assert open_dataset(str(tmp_path / "whole")).manifest["config"]["unanswered"] == "reject"


# ---- how rows are compared, where they are in parts ----------------------------------------------------------------


def merged(capsys: pytest.CaptureFixture[str], *words: Any) -> tuple[int, str]:
    capsys.readouterr()
    code = main(["build", "merge", *map(str, words)])
    captured = capsys.readouterr()
    return code, " ".join((captured.out + captured.err).split())


def test_the_comparison_of_parts_is_corrected_where_they_are_merged(
    source: Callable[..., Path], run_cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first evaluation set holds all rows, then it is gone; the second is right."""
    file = source(PLANTED)
    everything, second = tmp_path / "all.jsonl", evaluation(tmp_path / "evaluation")
    everything.write_text(
        "".join(json.dumps({**one, "images": [str(file.parent / name) for name in one["images"]]}) + "\n" for one in PLANTED)
    )  # fmt: skip
    tree = {"builder": "rows", "source": str(file), "validation": 0.0, "shard_rows": 5}
    first = {"against": [str(everything)]}
    parts = [tmp_path / "part1", tmp_path / "part2"]
    for number, part in enumerate(parts, 1):
        keys = {"output": str(part), "shard": f"{number}/2", "quality": first}
        assert run_cli("build", tree | keys)[0] == 0
    right = {"quality": {"against": [str(second)]}}
    assert run_cli("build", tree | {"output": str(tmp_path / "whole")} | right)[0] == 0
    code, text = merged(capsys, tmp_path / "out", *parts)
    assert code == 2 and "correct quality.against, or how rows are compared, and start again" in text, text
    everything.unlink()
    assert merged(capsys, tmp_path / "out", *parts)[0] == 2
    word = f"quality.against=[{second}]"
    code, text = merged(capsys, tmp_path / "out", *parts, word)
    assert code == 0, text
    assert digest(tmp_path / "out") == digest(tmp_path / "whole")
    assert load_yaml(tmp_path / "out/config.yaml")["quality"]["against"] == [str(second)]
    assert "finished already" in merged(capsys, tmp_path / "out", *parts, word)[1]
    code, text = merged(capsys, tmp_path / "out", *parts)
    assert code == 2 and "quality.against" in text, "it is finished, and its rows were compared with the other set"


def test_what_else_cannot_be_given_to_a_merge(
    source: Callable[..., Path], run_cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = {"builder": "rows", "source": str(source(PLANTED)), "validation": 0.0, "shard_rows": 50}
    part = tmp_path / "part"
    tree |= {"output": str(part), "shard": "1/1"}
    assert run_cli("build", tree | {"quality": {"repeats": "off", "near_repeats": "off"}})[0] == 0
    for word, message in (
        ("quality.max_words=3", "cannot use 'quality.max_words=3' here"),
        ("quality.max_words=3", "how rows are compared: quality.repeats, quality.near_repeats, quality.likeness"),
        ("seed=3", "cannot use 'seed=3' here"),
        ("quality.repeats=drop", "quality.repeats=drop asks for what the parts have not noted of their rows"),
        ("quality.likeness=2", "likeness"),
    ):
        code, text = merged(capsys, tmp_path / "out", part, word)
        assert code == 2 and message in text and not (tmp_path / "out").exists(), text
