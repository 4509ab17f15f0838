"""The reflection ledger: did checking its own work help?

For every answer: the first try, the final answer, whether a reflection happened, whether it fixed (wrong to right) or
harmed (right to wrong), and what it cost in tokens. This is the table that heads every report.
"""

from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mmreflect.answers.extract import final_answer
from mmreflect.answers.grade import grade
from mmreflect.answers.spec import AnswerSpec
from mmreflect.reflection.candidates import stated
from mmreflect.reflection.lexicon import reflection_count
from mmreflect.reflection.tags import reflection_of
from mmreflect.statistics import RESAMPLES, Rate, draws, rate


@dataclass(frozen=True, slots=True)
class Entry:
    """One answer in the ledger.

    Attributes:
        first_correct, final_correct: None when the reference could not be graded against.
        reflected: there is a reflection block, a reflecting word, or a second candidate answer.
        corrective: the reflection changed the answer; False: it confirmed the first try.
        tokens_first: tokens up to and with the first candidate answer; all of them when there is none.
    """

    first: str | None
    final: str | None
    first_correct: bool | None
    final_correct: bool | None
    reflected: bool
    corrective: bool
    tokens: int
    tokens_first: int

    @property
    def fixed(self) -> bool:
        """Wrong at first, right in the end."""
        return self.first_correct is False and self.final_correct is True

    @property
    def harmed(self) -> bool:
        """Right at first, wrong in the end."""
        return self.first_correct is True and self.final_correct is False


def entry(
    text: str,
    gold: str | None,
    tokens: int,
    prefix_tokens: Sequence[int] | None = None,
    spec: AnswerSpec | None = None,
) -> Entry:
    """Read one answer into the ledger.

    Args:
        spec: how the answer is to be read, from the sample's facts.
        tokens: length of the whole answer in tokens.
        prefix_tokens: for each token, the number of characters of the text up to and with it; None counts the tokens
            before the first answer by share of characters.
    """
    found = stated(text)
    spec = (spec or AnswerSpec()).resolved(gold)
    final = final_answer(text, spec)
    first = found[0].text if found else final
    end = found[0].end if found else len(text)
    if prefix_tokens is not None:
        tokens_first = min(tokens, int(np.searchsorted(np.asarray(prefix_tokens), end)) + 1)
    else:
        tokens_first = round(tokens * end / len(text)) if text else tokens
    first_verdict, final_verdict = grade(first, gold, spec), grade(final, gold, spec)
    changed = first is not None and final is not None and grade(final, first, spec).passed is False
    reflected = reflection_of(text) is not None or reflection_count(text) > 0 or len(found) > 1
    return Entry(first, final, first_verdict.passed, final_verdict.passed, reflected, changed, tokens, tokens_first)


@dataclass(frozen=True, slots=True)
class Ledger:
    """The aggregated table; `n` answers, of which `ungraded` could not be graded and are left out of the rates.

    Attributes:
        fix_rate: P(final right | first wrong).
        harm_rate: P(final wrong | first right).
        gain: final minus first accuracy.
        tokens_per_point: mean tokens spent after the first answer, per percentage point of gain; None without gain.
    """

    n: int
    ungraded: int
    unparsed: int
    fixed: int
    harmed: int
    first_accuracy: Rate
    final_accuracy: Rate
    gain: Rate
    fix_rate: Rate
    harm_rate: Rate
    reflected: Rate
    corrective: Rate
    tokens_first: Rate
    tokens_after: Rate
    tokens_per_point: float | None

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def ledger_from_json(data: dict[str, Any]) -> Ledger:
    """Rebuild a ledger from `to_json`."""
    values: dict[str, Any] = {name: Rate(**value) if isinstance(value, dict) else value for name, value in data.items()}
    return Ledger(**values)


def ledger(
    entries: Sequence[Entry],
    seed: int = 0,
    clusters: Sequence[Hashable] | None = None,
    resamples: int = RESAMPLES,
) -> Ledger:
    """Aggregate entries; intervals are percentile bootstraps over the answers, seeded.

    Args:
        clusters: what each answer belongs to (a video, a problem), where several share one.
    """
    kept = [item.first_correct is not None and item.final_correct is not None for item in entries]
    shared = None if clusters is None else [name for name, is_kept in zip(clusters, kept, strict=True) if is_kept]
    graded = [item for item, is_kept in zip(entries, kept, strict=True) if is_kept]
    first = np.array([bool(item.first_correct) for item in graded], dtype=float)
    final = np.array([bool(item.final_correct) for item in graded], dtype=float)
    reflected = np.array([item.reflected for item in graded], dtype=float)
    corrective = np.array([item.corrective for item in graded], dtype=float)
    before = np.array([item.tokens_first for item in graded], dtype=float)
    after = np.array([item.tokens - item.tokens_first for item in graded], dtype=float)
    ones = np.ones_like(first)
    drawn = draws(len(graded), seed, shared, resamples)
    gain = rate(final - first, ones, drawn)
    tokens_after = rate(after, ones, drawn)
    points = 100 * gain.value if gain.value else 0.0
    return Ledger(
        n=len(entries),
        ungraded=len(entries) - len(graded),
        unparsed=sum(item.final is None for item in entries),
        fixed=sum(item.fixed for item in graded),
        harmed=sum(item.harmed for item in graded),
        first_accuracy=rate(first, ones, drawn),
        final_accuracy=rate(final, ones, drawn),
        gain=gain,
        fix_rate=rate(final * (1 - first), 1 - first, drawn),
        harm_rate=rate((1 - final) * first, first, drawn),
        reflected=rate(reflected, ones, drawn),
        corrective=rate(corrective, ones, drawn),
        tokens_first=rate(before, ones, drawn),
        tokens_after=tokens_after,
        tokens_per_point=tokens_after.value / points if points > 0 and tokens_after.value is not None else None,
    )
