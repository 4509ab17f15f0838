"""How many requests go out at once and how fast: halved when the server is overloaded, raised slowly when it is not."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0


class Pace:
    """Slots for requests under way, spaced in time.

    Attributes:
        limit: requests at once now, at most `concurrency`.
        slowed: how often it was halved.
    """

    def __init__(self, concurrency: int, requests_per_minute: float | None) -> None:
        self.limit = float(concurrency)
        self.slowed = 0
        self._most = concurrency
        self._interval_s = 60.0 / requests_per_minute if requests_per_minute else 0.0
        self._busy = 0
        self._waiting = deque[asyncio.Future[None]]()
        self._next_turn = self._paused_until = self._slowed_at = 0.0
        self._ended = asyncio.Event()

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[float]:
        """Hold a slot; gives the time at which the request may go out, which is now."""
        await self._place()
        try:
            await self._turn()
            yield time.monotonic()
        finally:
            self._busy -= 1
            self._wake()

    def end(self) -> None:
        """Let all who rest or wait for their turn go on at once: nothing more is to go out."""
        self._ended.set()

    async def rest(self, seconds: float) -> None:
        """Wait, until the end at most."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), seconds)

    async def _place(self) -> None:
        """Take a slot, in the order in which they were asked for."""
        if not self._waiting and self._busy < int(self.limit):
            self._busy += 1
            return
        granted = asyncio.get_running_loop().create_future()
        self._waiting.append(granted)
        try:
            await granted
        except asyncio.CancelledError:
            if not granted.cancelled():  # it was granted to one who is gone
                self._busy -= 1
                self._wake()
            raise

    def _wake(self) -> None:
        """Grant the slots that are free."""
        while self._waiting and self._busy < int(self.limit):
            granted = self._waiting.popleft()
            if not granted.done():
                self._busy += 1
                granted.set_result(None)

    async def _turn(self) -> None:
        """Wait for this request's place in the minute, and out of any pause that the server asked for."""
        turn = max(time.monotonic(), self._next_turn)
        self._next_turn = turn + self._interval_s
        while (wait := max(turn, self._paused_until) - time.monotonic()) > 0 and not self._ended.is_set():
            await self.rest(wait)
        if self._paused_until > turn and self._interval_s:
            # All that had waited for their turns wake at the pause's end: they take places anew.
            turn = max(self._paused_until, self._next_turn)
            self._next_turn = turn + self._interval_s
            await self.rest(max(0.0, turn - time.monotonic()))

    def succeeded(self) -> None:
        """Let a little more go out at once: one more for a whole round of successes."""
        self.limit = min(float(self._most), self.limit + 1 / self.limit)
        self._wake()

    def overloaded(self, began: float, pause_s: float | None = None) -> None:
        """Halve what goes out at once; failures of requests that went out before the last halving do not count twice.

        Args:
            began: when the failed request went out.
            pause_s: how long the server wants nothing at all.
        """
        now = time.monotonic()
        if pause_s is not None:
            self._paused_until = max(self._paused_until, now + pause_s)
        if began >= self._slowed_at:
            self.limit, self._slowed_at = max(1.0, self.limit / 2), now
            self.slowed += 1


def wait_before(attempt: int, rng: Random) -> float:
    """Return the seconds before attempt 1, 2, ...: uniform up to a bound that doubles ("full jitter")."""
    return rng.uniform(0.0, min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** (attempt - 1)))
