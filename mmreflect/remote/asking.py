"""What happens to asks inside the event loop: cache first, then the server, then the check of structured replies."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar
from weakref import WeakValueDictionary

from mmreflect import console
from mmreflect.errors import UserError
from mmreflect.remote.account import claimed
from mmreflect.remote.asks import Answer, Ask, Completion, StopError
from mmreflect.remote.keeping import Keeper
from mmreflect.remote.limits import Limits, account_of, purse_of
from mmreflect.remote.pictures import Pictures
from mmreflect.remote.requests import Requests, again
from mmreflect.remote.sending import WRONG_AFTER, Sender
from mmreflect.remote.settings import ServerConfig
from mmreflect.remote.spending import Spending, reckoned
from mmreflect.remote.structured import RejectedError, read_and_mend

AHEAD = 2
"""Asks in the works for each slot: some are read from the cache or made ready while others are under way."""
_THREADS = 4
T = TypeVar("T")
_WITHHELD = {"content_filter": "the server withheld the reply", "refusal": "the model refused to reply"}


class Asking:
    """All asks of one client; everything but the constructor runs inside of its event loop."""

    def __init__(self, server: ServerConfig, spent: Spending) -> None:
        self._server, self._spent = server, spent
        self._requests = Requests(server, Pictures(server.pictures))
        self._sender = Sender(server, spent)
        self._purse = purse_of(claimed(), server)
        self._limits = Limits(server, spent, self._purse)
        account = account_of(claimed(), server)
        self._keeper = Keeper(server.cache_folder, account, spent)
        self._has_account, self._accounting = account is not None, asyncio.Lock()
        self._roots = set[asyncio.Task[None]]()
        self._makers = ThreadPoolExecutor(_THREADS, "requests")
        self._locks = WeakValueDictionary[str, asyncio.Lock]()
        self._keeps_no_more = False

    @property
    def under_way(self) -> int:
        """Requests that the server has now."""
        return self._sender.under_way

    def stop(self) -> None:
        """Let nothing more go out."""
        self._sender.stop(StopError("the client is closed", "an open one", "ask before it is closed"))

    async def finish(self) -> None:
        """Wait until what is under way is answered and kept, for as long as a request may take."""
        if self._roots:
            await asyncio.wait(self._roots, timeout=self._server.timeout_s)

    async def close(self) -> None:
        """Drop what is still under way, and close the connections and the cache."""
        roots = list(self._roots)
        for root in roots:
            root.cancel()
        await asyncio.gather(*roots, return_exceptions=True)
        await self._sender.close()
        await self._keeper.close()
        self._makers.shutdown(cancel_futures=True)

    async def ask_all(
        self,
        asks: Sequence[Ask],
        done: Callable[[tuple[int, Answer] | None], None],
        halted: threading.Event | None = None,
    ) -> None:
        """Answer all asks and hand each answer over with its place; None is handed over last.

        Args:
            halted: once it is set, none of these asks goes out any more.

        Raises:
            UserError: nothing more can be asked.
        """
        root = asyncio.current_task()
        assert root is not None
        self._roots.add(root)
        answered = 0

        def hand_over(item: tuple[int, Answer]) -> None:
            nonlocal answered
            answered += 1
            done(item)

        try:
            todo = iter(enumerate(asks))
            async with asyncio.TaskGroup() as group:
                # some may wait for what becomes of others
                for _ in range(min(len(asks), max(AHEAD * self._server.concurrency, WRONG_AFTER))):
                    group.create_task(self._work(todo, hand_over, halted or threading.Event()))
            # what ends others takes nothing away from asks that are all answered
            if self._sender.stopped is not None and (answered < len(asks) or self._keeps_no_more):
                raise self._sender.stopped
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            self._roots.discard(root)
            done(None)

    async def _work(
        self, todo: Iterator[tuple[int, Ask]], done: Callable[[tuple[int, Answer]], None], halted: threading.Event
    ) -> None:
        while self._sender.stopped is None and not halted.is_set():
            item = next(todo, None)
            if item is None:
                return
            place, ask = item
            try:
                answer = await self._answer(ask)
            except StopError as error:
                self._sender.stop(error)
                return
            self._spent.failed += answer.error is not None
            done((place, answer))

    async def _answer(self, ask: Ask) -> Answer:
        """Answer one ask: a structured one is asked again until a reply fits."""
        answer, current, reason = Answer("", cached=True, tries=0), ask, ""
        for number in range(1, self._server.tries + 1):
            try:
                completion, cached = await self._complete(current)
            except StopError:
                raise
            except UserError as error:
                return replace(answer, cached=False, error=error)
            answer = _after(answer, completion, cached)
            if completion.finish in _WITHHELD:
                return replace(answer, error=_withheld(completion))
            if ask.schema is None:
                return answer
            try:
                value, mended = read_and_mend(completion.text, ask.schema, completion.finish)
                self._spent.repaired += mended > 0
                return replace(answer, value=value, repaired=mended)
            except RejectedError as rejected:
                self._spent.rejected += 1
                reason = str(rejected)
                current = again(ask, number, reason)
        return replace(answer, error=_rejected(answer.tries, reason))

    async def _complete(self, ask: Ask) -> tuple[Completion, bool]:
        """Return the completion of a request, and whether it was in the cache.

        Raises:
            StopError: nothing more is asked.
            UserError: this request has none.
        """
        key = await self._made(ask, lambda: self._requests.key(ask))
        await self._know_account()
        # The same request may be asked twice at once: the second finds the first one's answer.
        async with self._locks.setdefault(key, asyncio.Lock()):
            kept = await self._keeper.get(key)
            if kept is not None:
                self._spent.add(key, kept, cached=True)
                self._sender.served(ask)
                return kept, True
            tokens_in = await self._made(ask, lambda: self._requests.tokens_in(ask))
            async with self._limits.room_for(tokens_in, ask.max_tokens):
                completion = self._reckoned(await self._sender.completion(ask, key, self._make), tokens_in)
                self._spent.add(key, completion, cached=False)
                self._sender.served(ask)
                return await self._keep(key, completion), False

    async def _know_account(self) -> None:
        """Read what earlier starts have paid, before the first request goes out; who asked first goes on first."""
        if self._has_account:
            async with self._accounting:
                if self._spent.before is None:
                    self._spent.before = self._purse.found(await self._keeper.paid())

    def _reckoned(self, completion: Completion, tokens_in: int) -> Completion:
        """Return a completion with its tokens; where the server counts none, they are estimated, and that is told."""
        if completion.tokens_in is not None and completion.tokens_out is not None:
            return completion
        if not self._spent.estimated:
            console.say(f"[yellow]{self._server.base_url} counts no tokens[/]: they are estimated from the text")
        self._spent.estimated += 1
        return reckoned(completion, tokens_in)

    async def _make(self, ask: Ask, takes_schema: bool) -> bytes:
        return await self._made(ask, lambda: self._requests.body(ask, takes_schema))

    async def _keep(self, key: str, completion: Completion) -> Completion:
        """Put a completion into the cache; where that fails it is still handed over, and is the last one."""
        try:
            return await self._keeper.put(key, completion)
        except StopError as error:
            self._keeps_no_more = True
            self._sender.stop(error)
            return completion

    async def _made(self, ask: Ask, work: Callable[[], T]) -> T:
        """Do what may read media in a thread, so that the loop goes on meanwhile; text alone is not worth the way."""
        if all(isinstance(part, str) for turn in ask.turns for part in turn.content):
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._makers, work)


def _after(answer: Answer, completion: Completion, cached: bool) -> Answer:
    """Return an answer with one completion more; the tokens add up."""
    return Answer(
        completion.text,
        completion.finish,
        answer.tokens_in + (completion.tokens_in or 0),
        answer.tokens_out + (completion.tokens_out or 0),
        answer.cached and cached,
        completion.reasoning,
        tries=answer.tries + 1,
    )


def _withheld(completion: Completion) -> UserError:
    said = f": {completion.text[:200]}" if completion.text else f" ({completion.finish})"
    return UserError(f"{_WITHHELD[completion.finish]}{said}", "a reply", "leave the question out, or ask another model")


def _rejected(tries: int, reason: str) -> UserError:
    return UserError(
        f"rejected after {'1 try' if tries == 1 else f'{tries} tries'}: {reason}",
        "JSON that fits the schema",
        "raise server.tries or the limit of new tokens, or ask in other words",
    )
