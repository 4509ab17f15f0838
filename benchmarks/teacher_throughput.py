"""How busy a builder keeps a teacher's server: python benchmarks/teacher_throughput.py [--json FILE].

A server, in a process of its own, answers after a random time. The builder `srpo_reflection` asks it three or four
things a row, each after the one before, in shards whose rows wait for each other twice. The share of the server's slots
that are busy is measured from the first request to the last reply, so that with fewer rows the end, where rows run out,
weighs more. The peer asks as many things a row round by round, a shard at a time, as a loop over `Client.ask` would;
for a quarter of the rows, as nothing overlaps there.
"""

import argparse
import json
import multiprocessing
import platform
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from mmreflect import console, launch
from mmreflect.records import Turn
from mmreflect.remote.asks import Ask
from mmreflect.remote.client import Client
from mmreflect.remote.settings import ServerConfig

GOAL = 0.95
ROUNDS = 4
ATTEMPT = "<think>I look at both. I add them. That is the sum.</think><answer>{}</answer>"


class Teacher:
    """Answers after a time of its own draw, with few very long ones.

    Attributes:
        spans: when each request came and when it was answered.
    """

    def __init__(self, mean_s: float) -> None:
        self.mean_s, self.spans = mean_s, list[tuple[float, float]]()
        self.lock = threading.Lock()

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return a completion."""
        came, text = time.monotonic(), str(body["messages"])
        time.sleep(self.mean_s * random.Random(text).lognormvariate(-0.18, 0.6))
        with self.lock:
            self.spans.append((came, time.monotonic()))
        said = ATTEMPT.format(random.Random(text).randint(0, 1))
        if "from 1 to 5" in text:
            said = '{"score": 4, "reason": "clear"}'
        elif "the one field" in text:
            said = '{"reflection": "I go through the sum again. It was one too many."}'
        elif "Solve the question anew" in text:
            said = ATTEMPT.format(0)
        message = {"role": "assistant", "content": said}
        usage = {"prompt_tokens": len(text) // 4, "completion_tokens": len(said) // 4}
        return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}


def serve(mean_s: float, line: Any) -> None:
    """Serve on loopback: tell the address, and the spans once anything comes in."""
    teacher = Teacher(mean_s)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *parts: Any) -> None:
            pass

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            content = json.dumps(teacher.answer(body)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    line.send(f"http://127.0.0.1:{server.server_port}/v1")
    line.recv()
    line.send(teacher.spans)


@contextmanager
def serving(mean_s: float) -> Iterator[tuple[str, list[tuple[float, float]]]]:
    """Run the server; gives its address, and a list that holds the spans of all requests at the end."""
    spawning = multiprocessing.get_context("spawn")
    line, theirs = spawning.Pipe()
    process = spawning.Process(target=serve, args=(mean_s, theirs), daemon=True)
    process.start()
    spans: list[tuple[float, float]] = []
    try:
        yield line.recv(), spans
        line.send("enough")
        spans += line.recv()
    finally:
        process.terminate()


def busy(spans: list[tuple[float, float]], slots: int) -> float:
    """Return the share of the slots that was busy, from the first request to the last reply."""
    start, end = min(came for came, _ in spans), max(done for _, done in spans)
    return sum(done - came for came, done in spans) / (slots * (end - start))


def build(url: str, folder: Path, rows: int, shard_rows: int, slots: int) -> int:
    """Build the dataset; return its rows."""
    lines = [json.dumps({"id": f"q{place}", "question": f"Question {place}?", "answer": "0"}) for place in range(rows)]
    (folder / "in.jsonl").write_text("\n".join(lines) + "\n")
    source = {"builder": "rows", "source": folder / "in.jsonl", "output": folder / "in", "validation": 0.0}
    launch.start("build", source)
    server = {"base_url": url, "model": "teacher", "concurrency": slots, "cache": folder / "cache"}
    speaker = {"engine": {"name": "openai", "server": server}}
    tree = {"builder": "srpo_reflection", "output": folder / "out", "source": {"path": folder / "in"}}
    run = launch.start("build", tree | {"policy": speaker, "teacher": speaker, "shard_rows": shard_rows})
    assert run.result is not None
    return int(run.result["rows"]["train"])


def in_rounds(url: str, folder: Path, rows: int, shard_rows: int, slots: int) -> None:
    """Ask as many things a shard at a time, each round after the one before."""
    server = ServerConfig(base_url=url, model="teacher", concurrency=slots, cache=str(folder / "other"))
    with Client(server) as client:
        for start in range(0, rows, shard_rows):
            for number in range(ROUNDS):
                texts = [f"round {number}: Question {place}?" for place in range(start, min(rows, start + shard_rows))]
                client.ask([Ask([Turn("user", [text])]) for text in texts])


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; return 0 where the goal is reached, else 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=800)
    parser.add_argument("--shard-rows", type=int, default=50)
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--mean-seconds", type=float, default=1.0)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    sizes = (given.rows, given.shard_rows, given.slots)
    found: dict[str, Any] = {"slots": given.slots, "mean_seconds": given.mean_seconds}
    with tempfile.TemporaryDirectory() as name:
        for label in ("builder", "rounds"):
            with serving(given.mean_seconds) as (url, spans):
                if label == "builder":
                    found["rows"] = build(url, Path(name), *sizes)
                else:
                    in_rounds(url, Path(name), given.rows // 4, *sizes[1:])
            share = busy(spans, given.slots)
            found["busy_share" if label == "builder" else "busy_share_in_rounds"] = round(share, 4)
            console.say(f"{label}: {len(spans)} requests, {share:.1%} of the slots busy")
    found["machine"] = platform.processor() or platform.machine()
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n")
    reached = found["busy_share"] >= GOAL
    console.say(f"goal {GOAL:.0%}: {'reached' if reached else 'missed'}")
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
