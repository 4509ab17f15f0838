"""MMMU (arXiv 2311.16502): college exams in 30 subjects; 900 validation questions, test answers hidden.

mmreflect eval rescore mmmu responses=FILE.jsonl output=OUT.jsonl [fallback=random seed=0]

Where no option can be read the official code guesses. Here that is wrong unless fallback=random, and counted.
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
    Measure,
    Reading,
    Recorded,
    Response,
    Row,
    Scored,
    Source,
)
from mmreflect.evaluation.rules.letters import shared_letter
from mmreflect.evaluation.rules.marks import interleaved
from mmreflect.evaluation.rules.mmmu import gold_answers, mmmu_letter, open_answers, open_correct, options_of
from mmreflect.evaluation.rules.tables import groups, labels, mean
from mmreflect.evaluation.rules.verdicts import strict
from mmreflect.records import Turn

DISCIPLINES = {
    "Art and Design": ("Art", "Art_Theory", "Design", "Music"),
    "Business": ("Accounting", "Economics", "Finance", "Manage", "Marketing"),
    "Science": ("Biology", "Chemistry", "Geography", "Math", "Physics"),
    "Health and Medicine": (
        *("Basic_Medical_Science", "Clinical_Medicine", "Diagnostics_and_Laboratory_Medicine"),
        *("Pharmacy", "Public_Health"),
    ),
    "Humanities and Social Science": ("History", "Literature", "Sociology", "Psychology"),
    "Tech and Engineering": (
        *("Agriculture", "Architecture_and_Engineering", "Computer_Science", "Electronics", "Energy_and_Power"),
        *("Materials", "Mechanical_Engineering"),
    ),
}
MARK = re.compile(r"<image (\d+)>")
MULTIPLE_CHOICE = "Answer with the option's letter from the given choices directly."
OPEN = "Answer the question using a single word or phrase."


def prompt(row: Row) -> str:
    """Return the official prompt, with `<image 1>` where a picture stands."""
    if not _is_choice(row):
        return f"{row['question']}\n\n{OPEN}"
    options = "".join(f"({letter}) {text}\n" for letter, text in options_of(row).items())
    return f"{row['question']}\n\n{options}\n\n{MULTIPLE_CHOICE}"


def item(row: Row, files: Files, style: str) -> Item:
    """Make a question; pictures stand where the question and the options mark them."""
    name = str(row["id"])
    content = interleaved(prompt(row), MARK, lambda number: files.picture(row[f"image_{number}"], f"{name}_{number}"))
    facts = {"id": name, **{key: row.get(key) for key in ("options", "question_type", "subject", "topic_difficulty")}}
    facts["subject"] = subject_of(row)
    return Item(name, (Turn("user", content),), None if row["answer"] == "?" else row["answer"], facts)


def subject_of(row: Row) -> str | None:
    """Return the subject: the row's own, or the one in its id ("validation_Art_Theory_3")."""
    if row.get("subject"):
        return str(row["subject"])
    found = re.search(r"(?:dev|validation|test)_(.+)_\d+$", str(row.get("qid", row.get("id", ""))))
    return found[1] if found else None


def _is_choice(row: Row) -> bool:
    return bool(row["question_type"] == "multiple-choice")


def _gold(row: Row) -> Any:
    if row.get("answer") == []:
        raise BadField("answer is an empty list, where nothing can be right")
    return None if row.get("answer") in (None, "", "?") else row["answer"]


def _choice(letter: str | None, row: Row) -> Reading:
    gold = _gold(row)
    verdict = None if gold is None else letter == gold or (isinstance(gold, list) and letter in gold)
    guesses = tuple(options_of(row)) if letter is None else ()
    return Reading(letter, verdict, parsed=letter is not None, guesses=guesses, gold=gold)


def official(row: Row, response: Response) -> Reading:
    """The repository's parser and evaluator."""
    if _is_choice(row):
        return _choice(mmmu_letter(response.final, options_of(row)), row)
    found, gold = open_answers(response.final), _gold(row)
    verdict = None if gold is None else open_correct(found, gold_answers(gold))
    return Reading(found, verdict, parsed=found not in ([], [""]))


def lmms_eval(row: Row, response: Response) -> Reading:
    """The same with lmms-eval's shared extractor for options, which has no guess."""
    if not _is_choice(row):
        return official(row, response)
    letter = shared_letter(response.final, list(options_of(row)))
    return Reading(letter, _choice(letter, row).correct, parsed=letter is not None)


def _spec(row: Row) -> AnswerSpec:
    return AnswerSpec("multiple_choice", tuple(options_of(row).items())) if _is_choice(row) else AnswerSpec()


def _one(row: Row) -> str | None:
    gold = _gold(row)
    return None if gold is None else str(gold[0] if isinstance(gold, list) else gold)


def _subject(row: Row) -> str | None:
    return None if (subject := subject_of(row)) is None else subject.replace(" ", "_")


def discipline_of(row: Row) -> str | None:
    """Return the discipline of a row's subject; None where either is unknown."""
    subject = _subject(row)
    return next((name for name, members in DISCIPLINES.items() if subject in members), None)


def breakdown(rows: Sequence[Scored]) -> dict[str, Any]:
    """Return per subject and per discipline, weighted by their numbers, and overall: the layout of the official log."""
    subjects: dict[str, list[Scored]] = {}
    for scored in rows:
        if (subject := subject_of(scored.row)) is not None:
            subjects.setdefault(subject.replace(" ", "_"), []).append(scored)
    made: dict[str, Any] = {}
    for discipline, members in DISCIPLINES.items():
        inside = [scored for name in members for scored in subjects.get(name, [])]
        if inside:
            made[f"Overall-{discipline}"] = _acc(inside)
            made.update({name: _acc(subjects[name]) for name in members if name in subjects})
    known = {name for members in DISCIPLINES.values() for name in members}
    made.update({name: _acc(found) for name, found in subjects.items() if name not in known})
    types = {name: _acc(found) for name, found in groups(rows, "question_type").items()}
    return {**made, "Overall": _acc(rows), "question_type": types}


def _acc(rows: Sequence[Scored]) -> dict[str, Any]:
    return {"num": len(rows), "acc": round(mean(rows), 3)}


BENCHMARK = Benchmark(
    name="mmmu",
    source=Source(
        "MMMU/MMMU",
        splits=("validation", "dev", "test"),
        configs=tuple(name for members in DISCIPLINES.values() for name in members),
        hidden=("test",),
    ),
    columns=(
        Column("id", "text"),
        Column("question", "text"),
        Column("options", "text"),
        *(Column(f"image_{number}", "picture", null=True) for number in range(1, 8)),
        Column("answer", "text"),
        Column("topic_difficulty", "text"),
        Column("question_type", "text"),
    ),
    item=item,
    rules={"official": official, "lmms_eval": lmms_eval, "strict": strict(_spec, _one)},
    breakdown=breakdown,
    recorded=Recorded(id=("id",), hidden=(None, "", "?")),
    facets=("question_type",),
    measures={"Overall": Measure()},
    groupings={"discipline": discipline_of, "subject": _subject, "question_type": labels("question_type")},
)
