"""Asking a server many things at once, from plain synchronous code.

    with Client(server) as client:
        answers = client.ask([Ask([Turn("user", ["How many?", Media("image", "a.png")])], seed=1)])

Every answer is in the cache before anybody sees it: a run that is killed asks again only for what was under way.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from queue import SimpleQueue

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
        """Close the connections and the cache; nothing can be asked afterwards."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._asking.close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def ask(self, asks: Sequence[Ask], on_answer: Callable[[int, Answer], None] | None = None) -> list[Answer]:
        """Ask everything and return the answers in order.

        One that fails holds its error; the others go on. After an error that ends all, what is under way is waited
        for, kept, and handed to `on_answer` before the error is raised.

        Args:
            on_answer: called in this thread with the place of each ask and its answer, as they come in.

        Raises:
            UserError: the server cannot be used at all, or a limit is reached; says what was spent.
        """
        answers: dict[int, Answer] = {}
        finished = SimpleQueue[tuple[int, Answer] | None]()
        asked = asyncio.run_coroutine_threadsafe(self._asking.ask_all(asks, finished.put), self._loop)
        try:
            while (item := finished.get()) is not None:
                answers[item[0]] = item[1]
                if on_answer is not None:
                    on_answer(*item)
            asked.result()
        except BaseException:
            asked.cancel()
            raise
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
