"""The page of a benchmark's run, and its browser of all answers, entered by `mmreflect view`."""

import base64
import hashlib
import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from evaluation.asked import CONFIRMED, FIXED, HARMED, NASTY, QUESTIONS, REPLIES, ask, rows_of

from mmreflect.cli import main

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ask(tmp_path_factory.mktemp("asked"), REPLIES)


@pytest.fixture
def run(asked: Path, tmp_path: Path) -> Path:
    """A copy that a test may change; its pictures stand where they stood."""
    return Path(shutil.copytree(asked, tmp_path / "run"))


def view(*words: str | Path, file: Path | None = None) -> str:
    assert main(["view", *map(str, words)]) == 0
    return (file or Path(words[0]) / "index.html").read_text()


def words(page: str) -> str:
    body = re.sub(r"<style>.*?</style>|<desc>.*?</desc>|<script[^>]*>.*?</script>", "", page, flags=re.S)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", body))).replace("\u00a0", " ")


def data(page: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(re.findall(r'id="answers-data">(.*?)</script>', page, flags=re.S)[0])
    return found


def cards(page: str) -> dict[str, dict[str, Any]]:
    return {card["i"]: card for card in data(page)["cards"]}


def text_of(reply: dict[str, Any]) -> str:
    return "".join(piece[0] for block in reply["b"] for piece in block["p"])


def test_scores_counts_groups_and_contract(run: Path) -> None:
    page = words(view(run))
    item = json.loads((run / "summary.json").read_text())["rescore"]["scores"]["accuracy"]
    between = f"({100 * item['low']:.1f} to {100 * item['high']:.1f})"
    assert f"Accuracy: 33.3 % {between}, over 6 answers, by the rule “official”." in page
    for counted in (
        "questions asked 6",
        "answers scored 6 of 6",
        "cut off at a limit of tokens 1",
        "empty responses 1",
    ):
        assert counted in page
    assert "None of these: questions that could not be shown; answers that could not be asked for;" in page
    # of colours q1 is right and q6 wrong, of counts q3 is right, q2 and q5 are wrong
    assert "colours 50.0 % of 2" in page and "counts 33.3 % of 3" in page
    hashed = json.loads((run / "result.json").read_text())["contract"]["hash"]
    assert f"Hash of the terms: {hashed}" in page and "decoding: max new tokens 300" in page


def test_what_came_after_the_first_answer(run: Path) -> None:
    page = words(view(run))
    assert "fixed 1 16.7 % harmed 1 16.7 % confirmed right 1 16.7 % wrong without reflection 3 50.0 %" in page
    assert "3 steps between candidates in 6 texts; of those that begin wrong 100.0 % end right." in page
    # three texts state candidates: A to B, 3 to 4, 5 to 5
    assert "wrong to right 33.3 %" in page and "right to wrong 33.3 %" in page and "right, kept 33.3 %" in page
    # "wait" and "hmm", "on second thought"; "verify"; "i made a mistake"
    assert "doubt 3 0.50 33.3 % verify 1 0.17 16.7 % revise 1 0.17 16.7 % alternative 0 0.00 0.0 %" in page
    assert "Stopping at the k-th candidate" in page


def test_every_answer_is_in_the_browser_and_can_be_chosen(run: Path) -> None:
    page = view(run)
    found = cards(page)
    labels = {
        name: (card["f"]["verdict"], card["f"]["transition"], card["f"].get("noted", []))
        for name, card in found.items()
    }
    reduced = "reduced to its final answer"
    assert labels == {
        "q1": (["right"], ["fixed"], [reduced]),
        "q2": (["wrong"], ["harmed"], [reduced]),
        "q3": (["right"], ["confirmed right"], [reduced]),
        "q4": (["wrong"], ["wrong without reflection"], []),
        "q5": (["wrong"], ["wrong without reflection"], ["empty", "no answer read"]),
        "q6": (["wrong"], ["wrong without reflection"], ["truncated", "no answer read"]),
    }
    assert [item["k"] for item in data(page)["filters"]] == [
        *("verdict", "transition", "noted", "question_type", "answer_type", "category", "skills"),
    ]
    assert found["q4"]["f"]["category"] == [NASTY] and data(page)["filters"][0]["o"] == ["right", "wrong"]
    first = found["q1"]
    assert first["g"] == "green" and text_of(first["r"][0]) == FIXED and first["q"].endswith("(A) red\n(B) green")
    assert [block["k"] for block in first["r"][0]["b"]] == ["think", "answer", "reflection", "answer"]
    assert first["r"][0]["c"][0] == ["read green ✓ right", "right"] and first["t"] == "right"
    assert any("first A ✗ wrong · final B ✓ right · fixed" in told for told in first["r"][0]["n"])


def test_a_picture_is_held_once(run: Path) -> None:
    page = view(run)
    media, found = data(page)["media"], cards(page)
    assert len(media) == 2 and found["q1"]["m"] == [[0]]
    assert all(found[name]["m"] == [[1]] for name in ("q2", "q3", "q4", "q5", "q6"))
    assert base64.b64decode(media[0]["s"].partition(",")[2]).startswith(b"\x89PNG") and media[0]["w"] == 24


def test_pictures_beyond_the_limit_are_counted_and_named(run: Path) -> None:
    page = view(run, "pictures=1")
    assert "1 picture of later questions are named only" in words(page) or "1 picture of later questions" in words(page)
    media = data(page)["media"]
    assert "s" in media[0] and media[1] == {"n": media[1]["n"], "p": "picture left out, the page holds enough pictures"}
    assert all("s" not in item for item in data(view(run, "pictures=0"))["media"])


def test_answers_beyond_the_limit_are_counted(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mmreflect.report.browser as browser

    monkeypatch.setattr(browser, "MOST_ANSWERS", 4)
    page = view(run)
    assert len(cards(page)) == 4
    assert "The page holds the first 4 of 6 answers; the others are left out." in words(page)


def test_only_the_own_script_may_run(run: Path) -> None:
    page = view(run)
    opened = re.findall(r"<script[^>]*>", page)
    assert opened == ['<script type="application/json" id="answers-data">', "<script>"]
    script = page.split("<script>")[1].split("</script>")[0]
    assert script.strip().startswith('"use strict"') and "innerHTML" not in script
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in html.unescape(page) and "default-src 'none'" in page
    assert NASTY not in page and "<img src=x" not in page and page.count("</style>") == 1
    assert NASTY in text_of(cards(page)["q4"]["r"][0])
    assert not re.search(r"""(?:src|href)\s*=\s*["']?(?:https?:|//|file:)|@import|url\(""", page)


def test_half_a_surrogate_pair_and_a_very_long_answer_are_shown(tmp_path: Path) -> None:
    folder = ask(tmp_path, {"q3": "y" * 20_000, "q1": "</script>" * 2000}, max_new_tokens=30_000)
    samples = rows_of(folder / "samples.jsonl")
    samples[1]["segments"][0]["text"] = "\ud83d 4"
    samples[1]["question"] = "\ud83d?"
    (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in samples))
    page = view(folder)
    found = cards(page)
    assert text_of(found["q2"]["r"][0]) == "\ud83d 4" and page.count("</script>") == 2
    assert text_of(found["q3"]["r"][0]).endswith("[... 8,000 more characters]")


def test_several_answers_show_what_the_model_can(tmp_path: Path) -> None:
    # q2 is right in one of two answers, q3 in both, the other four in none
    replies: dict[str, str | list[str]] = {"q2": ["<answer>3</answer>", HARMED], "q3": [CONFIRMED, CONFIRMED]}
    page = view(ask(tmp_path, replies, num_generations=2, temperature=1.0))
    text = words(page)
    assert "over 12 answers to 6 questions" in text and "pass@1 25.0 %" in text and "pass@2 33.3 %" in text
    assert "Right in the best of k" in text
    assert [(card["i"], card.get("d", 0)) for card in data(page)["cards"]][:3] == [("q1", 0), ("q1", 1), ("q2", 0)]


def test_a_judges_words_and_failures_are_shown(run: Path) -> None:
    scored = rows_of(run / "scored.jsonl")
    scored[0] |= {"judged_by": "umpire, prompt 12ab", "extraction": "green it is"}
    scored[1] |= {"correct": None, "judge_error": f"the server did not answer: {NASTY}"}
    scored[3] |= {"correct": False, "random_fallback": True}
    scored[4] |= {"correct": None, "score": 0.5}
    (run / "scored.jsonl").write_text("".join(json.dumps(row) + "\n" for row in scored))
    summary = json.loads((run / "summary.json").read_text())
    known = {
        "label": "judge prompt: ours",
        "judged_by": {"umpire": 1},
        "judge_errors": {"the server did not answer": 1},
    }
    summary["rescore"] |= {**known, "random_fallbacks": 1, "approximate": 0}
    (run / "summary.json").write_text(json.dumps(summary))
    page = view(run)
    found, text = cards(page), words(page)
    assert (
        found["q1"]["f"]["noted"][-1] == "judged by a model" and "extraction: green it is" in found["q1"]["r"][0]["n"]
    )
    assert found["q2"]["f"]["verdict"] == ["not graded"] and found["q2"]["f"]["noted"][-1] == "not graded by the judge"
    assert f"judge_error: the server did not answer: {NASTY}" in found["q2"]["r"][0]["n"]
    assert found["q4"]["f"]["noted"] == ["random fallback"]
    assert found["q5"]["f"]["verdict"] == ["partly right"] and ["score 0.5", "quiet"] in found["q5"]["r"][0]["c"]
    assert (
        "Judged: judge prompt: ours." in text and "1 answer not graded by the judge: the server did not answer." in text
    )
    assert "Where the official code guesses: wrong." in text


def test_a_video_is_a_strip_and_what_cannot_be_shown_is_counted(clip: Path, tmp_path: Path) -> None:
    shutil.copy(clip, tmp_path / "clip.mp4")
    asked = [own("v1", "up", "light", video="clip.mp4"), own("v2", "up", "light", video="gone.mp4")]
    asked += [own(f"v{number}", "up", "dark", video="clip.mp4") for number in (3, 4)]
    source = {"source": str(tmp_path / "questions.jsonl"), "tolerate": 0.5}
    frames = {"fps": 1, "min_frames": 2, "max_frames": 4}
    folder = ask(tmp_path, {"v1": "<answer>up</answer>"}, asked, benchmark="jsonl", release=source, frames=frames)
    page = view(folder)
    (strip,) = data(page)["media"]
    assert len(strip["f"]) == 8 and all(frame["s"].startswith("data:image/jpeg") for frame in strip["f"])
    assert strip["f"][0]["r"] == "0.0\u00a0s" and strip["c"].startswith("whole video, 0.0 to 3.0")
    assert "questions that could not be shown 1" in words(page) and "set aside because number" in words(page)
    assert set(cards(page)) == {"v1", "v3", "v4"}


def own(name: str, answer: str, category: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "question": f"Which way in {name}?", "answer": answer, "category": category, **more}


def test_hidden_references_give_no_score(tmp_path: Path) -> None:
    folder = ask(tmp_path, REPLIES, [{**row, "answer": None} for row in QUESTIONS])
    page = view(folder)
    assert "No score: none of 6 answers could be graded." in words(page)
    assert "submission.json holds the predictions to submit" in words(page)
    assert "no reference is published 6" in words(page)
    assert {card["f"]["verdict"][0] for card in data(page)["cards"]} == {"not graded"}


def test_missing_files(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "samples.jsonl").unlink()
    page = view(run)
    assert "samples.jsonl is missing: there are no answers to read" in words(page) and "answers-data" not in page
    assert "script-src 'none'" in html.unescape(page)
    (run / "scored.jsonl").unlink()
    assert main(["view", str(run)]) == 2
    assert "scored.jsonl is missing" in capsys.readouterr().err
    (run / "summary.json").write_text("{}")
    (run / "scored.jsonl").write_text("")
    assert main(["view", str(run)]) == 2
    assert "summary.json cannot be read as a file of a run" in capsys.readouterr().err


def test_an_unfinished_run_shows_the_answers_so_far(run: Path) -> None:
    for name in ("result.json", "summary.json", "scored.jsonl"):
        (run / name).unlink()
    page = view(run)
    assert "Not finished" in words(page) and cards(page)["q1"]["f"]["transition"] == ["fixed"]


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (["pictures=many"], "pictures=many"),
        (["pictures=-1"], "pictures=-1"),
        (["colour=red"], "unknown setting 'colour'"),
        (["output=."], "output=. is a folder"),
    ],
)
def test_settings_are_checked(run: Path, capsys: pytest.CaptureFixture[str], extra: list[str], said: str) -> None:
    assert main(["view", str(run), *extra]) == 2
    assert said in capsys.readouterr().err


