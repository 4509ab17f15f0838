"""VLMEvalKit's result files, as its release 0.2rc1 writes them (`smp/file.py`, `inference.py`, `dataset/`).

MODEL_DATASET.tsv         a row per question with what was answered in `prediction`
MODEL_DATASET_score.tsv   the same with `score`, -1 where there is no verdict, as its video datasets write it
MODEL_DATASET_acc.csv     overall and by group in one row, as its multiple-choice datasets write it
MODEL_DATASET_score.csv   a row per group with counts, as its mathematical datasets write it

Tables of predictions are TSV (its PRED_FORMAT=tsv): a cell of an XLSX file holds no more than 32,767 characters, which
would cut long reasoning short. An index stands once, so that several answers to a question become several models.
"""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmreflect.errors import UserError
from mmreflect.evaluation.benchmark import Row
from mmreflect.evaluation.exchange.finished import Answer, Finished
from mmreflect.files import wide_cells, write_atomic

OWN = "mmreflect"
"""The column that holds what text cells cannot: numbers, lists, what is missing; so that rows are read back exactly."""
_RESERVED = ("index", "prediction", "score", OWN)
_UNSAFE = re.compile(r"[\"<>:/|\\?*\[\]\s]+")


def write(found: Finished, output: Path, dataset: str, model: str) -> list[Path]:
    """Write four files for each draw and return their paths.

    Args:
        dataset: the name of the dataset; `model`: of the model, whose last part names the files.
    """
    name = _UNSAFE.sub("-", model.rstrip("/").rpartition("/")[2]) or "model"
    files = []
    for draw in found.draws:
        answers = [answer for answer in found.answers if answer.draw == draw]
        stem = f"{name}{f'-draw{draw + 1}' if len(found.draws) > 1 else ''}_{dataset}"
        rows = list(_rows(answers))
        scored = [row | {"score": _score(answer)} for row, answer in zip(rows, answers, strict=True)]
        groups = _groups(answers)
        tables: list[tuple[str, str]] = [
            (f"{stem}.tsv", _table(rows, "\t")),
            (f"{stem}_score.tsv", _table(scored, "\t")),
            (f"{stem}_acc.csv", _table([_accuracies(groups)], ",")),
            (f"{stem}_score.csv", _table(list(_counts(groups)), ",")),
        ]
        for file, text in tables:
            write_atomic(output / file, text.encode("utf-8", "replace"))
            files.append(output / file)
    return files


def _rows(answers: Sequence[Answer]) -> Iterator[dict[str, Any]]:
    """Yield the rows of the table of predictions; the index is the question's id where all ids are numbers."""
    numbered = all(answer.id.isdecimal() for answer in answers)
    for answer in answers:
        own = {key: value for key, value in answer.row.items() if key != "response"}
        texts = {key: value for key, value in own.items() if _is_text(value) and key not in _RESERVED}
        inner = [item for item in own.values() if isinstance(item, dict)]
        flat = {key: value for item in reversed(inner) for key, value in item.items() if not isinstance(value, dict)}
        kept = {
            "texts": list(texts),
            "fields": {key: value for key, value in own.items() if key not in texts},
            **({} if answer.draw == 0 else {"draw": answer.draw}),
        }
        beside = {key: value for key, value in {**flat, **own}.items() if key not in _RESERVED}
        yield {
            "index": int(answer.id) if numbered else answer.place,
            "question": answer.record["question"],
            **_options(answer),
            **{key: _cell(value) for key, value in beside.items()},
            "answer": answer.gold,
            "prediction": answer.text,
            OWN: json.dumps(kept, ensure_ascii=False),
        }


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value) and "\0" not in value


def _cell(value: Any) -> str:
    """Return a value as pandas writes it."""
    return "" if value is None else str(value)


def _options(answer: Answer) -> dict[str, str]:
    """Return the columns A, B, .. of a multiple-choice question."""
    known = (answer.record.get("sample_facts") or {}).get("options")
    return {str(letter): str(text) for letter, text in known.items()} if isinstance(known, dict) else {}


def _table(rows: Sequence[Mapping[str, Any]], separator: str) -> str:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    columns.sort(key=lambda name: (name in ("prediction", "score", OWN), name == OWN))
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=separator, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([str(row.get(name, "")).replace("\0", "\ufffd") for name in columns] for row in rows)
    return buffer.getvalue()


def _score(answer: Answer) -> float | int:
    if answer.value is None:
        return -1
    return int(answer.value) if answer.value == int(answer.value) else answer.value


def _groups(answers: Sequence[Answer]) -> dict[str, list[Answer]]:
    """Return the graded answers of every group by its name; one that two facets share gets its facet before it."""
    graded = [answer for answer in answers if answer.value is not None]
    found: dict[tuple[str, str], list[Answer]] = {}
    for answer in graded:
        for facet, labels in answer.labels.items():
            for label in labels:
                found.setdefault((facet, label), []).append(answer)
    names = [label for _, label in found]
    named = {
        (label if names.count(label) == 1 and label not in ("Overall", "split") else f"{facet}: {label}"): members
        for (facet, label), members in found.items()
    }
    return {"Overall": graded, **named}


def _accuracies(groups: Mapping[str, Sequence[Answer]]) -> dict[str, Any]:
    """Return the one row of shares."""
    shares = {name: _hit(members) / len(members) for name, members in groups.items() if members}
    return {"split": "none", **shares}


def _counts(groups: Mapping[str, Sequence[Answer]]) -> Iterator[dict[str, Any]]:
    """Yield a row per group; `prefetch` counts what was read without asking a model."""
    for name, members in groups.items():
        if members:
            hit, read = _hit(members), sum(not answer.judged for answer in members)
            yield {
                "Task&Skill": name,
                "tot": len(members),
                "prefetch": read,
                "hit": int(hit) if hit == int(hit) else hit,
                "prefetch_rate": 100 * read / len(members),
                "acc": 100 * hit / len(members),
            }


def _hit(members: Sequence[Answer]) -> float:
    return sum(answer.value or 0.0 for answer in members)


def read_predictions(path: Path) -> list[Row]:
    """Read back the rows of a table of predictions, as they were before they were scored.

    Raises:
        UserError: the file is missing, or was not written by `mmreflect export`, and so lacks the types of its cells.
    """
    if not path.is_file():
        raise UserError(f"no such file: {path}", "a TSV file of mmreflect export", "check the path")
    with wide_cells(), open(path, encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file, delimiter="\t"))
    rows = []
    for place, line in enumerate(lines, 1):
        if not line.get(OWN):
            raise UserError(
                f"{path}, row {place}: no {OWN!r}",
                "a TSV file that mmreflect export wrote: it keeps the types of the cells in that column",
                "give the responses as JSONL with the fields of the release",
            )
        kept = json.loads(line[OWN])
        texts = {name: line[name] for name in kept["texts"]}
        draw = {"draw": kept["draw"]} if "draw" in kept else {}
        rows.append(Row({**texts, **kept["fields"], **draw, "response": line["prediction"]}))
    return rows
