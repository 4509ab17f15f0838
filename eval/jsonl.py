"""Your own questions in a JSONL file, graded by the project's own grader.

mmreflect eval rescore jsonl responses=FILE.jsonl output=OUT.jsonl

A line is a question: id, question, image (or images, video, videos: paths beside the file, or in `media`), and where
you have them options (a list, or a mapping from letter to text), answer, and answer_type, precision and unit as in
every dataset of this project. `<image>` and `<video>` in the question mark where media stand; without marks they stand
before it. Scores are broken down by `category`, or by the fields that a row's `facets` names. VLMEvalKit's TSV files
are read as well: index, hint, question, one column an option, and pictures as base64.
"""

import ast
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from mmreflect.answers.spec import LETTERS, AnswerSpec, spec_of
from mmreflect.errors import UserError
from mmreflect.evaluation.benchmark import BadField, Benchmark, Column, Files, Item, Place, Row, Scored, Source
from mmreflect.evaluation.rules.tables import cell, cells
from mmreflect.evaluation.rules.verdicts import strict
from mmreflect.files import to_json
from mmreflect.records import Media, Turn

FACETS = ("category",)
BOXED = "\nPut your final answer within \\boxed{}."
_MARK = re.compile(r"<(image|video)>")


def rows(record: Row, place: Place) -> list[Row]:
    """Return a row with its id as text, and an answer, which is null where there is none."""
    if "id" not in record and "index" in record:
        record = _from_vlmevalkit(record)
    return [Row({"answer": None, **record, "id": str(record["id"])})]


def _from_vlmevalkit(record: Row) -> Row:
    """Return a row of VLMEvalKit's table: options in columns of their letters, several pictures as a list in text."""
    letters = list(itertools.takewhile(lambda letter: record.get(letter) not in (None, ""), LETTERS))
    rest = {name: value for name, value in record.items() if name not in LETTERS}
    made = Row({**rest, "id": record["index"], "options": {letter: record[letter] for letter in letters} or None})
    if record.get("hint"):
        made["question"] = f"{record['hint']}\n{record['question']}"
    shown = record.get("image") or None
    if isinstance(shown, str) and shown.startswith("["):
        made |= {"image": None, "images": ast.literal_eval(shown)}
    else:
        made["image"] = shown
    return Row(made)


def item(row: Row, files: Files, style: str) -> Item:
    """Make a question: media, the question, its options as "(A) text" lines."""
    content = _placed(row["question"], _media(row, files))
    spec = _spec(row)
    if spec.options:
        content.append("\n" + "\n".join(f"({letter}) {text}" for letter, text in spec.options))
    if style == "boxed":
        content.append(BOXED)
    facts = {name: row.get(name) for name in ("answer_type", "options", "precision", "unit", *_facets([row]))}
    return Item(row["id"], (Turn("user", _joined(content)),), gold(row), {"id": row["id"], **facts})


def _media(row: Row, files: Files) -> dict[str, list[Media]]:
    """Return the row's media by kind, in order.

    Raises:
        BadField: a field holds something else than a medium or a list of them.
    """
    found: dict[str, list[Media]] = {"image": [], "video": []}
    for kind in found:
        one, several = row.get(kind), row.get(f"{kind}s") or []
        if not isinstance(several, list):
            raise BadField(f"{kind}s is {str(several)[:40]!r}, which is no list")
        for place, value in enumerate([*([] if one is None else [one]), *several]):
            if kind == "video" and not isinstance(value, str):
                raise BadField(f"a video is {str(value)[:40]!r}, which is no path")
            found[kind].append(files.video(value) if kind == "video" else files.picture(value, f"{row['id']}_{place}"))
    return found


def _placed(question: str, media: Mapping[str, list[Media]]) -> list[str | Media]:
    """Put media where the question marks them, or before it where it marks none.

    Raises:
        BadField: it marks another number of them than there are.
    """
    marks = [found[1] for found in _MARK.finditer(question)]
    if not marks:
        return [*media["video"], *media["image"], question]
    waiting = {kind: list(items) for kind, items in media.items()}
    for kind, items in waiting.items():
        if marks.count(kind) != len(items):
            raise BadField(f"the question marks {marks.count(kind)} {kind}s, and the row has {len(items)}")
    pieces = _MARK.split(question)
    return [waiting[piece].pop(0) if place % 2 else piece for place, piece in enumerate(pieces)]


def _joined(content: Sequence[str | Media]) -> list[str | Media]:
    """Join texts that stand side by side, and leave out empty ones."""
    made: list[str | Media] = []
    for part in content:
        if isinstance(part, str) and made and isinstance(made[-1], str):
            made[-1] += part
        elif part != "":
            made.append(part)
    return made


def _spec(row: Row) -> AnswerSpec:
    try:
        return spec_of(row)
    except UserError as error:
        raise BadField(error.given) from None


def gold(row: Row) -> str | None:
    """Return the reference as text; of an option that is given by its text, the letter."""
    answer = row.get("answer")
    if answer is None or answer == "":
        return None
    text = answer if isinstance(answer, str) else to_json(answer)
    return next((letter for letter, option in _spec(row).options or () if option == text), text)


def _facets(rows: Sequence[Row]) -> tuple[str, ...]:
    """Return the fields that rows are grouped by, in the order in which they are first named."""
    named = [row.get("facets") or FACETS for row in rows]
    return tuple(dict.fromkeys(str(name) for names in named for name in ([names] if isinstance(names, str) else names)))


def breakdown(rows: Sequence[Scored]) -> dict[str, Any]:
    """Return overall, and by each facet, as `{accuracy, correct, total}`."""
    found = {name: cells(rows, name) for name in _facets([item.row for item in rows])}
    return {"overall": cell(rows), **{name: groups for name, groups in found.items() if groups}}


_RULE = strict(_spec, gold)
BENCHMARK = Benchmark(
    name="jsonl",
    source=Source("", splits=("test",)),
    columns=(Column("id", "text"), Column("question", "text"), Column("answer", "any", null=True)),
    item=item,
    rules={"official": _RULE, "strict": _RULE},
    breakdown=breakdown,
    styles=("plain", "boxed"),
    rows=rows,
)
