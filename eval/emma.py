r"""EMMA (arXiv 2501.05444): 2,788 questions of maths, physics, chemistry and coding that need pictures and text.

mmreflect eval rescore emma responses=FILE.jsonl output=OUT.jsonl

Scored as the repository's "fast" mode does it. Two of its traps are kept: a response that is a number as a whole is
taken before any box, and "answer: 3.5" is cut at the dot. The other official mode asks GPT-4o: rule=llm scores its
`judgement` ("Correct" or anything else), recorded or asked for (judge.base_url=URL judge.model=NAME).
"""

import re
from collections.abc import Sequence
from typing import Any

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
from mmreflect.evaluation.judge import Case, Judge, Question, Steps, word_of
from mmreflect.evaluation.rules.latex import same_expression, same_value
from mmreflect.evaluation.rules.marks import interleaved
from mmreflect.evaluation.rules.number_words import number_in_words
from mmreflect.evaluation.rules.tables import MISSING, cell, cells, field_of, groups, labels
from mmreflect.evaluation.rules.verdicts import choice_spec, lettered, strict
from mmreflect.records import Turn

FACETS = ("subject", "type", "category", "task")
MARK = re.compile(r"<image_(\d+)>")
MULTIPLE_CHOICE = 'Answer with the option\'s letter from the given choices and put the letter in one "\\boxed{}". '
OPEN = 'Answer the question using a single word or phrase and put the answer in one "\\boxed{}". '
STRATEGIES = {
    "cot": "Please solve the problem step by step.",
    "direct": "Please ensure that your output only contains the final answer without any additional content "
    "(such as intermediate reasoning steps).",
}
JUDGE = """\
You are given the response of a model to a question, and the correct answer. Find the final answer of the response and
compare it with the correct one. Another way to write the same letter, option, number or expression is the same answer.
Do not solve the question. Reply with one word: Correct or Incorrect.

Response:
{response}

Correct answer:
{answer}

Verdict: """
_FLAGS = ("final answer is", "correct answer is", "answer should be", "answer is", "answer:")
_BRACES = re.compile(r"\\boxed\{|[{}]")
_TEXT = re.compile(r"\\text{(.*?)}")


def prompt(row: Row, style: str) -> str:
    """Return the official prompt, with `<image_1>` where a picture stands."""
    context = row["context"] or ""
    if _is_choice(row):
        options = "".join(f"{letter}: {text}\n" for letter, text in lettered(row["options"]).items())
        return f"{context}\n\n{row['question']}\n\n{options}\n\n{MULTIPLE_CHOICE}{STRATEGIES[style]}"
    return f"{context}\n \n {row['question']}\n\n{OPEN}{STRATEGIES[style]}"


def item(row: Row, files: Files, style: str) -> Item:
    """Make a question; pictures stand where the text marks them."""
    name = str(row["pid"])
    content = interleaved(
        prompt(row, style), MARK, lambda number: files.picture(row[f"image_{number}"], f"{name}_{number}")
    )
    names = ("options", "type", "subject", "category", "task")
    return Item(name, (Turn("user", content),), row["answer"], {"pid": name, **{key: row.get(key) for key in names}})


def _is_choice(row: Row) -> bool:
    return bool(str(row["type"]).lower() == "multiple choice")


def extract(response: str) -> str | None:
    """Return the answer of a response: a letter, a number, a box, or what follows a phrase; empty where none is."""
    if not response:
        return None
    text = response.strip()
    for letter in "ABCDEFGH":
        if text.upper() == letter or text.startswith((f"{letter}:", f"{letter}.")):
            return letter
    try:
        float(text)
        return text
    except ValueError:
        pass
    if "boxed{" in text and (content := _boxed(text)) is not None:
        inner = _TEXT.findall(content)
        return str(inner[-1]).strip() if inner else content.strip()
    lowered = text.lower()
    for flag in _FLAGS:
        if flag in lowered:
            return lowered.split(flag)[-1].strip().split("\n")[0].split(".")[0]
    return ""


def _boxed(text: str) -> str | None:
    r"""Return the content of the last balanced `\boxed{}`, of nested ones the outer; None where all are open.

    Braces are counted as they stand, escaped ones too.
    """
    found: list[tuple[int, int]] = []
    opened: list[int] = []
    for match in _BRACES.finditer(text):
        if match[0] != "}":
            opened.append(match.end() if len(match[0]) > 1 else -1)
        elif opened and (start := opened.pop()) >= 0:
            while found and found[-1][0] > start:
                found.pop()
            found.append((start, match.start()))
    return text[slice(*found[-1])] if found else None


