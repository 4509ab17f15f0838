"""From questions to what was said: through a server's client, or in batches by an engine that speaks here."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from mmreflect.building import Rejected
from mmreflect.errors import UserError
from mmreflect.records import Reply, Stop, Turn
from mmreflect.remote.asks import Answer, Ask, RefusedError, UnansweredError
from mmreflect.remote.requests import again, schema_in_words, with_note
from mmreflect.remote.structured import RejectedError, read_and_mend
from mmreflect.rollouts.actions import Request, generation_round, load_ahead
from mmreflect.rollouts.driver import media_of
from mmreflect.seeds import derive_seed
from mmreflect.teaching.speakers import Voice
from mmreflect.teaching.steps import Question, Said

TRIES = 3
"""Replies of an engine that speaks here before a structured one is given up; a server has `tries` of its own."""
Took = Counter[str]
_WITHHELD = ("content_filter", "refusal")


def ask_of(voice: Voice, question: Question, name: str, seed: int) -> Ask:
    """Return the request of a question; a greedy one carries no seed."""
    sampling = voice.options.sampling
    drawn = derive_seed(seed, name, question.purpose, question.place) if sampling.temperature else None
    return Ask(
        question.turns,
        sampling.max_new_tokens,
        sampling.temperature,
        sampling.top_p,
        sampling.top_k,
        drawn,
        question.schema,
    )


def said_by_server(question: Question, answer: Answer) -> tuple[Said, Took]:
    """Read a server's answer, and count what it took, whoever has paid for it when."""
    took = _took(question, answer.tries, answer.tokens_in, answer.tokens_out)
    problem = None if answer.error is None else _problem(question, answer, answer.error)
    if question.schema is not None:
        took[f"{question.speaker}.refused_replies"] += answer.tries - (problem is None)
        if answer.repaired:
            took[f"{question.speaker}.repaired_replies"] += 1
    said = Said(answer.text, answer.value, answer.finish == "length", answer.tokens_out, problem, answer.reasoning)
    return said, took


def _problem(question: Question, answer: Answer, error: UserError) -> UserError:
    """Name a failure so that failures of one kind are counted together."""
    kinds: list[tuple[bool, str]] = [
        (isinstance(error, RefusedError), "the server refused the request"),
        (isinstance(error, UnansweredError), "the server did not answer"),
        (answer.finish in _WITHHELD, "the reply was withheld"),
        (question.schema is not None and answer.tries > 0, "no reply was JSON that fits"),
    ]
    reason = next((words for applies, words in kinds if applies), None)
    return error if reason is None else Rejected(f"{question.purpose}: {reason}", error.given)


@dataclass(slots=True)
class _Wanted:
    """One distinct request of a batch, and what has been said to it."""

    question: Question
    name: str
    first: Ask
    current: Ask
    took: Took = field(default_factory=Counter)
    said: Said | None = None


def answer_here(voice: Voice, asked: Sequence[tuple[str, Question, Ask]]) -> list[tuple[Said, Took]]:
    """Let an engine that speaks here answer a batch; the same request twice is answered once.

    Replies that must be JSON are read, refused and asked for again as a server's are.

    Args:
        asked: the name of the row, the question and its request.
    """
    wanted: dict[tuple[str, str, int], list[_Wanted]] = {}
    mine: list[_Wanted] = []
    for name, question, ask in asked:
        alike = wanted.setdefault((name, question.purpose, question.place), [])
        one = next((known for known in alike if known.first == ask), None)
        if one is None:
            plain = ask if ask.schema is None else with_note(ask, schema_in_words(ask))
            one = _Wanted(question, name, ask, plain)
            alike.append(one)
        mine.append(one)
    distinct = [one for alike in wanted.values() for one in alike]
    for number in range(1, TRIES + 1):
        waiting = [one for one in distinct if one.said is None]
        for one, reply in zip(waiting, _speak(voice, waiting), strict=True):
            _take(one, reply, number)
    found: list[tuple[Said, Took]] = []
    for one in mine:
        assert one.said is not None
        found.append((one.said, one.took))
        one.took = Counter()  # who comes second takes nothing
    return found


def _take(one: _Wanted, found: tuple[Reply, int] | UserError, number: int) -> None:
    """Read a reply; one that does not fit its schema leaves the request waiting, in other words."""
    if isinstance(found, UserError):
        one.said = Said("", problem=found)
        return
    reply, tokens_in = found
    one.took.update(_took(one.question, 1, tokens_in, len(reply.token_ids)))
    cut = reply.stop is Stop.LENGTH
    if one.first.schema is None:
        one.said = Said(reply.text, None, cut, len(reply.token_ids))
        return
    try:
        value, mended = read_and_mend(reply.text, one.first.schema, "length" if cut else "stop")
        if mended:
            one.took[f"{one.question.speaker}.repaired_replies"] += 1
        one.said = Said(reply.text, value, False, len(reply.token_ids))
    except RejectedError as rejected:
        one.took[f"{one.question.speaker}.refused_replies"] += 1
        one.current = again(one.first, number, str(rejected))
        if number == TRIES:
            problem = Rejected(f"{one.question.purpose}: no reply was JSON that fits", str(rejected))
            one.said = Said(reply.text, problem=problem)


def _took(question: Question, requests: int, tokens_in: int, tokens_out: int) -> Took:
    numbers = {"requests": requests, "tokens_in": tokens_in, "tokens_out": tokens_out}
    return Counter({f"{question.speaker}.{name}": number for name, number in numbers.items() if number})


def _speak(voice: Voice, waiting: Sequence[_Wanted]) -> list[tuple[Reply, int] | UserError]:
    """Answer requests together; where one of them cannot be shown, one by one, so that it fails alone.

    Returns:
        The reply and the tokens of its prompt, or why there is none.
    """
    if not waiting:
        return []
    engine = voice.engine
    try:
        conversations = [list[Turn](one.current.turns) for one in waiting]
        load_ahead(engine, [turn for conversation in conversations for turn in conversation])
        prompts = engine.encode(conversations)
        requests = [
            Request(one.name, ids, [], media_of(one.current.turns), one.current.max_tokens, one.current.seed or 0)
            for one, ids in zip(waiting, prompts, strict=True)
        ]
        with generation_round(engine, 0):
            replies = engine.generate(requests, voice.options.sampling)
        return [(reply, len(ids)) for reply, ids in zip(replies, prompts, strict=True)]
    except UserError as error:
        if len(waiting) == 1:
            return [error]
        return [reply for one in waiting for reply in _speak(voice, [one])]
