"""Asking a judge about recorded rows, as a step before they are scored.

Every reply is in the request cache before it is used, so that a run that was killed, or whose server went down, goes on
where it stopped. A row that the judge gave nothing usable on keeps the reason and is not graded: never 0 by accident.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mmreflect.errors import UserError
from mmreflect.evaluation.benchmark import BadField, Benchmark, MissingField, Row
from mmreflect.evaluation.judge import ERROR, MARK, Case, Judge, Question, Steps, UnusableReplyError
from mmreflect.evaluation.recorded import ABSENT, given, names_of, response_of, unusable
from mmreflect.evaluation.rules.reduction import final_text
from mmreflect.records import Turn
from mmreflect.remote.asks import Answer, Ask, RefusedError, UnansweredError
from mmreflect.remote.settings import ServerConfig

if TYPE_CHECKING:
    from mmreflect.remote.client import Client
    from mmreflect.remote.spending import Spending

WARMER = 0.5
"""How much warmer an unreadable reply is drawn again, each time, up to a temperature of 1."""
_FAILURES: tuple[tuple[type[Exception], str], ...] = (
    (UnansweredError, "the server did not answer"),
    (RefusedError, "the server refused the request"),
)
_WITHHELD = ("content_filter", "refusal")


@dataclass(slots=True)
class Account:
    """What judging took.

    Attributes:
        terms: as `judge_terms`.
        rows: those that a model was asked about; `settled`: those that needed no asking.
        failed: rows that are not graded, by reason; `first`: the first of them, in the server's or our own words.
        invalid: rows whose reply could not be read, and which the official protocol then rates itself.
        spent: requests, tokens and cost; None where nothing was asked.
    """

    terms: dict[str, Any]
    rows: int = 0
    settled: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    first: str = ""
    invalid: int = 0
    spent: "Spending | None" = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values; the cost is None where the server has no prices."""
        spent = self.spent
        priced = spent is not None and bool(spent.server.price_in or spent.server.price_out)
        return {
            **self.terms,
            "rows": self.rows,
            "settled_without": self.settled,
            "asked": spent.answered if spent else 0,
            "from_cache": spent.cached if spent else 0,
            "failed": dict(self.failed),
            "first_failure": self.first,
            "invalid": self.invalid,
            "tokens_in": spent.tokens_in if spent else 0,
            "tokens_out": spent.tokens_out if spent else 0,
            "tokens_from_cache": spent.saved_in + spent.saved_out if spent else 0,
            "cost": spent.paid if spent and priced else None,
        }


def needs_judge(benchmark: Benchmark, rule: str = "official") -> bool:
    """Tell whether a rule of a benchmark has something to ask a judge."""
    return benchmark.judge is not None and rule in benchmark.judge.steps


def judge_of(benchmark: Benchmark, rule: str = "official") -> Judge:
    """Return the judge that a rule needs.

    Raises:
        UserError: the benchmark, or this rule of it, asks no model.
    """
    if benchmark.judge is None:
        raise UserError(
            f"judge is set, and {benchmark.name} asks no model",
            "a benchmark whose protocol asks one",
            "remove the judge's settings",
        )
    if rule not in benchmark.judge.steps:
        others = " or ".join(f"rule={name}" for name in benchmark.judge.steps)
        raise UserError(
            f"judge is set, and the rule {rule!r} of {benchmark.name} asks no model",
            others,
            "choose such a rule, or remove the judge's settings",
        )
    return benchmark.judge


def judge_terms(benchmark: Benchmark, server: ServerConfig, rule: str = "official") -> dict[str, Any]:
    """Return what a judged score depends on, for the contract: model, prompts, decoding; not where the server is.

    Raises:
        UserError: as `judge_of`.
    """
    judge = judge_of(benchmark, rule)
    return {
        "model": server.model,
        "prompt": judge.prompt_hash,
        "label": judge.label,
        "decoding": {
            "temperature": 0.0,
            "max_tokens": judge.max_tokens,
            "seed": judge.seed,
            "tries": server.tries,
            "extra": dict(server.extra),
        },
    }


def judge_rows(
    benchmark: Benchmark,
    rows: Sequence[Mapping[str, Any]],
    server: ServerConfig,
    *,
    rule: str = "official",
    source: str = "responses",
) -> tuple[list[Row], Account]:
    """Ask about every row what its rule needs and does not have, and return the rows with the outcome, and the account.

    Rows come back as copies, in order. One that a model was asked about holds `judged_by`; one without a usable reply
    holds `judge_error`. What a row has recorded is not asked for again.

    Args:
        source: what the rows came from, for messages.

    Raises:
        UserError: nothing is to be asked under this rule; two rows have one id, or a row lacks what a prompt needs,
            before anything is asked; or the server cannot be used or a limit is reached: then what was answered is in
            the cache, and the same call goes on from there.
    """
    judge, made = judge_of(benchmark, rule), [Row(row) for row in rows]
    account = Account(judge_terms(benchmark, server, rule))
    works = _works(benchmark, judge, made, rule, source)
    waiting = [work for work in works if work.question is not None]
    if waiting:
        from mmreflect.remote.client import Client  # takes its time, and most re-scorings ask nobody

        with Client(server) as client:
            account.spent = client.spent
            _ask_all(client, judge, waiting, f"{benchmark.name}, judged by {server.model}")
    mark = f"{server.model}, prompt {judge.prompt_hash}"
    for work in works:
        _write(work, made, mark, account)
    account.settled = len(made) - account.rows
    return made, account


