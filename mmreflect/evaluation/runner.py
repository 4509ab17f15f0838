"""Evaluating a model: every question asked, every answer recorded, resumable after a kill without repeating one."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from mmreflect import console
from mmreflect.answers.grade import grade, verify
from mmreflect.answers.spec import AnswerSpec, spec_of
from mmreflect.config import Component
from mmreflect.errors import UserError
from mmreflect.evaluation.procedure import Procedure, read_rounds, tell
from mmreflect.files import append_jsonl, read_jsonl, write_jsonl
from mmreflect.media.images import picture_pixels
from mmreflect.media.reader import default_reader
from mmreflect.records import Author, Group, Rollout, Sample, Stop, content_parts
from mmreflect.reflection.ledger import Entry, Ledger, entry, ledger
from mmreflect.rollouts.actions import FIRST_TRY, Engine, Environment, Sampling
from mmreflect.rollouts.rounds import chosen
from mmreflect.statistics import Rate

_CLIP_TOKENS = 1 << 14


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What an evaluation found: a record per answer, in the order of the questions, and the ledger over all.

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
    n: int = 1,
    seed: int = 0,
    batch_size: int = 64,
    file: Path | None = None,
    label: str = "questions",
    stages: Sequence[Component] = (),
    decoding: Component | None = None,
    tolerate: float = 1.0,
) -> Evaluation:
    """Ask every question `n` times and read the answers into the ledger.

    Questions of similar length are asked together, the longest first, so that memory runs out at once or never.

    Args:
        n: answers per question; with a temperature of 0 they would be the same.
        batch_size: answers that are asked for and written together.
        file: JSONL that records are appended to batch by batch, put into the order of the questions at the end; what it
            already holds is not asked again, but for what could not be asked for.
        seed: of the draws when `sampling.temperature` is above 0, and of the confidence intervals.
        stages, decoding: what else answers the question, see `Procedure`.
        tolerate: the largest share of answers that may be missing because they could not be asked for.

    Raises:
        UserError: more are missing; what was answered is in the file, and the same call asks for the others again.
    """
    procedure = Procedure(engine, environment, sampling, stages, decoding)
    known = {key_of(item): item for item in read_jsonl(file)} if file and file.is_file() else {}
    known = {key: item for key, item in known.items() if item["stop"] != Stop.ERROR}
    wanted = [(sample.id, draw) for sample in samples for draw in range(n)]
    with console.progress_bar(label, len(wanted)) as bar:
        for batch in _batches(longest_first(samples), max(1, batch_size // n)):
            if any((sample.id, draw) not in known for sample in batch for draw in range(n)):
                groups = procedure(batch, n, seed)
                asked = [record(group, engine, draw) for group in groups for draw in range(n)]
                fresh = {key_of(item): item for item in asked if key_of(item) not in known}
                if file:
                    append_jsonl(file, fresh.values())
                known |= fresh
            bar.advance(n * len(batch))
    records = [known[key] for key in wanted]
    if file:
        write_jsonl(file, records)
    failed = [item for item in records if item["stop"] == Stop.ERROR]
    if failed:
        _tell_failed(failed, len(records), tolerate)
    done = procedure.done(records)
    tell(done)
    return Evaluation(records, ledger_of(records, seed), done)


def _tell_failed(failed: Sequence[dict[str, Any]], total: int, tolerate: float) -> None:
    first = str(failed[0]["facts"].get("error") or failed[0]["segments"][-1:] or "no reason is known")
    if len(failed) > tolerate * total:
        raise UserError(
            f"{len(failed)} of {console.count(total, 'answer')} could not be asked for; the first: {first}",
            f"at most {tolerate:.1%} (tolerate)",
            "mend that and start again: only these are asked for again",
        )
    console.say(f"[yellow]{console.count(len(failed), 'answer')} could not be asked for[/]; the first: {first}")


def key_of(record: dict[str, Any]) -> tuple[str, int]:
    """Return what tells a record from all others: the question, and which of its answers this is."""
    return record["id"], record.get("draw", 0)


def ledger_of(records: Sequence[dict[str, Any]], seed: int = 0, clusters: Sequence[str] | None = None) -> Ledger:
    """Return the ledger of some records; answers to one question are no independent draws.

    Args:
        clusters: what each record shares with others; None: its question.
    """
    return ledger([entry_of(item) for item in records], seed, clusters or [str(item["id"]) for item in records])


def longest_first(samples: Sequence[Sample]) -> list[Sample]:
    """Return the samples by the length of their prompts, as far as it is known without reading media."""
    return sorted(samples, key=_length, reverse=True)


def _length(sample: Sample) -> int:
    """Return a rough number of tokens: four characters each, pictures by their size, clips all alike."""
    text = sum(
        len(part["text"]) for turn in sample.messages for part in content_parts(turn["content"]) if "text" in part
    )
    sizes = [_CLIP_TOKENS if item.kind == "video" else picture_pixels(item) // 784 for item in sample.media]
    return text // 4 + sum(sizes)


def _batches(samples: Sequence[Sample], size: int) -> Iterator[Sequence[Sample]]:
    for start in range(0, len(samples), size):
        yield samples[start : start + size]


def record(group: Group, engine: Engine, draw: int = 0) -> dict[str, Any]:
    """Return the record of one of a group's rollouts: the question, the answer, and its place in the ledger.

    Where the answer took several rounds its `text` is that of the final one; all of them are in its facts.
    """
    sample, rollout = group.sample, group.rollouts[draw]
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
        "draw": draw,
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


def videos_since(before: Counter[str]) -> dict[str, Any]:
    """Return and say what this run read of videos; the reader counts for the whole process."""
    counts = dict(sorted((Counter(default_reader().counts) - before).items()))
    if counts:
        console.say(f"videos: {', '.join(f'{count:,} {what}' for what, count in counts.items())}")
    return {"videos": counts} if counts else {}


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
