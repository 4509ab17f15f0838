"""The page of a run, entered by `mmreflect view` on small run folders made by hand."""

import base64
import html
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mmreflect.cli import main
from mmreflect.reflection.ledger import entry, ledger
from mmreflect.report.plots import Series, line_plot

NASTY = "<script>alert(1)</script></style>\"'&<img src=x onerror=alert(2)>"


def write_run(folder: Path, verb: str, name: str, config: str = "seed: 0\n", result: Any = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(json.dumps({"verb": verb, "name": name, "mmreflect": "0.1.0"}))
    (folder / "config.yaml").write_text(config)
    if result is not None:
        (folder / "result.json").write_text(json.dumps(result))
    return folder


def write_lines(file: Path, rows: list[dict[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def answer_row(number: int, first: str, final: str, gold: str = "2", question: str = "How many?") -> dict[str, Any]:
    text = f"<think>look</think><answer>{first}</answer><reflection>Wait, again</reflection><answer>{final}</answer>"
    known = entry(text, gold, 20)
    fields = {name: getattr(known, name) for name in type(known).__dataclass_fields__}
    media = [{"kind": "image", "path": f"media/{number}.png", "crop": None, "span": None}]
    parts = [
        {"author": "model", "stage": "answer", "text": text.split("<reflection>")[0]},
        {"author": "forced", "stage": "rethink", "text": "<reflection>Wait,"},
        {"author": "model", "stage": "rethink", "text": text.split("Wait,")[1]},
    ]
    known_row = {"id": f"q{number}", "question": question, "media": media, "gold": gold, "text": text, "stop": "eos"}
    return {**known_row, **fields, "segments": parts}


def write_evaluation(folder: Path, rows: list[dict[str, Any]], finished: bool = True) -> Path:
    known = ledger([entry(row["text"], row["gold"], row["tokens"]) for row in rows], resamples=200)
    write_run(
        folder, "eval", "dataset", "model: m\n", {"ledger": known.to_json(), "seconds": 1.5} if finished else None
    )
    write_lines(folder / "samples.jsonl", rows)
    for number in (1, 2):
        (folder / "media").mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (200, number, 0)).save(folder / "media" / f"{number}.png")
    (folder / "media" / "3.png").write_bytes(b"no picture at all")
    return folder


@pytest.fixture
def evaluation(tmp_path: Path) -> Path:
    rows = [
        answer_row(1, "1", "2"),
        answer_row(2, "2", "3", question=NASTY),
        answer_row(3, "2", "2"),
        answer_row(4, "1", "1"),
        answer_row(5, "1", "2"),
    ]
    return write_evaluation(tmp_path / "eval-grpo", rows)


def view(folder: Path) -> str:
    assert main(["view", str(folder)]) == 0
    return (folder / "index.html").read_text()


def without_scripts(page: str) -> str:
    """The page without the data and the script of the browser of answers, the only two that it may have."""
    body = re.sub(r'<script type="application/json" id="answers-data">[^<]*</script>', "", page, count=1)
    return re.sub(r'<script>\n?"use strict";[^\x00]*?</script>', "", body, count=1)


def words(page: str) -> str:
    """The page as a reader's eye finds it: no tags, single spaces."""
    body = re.sub(r"<style>.*?</style>|<desc>.*?</desc>", "", without_scripts(page), flags=re.S)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", body))).replace("\u00a0", " ")


def test_evaluation_shows_the_ledger_with_its_intervals(evaluation: Path) -> None:
    page = words(view(evaluation))
    known = json.loads((evaluation / "result.json").read_text())["ledger"]
    for name in ("first_accuracy", "final_accuracy", "fix_rate", "harm_rate", "reflected"):
        rate = known[name]
        low, high = (f"{100 * rate[bound]:.1f}" for bound in ("low", "high"))
        assert f"{100 * rate['value']:.1f} % ({low} to {high})" in page, name
    assert "Did reflecting help?" in page
    assert "+20.0" in page and "2 of 3" in page and "1 of 2" in page
    assert "Not shown, in this evaluation" in page


def test_outcomes_are_counted_and_shown(evaluation: Path) -> None:
    page = words(view(evaluation))
    for heading in ("Fixed: the first 2 of 2", "Harmed: the first 1 of 1", "Stayed right: the first 1 of 1"):
        assert heading in page
    assert "first 1 ✗ wrong" in page and "final 2 ✓ right" in page


def test_what_was_set_aside_is_counted_with_the_reason(evaluation: Path) -> None:
    write_lines(evaluation / "quarantine.jsonl", [{"id": "bad", "reason": f"no picture {NASTY}"}])
    page = words(view(evaluation))
    assert "questions asked 5 answers 5 questions that could not be shown 1" in page
    assert f"set aside because number no picture {NASTY} 1" in page and "None of these: answers that could not" in page


def test_text_is_coloured_by_tag_and_forced_words_are_marked(evaluation: Path) -> None:
    page = view(evaluation)
    for kind in ("think", "answer", "reflection"):
        assert f'<div class="block {kind}"><' in page
        assert f'<span class="tag">&lt;/{kind}&gt;</span>' in page
    assert '<mark class="forced" title="forced words, stage rethink">Wait,</mark> again' in page


def test_everything_from_files_is_escaped(evaluation: Path) -> None:
    (evaluation / "config.yaml").write_text(f"model: {json.dumps(NASTY)}\n")
    page = without_scripts(view(evaluation))
    assert "<script" not in page and "<img src=x" not in page and page.count("</style>") == 1
    assert NASTY in html.unescape(page) and page.count("&lt;script&gt;") >= 3


def test_missing_and_broken_pictures_are_named(evaluation: Path) -> None:
    page = words(view(evaluation))
    assert "picture not found 4.png" in page
    assert "not a picture: 3.png" in page
    raw = (evaluation / "index.html").read_text()
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', raw)
    assert len(pictures) == 3 - 1 and all(base64.b64decode(item).startswith(b"\x89PNG") for item in pictures)


def test_unfinished_evaluation_shows_what_is_there(tmp_path: Path) -> None:
    folder = write_evaluation(tmp_path / "eval", [answer_row(1, "1", "2")], finished=False)
    with open(folder / "samples.jsonl", "a") as file:
        file.write('{"id": "half')
    page = words(view(folder))
    assert "Not finished" in page and "so far" in page and "Fixed: the first 1 of 1" in page


def test_empty_run_is_a_page(tmp_path: Path) -> None:
    for verb in ("build", "train", "eval", "merge", "demo"):
        page = words(view(write_run(tmp_path / verb, verb, "x")))
        assert "Not finished" in page and "How it was run" in page


def training_log() -> list[dict[str, Any]]:
    def row(step: int) -> dict[str, Any]:
        return {
            "step": step,
            "loss": 0.1,
            "reward": 0.5 + step / 10,
            "rewards/accuracy/mean": 0.5,
            "ledger/first_accuracy": 0.4,
            "ledger/final_accuracy": 0.5,
            "replay/effective_ratio_raw": 0.25,
            "replay/effective_ratio_trained": 1.0,
            "replay/replayed_share": 0.75,
            "replay/mean_abs_advantage": 0.3,
            "replay/buffer": 40.0,
            "replay/staleness": float("nan"),
            "rethink/tried": 0.6,
            "rethink/spontaneous": 0.2,
            "rethink/accept_rate": 0.4,
            "rethink/dropped_wrong": 0.6,
            "rethink/fix_rate": 0.3,
            "rethink/harm_rate": 0.1,
        }

    validation = {"step": 3, "eval_first_accuracy": 0.5, "eval_final_accuracy": 0.625, "eval_fix_rate": 0.25}
    return [row(1), row(2), row(3), validation]


@pytest.fixture
def grpo(tmp_path: Path) -> Path:
    folder = write_run(
        tmp_path / "grpo", "train", "grpo", "data: {path: d, split: rl}\n", {"steps": 3, "seconds": 75.0}
    )
    write_lines(folder / "log.jsonl", training_log())
    score = {
        "value": 0.5,
        "answer": "1",
        "gold": "2",
        "reason": f"accuracy: {NASTY}",
        "parts": {
            "accuracy": {"value": None, "weight": 1.0, "stage": None},
            "format": {"value": 1.0, "weight": 0.5, "stage": None},
        },
    }
    rollout = {"segments": [{"author": "model", "stage": "answer", "text": "<answer>1</answer>"}], "score": score}
    group = {
        "sample_id": "r1",
        "question": "Which?",
        "media": [],
        "gold": "2",
        "rollouts": [rollout | {"stop": "length"}],
    }
    (folder / "rollouts").mkdir()
    (folder / "rollouts" / "step-000002.json").write_text(json.dumps([group]))
    return folder


def test_training_shows_curves_replay_rethinking_and_rollouts(grpo: Path) -> None:
    page = words(view(grpo))
    for title in ("Reward mean over rollouts 0.8", "Selective sample replay", "Forced rethinking", "accepted 40.0 %"):
        assert title in page
    assert "25.0 % of the fresh rows carried an advantage, 100.0 % of the rows trained on; 75.0 % of the batch" in page
    assert "first tries are right in 50.0 %, final answers in 62.5 %, a difference of +12.5 points" in page
    assert "reward 0.5 = accuracy not graded × 1 + format 1 × 0.5" in page and "stopped by length" in page
    assert "Staleness" not in page, "a curve without a finite value has no plot"
    assert "<script" not in (grpo / "index.html").read_text()


def test_supervised_training_shows_its_loss(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "sft", "train", "sft", result={"steps": 2})
    write_lines(
        folder / "log.jsonl", [{"step": 1, "loss": 2.5}, {"step": 2, "loss": 1.25}, {"step": 2, "eval_loss": 1.5}]
    )
    page = words(view(folder))
    assert "Loss training 1.25 validation 1.5" in page
    assert "replay" not in page.lower() and "Forced rethinking" not in page


def write_merge(folder: Path) -> Path:
    layer = {
        "norm2_v": 1.5,
        "norm2_r": 3.0,
        "cosine": None,
        "attention": None,
        "w_v": 1.0,
        "lam_v": 0.75,
        "lam_r": 0.25,
    }
    report = {
        "layers": [{"layer": number, **layer} for number in range(14)],
        "prior": "exponential",
        "tensors": {"merged": 14, "copied": 1},
        "warnings": [f"beware {NASTY}"],
    }
    write_run(folder, "merge", "frank", result={"seconds": 0.2})
    (folder / "merge_report.json").write_text(json.dumps(report))
    return folder


def test_merge_shows_weights_norms_and_warnings(tmp_path: Path) -> None:
    page = view(write_merge(tmp_path / "merge"))
    text = words(page)
    assert "14 tensors merged, 1 tensor copied" in text and "vision-language 75.0 %" in text
    assert "Warning beware <script>" in text and "<script" not in page
    assert "Cosine" not in text and "All 14 rows as a table" in text


def dataset_row(number: int) -> dict[str, Any]:
    answer = f"<think>t</think><answer>{number}</answer>"
    messages = [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": f"Q{number} {NASTY}"}]},
        {"role": "assistant", "content": [{"type": "text", "text": answer}]},
    ]
    facts = {"careful": number == 1}
    return {"id": f"t{number}", "messages": messages, "images": [f"media/{number}.png"], "answer": "1", "facts": facts}


def test_build_shows_counts_shares_rejects_and_rows(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "data", "build", "grid", result={"seconds": 1})
    write_lines(folder / "train" / "00000.jsonl", [dataset_row(number) for number in range(4)])
    write_lines(
        folder / "rejects" / "train-00000.jsonl", [{"split": "train", "index": 9, "reason": f"bad {NASTY}"}] * 2
    )
    shards = [{"file": "train/00000.jsonl", "rows": 4, "sha256": ""}]
    (folder / "manifest.json").write_text(json.dumps({"splits": {"train": {"rows": 4, "shards": shards}}}))
    page = view(folder)
    text = words(page)
    assert "train 4 100.0 % 1" in text and "careful: yes 25.0 %" in text
    assert "bad <script>" in text and "<script" not in page
    assert "Q3" in text and "picture not found 0.png" in text


@pytest.fixture
def demo(tmp_path: Path, evaluation: Path, grpo: Path) -> Path:
    names = ["data", "eval-sft", "grpo", "eval-grpo", "merge", "eval-merge"]
    write_run(tmp_path, "demo", "full", "steps:\n" + "".join(f"- {{name: {name}, verb: x}}\n" for name in names))
    write_run(tmp_path / "data", "build", "grid", "careful: 0.25\noverlook: 0.2\n", {"rows": {}, "seconds": 1})
    write_merge(tmp_path / "merge")
    write_evaluation(tmp_path / "eval-sft", [answer_row(number, "1", "1") for number in range(1, 6)])
    write_evaluation(tmp_path / "eval-merge", [answer_row(number, "2", "1") for number in range(1, 6)])
    return tmp_path


def test_demo_puts_the_answer_first_and_is_honest(demo: Path) -> None:
    text = words(view(demo))
    assert "Not finished" not in text
    order = ["after cold start (SFT) 5", "after RL (GRPO) 5", "after the merge (FRANK) 5", "Learning curves", "Samples"]
    places = [text.index(part, text.index("tokens per point gained")) for part in order]
    assert places == sorted(places)
    assert "75 % of the reflections are lazy on purpose (careful: 0.25 in data/config.yaml)" in text
    assert "After cold start (SFT) it changed nothing" in text and "After the merge (FRANK) it did harm" in text
    assert "final accuracy went from 60.0 % to 0.0 % (−60.0 points)" in text
    assert "0 turned right and 3 turned wrong (exact sign test, p = 0.250)" in text


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (["1"] * 8, "Merging made things worse: final accuracy went from 100.0 % to 0.0 %"),
        (["2"] * 7 + ["1"], "Merging made no difference that can be told from chance"),
    ],
)
def test_demo_judges_the_merge_by_its_numbers(demo: Path, after: list[str], said: str) -> None:
    write_evaluation(demo / "eval-grpo", [answer_row(number, "2", "2") for number in range(8)])
    write_evaluation(demo / "eval-merge", [answer_row(number, "2", final) for number, final in enumerate(after)])
    assert said in words(view(demo))


def test_demo_says_when_a_merge_helped(demo: Path) -> None:
    write_evaluation(demo / "eval-grpo", [answer_row(number, "1", "1") for number in range(6)])
    write_evaluation(demo / "eval-merge", [answer_row(number, "1", "2") for number in range(6)])
    text = words(view(demo))
    assert (
        "Merging made things better" in text
        and "6 turned right and 0 turned wrong (exact sign test, p = 0.031)" in text
    )


def test_demo_names_what_is_missing(demo: Path) -> None:
    (demo / "eval-merge" / "result.json").unlink()
    (demo / "merge" / "run.json").unlink()
    text = words(view(demo))
    assert "Not finished: eval-merge is not finished; merge not started" in text
    assert "after the merge" not in text


def test_page_is_self_contained_and_the_same_every_time(demo: Path) -> None:
    first = view(demo)
    assert not re.search(r"""(?:src|href)\s*=\s*["']?(?:https?:|//|file:)|@import|url\(""", first)
    assert "default-src 'none'" in first
    (demo / "index.html").unlink()
    (demo / "result.json").write_text("{}")
    assert view(demo) == first, "the demo writes its page before its own result"


def test_folder_without_a_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["view", str(tmp_path / "nowhere")]) == 2
    said = capsys.readouterr().err
    assert "is not a run of mmreflect" in said and "expected: the output folder of a run" in said


def test_broken_file_is_named(evaluation: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (evaluation / "samples.jsonl").write_text('{"id": 1}\n')
    assert main(["view", str(evaluation)]) == 2
    said = capsys.readouterr().err
    assert "samples.jsonl cannot be read" in said and "to do: restore it" in said


def test_report_imports_without_torch() -> None:
    code = "import sys, mmreflect.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([8.4182, 8.4188], ["8.418", "8.419"]),
        ([0.09998, 0.10002], ["0.099", "0.1", "0.101"]),
        ([12345.1, 12345.3], ["12,345", "12,346"]),
        ([0.0, 1.0], ["0", "0.25", "0.5", "0.75", "1"]),
        ([7.0, 7.0], ["0", "2", "4", "6", "8"]),
    ],
)
def test_places_of_a_plot_read_differently_however_little_its_values_do(values: list[float], labels: list[str]) -> None:
    plot = line_plot("x", [Series("a", list(enumerate(values)))])
    assert plot is not None
    found = re.findall(r'text-anchor="end">([^<]*)</text>', str(plot.svg))
    assert [text.replace("\u202f", "") for text in found[: len(labels)]] == labels
