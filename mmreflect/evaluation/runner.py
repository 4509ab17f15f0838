"""Evaluating a model: every question once, every answer recorded, resumable after a kill without repeating one."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from mmreflect import console
from mmreflect.answers.grade import grade, verify
from mmreflect.answers.spec import AnswerSpec, spec_of
from mmreflect.config import Component
from mmreflect.evaluation.procedure import Procedure, read_rounds
from mmreflect.files import append_jsonl, read_jsonl
from mmreflect.records import Author, Group, Rollout, Sample, Stop
from mmreflect.reflection.ledger import Entry, Ledger, entry, ledger
from mmreflect.rollouts.actions import FIRST_TRY, Engine, Environment, Sampling
from mmreflect.rollouts.rounds import chosen
from mmreflect.statistics import Rate


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What an evaluation found: a record per question, in order, and the ledger over all.

    Attributes:
        procedure: what stages and a decoding did; empty where there are none.
    """

    records: list[dict[str, Any]]
    ledger: Ledger
    procedure: dict[str, Any] = field(default_factory=dict)


def evaluate(
    engine: Engine,
    environment: Environment,
    samples: Sequence[Sample],
    sampling: Sampling,
    *,
    seed: int = 0,
    batch_size: int = 64,
    file: Path | None = None,
    label: str = "questions",
    stages: Sequence[Component] = (),
    decoding: Component | None = None,
) -> Evaluation:
    """Ask every question once and read the answers into the ledger.

    Args:
        file: JSONL that records are appended to batch by batch; what it already holds is not asked again.
        seed: of the draws when `sampling.temperature` is above 0, and of the confidence intervals.
        stages, decoding: what else answers the question, see `Procedure`.
    """
    procedure = Procedure(engine, environment, sampling, stages, decoding)
    known = {record["id"]: record for record in read_jsonl(file)} if file and file.is_file() else {}
    with console.progress_bar(label, len(samples)) as bar:
        for batch in _batches(samples, batch_size):
            if any(sample.id not in known for sample in batch):
                groups = procedure(batch, 1, seed)
                fresh = [record(group, engine) for group in groups]
                if file:
                    append_jsonl(file, [item for item in fresh if item["id"] not in known])
                known |= {item["id"]: item for item in fresh if item["id"] not in known}
            bar.advance(len(batch))
    records = [known[sample.id] for sample in samples]
    failed = [item for item in records if item["stop"] == Stop.ERROR]
    if failed:
        first, count = failed[0]["facts"].get("error"), console.count(len(failed), "question")
        console.say(f"[yellow]{count} could not be asked[/]; the first: {first}")
    return Evaluation(records, ledger([entry_of(item) for item in records], seed), procedure.done(records))


def _batches(samples: Sequence[Sample], size: int) -> Iterator[Sequence[Sample]]:
    for start in range(0, len(samples), size):
        yield samples[start : start + size]


def record(group: Group, engine: Engine) -> dict[str, Any]:
    """Return the record of a group's first rollout: the question, the answer, and its place in the ledger.

    Where the answer took several rounds its `text` is that of the final one; all of them are in its facts.
    """
    sample, rollout = group.sample, group.rollouts[0]
    spec = spec_of(sample.facts)
    read = entry(rollout.text, sample.gold, len(rollout.token_ids), prefix_lengths(rollout, engine), spec)
    final = chosen(rollout)
    if final is not None:
        read = read_rounds(read, rollout.facts, sample.gold, spec)
    if FIRST_TRY in rollout.probes:
        read = _with_first_try(read, rollout.probes[FIRST_TRY].text, sample.gold, spec)
    if rollout.stop is Stop.ERROR:  # it was never asked: neither right nor wrong
        read = replace(read, first_correct=None, final_correct=None)
    return {
        "id": sample.id,
        "question": sample.question,
        "media": [asdict(media) for media in rollout.media],
        "gold": sample.gold,
        "text": rollout.text if final is None else final["text"],
        "stop": str(rollout.stop),
        **asdict(read),
        "segments": segments(rollout, engine),
        "facts": rollout.facts,
        "probes": {name: reply.text for name, reply in rollout.probes.items()},
        "sample_facts": sample.facts,
    }


def _with_first_try(read: Entry, text: str, gold: str | None, spec: AnswerSpec) -> Entry:
    """Return an entry whose first try was asked for on the side: all of its own tokens come after that."""
    verdict = verify(text, gold, spec)
    differs = read.final is not None and grade(read.final, verdict.answer, spec).passed is False
    return replace(
        read, first=verdict.answer, first_correct=verdict.passed, reflected=True, corrective=differs, tokens_first=0
    )


def entry_of(record: dict[str, Any]) -> Entry:
    """Rebuild the ledger entry from a record."""
    return Entry(**{name: record[name] for name in Entry.__dataclass_fields__})


def prefix_lengths(rollout: Rollout, engine: Engine) -> list[int]:
    """Return for each token how many characters of the text end with it; what was shown adds none."""
    lengths, total = [], 0
    known: dict[int, int] = {}
    shown_T = rollout.author_mask(Author.ENVIRONMENT)
    for token, shown in zip(rollout.token_ids, shown_T, strict=True):
        if token not in known:
            known[token] = len(engine.detokenize([token]))
        total += 0 if shown else known[token]
        lengths.append(total)
    return lengths


def segments(rollout: Rollout, engine: Engine) -> list[dict[str, str]]:
    """Return the rollout's text by span: who wrote it, in which stage."""
    return [
        {
            "author": str(span.author),
            "stage": span.stage,
            "text": engine.detokenize(rollout.token_ids[span.start : span.end]),
        }
        for span in rollout.spans
    ]


def show_ledger(title: str, rows: dict[str, Ledger]) -> None:
    """Print ledgers side by side: percentages, half of their 95 % intervals, tokens after the first try."""
    header = ("", "n", "first", "final", "gain", "fixed", "harmed", "tokens")
    lines = []
    for name, item in rows.items():
        rates = (item.first_accuracy, item.final_accuracy, item.gain, item.fix_rate, item.harm_rate)
        lines.append((name, str(item.n), *(_percent(rate) for rate in rates), _number(item.tokens_after.value)))
    console.show_table(title, header, lines)


def _percent(rate: Rate) -> str:
    if rate.value is None or rate.low is None or rate.high is None:
        return "-"
    return f"{100 * rate.value:.1f} ±{50 * (rate.high - rate.low):.1f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