def test_the_page_goes_where_it_is_wanted(run: Path, tmp_path: Path) -> None:
    page = view(run, f"output={tmp_path / 'page.html'}", file=tmp_path / "page.html")
    assert "All answers" in words(page) and not (run / "index.html").exists()
    assert view(run) == page


def test_a_file_of_scored_responses_has_a_page(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.jsonl"
    rescore = ["eval", "rescore", "mathvista", f"responses={run / 'responses.jsonl'}", f"output={out}"]
    assert main(rescore) == 0
    page = view(out, file=tmp_path / "out.html")
    assert "Accuracy: 33.3 %" in words(page) and "mathvista, recorded responses" in words(page)
    found = cards(page)
    assert (
        found["q1"]["f"]["verdict"] == ["right"]
        and found["q1"]["q"] == "How many in q1?"
        and found["q1"]["g"] == "green"
    )
    assert text_of(found["q2"]["r"][0]) == HARMED and "m" not in found["q1"]
    assert main(["view", str(out), "pictures=3"]) == 2 and "pictures= for a file" in capsys.readouterr().err
    (tmp_path / "out.summary.json").unlink()
    for wrong in (out, run / "config.yaml"):
        assert main(["view", str(wrong)]) == 2
        said = capsys.readouterr().err
        assert "is no scored file" in said and "mmreflect eval rescore BENCHMARK" in said


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to run the page's script")
def test_the_script_shows_and_chooses(run: Path, tmp_path: Path) -> None:
    view(run)
    shown = dom(run / "index.html", "#answers?verdict=wrong&words=alert", tmp_path / "home")
    text = words(shown)
    assert "1 of 6 answers" in text and "Is <script>alert(1)</script>" in text and "How many in" not in text
    assert 'class="chosen"' not in shown and shown.count('class="item chosen"') == 1
    assert "right (0)" in shown and "wrong (1)" in shown and "wrong without reflection (1)" in shown


def dom(file: Path, state: str, home: Path) -> str:
    """The page after its script ran."""
    assert CHROMIUM is not None
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    quiet = ["--disable-background-networking", "--disable-component-update", f"--user-data-dir={home}", "--dump-dom"]
    command = [CHROMIUM, *options, *quiet, f"file://{file}{state}"]
    found = subprocess.run(command, capture_output=True, check=True, timeout=120).stdout.decode()
    return re.sub(r"<script.*?</script>", "", found, flags=re.S)


def test_several_benchmarks_have_an_overview_and_a_page_each(tmp_path: Path) -> None:
    own_file = tmp_path / "own.jsonl"
    own_file.write_text(json.dumps(own("v1", "up", "light")) + "\n" + json.dumps(own("v2", "down", "light")) + "\n")
    entries = [{"name": "mathvista", "label": "maths & more"}, {"name": "jsonl", "release": {"source": str(own_file)}}]
    folder = ask(tmp_path, REPLIES | {"v1": "<answer>up</answer>"}, benchmark=entries)
    page = view(folder)
    text = words(page)
    assert (
        "2 benchmarks of 2 finished." in text
        and "maths & more accuracy 33.3 %" in text
        and "jsonl accuracy 50.0 %" in text
    )
    assert re.findall(r'<a href="([^"#]+)"', page) == ["maths%20%26%20more/index.html", "jsonl/index.html"]
    assert "Accuracy: 33.3 %" in words((folder / "maths & more/index.html").read_text())
    assert cards((folder / "jsonl/index.html").read_text())["v1"]["f"]["verdict"] == ["right"]
    (folder / "jsonl/run.json").unlink()
    assert "1 benchmark of 2 finished." in words(view(folder))
