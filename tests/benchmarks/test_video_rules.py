"""The rules of the video benchmarks, on rows of our own making, worked out by hand from their descriptions."""

from collections.abc import Callable
from typing import Any

import pytest

from mmreflect import recipes
from mmreflect.evaluation.benchmark import BadField, Reading
from mmreflect.evaluation.rules import letters
from mmreflect.evaluation.rules.spans import answer_tag_span, hull_iou, iop, lmms_span

Read = Callable[..., Reading]


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("C", "C"), ("The best answer is C.", "C"), ("The answer is (D)", "D"),
        ("Best answer: C", "B"),  # the phrase is not removed, and begins with a B
        ("Definitely A", "D"), ("Because it rains, D", "B"), ("The best option is D", "D"), ("The correct option is B", "B"),
        ("Answer: B", "B"), ("c", None), ("none of them", None), ("", None),
        ("this is a very long answer that never says which one it would choose", None),
        ("this is a very long answer that in the end says it would choose D", "D"),
    ],
)  # fmt: skip
def test_videomme(text: str, letter: str | None) -> None:
    assert letters.videomme_letter(text) == letter


def test_videomme_under_vlmevalkit_keeps_two_more_phrases() -> None:
    assert letters.videomme_letter("The correct answer D") == "D"
    assert (
        letters.videomme_letter("The correct option: D")
        == letters.videomme_letter_vlmevalkit("The correct option: D")
        == "D"
    )
    assert letters._OPTION_PHRASES[-2:] == ("The correct answer", "The correct option")


@pytest.mark.parametrize(
    ("text", "letter"),
    [("Best option: E", "E"), ("Best answer: C", "C"), ("F", None), ("The best option is B", "B"), ("Eels", "E")],
)
def test_longvideobench(text: str, letter: str | None) -> None:
    assert letters.longvideobench_letter(text) == letter


@pytest.mark.parametrize(
    ("text", "letter"),
    [("The answer is B", "T"), ("(B) text", "B"), ("B. text", "B"), ("B) text", "B"), ("so (C) it is", "C"), ("", None), ("((A))", None)],
)  # fmt: skip
def test_lvbench(text: str, letter: str | None) -> None:
    assert letters.lvbench_letter(text) == letter


@pytest.mark.parametrize(
    ("text", "letter"),
    [("B", "B"), ("(B) text", "B"), ("B) text", "B"), ("B. text", None), ("text", None), ("(text) B", None), (")", None),
     ("F)", "F"), ("b", None), ("", None), ("G", None)],
)  # fmt: skip
def test_mlvu(text: str, letter: str | None) -> None:
    assert letters.mlvu_letter(text) == letter


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("b. text", "B"), ("B.", "B"), ("a man walks", "A"), ("(C) text", "C"), ("The man, a baker", "A"), ("Option D", "D"),
        ("walking", None), ("", None), ("B.text", "B"), ("text E", "E"), ("x-a", "A"), ("F. text", None),
    ],
)  # fmt: skip
def test_mvbench(text: str, letter: str | None) -> None:
    assert letters.mvbench_letter(text) == letter


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("A text, but (B)", "A"),  # at the start goes before brackets
        ("it is (B) or C", "C"),  # at the end goes before brackets
        ("(A) fits, yet the answer is B here", "B"),  # after a phrase goes before brackets
        ("the answer is B, not (A) here", "A"),  # every letter after a phrase is a candidate, and the last one wins
        ("we see (A) and then (C) there", "C"),  # the last of two
        ("so C: maybe, D. maybe not", "D"),  # a dot goes before a colon
        ("xAx", "A"), ("none", ""), ("", ""), ("答案是C吧", "C"), ("DNA it was", "A"),  # "A " is found
    ],
)  # fmt: skip
def test_shared_extractor(text: str, letter: str) -> None:
    assert (letters.shared_letter(text) or "") == letter


@pytest.mark.parametrize(
    ("text", "letter"),
    [("It is B.", "B"), ("A cat and B", None), ("B " + "word " * 9, None), ("the red one", "A"), ("red or blue", None), ("Z", "Z")],
)  # fmt: skip
def test_vlmevalkit_inference(text: str, letter: str | None) -> None:
    assert letters.vlmevalkit_letter(text, {"A": "red", "B": "blue"}) == letter


