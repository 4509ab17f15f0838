"""MathVista (arXiv 2310.02255): 1,000 testmini questions over 31 sources of figures, with answers of four types.

mmreflect eval rescore mathvista responses=FILE.jsonl output=OUT.jsonl

The official extractor is an LLM: where a row has its output (`extraction`), that is scored; where it has none, one is
asked (judge.base_url=URL judge.model=NAME), or a rule takes its place, and the summary says so. A recorded `prediction`
of 2023 may differ: decimals for integers were refused then and are truncated now.
"""

import ast
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mmreflect.answers.choices import named_options
from mmreflect.answers.extract import final_answer
from mmreflect.answers.grade import AnswerSpec
from mmreflect.evaluation.benchmark import (
    BadField,
    Benchmark,
    Column,
    Files,
    Item,
    Reading,
    Recorded,
    Response,
    Row,
    Scored,
    Source,
)
from mmreflect.evaluation.judge import Case, Judge, Question, Steps, after_label
from mmreflect.evaluation.rules.edits import nearest_text
from mmreflect.evaluation.rules.letters import vlmevalkit_letter
from mmreflect.evaluation.rules.tables import cell, cells
from mmreflect.evaluation.rules.verdicts import lettered, listed, strict
from mmreflect.records import Turn

FACETS = (
    *("question_type", "answer_type", "metadata.language", "metadata.source", "metadata.category", "metadata.task"),
    *("metadata.context", "metadata.grade", "metadata.skills"),
)
_ASK = "Hint: Please answer the question "
HINTS = {
    "multi_choice": f"{_ASK}and provide the correct option letter, e.g., A, B, C, D, at the end.",
    "integer": f"{_ASK}requiring an integer answer and provide the final value, e.g., 1, 2, 3, at the end.",
    "float_1": f"{_ASK}requiring a floating-point number with one decimal place and provide the final value, "
    "e.g., 1.2, 1.3, 1.4, at the end.",
    "float_2": f"{_ASK}requiring a floating-point number with two decimal places and provide the final value, "
    "e.g., 1.23, 1.34, 1.45, at the end.",
    "list": f"{_ASK}requiring a Python list as an answer and provide the final list, e.g., [1, 2, 3], "
    "[1.2, 1.3, 1.4], at the end.",
}
MAX_DECIMALS = 15
BY_RULE = "extracted by rule"
EXTRACT = """\
You are given a question with a hint about the form of its answer, and the response of a model to it. Copy the answer
that the response gives, in the form that the hint asks for, and write nothing else. Do not solve the question and do
not correct the response. These are examples.

Hint: Please answer the question requiring an integer answer and provide the final value, e.g., 1, 2, 3, at the end.
Question: How many of the boats have a red sail?

Model response: There are five boats. Two of them have white sails, so three boats have a red sail.

Extracted answer: 3

Hint: Please answer the question requiring a floating-point number with one decimal place and provide the final value, \
e.g., 1.2, 1.3, 1.4, at the end.
Question: What share of the tank is filled?

Model response: The water stands at 14 of 20 marks, which is a share of 0.7 of the tank.

Extracted answer: 0.7

Hint: Please answer the question requiring a floating-point number with two decimal places and provide the final \
value, e.g., 1.23, 1.34, 1.45, at the end.
Question: How much do a pen and a ruler cost together? (Unit: $)

Model response: The pen costs $0.85 and the ruler $1.60. Together they cost $0.85 + $1.60 = $2.45.

Extracted answer: 2.45

Hint: Please answer the question requiring a Python list as an answer and provide the final list, e.g., [1, 2, 3], \
[1.2, 1.3, 1.4], at the end.
Question: Between which two years did sales fall fastest?

Model response: The steepest fall of the line lies between 2012 and 2013.

Extracted answer: [2012, 2013]

Hint: Please answer the question and provide the correct option letter, e.g., A, B, C, D, at the end.
Question: Which angle is the largest?
Choices:
(A) the one at P
(B) the one at Q
(C) the one at R

Model response: The side opposite to Q is the longest one, therefore the angle at Q is the largest.

Extracted answer: B

{query}

Model response: {response}

Extracted answer: """
_BRACKETED = re.compile(r"\(([a-zA-Z])\)")
_QUICK = re.compile(r'The answer is "(.*)"\.')
_NUMBER = re.compile(r"-?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+|(?<=\d))(?:[eE][-+]?\d+)?")
_LISTED = re.compile(r"\[[^\[\]]*\]")


def query(row: Row) -> str:
    """Return the prompt, as the release's `query` column has it: hint, question, unit, choices."""
    kind = "multi_choice" if row["question_type"] == "multi_choice" else row["answer_type"]
    if kind == "float":
        kind = f"float_{_decimals(row['precision'])}"
    if kind not in HINTS:
        raise BadField(f"answer_type is {row['answer_type']!r} (precision {row.get('precision')!r})")
    text = f"{HINTS[kind]}\nQuestion: {row['question']}"
    if row.get("unit"):
        text += f" (Unit: {row['unit']})"
    if row.get("choices"):
        text += "\nChoices:" + "".join(f"\n({letter}) {option}" for letter, option in lettered(row["choices"]).items())
    return text.strip()


