"""Recorded responses, scored through the command line, against the verdicts of the benchmarks' own scripts."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from remote.loopback import says, serving, shown

from mmreflect import recipes
from mmreflect.cli import main
from mmreflect.evaluation.benchmark import Row

IOU = 1e-6
PERCENT = 0.01
ROUNDED_PERCENT = 0.05

Score = Callable[..., tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, Any]]]


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def score(parity_fixtures: Path, tmp_path: Path) -> Score:
    """Score a recorded file; returns its rows, the scored rows, and the summary."""

    def run(benchmark: str, file: str | list[dict[str, Any]], *words: str) -> Any:
        source, output = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
        if isinstance(file, str):
            source = parity_fixtures / file
        else:
            source.write_text("".join(json.dumps(row) + "\n" for row in file))
        assert main(["eval", "rescore", benchmark, f"responses={source}", f"output={output}", *words]) == 0
        recorded, scored = rows_of(source), rows_of(output)
        assert len(recorded) == len(scored)
        return recorded, scored, json.loads((tmp_path / "out.summary.json").read_text())

    return run


def differing(recorded: list[dict[str, Any]], scored: list[dict[str, Any]], pairs: dict[str, str]) -> list[Any]:
    return [
        (old.get("id"), name, old[name], new[ours])
        for old, new in zip(recorded, scored, strict=True)
        for name, ours in pairs.items()
        if old[name] != new[ours]
    ]


def close(expected: Any, found: Any, tolerance: float) -> None:
    """Compare numbers in nested mappings; what the expected one does not have may be there."""
    if isinstance(expected, dict):
        for name, value in expected.items():
            close(value, found[name], tolerance)
    else:
        assert found == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize(
    ("benchmark", "file", "pairs"),
    [
        ("mathvista", "mathvista.jsonl", {"prediction": "prediction", "true_false": "correct"}),
        ("mathvista", "mathvista_normalize_synthetic.jsonl", {"prediction": "prediction", "true_false": "correct"}),
        ("mathvision", "mathvision.jsonl", {"model_answer": "prediction", "correct": "correct"}),
        ("emma", "emma.jsonl", {"extraction": "prediction", "true_false": "correct"}),
        ("chartqa", "chartqa_relaxed.jsonl", {"relaxed_correct": "correct"}),
        ("tempcompass", "tempcompass.jsonl", {"rule_matched": "rule_matched", "rule_rating": "correct"}),
        ("videomme", "videomme_breakdown.jsonl", {"official_extraction": "prediction"}),
    ],
)  # fmt: skip
def test_verdicts(score: Score, benchmark: str, file: str, pairs: dict[str, str]) -> None:
    recorded, scored, summary = score(benchmark, file)
    assert differing(recorded, scored, pairs) == []
    assert summary["rescore"]["scored"] == len(recorded)


@pytest.mark.parametrize(("benchmark", "file"), [("mmmu", "mmmu_val.jsonl"), ("mmmu_pro", "mmmu_pro.jsonl")])
def test_verdicts_but_for_guesses(score: Score, benchmark: str, file: str) -> None:
    recorded, scored, summary = score(benchmark, file)
    guessed = [new["id"] for new in scored if new["random_fallback"]]
    assert guessed == [old["id"] for old in recorded if old["random_fallback"]] and guessed
    assert summary["rescore"]["random_fallbacks"] == len(guessed)
    for old, new in zip(recorded, scored, strict=True):
        if old["random_fallback"]:
            assert (new["prediction"], new["correct"]) == (None, False)
            continue
        assert new["correct"] == old["correct"], old["id"]
        if isinstance(old["parsed_pred"], list):  # the official code keeps a set
            assert set(map(str, new["prediction"])) == set(map(str, old["parsed_pred"])), old["id"]
        else:
            assert new["prediction"] == old["parsed_pred"], old["id"]


def test_mathvista_breakdown(score: Score, parity_fixtures: Path) -> None:
    _, _, summary = score("mathvista", "mathvista_breakdown.jsonl")
    account = summary.pop("rescore")
    assert summary == json.loads((parity_fixtures / "mathvista_breakdown_expected.json").read_text())
    assert account["verdicts_taken_over"] == 1000


def test_mathvista_by_rule_where_no_extraction_was_recorded(score: Score, parity_fixtures: Path) -> None:
    recorded = [row for row in rows_of(parity_fixtures / "mathvista.jsonl") if not row["response_is_code"]]
    bare = [{key: value for key, value in row.items() if key not in ("extraction", "prediction")} for row in recorded]
    _, scored, summary = score("mathvista", bare)
    agreed = sum(old["true_false"] == new["correct"] for old, new in zip(recorded, scored, strict=True))
    assert agreed / len(recorded) > 0.85 and "extracted by rule" in summary["rescore"]["label"]


def judging(reply: Callable[[str], str]) -> Any:
    return serving(lambda body, number: says(reply(shown(body))))


def test_mathvista_with_the_recorded_replies_as_its_judge(score: Score, parity_fixtures: Path) -> None:
    recorded = [row for row in rows_of(parity_fixtures / "mathvista.jsonl") if not row["response_is_code"]]
    bare = [{key: value for key, value in row.items() if key not in ("extraction", "prediction")} for row in recorded]
    replies = {f"{row['query']}\n\nModel response: {row['response']}\n": str(row["extraction"]) for row in recorded}

    def reply(prompt: str) -> str:
        return next(said for asked, said in replies.items() if asked in prompt)

    with judging(reply) as server:
        _, scored, summary = score(
            "mathvista", bare, f"judge.base_url={server.url}", "judge.model=m", "judge.cache=off"
        )
        asked = len(server.bodies)
    failed = [row["id"] for row in scored if row.get("judge_error")]
    assert differing(
        [old for old, new in zip(recorded, scored, strict=True) if "judge_error" not in new],
        [new for new in scored if "judge_error" not in new],
        {"prediction": "prediction", "true_false": "correct"},
    ) == []  # fmt: skip
    assert asked > 100 and summary["rescore"]["approximate"] == 0, (asked, failed)


def test_tempcompass_with_the_recorded_ratings_as_its_judge(score: Score, parity_fixtures: Path) -> None:
    recorded = rows_of(parity_fixtures / "tempcompass.jsonl")
    ratings = {f"Correct answer: {row['answer']}\nPrediction: {row['prediction'].replace('</s>', '')}\n": row["rating"]
               for row in recorded if not row["rule_matched"] and row["prediction"]}  # fmt: skip

    def reply(prompt: str) -> str:
        return next("Correct" if rating else "Incorrect" for asked, rating in ratings.items() if asked in prompt)

    with judging(reply) as server:
        _, scored, summary = score(
            "tempcompass", recorded, f"judge.base_url={server.url}", "judge.model=m", "judge.cache=off"
        )
    assert [row["correct"] for row in scored] == [bool(row["rating"]) for row in recorded]
    assert summary["rescore"]["approximate"] == 0


def test_chartqapro(score: Score) -> None:
    recorded, scored, _ = score("chartqapro", "chartqapro.jsonl")
    for old, new in zip(recorded, scored, strict=True):
        assert new["score"] == pytest.approx(old["score"], abs=IOU), old["id"]


def test_videomme_breakdown(score: Score, parity_fixtures: Path) -> None:
    _, _, summary = score("videomme", "videomme_breakdown.jsonl")
    expected = json.loads((parity_fixtures / "videomme_breakdown_expected.json").read_text())
    close(expected, summary, ROUNDED_PERCENT)
    assert {name: list(summary[name]) for name in expected} == {name: list(labels) for name, labels in expected.items()}


@pytest.mark.parametrize(
    ("benchmark", "rule", "column"),
    [
        ("videomme", "official", "videomme_official"),
        ("videomme", "lmms_eval", "lmms_shared_extractor"),
        ("lvbench", "official", "lvbench_official"),
        ("mlvu", "official", "mlvu_official"),
        ("longvideobench", "lmms_eval", "longvideobench_lmms"),
        ("mvbench", "lmms_eval", "mvbench_lmms"),
    ],
)  # fmt: skip
def test_letters(score: Score, benchmark: str, rule: str, column: str) -> None:
    recorded, scored, summary = score(benchmark, "video_mcq_extract.jsonl", f"rule={rule}")
    assert differing(recorded, scored, {column: "prediction"}) == []
    assert summary["rescore"]["without_key"] == len(recorded) and {row["correct"] for row in scored} == {None}


@pytest.mark.parametrize(
    ("benchmark", "part"), [("longvideobench", "longvideobench"), ("mlvu", "mlvu_dev"), ("lvbench", "lvbench")]
)
def test_video_breakdowns(score: Score, parity_fixtures: Path, benchmark: str, part: str) -> None:
    tree = json.loads((parity_fixtures / "video_breakdown_misc.json").read_text())[part]
    _, _, summary = score(benchmark, tree["rows"])
    close(tree["expected"], summary, PERCENT / 100 if benchmark != "mlvu" else PERCENT)


@pytest.mark.parametrize(("rule", "name"), [("official", "lmms"), ("lmms_eval", "lmms"), ("answer_tag", "answer_tag")])
@pytest.mark.parametrize("benchmark", ["charades_sta", "activitynet_grounding"])
def test_temporal_grounding(score: Score, parity_fixtures: Path, benchmark: str, rule: str, name: str) -> None:
    recorded, scored, summary = score(benchmark, "temporal_grounding.jsonl", f"rule={rule}")
    assert differing(recorded, scored, {f"{name}_span": "prediction"}) == []
    for old, new in zip(recorded, scored, strict=True):
        assert new["score"] == pytest.approx(old[f"{name}_iou"] or 0.0, abs=IOU), old["id"]
    expected = json.loads((parity_fixtures / "temporal_grounding_expected.json").read_text())
    close(expected, summary, PERCENT)


def test_nextgqa(score: Score, parity_fixtures: Path) -> None:
    recorded, scored, summary = score("nextgqa", "nextgqa_grounding.jsonl")
    for old, new in zip(recorded, scored, strict=True):
        assert (new["tIoU"], new["tIoP"]) == pytest.approx((old["tIoU"], old["tIoP"]), abs=IOU), old["id"]
        assert new["correct"] == (old["qa_correct"] and old["tIoP"] >= 0.5)
    close(json.loads((parity_fixtures / "nextgqa_grounding_expected.json").read_text()), summary, PERCENT)


def test_mathvista_prompts_are_rebuilt_to_the_letter(parity_fixtures: Path) -> None:
    leaf = recipes.load("benchmark", "mathvista")
    rows = rows_of(parity_fixtures / "mathvista.jsonl")
    assert [row["pid"] for row in rows if leaf.query(Row(row)) != row["query"]] == []


def test_prompts_are_the_literal_ones(parity_fixtures: Path) -> None:
    literal = json.loads((parity_fixtures / "prompts.json").read_text())
    leaves = {name: recipes.load("benchmark", name) for name in recipes.names("benchmark")}
    assert literal["mathvista"]["hint"] == leaves["mathvista"].HINTS
    for style in ("query_wo", "query_cot"):
        expected = {(style, kind): text for kind, text in literal["mathverse"][f"{style}_prefix"].items()}
        assert expected.items() <= leaves["mathverse"].PREFIXES.items()
    expected = {tuple(name.split("_")): text for name, text in literal["mmmu_pro"].items() if name != "origin"}
    assert expected == leaves["mmmu_pro"].PROMPTS
    assert {name: literal["emma"][name] for name in ("cot", "direct")} == leaves["emma"].STRATEGIES
    assert literal["mlvu"]["system"] == leaves["mlvu"].SYSTEM
    assert literal["mlvu"]["assistant_prefill"] == leaves["mlvu"].PREFILL
    assert literal["mvbench"]["system"] == leaves["mvbench"].SYSTEM
    assert leaves["tempcompass"].SUFFIXES.items() == literal["tempcompass_suffix"].items() - {
        ("origin", literal["tempcompass_suffix"]["origin"])
    }
    assert literal["charades_sta_lmms"]["template"] == leaves["charades_sta"].PROMPT
    assert literal["charades_sta_lmms"]["template"] == leaves["activitynet_grounding"].PROMPT
    assert literal["chartqa_lmms_suffix"]["suffix"] == leaves["chartqa"].SUFFIX
    assert literal["chartqapro_lmms_suffix"]["suffix"] == leaves["chartqapro"].SUFFIX
    assert literal["videomme"]["with_subtitles_prefix"] == leaves["videomme"].PREFIX
    assert literal["videomme"]["body"].startswith(leaves["videomme"].ASK + "\n{question}\n{options")
    assert literal["mmmu"]["multiple_choice"].endswith("\n\n\n" + leaves["mmmu"].MULTIPLE_CHOICE)
    assert literal["mmmu"]["open"] == "{question}\n\n" + leaves["mmmu"].OPEN
    assert literal["longvideobench"]["template"].endswith("\n" + leaves["longvideobench"].SUFFIX)
    doubled = leaves["mathvision"].PROMPT.replace("{}", "{{}}")
    assert literal["mathvision_lmms"]["template"].startswith(doubled + "{question}")
    for name, text in (("multiple_choice", leaves["emma"].MULTIPLE_CHOICE), ("open", leaves["emma"].OPEN)):
        assert literal["emma"][name].endswith("\n\n" + text.replace("{}", "{{}}") + "{strategy}")
