"""What the checks of a dataset found, in a few compact tables, and the rows that were rejected, to judge that."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmreflect.report.data import DatasetView
from mmreflect.report.layout import Cell, Example, Gallery, Section, Table
from mmreflect.report.numbers import NONE, quantity
from mmreflect.report.rows import reject_example, reject_words

REJECTS_EACH, MOST_REASONS = 3, 20
"""Rejected rows that are shown of each reason, and reasons of which any are."""
_STATES = ("passed", "failed", "exempt", "does not apply")


def quality_section(view: DatasetView) -> Section | None:
    """Return what each check found, what the rows were compared with, and why any were dropped; None without it."""
    quality = dict(view.manifest.get("quality") or {})
    quality.pop("settings", None)  # the configuration at the foot of the page holds them
    checks, dropped = quality.pop("checks", None), quality.pop("dropped", None)
    compared = quality.pop("compared", None) or {}
    tables = []
    if isinstance(checks, Mapping) and checks:
        found = {str(state) for counts in checks.values() for state in counts}
        states = [state for state in (*_STATES, *sorted(found - {*_STATES})) if state in found or state in _STATES[:3]]
        rows = [
            [str(name).replace("_", " "), *(f"{counts[state]:,}" if state in counts else NONE for state in states)]
            for name, counts in checks.items()
        ]
        tables.append(Table(("check", *states), rows, whole=True))
    reasons = dict(compared.get("found") or {}) | dict.fromkeys(dropped or {}, 0)
    if reasons:
        met = {**(dropped or {}), **(compared.get("found") or {})}
        rows = [[str(reason), f"{met[reason]:,}", f"{(dropped or {}).get(reason, 0):,}"] for reason in reasons]
        tables.append(Table(("found", "rows", "dropped"), rows, whole=True))
    told = [[key.replace("_", " "), quantity(value)] for key, value in compared.items() if isinstance(value, int)]
    tables += [Table(("compared with each other", "rows"), told)] if told else []
    rest = flat(quality)
    tables += [Table(("quality", "value"), rest, whole=True)] if rest else []
    return Section("quality", "Quality", "gallery", Gallery([], tables, [])) if tables else None


def flat(value: Any, path: str = "") -> list[list[str]]:
    """Return a mapping of mappings of counts as rows, whatever it holds."""
    if isinstance(value, Mapping):
        return [row for key, item in value.items() for row in flat(item, f"{path}, {key}" if path else str(key))]
    if value is None or not path:
        return []
    return [[path, quantity(value) if isinstance(value, int | float) and not isinstance(value, bool) else words(value)]]


def words(value: Any) -> str:
    """Return a setting in words."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {words(item)}" for key, item in value.items() if item is not None)
    if isinstance(value, list):
        return "; ".join(words(item) for item in value)
    return str(value)


def rejects_section(view: DatasetView) -> Section:
    """Return how many rows were rejected for which reason, and some of each to read where they were complete."""
    if not view.rejects:
        recorded = view.manifest.get("rejects") or {}
        told = [[str(reason), f"{count:,}"] for reason, count in recorded.items()]
        notes = ["These rows are no part of the dataset. Their log is not in this folder."]
        tables = [Table(("rejected because", "rows"), told)]
        gallery = Gallery(notes, tables, []) if told else Gallery(["No row was rejected."], [], [])
        return Section("rejects", "Rejected", "gallery", gallery)
    counts = [[reason, f"{len(rows):,}"] for reason, rows in view.rejects]
    shown: list[Sequence[Cell]] = []
    groups: list[tuple[str, list[Example]]] = []
    for reason, rows in view.rejects[:MOST_REASONS]:
        step = max(1, len(rows) // REJECTS_EACH)
        some = rows[::step][:REJECTS_EACH]
        whole = [row for row in some if isinstance(row.get("question"), str)]
        shown += [[reason, *reject_words(row)] for row in some if row not in whole]
        if whole:
            groups.append((f"{reason}: {len(whole):,} of {len(rows):,}", [reject_example(row) for row in whole]))
    notes = [
        "These rows are no part of the dataset.",
        f"Below, up to {REJECTS_EACH} of each reason; all are in rejects/.",
    ]
    if groups:
        notes.append("Of rows that were complete the log keeps the beginning of their texts, and no pictures.")
    if len(view.rejects) > MOST_REASONS:
        notes.append(f"Rows are shown of the {MOST_REASONS} most frequent reasons.")
    tables = [Table(("rejected because", "rows"), counts, whole=True)]
    if shown:
        tables.append(Table(("for example", "row", "what the log says"), shown, prose=True, whole=True))
    return Section("rejects", "Rejected", "gallery", Gallery(notes, tables, groups))
