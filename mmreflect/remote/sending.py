"""Sending one request until it is answered: at the common pace, again after failures that pass, with clear ends."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from mmreflect import console
from mmreflect.files import to_json
from mmreflect.remote.asks import Ask, Completion, RefusedError, StopError, UnansweredError
from mmreflect.remote.exchange import Exchange, FailedError
from mmreflect.remote.pace import Pace, wait_before
from mmreflect.remote.settings import ServerConfig
from mmreflect.remote.spending import Spending
from mmreflect.seeds import python_rng

WRONG_AFTER = 8
"""So many refused requests, or unanswered ones, end the run where nothing was ever answered, in an earlier start of it
neither. Until then those that were not answered wait for an answer to another."""
_HEALTH = "Reply with the word yes."
_LOOK_S, _ALONE_S = 0.05, 1.0
"""How often a waiting request looks for answers to others, and how long it waits where none is under way."""

Make = Callable[[Ask, bool], Awaitable[bytes]]
"""From an ask, and whether the server has `response_format`, to the request's bytes."""


class Sender:
    """Sends requests to one server.

    Attributes:
        stopped: why nothing more goes out; None while something may.
        under_way: requests that the server has now.
    """

    def __init__(self, server: ServerConfig, spent: Spending) -> None:
        self.stopped: StopError | None = None
        self.under_way = 0
        self._server, self._spent = server, spent
        self._pace = Pace(server.concurrency, server.requests_per_minute)
        self._exchange: Exchange | None = None
        self._takes_schema: bool | None = None
        self._refused = 0
        self._health = asyncio.Lock()
        self._heard_at = self._served_at = float("-inf")
        self._served: Ask | None = None
        self._open = self._waiting = 0

    def served(self, ask: Ask) -> None:
        """Know a request that the server has answered, now or in an earlier start."""
        self._served = ask

    def stop(self, error: StopError) -> None:
        """Let nothing more go out; the first reason stays, and what is under way is waited for."""
        self.stopped = self.stopped or error
        self._pace.end()

    async def close(self) -> None:
        """Close all connections."""
        if self._exchange is not None:
            await self._exchange.close()

    async def completion(self, ask: Ask, key: str, make: Make) -> Completion:
        """Return the server's completion.

        Raises:
            StopError: nothing more is asked.
            RefusedError: the server takes this request for wrong.
            UnansweredError: all attempts failed.
        """
        self._open += 1
        try:
            return await self._with_schema(ask, key, make)
        except RefusedError as error:
            self._refused += 1
            if not self._spent.ever_answered and self._refused >= WRONG_AFTER:
                raise StopError(error.given, error.expected, error.do) from None
            raise
        finally:
            self._open -= 1

    async def _with_schema(self, ask: Ask, key: str, make: Make) -> Completion:
        """Send a request; where the server refuses `response_format`, tell the schema in words from then on."""
        takes_schema = self._takes_schema is not False
        try:
            completion = await self._insist(key, await make(ask, takes_schema), make)
        except RefusedError as refused:
            if ask.schema is None or not takes_schema or self._takes_schema:
                raise
            try:
                completion = await self._insist(key, await make(ask, False), make)
            except RefusedError:
                raise refused from None
            if self._takes_schema is None:
                console.say(
                    f"[yellow]{self._server.base_url} takes no response_format[/]: "
                    "the schema is told in words, and replies are checked as ever"
                )
            self._takes_schema = False
            return completion
        if ask.schema is not None and takes_schema:
            self._takes_schema = True
        return completion

    async def _insist(self, key: str, content: bytes, make: Make) -> Completion:
        """Send a request until it is answered, refused, or given up."""
        failure, failed_at = FailedError("nothing was sent"), 0.0
        for attempt in range(self._server.retries + 1):
            if attempt:
                self._spent.retried += 1
                await self._pace.rest(wait_before(attempt, python_rng(key, "wait", attempt)))
            try:
                completion = await self._send(content)
                self._served_at = time.monotonic()
                return completion
            except FailedError as error:
                failure, failed_at = error, time.monotonic()
                if error.passing:
                    continue
                raise (self._useless(error) if error.fatal else self._refusal(error)) from None
        unanswered = self._unanswered(failure)
        if failure.connected or self._spent.answered:
            if self._served is not None:
                lives: bool | None = await self._lives(key, failed_at, make)
            else:
                lives = await self._others_are_answered(key, failed_at)
                if lives:
                    return await self._insist(key, content, make)
            if lives or (lives is None and self._spent.ever_answered):
                raise unanswered
        raise StopError(unanswered.given, unanswered.expected, unanswered.do)

    async def _others_are_answered(self, key: str, since: float) -> bool | None:
        """Wait, where nothing was answered in this start, for an answer to another request.

        Whether this one is at fault or the server hangs cannot be told before. It hangs where so many wait that they
        cannot all be at fault, or where it answers no plain question either.

        Returns:
            None where nothing else is under way that could tell.

        Raises:
            StopError: the server cannot be used any more.
        """
        async with self._health:
            if self._served is None and not await self._answers(self._plain(), key, lambda: self._heard_at >= since):
                return False
        self._waiting += 1
        alone_s = 0.0
        try:
            while self._served is None and self.stopped is None:
                alone_s = alone_s + _LOOK_S if self._waiting == self._open else 0.0
                if self._waiting >= WRONG_AFTER:
                    return False
                if alone_s > _ALONE_S:
                    return None
                await asyncio.sleep(_LOOK_S)
        finally:
            self._waiting -= 1
        return self._served is not None

    async def _lives(self, key: str, since: float, make: Make) -> bool:
        """Tell a few requests that are never answered from a server that answers nobody any more.

        It lives where it has answered another request since the last attempt failed, or answers one again that it has
        answered before: a server that hangs may still answer a plain question. It is sent as often as any other; a
        refusal is an answer.

        Raises:
            StopError: the server cannot be used any more.
        """
        async with self._health:
            if self._served_at >= since:
                return True
            assert self._served is not None
            content = await make(self._served, self._takes_schema is not False)
            return await self._answers(content, key, lambda: self._served_at >= since)

    async def _answers(self, content: bytes, key: str, heard: Callable[[], bool]) -> bool:
        """Tell whether a request is answered that the run has no need of, or another one meanwhile."""
        for attempt in range(self._server.retries + 1):
            if attempt:
                await self._pace.rest(wait_before(attempt, python_rng(key, "health", attempt)))
            if heard():
                return True
            try:
                self._spent.add_health(await self._send(content))
                return True
            except FailedError as error:
                if error.fatal:
                    raise self._useless(error) from None
                if not error.passing:
                    return True
        return heard()

    def _plain(self) -> bytes:
        """Return a request that any model can answer."""
        turns = [{"role": "user", "content": _HEALTH}]
        fields = {"model": self._server.model, "messages": turns, self._server.limit_field: 8} | self._server.extra
        return to_json({name: value for name, value in fields.items() if value is not None}).encode(errors="replace")

    async def _send(self, content: bytes) -> Completion:
        if self._exchange is None:
            self._exchange = Exchange(self._server)
        async with self._pace.slot() as began:
            if self.stopped is not None:
                raise self.stopped
            self.under_way += 1
            try:
                completion = await self._exchange.send(content)
            except FailedError as failure:
                if failure.overload:
                    self._pace.overloaded(began, failure.pause_s)
                    self._spent.slowed = self._pace.slowed
                if failure.pause_s is not None and failure.pause_s > self._server.patience_s:
                    raise self._too_long(failure) from None
                raise
            finally:
                self.under_way -= 1
        self._heard_at = time.monotonic()
        self._pace.succeeded()
        return completion

    # ---- errors ------------------------------------------------------------------------------------------------

    def _kept(self) -> str:
        """Say what becomes of what was answered."""
        if self._server.cache_folder is None:
            return "then start again (cache is off: what was answered is asked again)"
        return f"then start the same again: what was answered is in {self._server.cache} and is not paid again"

    def _useless(self, failure: FailedError) -> StopError:
        server = self._server
        named = server.api_key_env or "a variable, named by api_key_env"
        expected, do = {
            401: ("a valid key", f"put the right key into {named}"),
            402: ("credit", f"top up the account, {self._kept()}"),
            403: ("permission", f"allow this key to use {server.model!r}, or put another into {named}"),
            404: ("the server's address and a model that it has", "check base_url (most end with /v1) and model"),
            405: ("the address of an OpenAI-compatible server", "check base_url (most end with /v1)"),
            429: ("credit", f"top up the account, {self._kept()}"),
        }.get(failure.status or 0, ("an address that answers itself", "set base_url to that place"))
        return StopError(f"{server.base_url}: {failure.reason}", expected, do)

    def _refusal(self, failure: FailedError) -> RefusedError:
        do = "change what it complains about"
        if failure.status == 413:
            do = "lower server.pictures.max_pixels, or show fewer frames"
        return RefusedError(f"{self._server.base_url}: {failure.reason}", "a request that the server takes", do)

    def _unanswered(self, failure: FailedError) -> UnansweredError:
        attempts = console.count(self._server.retries + 1, "attempt")
        return UnansweredError(
            f"{self._server.base_url} did not answer in {attempts}; the last: {failure.reason}",
            "a server that answers",
            f"see that it runs and is not overloaded (or raise retries or timeout_s), {self._kept()}",
        )

    def _too_long(self, failure: FailedError) -> StopError:
        return StopError(
            f"{self._server.base_url} wants to be left alone for {failure.pause_s:,.0f} s ({failure.reason})",
            f"at most patience_s={self._server.patience_s:g}",
            f"raise patience_s or wait, {self._kept()}",
        )
