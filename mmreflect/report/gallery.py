"""Examples to read: the same question at every stage, rollouts of training steps, rows of a dataset."""

from collections.abc import Sequence

from mmreflect.records import Media, Score
from mmreflect.report.album import Album
from mmreflect.report.data import Answer, Choice, KeptGroup, KeptRollout, rounds_of
from mmreflect.report.folders import Folder
from mmreflect.report.layout import Example, Gallery, Reply, Section, Table
from mmreflect.report.looks import opening, titles, with_media
from mmreflect.report.numbers import counted, quantity
from mmreflect.report.text import OUTCOMES, Block, Chip, Outcome, outcome_of, transition_of, verdicts
from mmreflect.report.timeline import Timeline, span_words, timeline, verdict
from mmreflect.report.verdicts import Stage
from mmreflect.rollouts.actions import FIRST_TRY

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
    groups, left_out = [], album.left_out
    for outcome, picks in chosen.items():
        examples = []
        for source, place in picks:
            shown = source.answers[place]
            question = question_media(shown)
            pictures = album.show(question, titles_of(shown))
            replies = [
                answer_reply(stage.label if len(stages) > 1 else "", known[shown.id], question, album)
                for stage, known in by_stage
                if shown.id in known
            ]
            examples.append(Example(shown.id, shown.question, shown.gold, pictures, replies))
        source = picks[0][0]
        where = f" {source.label}" if len(stages) > 1 else ""
        groups.append(
            (f"{outcome.capitalize()}{where}: the first {len(picks)} of {_count(source, outcome):,}", examples)
        )
    notes = [
        "Not hand-picked: for each outcome the first questions in which it occurs, in the order of the evaluation.",
        *left_out_notes(album, left_out),
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


def question_media(answer: Answer | KeptRollout) -> list[Media]:
    """Return the media of an answer that its question showed."""
    return answer.media[: opening(answer.media, answer.segments, answer.choice is not None)]


def titles_of(answer: Answer | KeptRollout) -> list[str]:
    """Return what each of an answer's media is called; most have no name."""
    return titles(answer.media, answer.choice is not None)


def _later(answer: Answer | KeptRollout, question: Sequence[Media], album: Album) -> list[Block]:
    """Return an answer's blocks with the media that the question above it does not show."""
    names = titles_of(answer)
    start = len(question) if answer.media[: len(question)] == list(question) else 0
    return with_media(answer.segments, answer.media[start:], names[start:], album)


def answer_reply(label: str, answer: Answer, question: Sequence[Media], album: Album) -> Reply:
    """Return an answer as it is shown, with the media that its question does not show."""
    known = answer.entry
    remark = f"{known.tokens_first:,} tokens to the first answer, {known.tokens - known.tokens_first:,} after it"
    if _no_first_try(answer):
        remark = f"{known.tokens:,} tokens; no first try was asked for"
    drawn, said = _choice(answer.choice)
    remarks = [*said, *_probes(answer), remark]
    return Reply(label, _chips(answer), _later(answer, question, album), remarks, drawn)


def _no_first_try(answer: Answer | KeptRollout) -> bool:
    """Tell whether a part of a video was asked for and no answer before it: what the ledger calls first is the last."""
    known = answer.entry
    return answer.choice is not None and FIRST_TRY not in answer.probes and known.first == known.final


def transition(answer: Answer) -> str:
    """Say what reflecting did to an answer, one of `TRANSITIONS`; nothing where no first try was asked for."""
    final = answer.entry.final_correct
    if _no_first_try(answer) and final is not None:
        return f"{'right' if final else 'wrong'}, no first try"
    return transition_of(answer.entry)


def _chips(answer: Answer | KeptRollout) -> list[Chip]:
    known = answer.entry
    chips = verdicts(known.first, known.final, known.first_correct, known.final_correct, answer.stop)
    return chips[1:] if _no_first_try(answer) else chips


def _choice(choice: Choice | None) -> tuple[Timeline | None, list[str]]:
    """Return the timeline of a chosen part, and in words what it cannot show."""
    if choice is None:
        return None, []
    drawn = timeline(choice)
    if choice.segment is None:
        return drawn, [f"no valid segment{f': {choice.problem}' if choice.problem else ''}"]
    if drawn is None:
        agreed = verdict(choice)
        where = f"chosen {span_words(choice.segment)} of a video whose length is not recorded"
        return None, [f"{where}; {agreed}" if agreed else where]
    return drawn, []


def _probes(answer: Answer | KeptRollout) -> list[str]:
    return [f"asked on the side, {name}: {text.strip() or 'no reply'}" for name, text in answer.probes.items()]


def left_out_notes(album: Album, before: int) -> list[str]:
    """Say how many videos a section names only, because the page would become too large."""
    count = album.left_out - before
    if not count:
        return []
    verb = "is" if count == 1 else "are"
    return [f"{counted(count, 'video')} {verb} named only: the page holds at most {album.most_strips} film strips."]


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
    shown, left_out = _spread(found, MOST_ROUNDS), album.left_out
    groups = [(f"step {step}", [_group_example(group, album) for group in kept]) for step, kept in shown]
    notes = ["Groups kept while training, after forced rethinking and before replay; rewards as they were given."]
    if len(shown) < len(found):
        notes.append(
            f"{len(shown)} of {len(found)} kept steps are shown, evenly spread; all are in {run.label}/rollouts."
        )
    notes += left_out_notes(album, left_out)
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
    first = next((rollout for rollout in group.rollouts if rollout.media), None)
    question = question_media(first) if first else group.media
    media = album.show(question, titles_of(first) if first else ())
    replies = [
        _rollout_reply(number, rollout, question, album)
        for number, rollout in enumerate(group.rollouts[:MOST_ROLLOUTS], 1)
    ]
    kind = f"{MOST_ROLLOUTS} of {len(group.rollouts)} rollouts" if len(group.rollouts) > MOST_ROLLOUTS else ""
    return Example(group.sample_id, group.question, group.gold, media, replies, kind)


def _rollout_reply(number: int, rollout: KeptRollout, question: Sequence[Media], album: Album) -> Reply:
    chips = _chips(rollout)
    if any(segment.author == "forced" for segment in rollout.segments):
        chips.append(Chip("forced rethinking", "quiet"))
    drawn, said = _choice(rollout.choice)
    remarks = [*said, *_probes(rollout), *_reward(rollout.score)]
    return Reply(f"rollout {number}", chips, _later(rollout, question, album), remarks, drawn)


def _reward(score: Score | None) -> list[str]:
    if score is None:
        return ["not scored"]
    value = "not graded" if score.value is None else quantity(score.value)
    parts = [
        f"{name} {'not graded' if part.value is None else quantity(part.value)} × {quantity(part.weight)}"
        for name, part in score.parts.items()
    ]
    return [
        f"reward {value}" + (f" = {' + '.join(parts)}" if parts else ""),
        *([score.reason] if score.reason else []),
    ]
