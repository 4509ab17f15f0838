"""The reflection ledger of any result file, also of models and tools that are not ours.

    mmreflect ledger samples.jsonl output=ledger.json
    mmreflect ledger theirs.jsonl output=ledger.json text=response gold=target cluster=video

A row is one answer: its whole text, the reference, and, where they are known, the answer's type and options, its length
in tokens, and what it shares with others (a video, a problem).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmreflect import console
from mmreflect.answers.spec import AnswerSpec, spec_of
from mmreflect.config import settings_of
from mmreflect.data.store import read_rows
from mmreflect.errors import UserError
from mmreflect.evaluation.runner import show_ledger
from mmreflect.files import write_json
from mmreflect.reflection.ledger import Entry, Ledger, entry, ledger
from mmreflect.reflection.lexicon import PRESETS, preset_count
from mmreflect.reflection.transitions import Step, stopping_curve, summary, trace

TEXT = ("text", "response", "prediction_text", "output", "pred")
GOLD = ("gold", "answer", "target", "label")
KEYS = ("text", "gold", "tokens", "cluster", "output")


@dataclass(frozen=True, slots=True)
class Columns:
    """Which key of a row holds what; None: the first of the usual ones, or none."""

    text: str | None = None
    gold: str | None = None
    tokens: str | None = None
    cluster: str | None = None


def ledger_file(file: str, settings: Sequence[str]) -> dict[str, Any]:
    """Write the ledger of a result file, the steps between candidate answers and the early-stopping curve; print them.

    Args:
        settings: `output=FILE` and, where a file has other names for them, `text=`, `gold=`, `tokens=`, `cluster=`.

    Raises:
        UserError: the file is missing or empty, a row misses a key, or a setting is unknown.
    """
    given = settings_of(settings, KEYS, ["output"])
    rows = list(read_rows(Path(file)))
    if not rows:
        raise UserError(f"{file} holds no rows", "at least one answer", "check the file")
    columns = Columns(given.get("text"), given.get("gold"), given.get("tokens"), given.get("cluster"))
    found = analysed(rows, columns, file)
    write_json(Path(given["output"]), found | {"source": file})
    console.say(f"written: {given['output']}")
    return found


def analysed(rows: Sequence[dict[str, Any]], columns: Columns, source: str) -> dict[str, Any]:
    """Return everything that is known about the answers of a file, and print it as two tables.

    `published_lists` are reflecting words per answer, counted with the lists of several papers.
    """
    read = [_read(row, columns, f"{source}, line {place}") for place, row in enumerate(rows, 1)]
    clusters = [str(row.get(columns.cluster)) for row in rows] if columns.cluster else None
    whole = ledger([item for item, _, _, _ in read], clusters=clusters)
    traces = [trace(text, gold, spec, known.tokens) for known, text, gold, spec in read]
    graded = [item for item in traces if item is not None]
    steps, curve = summary(graded), stopping_curve(graded)
    _show(source, whole, steps)
    cut = [row for row in rows if row.get("stop") in ("length", "budget")]
    stopped = [
        known.tokens for (known, _, _, _), row in zip(read, rows, strict=True) if row.get("stop", "eos") == "eos"
    ]
    return {
        "ledger": whole.to_json(),
        "transitions": steps,
        "stopping_curve": curve,
        "published_lists": {
            name: sum(preset_count(text, name) for _, text, _, _ in read) / len(read) for name in PRESETS
        },
        "cut_share": len(cut) / len(rows) if any("stop" in row for row in rows) else None,
        "mean_stopped_tokens": sum(stopped) / len(stopped) if stopped else None,
        "columns": asdict(columns),
    }


def _read(row: dict[str, Any], columns: Columns, where: str) -> tuple[Entry, str, str | None, AnswerSpec]:
    text = _value(row, columns.text, TEXT, "text", where)
    gold = _value(row, columns.gold, GOLD, "gold", where)
    if not isinstance(text, str):
        raise UserError(f"{where}: the text is {text!r}", "a text", "name its key with text=KEY")
    spec = spec_of(row.get("sample_facts") or row.get("facts") or row)
    tokens = row.get(columns.tokens or "tokens")
    if tokens is not None and (isinstance(tokens, bool) or not isinstance(tokens, int)):
        raise UserError(f"{where}: tokens is {tokens!r}", "a whole number", "name its key with tokens=KEY")
    reference = None if gold is None else str(gold)
    return entry(text, reference, tokens or len(text), spec=spec), text, reference, spec


def _value(row: dict[str, Any], key: str | None, usual: Sequence[str], what: str, where: str) -> Any:
    names = [key] if key else [name for name in usual if name in row]
    if not names or names[0] not in row:
        looked = repr(key) if key else " or ".join(usual)
        raise UserError(
            f"{where}: no {looked}; it has {', '.join(row)}", f"the {what}", f"name its key with {what}=KEY"
        )
    return row[names[0]]


def _show(source: str, whole: Ledger, steps: dict[str, Any]) -> None:
    show_ledger(source, {"all": whole})
    shares = [_percent(steps["steps"][str(step)]) for step in Step]
    header = ("texts", *(str(step) for step in Step), "P(corrected)", "spent after the first answer")
    cells = (f"{steps['texts']:,}", *shares, _percent(steps["p_corrected"]), _percent(steps["spent_after_first"]))
    console.show_table("From one candidate answer to the next", header, [cells])


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"