def item(row: Row, files: Files, style: str) -> Item:
    """Make a question: the picture, then the prompt."""
    name = str(row["pid"])
    turn = Turn("user", [files.picture(row["decoded_image"], name), row.get("query") or query(row)])
    names = ("question_type", "answer_type", "precision", "unit", "choices", "metadata")
    return Item(name, (turn,), row["answer"] or None, {"pid": name, **{key: row.get(key) for key in names}})


def _text(row: Row, response: Response) -> str:
    return str(row.get("execution") or "") if row.get("response_is_code") else response.final


def settled(row: Row, response: Response) -> tuple[Any, str] | None:
    """Return what is normalised where no model is needed, and where it came from; None where the official code asks.

    The official code's quick mode, a pattern in the place of the model, is off by default and is not followed here.
    """
    if row.get("extraction") is not None:
        return row["extraction"], "recorded extraction"
    text = _text(row, response)
    if not text:
        return "", "empty response"
    if row["question_type"] == "multi_choice" and text in _choices(row):
        return text, "the response itself"
    for kind, read in (("integer", int), ("float", float)):
        if row["answer_type"] == kind:
            try:
                return str(read(text)), "the response itself"
            except ValueError:
                pass
    return None


def extraction(row: Row, response: Response) -> tuple[Any, str]:
    """Return what is normalised, and where it came from: as `settled`, or `BY_RULE`."""
    if (found := settled(row, response)) is not None:
        return found
    text = _text(row, response)
    if quick := _QUICK.search(text):
        return quick[1], BY_RULE
    return by_rule(row, text), BY_RULE


def extract(cases: Sequence[Case]) -> Steps:
    """Ask for the answer of a response, where the official code does."""
    [case] = cases
    if settled(case.row, case.response) is not None:
        return [{}]
    asked = case.row.get("query") or query(case.row)
    prompt = EXTRACT.format(query=asked, response=_text(case.row, case.response))
    found = yield Question(prompt, after_label("Extracted answer:"))
    return [{"extraction": found}]


def by_rule(row: Row, text: str) -> str:
    """Read the answer where the official code asks an LLM: the final answer by the project's own extraction."""
    kind = row["answer_type"]
    if row["question_type"] == "multi_choice":
        options = tuple(lettered(_choices(row)).items())
        said = final_answer(text, AnswerSpec("multiple_choice", options)) or ""
        named = named_options(said, options)
        return next(iter(named)) if len(named) == 1 else said
    said = final_answer(text, AnswerSpec("list" if kind == "list" else "math")) or ""
    if kind == "list":
        found = _LISTED.findall(said) or _LISTED.findall(text)
        try:
            return str(ast.literal_eval(found[-1])) if found else said
        except (ValueError, SyntaxError):
            return str(found[-1])
    numbers = [number for number in _NUMBER.findall(said) if number not in ("", "-")]
    return numbers[-1].replace(",", "") if numbers else said


def normalise(extracted: Any, row: Row) -> str | None:
    """Bring an extraction into the form of the references: an option's text, a truncated integer, a rounded number."""
    kind = row["answer_type"]
    if row["question_type"] == "multi_choice":
        return _option(extracted.strip() if isinstance(extracted, str) else str(extracted), _choices(row))
    if kind == "list":
        return str(extracted)
    try:
        if kind == "integer":
            return str(int(float(extracted)))
        if kind == "float":
            return str(round(float(extracted), _decimals(row["precision"])))
    except (ValueError, TypeError, OverflowError):
        return None
    return None if extracted is None else str(extracted)


def _choices(row: Row) -> list[str]:
    choices = listed(row["choices"], "choices")
    if not choices:
        raise BadField(f"choices is {row['choices']!r} in a multi_choice question")
    return [str(choice) for choice in choices]


def _option(text: str, choices: Sequence[str]) -> str:
    """Return the choice meant: a bracketed letter anywhere goes first, and what is no letter goes by edit distance.

    Never fails: "f(x) = 2" reads as X and goes to the nearest choice, and an empty text to the shortest.
    """
    if bracketed := _BRACKETED.search(text):
        text = bracketed[1].upper()
    options = lettered(choices)
    if text in options:
        return options[text]
    return text if text in choices else nearest_text(text, choices)


def _decimals(precision: Any) -> int:
    """Return a precision as round() takes it: the release has it as float64 with nulls.

    Raises:
        BadField: it is no number.
    """
    try:
        return int(precision)
    except (TypeError, ValueError, OverflowError):
        raise BadField(f"precision is {precision!r}, which is no number of decimals") from None


def _kind(row: Row) -> str:
    """Return the type of a row's answer.

    Raises:
        BadField: it is no text.
    """
    if not isinstance(row["answer_type"], str):
        raise BadField(f"answer_type is {row['answer_type']!r}, which is no text")
    return row["answer_type"]