@pytest.mark.parametrize(
    ("task", "text", "answer", "rating"),
    [
        ("multi-choice", "A. fast", "A. fast", True), ("multi-choice", "A", "A. fast", True), ("multi-choice", "B", "A. fast", False),
        ("multi-choice", "A) slow", "A. fast", True), ("multi-choice", "It is A", "A. fast", None), ("multi-choice", "Also", "A. x", None),
        ("yes_no", "Yes, it is", "yes", True), ("yes_no", "Not visible", "no", True), ("yes_no", "Nothing", "yes", False),
        ("yes_no", "It is so", "yes", None), ("yes_no", "", "no", None), ("yes_no", "yes</s>", "yes", True),
    ],
)  # fmt: skip
def test_tempcompass(read: Read, task: str, text: str, answer: str, rating: bool | None) -> None:
    reading = read("tempcompass", {"task": task, "prediction": text, "answer": answer})
    assert (reading.correct, reading.parsed, reading.approximate) == (bool(rating), rating is not None, rating is None)


@pytest.mark.parametrize(
    ("text", "rating"),
    [
        ("Caption A: It rises.", True), ("It rises.", True), ("A) It rises.", True), ("Caption A", True), ("A", True),
        ("A.", True), ("Caption B.", False), ("It falls.", False), ("It goes up.", None), ("", None),
    ],
)  # fmt: skip
def test_tempcompass_captions(text: str, rating: bool | None) -> None:
    question = "Which caption matches the video better?\nCaption A: It rises.\nCaption B: It falls."
    match = recipes.load("benchmark", "tempcompass").match_caption
    assert match(text, question, "Caption A: It rises.") is rating


def test_tempcompass_says_how_much_the_rules_matched(rescore_cli: Any) -> None:
    base = {"task": "yes_no", "dim": "speed", "answer": "yes"}
    rows = [{**base, "prediction": text} for text in ("yes", "perhaps", None)]
    rows.append({"task": "captioning", "dim": "speed", "prediction": "A dog.", "answer": None})
    scored, summary = rescore_cli("tempcompass", rows)
    assert [row["correct"] for row in scored] == [True, False, False, None]
    assert summary["average"]["total"] == 3 and summary["match_success_rate"] == pytest.approx(1 / 3)
    assert summary["rescore"]["empty"] == 1 and summary["rescore"]["approximate"] == 3


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("The event happens in the 24.3 - 30.4 seconds.", (24.3, 30.4)),
        ("From 4.7s to 14.1s.", (4.7, 14.1)),
        ("92.6 to 76.1", (76.1, 92.6)),
        ("01:15 - 01:20", (75.0, 80.0)),
        ("1:00:05 to 1:00:09", (3605.0, 3609.0)),
        ("It starts at 00:07 and ends at 00:15.", (7.0, 15.0)),
        ("Start time: 3 seconds\nEnd time: 8.5 seconds", (3.0, 8.5)),
        ("10 - 20 in all! It happens in 3 - 5", (3.0, 5.0)),  # the line that speaks of it goes first
        ("93.3 - 171.6 and 172.6 - 173.6", (93.3, 171.6)),  # the first span
        ("A specific example is : 20.8 - 30.0 seconds", None),
        ("between 41.2 and 93.3 seconds", None), ("[22.8, 47.5]", None), ("Around 3 s", None), ("", None),
        ("It starts at 74.5 seconds and ends at 101.6 seconds.", None),  # one number a line
    ],
)  # fmt: skip
def test_lmms_span(text: str, span: Any) -> None:
    assert lmms_span(text) == span


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("<answer>From 3.5 to 9</answer>", (3.5, 9.0)), ("<answer>3 and 9</answer>", (3.0, 9.0)), ("3 to 9", None),
        ("<answer>1 to 2</answer> wait <answer>5 to 4</answer>", (5.0, 4.0)), ("<answer>3 - 9</answer>", None),
    ],
)  # fmt: skip
def test_answer_tag_span(text: str, span: Any) -> None:
    assert answer_tag_span(text) == span


def test_grounding_reads_final_answers_of_reasoning_models(read: Read) -> None:
    text = "<think>1 - 2</think><answer>3 to 9</answer><reflection>no</reflection><answer>4 to 10</answer>"
    row = {"id": "1", "gt": [4, 10], "response": text}
    assert [read("charades_sta", row, rule).score for rule in ("official", "answer_tag")] == [1.0, 1.0]
    assert read("charades_sta", {**row, "timestamp": "[4.0, 10.0]", "gt": None}).score == 1.0
    for text in (
        "<THINK>1 - 2 <think>5 - 6</think> 7 - 8</THINK>The event happens in 4 to 10 seconds.",
        "<answer>4 to 10</answer><reflection>not <answer>1 to 2</answer>?</reflection>",
        "<thinking>all in here <answer>4 to 10</answer>",
    ):
        rule = "answer_tag" if "<answer>" in text else "official"
        assert read("charades_sta", {**row, "response": text}, rule).score == 1.0, text


