"""Asking a server many things at once, from plain synchronous code.

    with Client(server) as client:
        answers = client.ask([Ask([Turn("user", ["How many?", Media("image", "a.png")])], seed=1)])

Every answer is in the cache before anybody sees it: a run that is killed asks again only for what was under way.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from queue import SimpleQueue

from mmreflect import console
from mmreflect.remote.asking import Asking
from mmreflect.remote.asks import Answer, Ask
from mmreflect.remote.settings import ServerConfig, check
from mmreflect.remote.spending import Spending


class Client:
    """Asks one server. Any number of threads may ask at the same time; all share one pace and one budget.

    Attributes:
        spent: what was asked, answered and paid so far.

    Raises:
        UserError: as `check`.
    """

    def __init__(self, server: ServerConfig) -> None:
        check(server)
        self.server, self.spent = server, Spending(server=server)
        self._asking = Asking(server, self.spent)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="server", daemon=True)
        self._thread.start()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections and the cache, as `close_all`; nothing can be asked afterwards."""
        close_all([self])

    @property
    def closed(self) -> bool:
        """Whether nothing can be asked any more."""
        return self._loop.is_closed()

    @property
    def under_way(self) -> int:
        """Requests that the server has now."""
        return self._asking.under_way

    def stop(self) -> None:
        """Let nothing more go out."""
        if not self.closed:
            asyncio.run_coroutine_threadsafe(_do(self._asking.stop), self._loop).result()

    def _wait(self) -> None:
        """Wait for what is under way."""
        waited = asyncio.run_coroutine_threadsafe(self._asking.finish(), self._loop)
        try:
            waited.result()
        except BaseException:
            waited.cancel()
            raise

    def _end(self) -> None:
        asyncio.run_coroutine_threadsafe(self._asking.close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def ask(self, asks: Sequence[Ask], on_answer: Callable[[int, Answer], None] | None = None) -> list[Answer]:
        """Ask everything and return the answers in order.

        One that fails holds its error; the others go on. After an error that ends all, what is under way is waited
        for, kept, and handed to `on_answer` before the error is raised.

        Args:
            on_answer: called in this thread with the place of each ask and its answer, as they come in. After an error
                of its own the others of these asks do not go out; those under way are kept.

        Raises:
            KeyboardInterrupt: the client is closed by then, as `close_all`.
            UserError: the server cannot be used at all, or a limit is reached before all is there; says what was spent.
        """
        answers: dict[int, Answer] = {}
        finished = SimpleQueue[tuple[int, Answer] | None]()
        halted = threading.Event()
        asked = asyncio.run_coroutine_threadsafe(self._asking.ask_all(asks, finished.put, halted), self._loop)
        try:
            while (item := finished.get()) is not None:
                answers[item[0]] = item[1]
                if on_answer is not None:
                    on_answer(*item)
            asked.result()
        except KeyboardInterrupt:
            self.close()
            raise
        finally:
            halted.set()
        return [answers[place] for place in range(len(asks))]

    def send(self, asks: Sequence[Ask], done: Callable[[list[Answer] | BaseException], None]) -> None:
        """Ask everything and go on at once.

        Args:
            done: called once, in the client's thread, with the answers in order, or with the error that ended all.
        """
        answers: dict[int, Answer] = {}

        def take(item: tuple[int, Answer] | None) -> None:
            if item is not None:
                answers[item[0]] = item[1]

        def end(asked: Future[None]) -> None:
            error = CancelledError() if asked.cancelled() else asked.exception()
            done(error or [answers[place] for place in range(len(asks))])

        asyncio.run_coroutine_threadsafe(self._asking.ask_all(asks, take), self._loop).add_done_callback(end)


def close_all(clients: Sequence[Client]) -> None:
    """Close clients together: nothing more goes out, and what is under way is waited for, so that its answers are kept.

    That takes as long as a request may take (`timeout_s`) at most; an interrupt meanwhile ends it at once.
    """
    clients = [client for client in clients if not client.closed]
    try:
        for client in clients:
            client.stop()
        under_way = sum(client.under_way for client in clients)
        if under_way:
            requests = console.count(under_way, "request")
            console.say(f"waiting for {requests} under way, whose answers are kept; Ctrl-C ends at once")
        for client in clients:
            client._wait()
    finally:
        with contextlib.ExitStack() as ending:
            for client in clients:
                ending.callback(client._end)


async def _do(work: Callable[[], None]) -> None:
    work()
