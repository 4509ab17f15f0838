"""Running the steps of many rows at once.

Where every speaker is a server, rows go on on their own: each asks its next question as soon as its last is answered,
and rows of the next shards begin while the last ones of a shard are still waited for, so that the server's slots stay
busy. Where a speaker is an engine in this process its questions are batched, shard by shard: a batch is always the
same rows, however often the build was killed.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue

from mmreflect.building import Example, Made
from mmreflect.errors import UserError
from mmreflect.remote.asks import Answer, Ask, UnansweredError
from mmreflect.teaching.answering import answer_here, ask_of, said_by_server
from mmreflect.teaching.speakers import Voice
from mmreflect.teaching.steps import Gather, Gathered, Question, Said, Steps, Task

AHEAD = 4
"""Rows with a question under way for each slot of a server: many, so that little is left when the last one begins."""
_HELD = 8
"""Rows per slot that may be begun and not handed over, beside two shards."""


@dataclass(slots=True, eq=False)
class _Work:
    """A row that was begun.

    Attributes:
        questions: what it waits for, `said` what has come of it; `gather`: what it waits with for others.
        ended: its row, or why it has none.
    """

    task: Task
    steps: Steps
    took: Counter[str]
    questions: Sequence[Question] = ()
    said: list[Said | None] = field(default_factory=list)
    gather: Gather | None = None
    ended: Example | UserError | None = None


@dataclass(frozen=True, slots=True)
class _Heard:
    """What a server has said to some of a row's questions, or why nothing more can be asked of it."""

    work: _Work
    places: Sequence[int]
    answers: Sequence[Answer] | BaseException


