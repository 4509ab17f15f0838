"""A chat-completions server on this machine that behaves, or misbehaves, as it is told."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Body = dict[str, Any]


@dataclass
class Act:
    """What the server does with one request.

    Attributes:
        content: the body; a dict is sent as JSON.
        delay: seconds before anything is sent.
        cut: only so many bytes of the body are sent, then the connection is closed.
        trickle: seconds between any two bytes.
    """

    content: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    kind: str = "application/json"
    delay: float = 0.0
    cut: int | None = None
    trickle: float = 0.0


def completion(
    text: str | None, finish: str = "stop", tokens_in: int = 10, tokens_out: int | None = None, **more: Any
) -> Body:
    """What a well-behaved server says."""
    counted = len((text or "").split()) + 1 if tokens_out is None else tokens_out
    return {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text, **more}, "finish_reason": finish}],
        "usage": {"prompt_tokens": tokens_in, "completion_tokens": counted, "total_tokens": tokens_in + counted},
    }


def says(text: str, **more: Any) -> Act:
    return Act(completion(text, **more))


def echo(body: Body, number: int) -> Act:
    return says(f"you said {shown(body)}")


def shown(body: Body) -> str:
    """The text of a request's last turn."""
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


class Server:
    """The server's address, and what it has seen.

    Attributes:
        behave: from a request's body and its number (from 0) to what is done.
        bodies, times, headers: of all requests in the order in which they came.
        most: requests that were under way at once at most.
    """

    def __init__(self, behave: Callable[[Body, int], Act]) -> None:
        self.behave = behave
        self.bodies: list[Body] = []
        self.times: list[float] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.now = self.most = 0
        self.lock = threading.Lock()
        self.url = ""

    def begin(self, body: Body, headers: dict[str, str], path: str) -> int:
        with self.lock:
            self.bodies.append(body)
            self.times.append(time.monotonic())
            self.headers.append(headers)
            self.paths.append(path)
            self.now += 1
            self.most = max(self.most, self.now)
            return len(self.bodies) - 1

    def end(self) -> None:
        with self.lock:
            self.now -= 1


class _HTTP(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news here."""


@contextmanager
def serving(behave: Callable[[Body, int], Act] = echo) -> Iterator[Server]:
    server = Server(behave)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *parts: Any) -> None:
            pass

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            number = server.begin(body, dict(self.headers), self.path)
            try:
                act = server.behave(body, number)
                time.sleep(act.delay)
            finally:
                server.end()  # before the reply goes out: the client may ask again at once
            content = act.content if isinstance(act.content, bytes) else json.dumps(act.content).encode()
            self.send_response(act.status)
            for name, value in {"Content-Type": act.kind, "Content-Length": str(len(content)), **act.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if act.trickle:
                for place in range(len(content)):
                    self.wfile.write(content[place : place + 1])
                    time.sleep(act.trickle)
            self.wfile.write(content if act.cut is None else content[: act.cut])
            if act.cut is not None:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)

    http = _HTTP(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{http.server_port}/v1"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
