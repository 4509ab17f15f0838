"""The cache as the event loop uses it: a thread of its own, and answers that come in together flushed together."""

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from mmreflect.errors import UserError
from mmreflect.remote.asks import Completion, StopError
from mmreflect.remote.cache import Account, AnswerCache, Paid
from mmreflect.remote.spending import Spending

T = TypeVar("T")


class Keeper:
    """Keeps completions in a folder, or nowhere. Everything but the constructor runs inside of one event loop.

    A flush takes some milliseconds whatever it holds: all that come in during one go into the next together. What they
    cost goes along into the run's account.

    Args:
        account: of the run; None keeps none.
    """

    def __init__(self, folder: Path | None, account: Account | None, spent: Spending) -> None:
        self._account, self._spent, self._billed = account, spent, Paid()
        self._cache = AnswerCache(folder) if folder else None
        self._thread = ThreadPoolExecutor(1, "answers")
        self._waiting: list[tuple[str, str, asyncio.Future[str]]] = []
        self._flushing: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Flush what waits and let go of the file."""
        if self._flushing is not None:
            await self._flushing
        if self._cache is not None:
            if self._account is not None and self._spent.this_start != self._billed:
                with contextlib.suppress(UserError):  # a cache that takes no more has said so
                    await self._in(partial(self._cache.put, [], self._account, self._spent.this_start - self._billed))
            await self._in(self._cache.close)
        self._thread.shutdown()

    async def paid(self) -> Paid:
        """Return what earlier starts of the run have paid.

        Raises:
            StopError: the cache cannot be used.
        """
        if self._cache is None or self._account is None:
            return Paid()
        try:
            return await self._in(partial(self._cache.paid, self._account))
        except UserError as error:
            raise StopError(error.given, error.expected, error.do) from None

    async def get(self, key: str) -> Completion | None:
        """Return the completion of a request, or None.

        Raises:
            StopError: the cache cannot be used.
        """
        if self._cache is None:
            return None
        cache = self._cache
        try:
            text = await self._in(lambda: cache.get(key))
        except UserError as error:
            raise StopError(error.given, error.expected, error.do) from None
        return None if text is None else Completion.from_json(text)

    async def put(self, key: str, completion: Completion) -> Completion:
        """Keep a completion and return the one that is kept; it is on disk when this returns.

        Raises:
            StopError: it cannot be written.
        """
        if self._cache is None:
            return completion
        written = asyncio.get_running_loop().create_future()
        self._waiting.append((key, completion.to_json(), written))
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush(self._cache))
        return Completion.from_json(await written)

    async def _flush(self, cache: AnswerCache) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            rows = [(key, text) for key, text, _ in batch]
            whole = self._spent.this_start
            try:
                kept = await self._in(partial(cache.put, rows, self._account, whole - self._billed))
                self._billed = whole
            except UserError as error:
                for _, _, written in batch:
                    if not written.done():
                        written.set_exception(StopError(error.given, error.expected, error.do))
                continue
            for (_, _, written), text in zip(batch, kept, strict=True):
                if not written.done():  # one who asked may have gone away
                    written.set_result(text)

    async def _in(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