def equal(given: str, wanted: str) -> bool:
    """Tell whether an answer is the reference: as text, as a number in words, by value to two decimals, as a formula.

    What cannot be compared is not equal. The script simplifies the difference; here it is evaluated at several points.
    """
    given, wanted = given.lower(), wanted.lower()
    if given.strip() == wanted.strip():
        return True
    number = number_in_words(given)
    if number is not None and str(number) == wanted.strip():
        return True
    return same_value(given, wanted, "sympy") or same_expression(given, wanted)


def _references(row: Row) -> list[str] | None:
    """Return the reference, and the text of that option; None where there is none."""
    answer = row.get("answer")
    if answer in (None, ""):
        return None
    if row.get("gt_content") is not None:
        return [str(answer), str(row["gt_content"])]
    if not _is_choice(row):
        return [str(answer)]
    letter, options = str(answer).upper(), lettered(row["options"])
    if letter not in options:
        raise BadField(f"answer is {answer!r} with {len(options)} options")
    return [str(answer), options[letter]]


def official(row: Row, response: Response) -> Reading:
    """The repository's fast mode."""
    found, references = extract(response.final), _references(row)
    verdict = None if references is None else bool(found) and any(equal(str(found), item) for item in references)
    return Reading(found, verdict, parsed=bool(found))


def llm(row: Row, response: Response) -> Reading:
    """The repository's other mode: what a judge said of the response; an empty one is wrong unasked."""
    if row.get("judgement") is None and not response.final.strip():
        return Reading(None, False, parsed=False, how="empty response")
    judgement = str(row["judgement"]).strip()
    return Reading(extract(response.final), judgement == "Correct", how="recorded judgement")


def ask(cases: Sequence[Case]) -> Steps:
    """Ask whether a response gives the reference, or the text of that option."""
    [case] = cases
    references = _references(case.row)
    if case.row.get("judgement") is not None or references is None or not case.response.final.strip():
        return [{}]
    prompt = JUDGE.format(response=case.response.final, answer=" or ".join(dict.fromkeys(references)))
    said = yield Question(prompt, word_of({"correct": "Correct", "incorrect": "Incorrect"}))
    return [{"judgement": said}]


def _spec(row: Row) -> AnswerSpec:
    return choice_spec(lettered(row["options"])) if _is_choice(row) else AnswerSpec()


def _parts(categories: Any) -> Any:
    return [part.strip() for part in categories.split(";")] if isinstance(categories, str) else categories


def _task(row: Row) -> str | None:
    return None if row.get("task") in (None, "") else f"{row.get('subject')}_{row['task']}"


def breakdown(rows: Sequence[Scored]) -> dict[str, Any]:
    """Return overall, then every key; categories of coding are several to a question, and it counts in each."""
    found: dict[str, Any] = {"overall": cell(rows), "subject": cells(rows, "subject")}
    types: dict[str, list[Scored]] = {}
    for name, items in groups(rows, "type").items():
        types.setdefault(name.lower(), []).extend(items)
    tasks: dict[str, list[Scored]] = {}
    for scored in rows:
        if field_of(scored.row, "task") not in (MISSING, None, ""):
            tasks.setdefault(f"{scored.row.get('subject')}_{scored.row['task']}", []).append(scored)
    found["type"] = {name: cell(items) for name, items in types.items()}
    found["category"] = cells(rows, "category", split=";")
    found["subject_task"] = {name: cell(items) for name, items in tasks.items()}
    return {key: value for key, value in found.items() if value}


BENCHMARK = Benchmark(
    name="emma",
    source=Source("luckychao/EMMA", splits=("test",), configs=("Math", "Physics", "Chemistry", "Coding")),
    columns=(
        Column("pid", "text"),
        Column("question", "text"),
        Column("context", "text", null=True),
        Column("options", "list", null=True),
        Column("answer", "text"),
        *(Column(f"image_{number}", "picture", null=True) for number in range(1, 6)),
        Column("subject", "text"),
        Column("task", "text", null=True),
        Column("category", "text", null=True),
        Column("type", "text"),
    ),
    item=item,
    rules={
        "official": official,
        "llm": llm,
        "strict": strict(_spec, lambda row: None if row.get("answer") in (None, "") else str(row["answer"])),
    },
    breakdown=breakdown,
    recorded=Recorded(id=("id", "pid")),
    facets=FACETS,
    styles=("cot", "direct"),
    judge=Judge({"judge": JUDGE}, {"llm": ask}),
    groupings={
        "subject": labels("subject"),
        "type": lambda row: None if row.get("type") is None else str(row["type"]).lower(),
        "category": lambda row: _parts(row.get("category")),
        "task": _task,
    },
)
