"""MathVerse (arXiv 2403.14624): 788 problems in five image versions and as text alone.

mmreflect eval rescore mathverse responses=FILE.jsonl output=OUT.jsonl

Official scoring asks an LLM twice: for the bare answer (`extraction`), and whether it is right (`judgement`, 0 or 1).
What a row has of these is taken; for the rest a model is asked (judge.base_url=URL judge.model=NAME), or a rule stands
in, and the summary says so. The script can cut responses to their last 30 words first; they are left whole here. Under
rule=lmms_eval they are cut, and judged without an extraction; VLMEvalKit asks for both, as `official` does.
"""

from collections.abc import Sequence
from typing import Any

from mmreflect.answers.extract import final_answer
from mmreflect.answers.grade import AnswerSpec, grade
from mmreflect.evaluation.benchmark import (
    BadField,
    Benchmark,
    Column,
    Files,
    Item,
    Measure,
    MissingField,
    Place,
    Reading,
    Recorded,
    Response,
    Row,
    Scored,
    Source,
)
from mmreflect.evaluation.judge import Case, Judge, Question, Steps, after_label, word_of
from mmreflect.evaluation.rules.tables import cells, groups, mean
from mmreflect.evaluation.rules.verdicts import strict
from mmreflect.records import Turn

IMAGE_VERSIONS = ("Text Dominant", "Text Lite", "Vision Intensive", "Vision Dominant", "Vision Only")
RESPONSES = ("response", "model_answer")
LAST_WORDS = 30
FACETS = ("problem_version", "question_type", "metadata.subject", "metadata.subfield")
PREFIXES = {
    ("query_wo", "multi-choice"): "Please directly answer the question and provide the correct option letter, "
    "e.g., A, B, C, D.\nQuestion: ",
    ("query_wo", "free-form"): "Please directly answer the question and provide the final value, "
    "e.g., 1, 2.5, 300.\nQuestion: ",
    ("query_cot", "multi-choice"): "Please first conduct reasoning, and then answer the question and provide the "
    "correct option letter, e.g., A, B, C, D, at the end.\nQuestion: ",
    ("query_cot", "free-form"): "Please first conduct reasoning, and then answer the question and provide the final "
    "value, e.g., 1, 2.5, 300, at the end.\nQuestion: ",
}

EXTRACT = """\
You are given the response of a model to a question of mathematics. Copy the short answer that it gives: a letter, a
number, a formula, an interval. Write nothing else, and do not correct it. Where the response gives no answer, write
null. These are examples.

Model response: The two triangles are similar, so x / 6 = 4 / 3 and x is 8. This is option D.
Extracted answer: D

Model response: The graph lies above the axis from -1 up to and including 3, hence the solution is (-1, 3].
Extracted answer: (-1, 3]

Model response: Sorry, I cannot see the figure well enough to tell what the angle is.
Extracted answer: null

Model response: By Pythagoras the mast is sqrt(13^2 - 5^2) = 12 m high.
Extracted answer: 12 m

Model response: The parabola opens upwards and touches the axis at 2, which gives y = (x - 2)^2.
Extracted answer: y = (x - 2)^2

Model response: The area of the sector is 60/360 of the circle's: 6\\pi.
Extracted answer: 6\\pi

Model response: {response}
Extracted answer: """
JUDGE = """\
You are given a question of mathematics, its correct answer, and the answer of a model. Decide whether the model's
answer means the same. Reply with 1 where it does and with 0 where it does not, and with nothing else.
- Intervals and sets must be the same, with the same ends open and closed.
- In a multiple-choice question the letter of an option and its value stand for each other.
- In an open question the same quantity in another unit, or without its unit, is the same answer.
- null is no answer, and is wrong.
These are examples.

Question: What is the length of AB?
Choices:
A: 4
B: 5
C: 6
D: 7
Correct answer: B
Model answer: 5
Judgement: 1

Question: For which x is the function positive?
Correct answer: (-1, 3)
Model answer: (-1, 3]
Judgement: 0

Question: How high is the tower?
Correct answer: 1.5 km
Model answer: 1500 m
Judgement: 1

Question: Find the measure of angle ACB.
Choices:
A: 35
B: 40
C: 50
D: 55
Correct answer: C
Model answer: null
Judgement: 0

Question: What is the slope of the line?
Correct answer: \\frac{{3}}{{4}}
Model answer: 4/3
Judgement: 0

Question: {question}
Correct answer: {answer}
Model answer: {extraction}
Judgement: """