@dataclass(slots=True)
class _Work:
    """The rows of a batch on their way through the steps.

    Attributes:
        question: what is asked next; None where all is known, or nothing more can be.
        attempt: how often it was asked before.
        asked: questions so far, those that were asked again once.
        fields: what the steps returned.
        failure: why they did not: a short reason to count, and the words.
        invalid: an unusable reply came, which the steps themselves dealt with.
    """

    cases: Sequence[Case]
    steps: Steps
    question: Question | None = None
    attempt: int = 0
    asked: int = 0
    fields: Sequence[Mapping[str, Any]] | None = None
    failure: tuple[str, str] | None = None
    invalid: bool = False

    def begin(self) -> None:
        """Run the steps up to their first question."""
        self.go_on(lambda: next(self.steps))

    def go_on(self, step: Callable[[], Question]) -> None:
        """Run the steps up to their next question or their end."""
        self.question, self.attempt = None, 0
        try:
            self.question = step()
            self.asked += 1
        except StopIteration as end:
            self.fields = end.value
        except UnusableReplyError as error:
            self.failure = ("unusable reply", str(error))

    def ask(self, judge: Judge) -> Ask:
        """Return the request for the question; one that is asked again is drawn from another seed, and warmer."""
        assert self.question is not None
        seed = judge.seed if not self.attempt else (judge.seed or 0) + self.attempt
        return Ask(
            [Turn("user", [self.question.prompt])],
            max_tokens=judge.max_tokens,
            temperature=min(1.0, WARMER * self.attempt),
            seed=seed,
            schema=self.question.schema,
        )

    def take(self, answer: Answer, tries: int) -> None:
        """Read an answer and go on; a text that cannot be read is asked for again, up to `tries` times."""
        assert self.question is not None
        if answer.error is not None:
            kind = next((name for cls, name in _FAILURES if isinstance(answer.error, cls)), "")
            kind = "the judge withheld its reply" if answer.finish in _WITHHELD else kind
            if kind:
                self.question, self.failure = None, (kind, answer.error.given)
                self.steps.close()
                return
            self._throw(answer.error.given)
            return
        if self.question.schema is not None:
            value: Any = answer.value
        else:
            try:
                value = _read(self.question, answer)
            except ValueError as error:
                self.attempt += 1
                if self.attempt >= tries:
                    self._throw(f"after {'1 try' if tries == 1 else f'{tries} tries'}: {error}")
                return
        self.go_on(lambda: self.steps.send(value))

    def _throw(self, reason: str) -> None:
        self.go_on(lambda: self.steps.throw(UnusableReplyError(reason)))
        self.invalid = self.failure is None


def _read(question: Question, answer: Answer) -> Any:
    """Return what a reply says.

    Raises:
        ValueError: it says nothing that can be read.
    """
    if answer.finish == "length":
        raise ValueError("the reply was cut off at its limit of tokens")
    return question.read(final_text(answer.text))


def _works(benchmark: Benchmark, judge: Judge, rows: Sequence[Row], rule: str, source: str) -> list[_Work]:
    """Begin the steps of all batches, so that a row that lacks something is found before anything is asked."""
    names, _ = names_of(benchmark, rows, source)
    cases = [
        Case(place, row, response_of(benchmark, row))
        for place, row in enumerate(rows)
        if given(benchmark, row) is not ABSENT
    ]
    works, batch = [], list[Case]()
    try:
        for batch in map(list, judge.batches(cases)):
            works.append(_Work(batch, judge.steps[rule](batch)))
            works[-1].begin()
    except (MissingField, BadField) as error:
        case = _culprit(judge, rule, batch or cases)
        raise unusable(error, case.row, f"{source}, {names[case.place]}", benchmark) from None
    return works


def _culprit(judge: Judge, rule: str, cases: Sequence[Case]) -> Case:
    """Return the first row that cannot be asked about."""
    for case in cases:
        try:
            for batch in judge.batches([case]):
                next(judge.steps[rule](batch), None)
        except (MissingField, BadField):
            return case
    return cases[0]


def _ask_all(client: "Client", judge: Judge, waiting: list[_Work], label: str) -> None:
    """Ask round by round until no question is left: all first questions, then what follows from the replies."""
    from mmreflect.remote.progress import progress_line

    total = sum(len(work.cases) for work in waiting)
    with progress_line(client, label, judge.depth * total) as line:
        while waiting:
            asked = list(waiting)

            def take(place: int, answer: Answer, asked: list[_Work] = asked) -> None:
                work, before = asked[place], asked[place].asked
                work.take(answer, client.server.tries)
                over = judge.depth - before + 1 if work.question is None else work.asked - before
                line.advance(len(work.cases) * over)

            client.ask([work.ask(judge) for work in asked], take)
            waiting = [work for work in asked if work.question is not None]


def _write(work: _Work, rows: Sequence[Row], mark: str, account: Account) -> None:
    """Put the outcome of a batch into its rows."""
    account.rows += len(work.cases) if work.asked else 0
    account.invalid += len(work.cases) if work.invalid else 0
    if work.failure is not None:
        kind, words = work.failure
        account.failed[kind] += len(work.cases)
        account.first = account.first or words
        for case in work.cases:
            rows[case.place][ERROR] = f"{kind}: {words}"
        return
    for case, found in zip(work.cases, work.fields or [{}] * len(work.cases), strict=True):
        row = rows[case.place]
        row.update(found)
        if work.asked:
            row[MARK] = mark
        if work.asked or found:
            row.pop(ERROR, None)


__all__ = ["Account", "judge_of", "judge_rows", "judge_terms", "needs_judge"]
