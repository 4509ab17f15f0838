"""MMMU-Pro (arXiv 2409.02813): 1,730 questions with four or ten options, or drawn into the picture (`vision`).

mmreflect eval rescore mmmu_pro responses=FILE.jsonl output=OUT.jsonl [fallback=random seed=0]

The headline number is the mean of "standard (10 options)" and "vision". Where no option can be read the official code
guesses; here that is wrong unless fallback=random, and counted.
"""

import re
from collections.abc import Sequence
from typing import Any

from mmreflect.evaluation.benchmark import (
    Benchmark,
    Column,
    Files,
    Item,
    Measure,
    Place,
    Reading,
    Recorded,
    Response,
    Row,
    Scored,
    Source,
)
from mmreflect.evaluation.rules.letters import shared_letter
from mmreflect.evaluation.rules.marks import interleaved
from mmreflect.evaluation.rules.mmmu import mmmu_pro_letter, options_of
from mmreflect.evaluation.rules.tables import cell, cells, groups, labels, mean
from mmreflect.evaluation.rules.verdicts import choice_spec, strict
from mmreflect.records import Turn

HEADLINE = ("standard (10 options)", "vision")
FACETS = ("setting", "subject", "topic_difficulty")
MARK = re.compile(r"<image (\d+)>")
_FORM = (
    "The last line of your response should be of the following format: 'Answer: $LETTER' (without quotes) where LETTER "
    "is one of options."
)
_STEPS = "Think step by step before answering."
PROMPTS = {
    ("standard", "cot"): f"Answer the preceding multiple choice question. {_FORM} {_STEPS}",
    ("standard", "direct"): "Answer with the option letter from the given choices directly.",
    ("vision", "cot"): f"Write out the multiple-choice question in the image and then solve it. {_FORM} {_STEPS}",
    ("vision", "direct"): f"Answer with the option letter from the given choices directly. {_FORM}",
}


def item(row: Row, files: Files, style: str) -> Item:
    """Make a question; rows of the vision configuration have their question in the one picture alone."""
    name = str(row["id"])
    if "question" in row:
        options = "\n".join(f"{letter}. {text}" for letter, text in options_of(row).items())
        text = f"{row['question']}\n{options}\n{PROMPTS['standard', style]}"
        content = interleaved(text, MARK, lambda number: files.picture(row[f"image_{number}"], f"{name}_{number}"))
    else:
        content = [files.picture(row["image"], name), PROMPTS["vision", style]]
    facts = {"id": name, **{key: row.get(key) for key in ("options", "subject", "topic_difficulty", "setting")}}
    return Item(name, (Turn("user", content),), row["answer"], facts)


def rows(record: Row, place: Place) -> list[Row]:
    """Return a row with its configuration, which its id begins with: the configurations share their ids."""
    setting = place.config or record["setting"]
    return [Row({**record, "id": f"{setting}: {record['id']}", "setting": setting})]


def _gold(row: Row) -> str | None:
    return None if row.get("answer") in (None, "", "?") else str(row["answer"])


def official(row: Row, response: Response) -> Reading:
    """The repository's parser; what is no text counts as empty."""
    options, gold = options_of(row), _gold(row)
    letter = mmmu_pro_letter(response.final if isinstance(response.given, str) else "", options)
    guesses = tuple(options) if letter is None else ()
    verdict = None if gold is None else letter == gold
    return Reading(letter, verdict, parsed=letter is not None, guesses=guesses, gold=gold)


def lmms_eval(row: Row, response: Response) -> Reading:
    """lmms-eval's shared extractor, which never guesses."""
    letter, gold = shared_letter(response.final, list(options_of(row))), _gold(row)
    return Reading(letter, None if gold is None else letter == gold, parsed=letter is not None)


def breakdown(rows: Sequence[Scored]) -> dict[str, Any]:
    """Return the micro accuracy, the mean of the two headline configurations where both are there, and every key."""
    settings = groups(rows, "setting")
    both = all(name in settings for name in HEADLINE)
    headline = sum(mean(settings[name]) for name in HEADLINE) / len(HEADLINE) if both else None
    keys = {path: found for path in (*FACETS, "mode") if (found := cells(rows, path))}
    return {"overall": cell(rows), "headline": headline, **keys}


BENCHMARK = Benchmark(
    name="mmmu_pro",
    source=Source(
        "MMMU/MMMU_Pro",
        splits=("test",),
        configs=("standard (10 options)", "vision", "standard (4 options)"),
        headline=HEADLINE,
    ),
    columns=(
        Column("id", "text"),
        Column("options", "text"),
        Column("answer", "text"),
        Column("subject", "text"),
    ),
    item=item,
    rules={
        "official": official,
        "lmms_eval": lmms_eval,
        "strict": strict(lambda row: choice_spec(options_of(row)), _gold),
    },
    breakdown=breakdown,
    recorded=Recorded(id=("id",), hidden=(None, "", "?")),
    facets=FACETS,
    styles=("cot", "direct"),
    measures={"overall": Measure(), "headline": Measure(over=labels("setting"), groups=HEADLINE)},
    rows=rows,
)
