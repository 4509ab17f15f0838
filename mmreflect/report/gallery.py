"""Examples to read: the same question at every stage, rollouts of training steps, rows of a dataset."""

from collections.abc import Sequence

from mmreflect.records import Sample
from mmreflect.report.data import (
    MOST_VALUES,
    SHARE_ROWS,
    Answer,
    Folder,
    KeptGroup,
    KeptRollout,
    Split,
    dataset_of,
    rounds_of,
    word,
)
from mmreflect.report.layout import Example, Gallery, Reply, Section, Table
from mmreflect.report.numbers import NONE, percent, quantity
from mmreflect.report.pictures import Album
from mmreflect.report.text import OUTCOMES, Chip, Outcome, Segment, blocks, outcome_of, verdicts
from mmreflect.report.verdicts import Stage

PER_OUTCOME: dict[Outcome, int] = {"fixed": 3, "harmed": 3, "stayed right": 2, "stayed wrong": 2, "not graded": 1}
MOST_ROUNDS, MOST_ROLLOUTS, PREVIEW = 8, 16, 6


def samples(stages: Sequence[Stage], album: Album) -> Section | None:
    """Show some questions with the answers of every stage side by side; None without recorded answers."""
    stages = [stage for stage in stages if stage.answers]
    if not stages:
        return None
    main = next((stage for stage in stages if stage.name == "grpo"), stages[-1])
    order = [main, *(stage for stage in stages if stage is not main)]
    chosen = _choose(order)
    by_stage = [(stage, {answer.id: answer for answer in stage.answers}) for stage in stages]
    groups = []
    for outcome, picks in chosen.items():
        examples = []
        for source, place in picks:
            shown = source.answers[place]
            replies = [
                _answer_reply(stage.label if len(stages) > 1 else "", known[shown.id])
                for stage, known in by_stage
                if shown.id in known
            ]
            pictures = [album.show(media) for media in shown.media]
            examples.append(Example(shown.id, shown.question, shown.gold, pictures, replies))
        source = picks[0][0]
        where = f" {source.label}" if len(stages) > 1 else ""
        groups.append(
            (f"{outcome.capitalize()}{where}: the first {len(picks)} of {_count(source, outcome):,}", examples)
        )
    notes = [
        "Not hand-picked: for each outcome the first questions in which it occurs, in the order of the evaluation."
    ]
    return Section("samples", "Samples", "gallery", Gallery(notes, [_outcome_table(stages)], groups))


def _choose(order: Sequence[Stage]) -> dict[Outcome, list[tuple[Stage, int]]]:
    """Take for each outcome the first questions of the main stage; another stage only where the main one has none."""
    chosen: dict[Outcome, list[tuple[Stage, int]]] = {}
    taken: set[str] = set()
    for outcome in OUTCOMES:
        for stage in order:
            places = [
                place
                for place, answer in enumerate(stage.answers)
                if answer.id not in taken
                and outcome_of(answer.entry.first_correct, answer.entry.final_correct) == outcome
            ]
            if places:
                chosen[outcome] = [(stage, place) for place in places[: PER_OUTCOME[outcome]]]
                taken |= {stage.answers[place].id for _, place in chosen[outcome]}
                break
    return chosen


def _count(stage: Stage, outcome: Outcome) -> int:
    return sum(
        outcome_of(answer.entry.first_correct, answer.entry.final_correct) == outcome for answer in stage.answers
    )


def _answer_reply(label: str, answer: Answer) -> Reply:
    known = answer.entry
    chips = verdicts(known.first, known.final, known.first_correct, known.final_correct, answer.stop)
    remark = f"{known.tokens_first:,} tokens to the first answer, {known.tokens - known.tokens_first:,} after it"
    return Reply(label, chips, blocks(answer.segments), [remark])


def _outcome_table(stages: Sequence[Stage]) -> Table:
    rows = []
    for stage in stages:
        found = [outcome_of(answer.entry.first_correct, answer.entry.final_correct) for answer in stage.answers]
        rows.append([stage.label, *(f"{found.count(outcome):,}" for outcome in OUTCOMES)])
    return Table(("what became of the first answer", *OUTCOMES), rows)


def rounds(run: Folder, album: Album) -> Section | None:
    """Show the kept rollouts of training steps with their rewards; None when none were kept."""
    found = rounds_of(run)
    if not found:
        return None
    shown = _spread(found, MOST_ROUNDS)
    groups = [(f"step {step}", [_group_example(group, album) for group in kept]) for step, kept in shown]
    notes = ["Groups kept while training, after forced rethinking and before replay; rewards as they were given."]
    if len(shown) < len(found):
        notes.append(
            f"{len(shown)} of {len(found)} kept steps are shown, evenly spread; all are in {run.label}/rollouts."
        )
    return Section(
        f"rollouts-{run.label}",
        f"Rollouts of training steps ({run.label})",
        "gallery",
        Gallery(notes, [], groups, closed=True),
    )


