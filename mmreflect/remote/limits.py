"""What asking a server may take at most: one purse for all of a run's clients that pay the same one."""

import asyncio
import hashlib
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from mmreflect.config import to_tree
from mmreflect.remote.account import Start
from mmreflect.remote.asks import LimitReachedError
from mmreflect.remote.cache import Account, Paid
from mmreflect.remote.settings import ServerConfig
from mmreflect.remote.spending import Spending


def account_of(start: Start | None, server: ServerConfig) -> Account | None:
    """Return whose account a client's answers stand in: the run's, for what it pays; None without a run or a cache.

    Where the server is does not count, nor how fast it is asked.
    """
    if start is None or server.cache_folder is None:
        return None
    told = [server.model, server.version, server.extra, to_tree(server.pictures), server.price_in, server.price_out]
    mark = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]
    return start.run, f"{server.model} {mark}"


def purse_of(start: Start | None, server: ServerConfig) -> "Purse":
    """Return the purse that a client pays from.

    Clients of one account share one, so that a limit means the same in the first start as in later ones, whose account
    holds what all of them have paid. A client without an account has its own.
    """
    account = account_of(start, server)
    if start is None or account is None:
        return Purse()
    purse: Purse = start.purses.setdefault((*account, str(server.cache_folder)), Purse())
    return purse


@dataclass(slots=True, eq=False)
class _Waiter:
    """A request that waits until another one has ended, in an event loop of its own client."""

    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    freed: asyncio.Event = field(default_factory=asyncio.Event)


class Purse:
    """What was paid, and what is held for requests under way. Its clients live in threads of their own.

    Attributes:
        before: what earlier starts of the run have paid; None where no run is known. Limits go by it and by what this
            start pays; without a run by this start and by what it finds in the cache.
        held: requests that hold room.
    """

    def __init__(self) -> None:
        self.before: Paid | None = None
        self.held = 0
        self._payers: list[Spending] = []
        self._held_tokens, self._held_cost = 0, 0.0
        self._waiting = set[_Waiter]()
        self._lock = threading.RLock()

    def join(self, spent: Spending) -> None:
        """Let one client more pay from it."""
        with self._lock:
            self._payers.append(spent)

    def found(self, before: Paid) -> Paid:
        """Take what earlier starts have paid: as the first client read it, before anything was paid in this start."""
        with self._lock:
            self.before = before if self.before is None else self.before
            return self.before

    @property
    def shared(self) -> bool:
        """Whether several clients have paid from it in this start."""
        return sum(bool(payer.answered) for payer in self._payers) > 1

    def charged(self) -> tuple[int, int]:
        """Return the tokens, in and out, that limits go by."""
        tokens_in, tokens_out = (self.before.tokens_in, self.before.tokens_out) if self.before else (0, 0)
        for payer in self._payers:
            tokens_in, tokens_out = tokens_in + payer.tokens_in, tokens_out + payer.tokens_out
            if self.before is None:
                tokens_in, tokens_out = tokens_in + payer.saved_in, tokens_out + payer.saved_out
        return tokens_in, tokens_out

    def take(self, server: ServerConfig, tokens: int, cost: float, waiter: _Waiter) -> bool | None:
        """Hold room for a request; where there is none yet, let it wait, and where none can come, return None."""
        most_tokens, most_cost = server.max_tokens_total, server.max_cost
        with self._lock:
            charged = self.charged()
            free_tokens = None if most_tokens is None else most_tokens - sum(charged) - tokens
            free_cost = None if most_cost is None else most_cost - server.cost(*charged) - cost
            if (free_tokens is not None and free_tokens < 0) or (free_cost is not None and free_cost < 0):
                return None
            if (free_tokens is not None and free_tokens < self._held_tokens) or (
                free_cost is not None and free_cost < self._held_cost
            ):
                self._waiting.add(waiter)
                return False
            self._hold(1, tokens, cost)
            return True

    def give_back(self, tokens: int, cost: float) -> None:
        """Let go of room: what was spent may be less than what was held, so all who wait look again."""
        with self._lock:
            self._hold(-1, -tokens, -cost)
            for waiter in self._waiting:
                waiter.loop.call_soon_threadsafe(waiter.freed.set)
            self._waiting.clear()

    def forget(self, waiter: _Waiter) -> None:
        """Wake one who waited no more: its loop may be closed then."""
        with self._lock:
            self._waiting.discard(waiter)

    def _hold(self, requests: int, tokens: int, cost: float) -> None:
        self.held, self._held_tokens = self.held + requests, self._held_tokens + tokens
        self._held_cost = self._held_cost + cost if self.held else 0.0


class Limits:
    """Lets a client's request go out only where its worst case fits beside what was spent and what is under way."""

    def __init__(self, server: ServerConfig, spent: Spending, purse: Purse) -> None:
        self._server, self._spent, self._purse = server, spent, purse
        self._limited = server.max_tokens_total is not None or server.max_cost is not None
        # Who waits for a slot may find that more was spent: no more hold room than may be under way.
        self._slots = asyncio.Semaphore(server.concurrency)
        purse.join(spent)

    @asynccontextmanager
    async def room_for(self, tokens_in: int, tokens_out: int) -> AsyncIterator[None]:
        """Hold room for a request; where there is none, wait until those under way have ended.

        Raises:
            LimitReachedError: there is none, whatever those under way will take.
        """
        if not self._limited:
            async with self._held(tokens_in, tokens_out):
                yield
            return
        async with self._slots, self._held(tokens_in, tokens_out):
            yield

    @asynccontextmanager
    async def _held(self, tokens_in: int, tokens_out: int) -> AsyncIterator[None]:
        tokens, cost = tokens_in + tokens_out, self._server.cost(tokens_in, tokens_out)
        while not (taken := self._purse.take(self._server, tokens, cost, waiter := _Waiter())):
            if taken is None:
                raise self._reached(tokens, cost)
            try:
                await waiter.freed.wait()
            finally:
                self._purse.forget(waiter)
        try:
            yield
        finally:
            self._purse.give_back(tokens, cost)

    def _reached(self, tokens: int, cost: float) -> LimitReachedError:
        spent, server = self._spent, self._server
        charged = self._purse.charged()
        if server.max_tokens_total is not None and sum(charged) + tokens > server.max_tokens_total:
            name, limit = "max_tokens_total", f"{server.max_tokens_total:,}"
            found, more = f"{sum(charged):,} tokens", f"{tokens:,}"
        else:
            name, limit = "max_cost", f"{server.max_cost:g}"
            found, more = f"{server.cost(*charged):.4g}", f"{cost:.2g}"
        if self._purse.before is not None and self._purse.before.requests:
            found += " in all starts"
        if self._purse.shared:
            found += f" by all blocks that ask {server.model!r}"
        kept = f"finished requests are in {server.cache} and are not paid again"
        return LimitReachedError(
            f"{name} is {limit}: {found} spent, and the next request may take {more} more ({spent.text()})",
            "room for one more request, reckoned with the whole of its limit of new tokens",
            f"raise {name} and start the same again"
            + (f"; {kept}" if server.cache_folder else "; cache is off, so that it begins anew"),
        )