def item(row: Row, files: Files, style: str) -> Item:
    """Make a question from the release's ready prompt; the text-only version has no picture."""
    prompt = row.get(style)
    if not prompt:
        if (style, row["question_type"]) not in PREFIXES:
            raise BadField(f"question_type is {row['question_type']!r}")
        prompt = PREFIXES[style, row["question_type"]] + row["question"]
    name = str(row["sample_index"])
    shown = [files.picture(row["image"], name)] if row.get("image") is not None else []
    names = ("problem_index", "problem_version", "question_type", "question_for_eval", "metadata")
    facts = {"sample_index": name, **{key: row.get(key) for key in names}}
    return Item(name, (Turn("user", [*shown, prompt]),), row["answer"], facts)


def rows(record: Row, place: Place) -> list[Row]:
    """Return a row; the text-only version has no picture, or an empty one."""
    return [Row({**record, "image": record.get("image") or None})]


def _spec(row: Row) -> AnswerSpec:
    return AnswerSpec("multiple_choice" if row["question_type"] == "multi-choice" else None)


def _gold(row: Row) -> str | None:
    answer = row.get("answer")
    return None if answer in (None, "") else str(answer)


def _extraction(row: Row, response: Response) -> tuple[str | None, str]:
    if row.get("extraction") is not None:
        return str(row["extraction"]), "recorded extraction"
    return final_answer(response.final, _spec(row).resolved(_gold(row))), "extracted by rule"


def _judgement(row: Row) -> bool | None:
    if row.get("judgement") is None:
        return None
    if str(row["judgement"]) not in ("0", "1", "False", "True"):
        raise BadField(f"judgement is {row['judgement']!r}, neither 0 nor 1")
    return str(row["judgement"]) in ("1", "True")


def official(row: Row, response: Response) -> Reading:
    """The recorded judgement where there is one, else the project's grader on the extraction."""
    extracted, how = _extraction(row, response)
    if (judged := _judgement(row)) is not None:
        return Reading(extracted, judged, how="recorded judgement")
    if row.get("extraction") is None and not response.final.strip():
        return Reading(None, False, parsed=False, how="empty response")
    verdict = grade(extracted, _gold(row), _spec(row)).correct
    how = f"{how}, judged by rule"
    return Reading(extracted, verdict, parsed=extracted is not None, how=how, approximate=True)


def _tail(response: Response) -> str:
    """Return the last words of a response, which lmms-eval judges."""
    return " ".join(response.final.split(" ")[-LAST_WORDS:])


def lmms_eval(row: Row, response: Response) -> Reading:
    """lmms-eval's way: no extraction, and the judgement on the response's last words.

    A rule stands in for a judgement that is not there: the project's grader, on the answer in these words.
    """
    if (judged := _judgement(row)) is not None:
        return Reading(_tail(response), judged, how="recorded judgement")
    if not any(name in row for name in RESPONSES):
        raise MissingField(*RESPONSES)
    if not response.final.strip():
        return Reading(None, False, parsed=False, how="empty response")
    found = final_answer(_tail(response), _spec(row).resolved(_gold(row)))
    verdict = grade(found, _gold(row), _spec(row)).correct
    return Reading(_tail(response), verdict, parsed=found is not None, how="judged by rule", approximate=True)


def extract(cases: Sequence[Case]) -> Steps:
    """Ask for the bare answer of a response that has none recorded; an empty one has none."""
    [case] = cases
    if case.row.get("extraction") is not None or not case.response.final.strip():
        return [{}]
    found = yield Question(EXTRACT.format(response=case.response.final), after_label("Extracted answer:"))
    return [{"extraction": found}]