def test_nextgqa_reads_no_span_out_of_thoughts(read: Read) -> None:
    row = {"id": "1", "gt_spans": [[4, 8]], "qa_correct": True}
    text = "<think>or <time_interval>[0, 1]</time_interval></think><time_interval>[4, 8]</time_interval>"
    assert read("nextgqa", {**row, "response": text}).prediction == [4.0, 8.0]


def test_nextgqa_does_not_ground_a_span_that_runs_backwards(read: Read) -> None:
    row = {"id": "1", "gt_spans": [[15, 25]], "qa_correct": True}
    backwards = read("nextgqa", {**row, "pred_span": [20, 10]})
    assert (backwards.correct, backwards.extra["tIoU"], backwards.extra["tIoP"]) == (False, 0.0, 0.0)
    point = read("nextgqa", {**row, "pred_span": [20, 20]})
    assert (point.correct, point.extra["tIoU"], point.extra["tIoP"]) == (True, 0.0, 1.0)


def test_overlaps() -> None:
    assert hull_iou((0, 4), (2, 6)) == pytest.approx(1 / 3)
    assert hull_iou((0, 1), (5, 6)) == 0.0 and hull_iou((1, 1), (1, 1)) == 0.0
    assert iop((2, 4), (0, 3)) == 0.5 and iop((2, 2), (0, 3)) == 1.0 and iop((5, 5), (0, 3)) == 0.0
    assert iop((3, 1), (0, 4)) == 0.0


def test_nextgqa_takes_the_best_gold_span_and_drops_missing_predictions(rescore_cli: Any) -> None:
    rows = [
        {"id": "1", "gt_spans": [[0, 2], [4, 8]], "pred_span": [4, 6], "qa_correct": True},
        {"id": "2", "gt_spans": [[0, 2]], "pred_span": None, "qa_correct": True},
        {"id": "3", "gt_spans": [[0, 4]], "pred_span": [3, 6], "qa_correct": True},
        {"id": "4", "gt_spans": [[0, 4]], "response": "<answer>B</answer><time_interval>[0, 4]</time_interval>", "answer": "dog",
         "a0": "cat", "a1": "dog", "a2": "x", "a3": "y", "a4": "z"},
    ]  # fmt: skip
    scored, summary = rescore_cli("nextgqa", rows)
    assert [row["correct"] for row in scored] == [True, None, False, True]
    assert (scored[0]["tIoU"], scored[0]["tIoP"], scored[3]["prediction"]) == (0.5, 1.0, [0.0, 4.0])
    assert summary["n"] == 3 and summary["Acc@GQA"] == pytest.approx(200 / 3) and summary["Acc@QA"] == 100.0
    assert summary["rescore"]["ungraded"] == 1


def test_references_as_letters_texts_and_indices(read: Read) -> None:
    assert read("mlvu", {"candidates": ["red", "blue"], "answer": "blue", "response": "(B"}).correct is False
    assert read("mlvu", {"candidates": ["red", "blue"], "answer": "blue", "response": "(B)"}).correct is True
    assert read("mvbench", {"candidates": ["red", "blue"], "answer": "red", "response": "a car"}).correct is True
    row = {
        "id": "1",
        "option0": "x",
        "option1": "y",
        "option2": "N/A",
        "option3": "N/A",
        "option4": "N/A",
        "response": "B",
    }
    assert read("longvideobench", {**row, "correct_choice": 1}).correct is True
    assert read("longvideobench", {**row, "correct_choice": -1}).correct is None
    for place in (1.0, "1", "B"):
        assert read("longvideobench", {**row, "correct_choice": place}).correct is True
    for place in ("-1", -1.0, "@", ""):
        assert read("longvideobench", {**row, "correct_choice": place}).correct is None
    for place in (1.5, 5, "5", "F", True, [1]):
        with pytest.raises(BadField, match="neither a number from 0 to 4"):
            read("longvideobench", {**row, "correct_choice": place})
    assert read("longvideobench", {**row, "correct_choice": 1, "response": "none"}).guesses == ("A", "B")