def _spread(found: Sequence[tuple[int, list[KeptGroup]]], most: int) -> list[tuple[int, list[KeptGroup]]]:
    if len(found) <= most:
        return list(found)
    return [found[round(place * (len(found) - 1) / (most - 1))] for place in range(most)]


def _group_example(group: KeptGroup, album: Album) -> Example:
    replies = [_rollout_reply(number, rollout) for number, rollout in enumerate(group.rollouts[:MOST_ROLLOUTS], 1)]
    kind = f"{MOST_ROLLOUTS} of {len(group.rollouts)} rollouts" if len(group.rollouts) > MOST_ROLLOUTS else ""
    return Example(
        group.sample_id, group.question, group.gold, [album.show(media) for media in group.media], replies, kind
    )


def _rollout_reply(number: int, rollout: KeptRollout) -> Reply:
    known = rollout.entry
    chips = verdicts(known.first, known.final, known.first_correct, known.final_correct, rollout.stop)
    if any(segment.author == "forced" for segment in rollout.segments):
        chips.append(Chip("forced rethinking", "quiet"))
    score = rollout.score
    if score is None:
        return Reply(f"rollout {number}", chips, blocks(rollout.segments), ["not scored"])
    value = "not graded" if score.value is None else quantity(score.value)
    parts = [
        f"{name} {'not graded' if part.value is None else quantity(part.value)} × {quantity(part.weight)}"
        for name, part in score.parts.items()
    ]
    remarks = [
        f"reward {value}" + (f" = {' + '.join(parts)}" if parts else ""),
        *([score.reason] if score.reason else []),
    ]
    return Reply(f"rollout {number}", chips, blocks(rollout.segments), remarks)


def dataset(run: Folder, album: Album) -> list[Section]:
    """Show what a build wrote: counts and shares, rejects with reasons, and rows to look at."""
    view = dataset_of(run, PREVIEW)
    total = sum(split.rows for split in view.splits)
    counts = [
        [split.name, f"{split.rows:,}", percent(split.rows / total if total else 0.0), f"{split.shards:,}"]
        for split in view.splits
    ]
    tables = [Table(("split", "rows", "share", "shards"), counts)] if counts else []
    tables += [table for table in [_facts(view.splits)] if table]
    rejects = [[reason, f"{count:,}"] for reason, count in view.rejects]
    tables += [Table(("rejected because", "rows"), rejects)] if rejects else []
    notes = (
        []
        if view.complete
        else ["There is no manifest.json yet: the build is not finished, the counts are of the shards so far."]
    )
    if not rejects:
        notes.append("No row was rejected.")
    if any(split.rows > split.read for split in view.splits):
        notes.append(f"Shares of facts are over the first {SHARE_ROWS:,} rows of a split.")
    content = Section("content", "What was built", "gallery", Gallery(notes, tables, []))
    groups = [
        (split.name, [_row_example(sample, album) for sample in split.preview])
        for split in view.splits
        if split.preview
    ]
    preview = Section(
        "rows", "Rows to look at", "gallery", Gallery([f"The first {PREVIEW} rows of every split."], [], groups)
    )
    return [content, preview] if groups else [content]


def _facts(splits: Sequence[Split]) -> Table | None:
    keys = sorted({(fact, value) for split in splits for fact, values in split.facts.items() for value in values})
    if not keys:
        return None
    rows = [[f"{fact}: {value}", *(_share(split, fact, value) for split in splits)] for fact, value in keys]
    caption = f"Facts with at most {MOST_VALUES} values."
    return Table(("share of rows with", *(split.name for split in splits)), rows, caption)


def _share(split: Split, fact: str, value: str) -> str:
    values = split.facts.get(fact)
    return percent(values[value] / split.read) if values is not None and split.read else NONE


def _row_example(sample: Sample, album: Album) -> Example:
    replies = []
    if sample.response is not None:
        facts = ", ".join(f"{key}: {word(value)}" for key, value in sample.facts.items())
        replies.append(
            Reply("target", [], blocks([Segment("model", "target", sample.response)]), [facts] if facts else [])
        )
    return Example(sample.id, sample.question, sample.gold, [album.show(media) for media in sample.media], replies)