def extract_and_judge(cases: Sequence[Case]) -> Steps:
    """Ask for the bare answer, then whether it is right; "null" is wrong unasked, as the rubric says."""
    [case] = cases
    row = case.row
    if row.get("judgement") is not None or (row.get("extraction") is None and not case.response.final.strip()):
        return [{}]
    question = _asked(row)
    found = dict((yield from extract(cases))[0])
    if (gold := _gold(row)) is None:
        return [found]
    extracted = str(found.get("extraction", row.get("extraction")))
    if extracted.lower() == "null":
        return [{**found, "judgement": 0}]
    prompt = JUDGE.format(question=question, answer=gold, extraction=extracted)
    return [{**found, "judgement": (yield Question(prompt, word_of({"0": 0, "1": 1})))}]


def judge_tail(cases: Sequence[Case]) -> Steps:
    """Ask whether the last words of a response are right."""
    [case] = cases
    row, gold = case.row, _gold(case.row)
    if row.get("judgement") is not None or gold is None or not case.response.final.strip():
        return [{}]
    prompt = JUDGE.format(question=_asked(row), answer=gold, extraction=_tail(case.response))
    return [{"judgement": (yield Question(prompt, word_of({"0": 0, "1": 1})))}]


def _asked(row: Row) -> Any:
    return row.get("question_for_eval") or row["question"]  # of Vision Only the text is in the picture alone


def quick_match(row: Row, response: Response) -> Reading:
    """The flag of the official script that puts equality of texts in the place of the judge."""
    extracted, how = _extraction(row, response)
    gold = _gold(row)
    verdict, by_rule = None if gold is None else extracted == gold, how == "extracted by rule"
    return Reading(extracted, verdict, parsed=extracted is not None, how=how, approximate=by_rule)


def breakdown(rows: Sequence[Scored]) -> dict[str, Any]:
    """Return the mean over the image versions, then every key; the text-only version stands beside the average."""
    versions = groups(rows, "problem_version")
    shown = [item for name in IMAGE_VERSIONS for item in versions.get(name, [])]
    names = {path: path.rpartition(".")[2] for path in FACETS}
    return {
        "average": {
            "accuracy": mean(shown),
            "total": len(shown),
            "versions": len([v for v in IMAGE_VERSIONS if v in versions]),
        },
        **{name: found for path, name in names.items() if (found := cells(rows, path))},
    }


BENCHMARK = Benchmark(
    name="mathverse",
    source=Source(
        "AI4Math/MathVerse",
        splits=("testmini", "testmini_text_only"),
        configs=("testmini", "testmini_text_only"),
        headline=("testmini",),
    ),
    columns=(
        Column("sample_index", "text"),
        Column("problem_index", "text"),
        Column("problem_version", "text"),
        Column("question", "text"),
        Column("answer", "text"),
        Column("question_type", "text"),
        Column("metadata", "mapping"),
        Column("query_wo", "text"),
        Column("query_cot", "text"),
        Column("image", "picture", null=True),
    ),
    item=item,
    rules={
        "official": official,
        "quick_match": quick_match,
        "lmms_eval": lmms_eval,
        "strict": strict(_spec, _gold),
    },
    breakdown=breakdown,
    recorded=Recorded(
        id=("id", "sample_index"),
        response=RESPONSES,
        extraction=("judgement", "extraction"),
    ),
    facets=FACETS,
    styles=("query_wo", "query_cot"),
    approximate="answers were extracted or judged by rule where the official protocol asks an LLM",
    judge=Judge(
        {"extract": EXTRACT, "judge": JUDGE},
        {"official": extract_and_judge, "quick_match": extract, "lmms_eval": judge_tail},
        depth=2,
    ),
    cluster=("problem_index",),
    each=Measure(),
    measures={
        "accuracy": Measure(lambda item: item.value if item.row.get("problem_version") in IMAGE_VERSIONS else None)
    },
    rows=rows,
)