def test_mvbench_under_vlmevalkit(read: Read) -> None:
    row = {"candidates": ["red", "blue"], "answer": "blue"}
    right = ("(B) blue", "B. blue", "b", "(b)blue", "(B):")  # the token in the word, too
    wrong = ("A", "the blue", "", " ", ".", "...", "(", "<think>never closed", "<think>b</think>")
    for text in right + wrong:
        reading = read("mvbench", {**row, "response": text}, "vlmevalkit")
        assert (text, reading.correct) == (text, text in right)
        assert reading.parsed is (text in (*right, "A", "the blue"))


def test_mvbench_drops_what_reduces_to_nothing_and_scores_the_same_again(rescore_cli: Any) -> None:
    base = {"task": "action_count", "answer": "red", "candidates": ["red", "blue"]}
    texts = ("A", "<think>never closed", "<think>A</think>\n", "", None, " ")
    rows = [{**base, "id": str(place), "response": text} for place, text in enumerate(texts)]
    scored, summary = rescore_cli("mvbench", rows)
    assert (summary["average"], summary["micro"], summary["unanswered"]) == (50.0, 50.0, 4)
    assert summary["rescore"]["scores"]["micro"]["n"] == 2
    assert {key: value for key, value in rescore_cli("mvbench", scored)[1].items() if key != "rescore"} == {
        key: value for key, value in summary.items() if key != "rescore"
    }
    bare = [{"id": str(place), "task": "action_count", "correct": place < 1} for place in range(4)]
    for _ in range(2):
        bare, summary = rescore_cli("mvbench", bare)
        assert (summary["average"], summary["unanswered"]) == (25.0, 0)
    bare[0]["prediction"] = ""
    assert rescore_cli("mvbench", bare)[1]["unanswered"] == 1


def test_videomme_counts_verdicts_that_were_taken_over_as_answered(rescore_cli: Any) -> None:
    rows = [{"question_id": str(place), "duration": "short", "correct": place < 3} for place in range(4)]
    counted = {"total": 4, "answered": 4, "correct": 3, "acc_official": 75.0, "acc_over_total": 75.0}
    for _ in range(2):
        rows, summary = rescore_cli("videomme", rows)
        assert summary["overall"] == summary["duration"]["short"] == counted
        assert summary["rescore"]["scores"]["acc_official"]["value"] == 75.0
    rows[0]["prediction"] = ""
    assert rescore_cli("videomme", rows)[1]["overall"]["answered"] == 3
    silent = [{"question_id": "1", "answer": "A", "response": "no idea"}]
    assert rescore_cli("videomme", silent, "rule=strict")[1]["overall"]["answered"] == 0


def test_mlvu_average_is_over_tasks(rescore_cli: Any) -> None:
    base = {"candidates": ["red", "blue"], "answer": "red"}
    tasks = [("findNeedle", "A"), ("count", "B"), ("count", "B"), ("count", "A")]
    rows = [
        {**base, "id": str(place), "question_type": task, "response": f"({text})"}
        for place, (task, text) in enumerate(tasks)
    ]
    _, summary = rescore_cli("mlvu", rows)
    assert summary["per_task"] == {"needle": 100.0, "count": pytest.approx(100 / 3)}
    assert summary["M_Avg"] == pytest.approx(200 / 3) and summary["micro"] == 50.0


def test_lvbench_counts_a_question_for_each_ability(rescore_cli: Any) -> None:
    rows = [
        {"uid": "1", "answer": "B", "response": "B", "question_type": ["reasoning", "event understanding"]},
        {"uid": "2", "answer": "B", "response": "A", "question_type": ["reasoning"]},
    ]
    _, summary = rescore_cli("lvbench", rows)
    assert (summary["acc"], summary["reasoning"], summary["event understanding"]) == (0.5, 0.5, 1.0)


def test_videomme_drops_unanswered_questions_and_says_so(rescore_cli: Any) -> None:
    base = {
        "answer": "A",
        "duration": "short",
        "domain": "Knowledge",
        "sub_category": "Law",
        "task_type": "OCR Problems",
    }
    rows = [
        {**base, "question_id": f"001-{place}", "response": text} for place, text in enumerate(("A", "no idea", "B"))
    ]
    _, summary = rescore_cli("videomme", rows)
    assert summary["overall"] == {"total": 3, "answered": 2, "correct": 1, "acc_official": 50.0, "acc_over_total": 33.3}
    assert (
        summary["duration"]["long"]["total"] == 0
        and summary["by_duration"]["short"]["domain"]["Knowledge"]["total"] == 3
    )
    assert summary["rescore"]["unparsed"] == 1