def _reading(prediction: str | None, row: Row, extracted: Any, how: str, *, blanks: bool = True) -> Reading:
    gold = row.get("answer")
    known = gold not in (None, "")
    equal = prediction == gold if blanks else str(prediction).strip() == str(gold).strip()
    return Reading(
        prediction,
        equal if known else None,
        parsed=prediction is not None,
        how=how,
        approximate=how == BY_RULE,
        extra={"extraction_by_rule" if how == BY_RULE else "extraction": extracted},
    )


def official(row: Row, response: Response) -> Reading:
    """The repository's own normalisation and string equality."""
    extracted, how = extraction(row, response)
    return _reading(normalise(extracted, row), row, extracted, how)


def official_ignore_empty(row: Row, response: Response) -> Reading:
    """The same under the flag by which an empty extraction is no answer, where else the shortest choice is taken."""
    extracted, how = extraction(row, response)
    return _reading(normalise(extracted, row) if str(extracted).strip() else None, row, extracted, how)


def lmms_eval(row: Row, response: Response) -> Reading:
    """lmms-eval's copy: the release's precision is a float64, which round() refuses, so every float question is lost.

    So it is here whatever type the precision has in the file: the number must not depend on who wrote it.
    """
    extracted, how = extraction(row, response)
    lost = row["question_type"] != "multi_choice" and row["answer_type"] == "float"
    return _reading(None if lost else normalise(extracted, row), row, extracted, how, blanks=False)


def vlmevalkit(row: Row, response: Response) -> Reading:
    """VLMEvalKit's: the raw response where it is clear, then the extraction; no edit distance, no rounding."""
    extracted, how = extraction(row, response)
    gold, kind = row.get("answer"), _kind(row)
    if row["question_type"] == "multi_choice":
        options = lettered(_choices(row))
        letter = vlmevalkit_letter(response.final, options) or vlmevalkit_letter(str(extracted), options)
        wanted = next((key for key, option in options.items() if option == gold), None)
        reading = _reading(options.get(letter or ""), row, extracted, how)
        verdict = None if reading.correct is None else letter is not None and letter == wanted
        return replace(reading, prediction=letter, correct=verdict, parsed=letter is not None)
    read = {"integer": int, "float": float}.get(kind)
    value = _as(read, response.final)
    if read is None or value is None or value != _as(read, gold):
        value = _as(read, extracted)
    known = gold not in (None, "")
    correct = (value is not None and value == _as(read, gold)) if known else None
    reading = _reading(None, row, extracted, how)
    return replace(reading, prediction=value, correct=correct, parsed=value is not None)


def _as(read: Any, value: Any) -> Any:
    """Read a finite number as VLMEvalKit does; it reads no list, so that the two list questions are always wrong."""
    try:
        number = read(value) if read else None
    except (ValueError, TypeError, OverflowError):
        return None
    return None if isinstance(number, float) and not math.isfinite(number) else number


def _spec(row: Row) -> AnswerSpec:
    if row["question_type"] == "multi_choice":
        return AnswerSpec("multiple_choice", tuple(lettered(_choices(row)).items()))
    kind = {"integer": "math", "float": "float", "list": "list"}.get(_kind(row))
    precision = _decimals(row["precision"]) if kind == "float" else None
    if precision is not None and not 0 <= precision <= MAX_DECIMALS:
        raise BadField(f"precision is {precision}, which is no number of decimals")
    unit = row.get("unit")
    if not isinstance(unit, str | None):
        raise BadField(f"unit is {unit!r}, which is no text")
    return AnswerSpec(kind, precision=precision, unit=unit)


def breakdown(rows: Sequence[Scored]) -> dict[str, Any]:
    """Return overall, then each key; a problem counts for each of its skills."""
    keys = {path.rpartition(".")[2]: cells(rows, path) for path in FACETS}
    return {"average": cell(rows), **{key: found for key, found in keys.items() if found}}


BENCHMARK = Benchmark(
    name="mathvista",
    source=Source("AI4Math/MathVista", splits=("testmini", "test"), hidden=("test",)),
    columns=(
        Column("pid", "text"),
        Column("question", "text"),
        Column("decoded_image", "picture"),
        Column("choices", "list", null=True),
        Column("unit", "text", null=True),
        Column("precision", "number", null=True),
        Column("answer", "text", null=True),
        Column("question_type", "text"),
        Column("answer_type", "text"),
        Column("metadata", "mapping"),
    ),
    item=item,
    rules={
        "official": official,
        "official_ignore_empty": official_ignore_empty,
        "lmms_eval": lmms_eval,
        "vlmevalkit": vlmevalkit,
        "strict": strict(_spec, lambda row: None if row.get("answer") in (None, "") else str(row["answer"])),
    },
    breakdown=breakdown,
    recorded=Recorded(id=("id", "pid"), extraction=("extraction",), verdict=("true_false", "correct")),
    facets=FACETS,
    approximate="answers without a recorded extraction were extracted by rule; the official extractor is an LLM",
    judge=Judge(
        {"extract": EXTRACT}, dict.fromkeys(("official", "official_ignore_empty", "lmms_eval", "vlmevalkit"), extract)
    ),
)