class Runner:
    """Runs the steps of one split's rows.

    Args:
        ahead: is told how many rows are made beyond those that were handed over; one that waits for the others of its
            shard counts for half.
    """

    def __init__(
        self,
        voices: Mapping[str, Voice],
        tasks: Sequence[Task],
        seed: int,
        ahead: Callable[[float], None] | None = None,
    ) -> None:
        self._voices, self._seed, self._watching = voices, seed, ahead
        self._ahead, self._begun = deque(tasks), deque[_Work]()
        self._sizes = Counter(task.shard for task in tasks)
        self._ended = Counter[int]()
        self._gathering: dict[int, list[_Work]] = {}
        self._here: list[_Work] = []
        self._heard = SimpleQueue[_Heard]()
        self._asked = 0
        self._failure: BaseException | None = None
        slots = sum(
            {id(voice.client): voice.client.server.concurrency for voice in voices.values() if voice.client}.values()
        )
        self._remote = bool(voices) and all(voice.client is not None for voice in voices.values())
        self._slots, self._most = slots, _HELD * slots + 2 * max(self._sizes.values(), default=0)

    def run(self) -> Iterator[Made]:
        """Yield the rows in order.

        Raises:
            UserError: a server cannot be used, a limit is reached, or a request was not answered; what was under way
                is waited for, so that it is kept.
        """
        while self._ahead or self._begun:
            while self._may_begin():
                self._begin(self._ahead.popleft())
            while self._begun and self._begun[0].ended is not None:
                work = self._begun.popleft()
                assert work.ended is not None
                yield Made(work.ended, work.took)
            self._tell_ahead()
            if self._begun and not self._may_begin() and self._begun[0].ended is None:
                self._go_on()

    def _tell_ahead(self) -> None:
        if self._watching is not None:
            waiting = sum(map(len, self._gathering.values()))
            self._watching(sum(work.ended is not None for work in self._begun) + waiting / 2)

    def _may_begin(self) -> bool:
        if not self._ahead or self._failure is not None:
            return False
        if self._remote:
            return self._asked < AHEAD * self._slots and len(self._begun) < self._most
        return not self._begun or self._begun[0].task.shard == self._ahead[0].shard

    def _begin(self, task: Task) -> None:
        took = Counter[str]()
        work = _Work(task, _begun(task, took), took)
        self._begun.append(work)
        self._advance(work, None)

    def _go_on(self) -> None:
        """Do one thing that brings a row on: release a shard, hear a server, or let an engine here answer."""
        whole = next((shard for shard, works in self._gathering.items() if self._is_whole(shard, works)), None)
        if self._failure is None and whole is not None:
            self._release(whole)
        elif self._asked:
            self._hear(self._heard.get())
        elif self._failure is not None:
            raise self._failure
        else:
            self._answer_here()

    def _advance(self, work: _Work, sent: object) -> None:
        """Run the steps of a row until it waits for somebody."""
        work.gather, work.questions, work.said = None, (), []
        try:
            action = work.steps.send(sent)
            while not isinstance(action, Gather) and not action:
                action = work.steps.send([])
        except StopIteration as end:
            work.ended = end.value
        except UserError as error:
            work.ended = error
        if work.ended is not None:
            self._ended[work.task.shard] += 1
        elif isinstance(action, Gather):
            work.gather = action
            self._gathering.setdefault(work.task.shard, []).append(work)
        else:
            self._dispatch(work, action)

    def _dispatch(self, work: _Work, questions: Sequence[Question]) -> None:
        work.questions, work.said = questions, [None] * len(questions)
        remote: dict[str, list[int]] = {}
        for place, question in enumerate(questions):
            if self._voices[question.speaker].client is not None:
                remote.setdefault(question.speaker, []).append(place)
        if sum(map(len, remote.values())) < len(questions):
            self._here.append(work)
        for speaker, places in remote.items():
            self._asked += 1
            client = self._voices[speaker].client
            assert client is not None
            asks = [self._ask(work, questions[place]) for place in places]
            client.send(asks, partial(self._take, work, places))

    def _ask(self, work: _Work, question: Question) -> Ask:
        return ask_of(self._voices[question.speaker], question, work.task.name, self._seed)

    def _take(self, work: _Work, places: Sequence[int], answers: Sequence[Answer] | BaseException) -> None:
        self._heard.put(_Heard(work, places, answers))

    def _hear(self, heard: _Heard) -> None:
        self._asked -= 1
        work = heard.work
        if isinstance(heard.answers, BaseException):
            if not isinstance(heard.answers, UserError):
                raise heard.answers
            self._failure = self._failure or heard.answers
            return
        for place, answer in zip(heard.places, heard.answers, strict=True):
            question = work.questions[place]
            options = self._voices[question.speaker].options
            if isinstance(answer.error, UnansweredError) and options.unanswered == "stop":
                self._failure = self._failure or _stopping(answer.error, question.speaker)
            work.said[place], took = said_by_server(question, answer)
            work.took.update(took)
        self._answered(work)

    def _answered(self, work: _Work) -> None:
        """Let a row go on when nothing that it asked is open."""
        if self._failure is None and all(said is not None for said in work.said):
            self._advance(work, work.said)

    def _answer_here(self) -> None:
        """Let the engines of this process answer everything that waits for them, in the order of the rows."""
        waiting, self._here = self._in_order(self._here), []
        for speaker, voice in self._voices.items():
            if voice.client is not None:
                continue
            asked = [
                (work, place)
                for work in waiting
                for place, question in enumerate(work.questions)
                if question.speaker == speaker
            ]
            batch = [
                (work.task.name, work.questions[place], self._ask(work, work.questions[place])) for work, place in asked
            ]
            for (work, place), (said, took) in zip(asked, answer_here(voice, batch), strict=True):
                work.said[place] = said
                work.took.update(took)
        for work in waiting:
            self._answered(work)

    def _in_order(self, works: Sequence[_Work]) -> list[_Work]:
        order = {id(work): place for place, work in enumerate(self._begun)}
        return sorted(works, key=lambda work: order[id(work)])

    def _is_whole(self, shard: int, works: Sequence[_Work]) -> bool:
        return len(works) + self._ended[shard] == self._sizes[shard]

    def _release(self, shard: int) -> None:
        """Hand to every row of a shard what all of them have gathered."""
        works = self._in_order(self._gathering.pop(shard))
        values = [work.gather.value for work in works if work.gather is not None]
        for own, work in enumerate(works):
            self._advance(work, Gathered(values, own))


def _stopping(error: UnansweredError, speaker: str) -> UnansweredError:
    """Return why the build ends, with the way on for a server that answers others but never this request."""
    do = f"{error.do}; where it answers others and never this one, {speaker}.unanswered=reject leaves such rows out"
    return UnansweredError(error.given, error.expected, do)


def _begun(task: Task, took: Counter[str]) -> Steps:
    """Return a row's steps; what goes wrong while they are made rejects the row as well."""
    return (yield from task.begin(took))
