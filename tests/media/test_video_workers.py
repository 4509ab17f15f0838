"""Worker processes: killed in time, replaced after a crash, worn out, shared by threads, left alone after a fork."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mmreflect.errors import UserError
from mmreflect.media import worker as worker_module
from mmreflect.media.reader import ReaderConfig, VideoReader
from mmreflect.media.video import load_video
from mmreflect.media.workers import WorkerPool
from mmreflect.records import FrameSampling, Media

Film = Callable[..., Path]
Numbers = Callable[[Any], list[int]]
TINY = FrameSampling(nframes=4, min_tokens=1, max_tokens=4)


def only_worker(reader: VideoReader) -> Any:
    assert reader._pool is not None
    (worker,) = reader._pool._free
    return worker


def test_what_takes_too_long_is_stopped_and_named(film: Film, tmp_path: Path) -> None:
    """The worker stands still, as it does when a drive no longer answers."""
    reader = VideoReader(ReaderConfig(cache="off", workers=1, time_limit_s=0.6))
    path = str(film(frames=10))
    reader.info(path)
    os.kill(only_worker(reader).process.pid, signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(
        UserError, match=r"reading .*film.mp4 took more than 0.6 s and was stopped[\s\S]*raise time_limit_s"
    ):
        load_video(Media("video", path), TINY, reader=reader)
    assert 0.5 < time.monotonic() - began < 3
    assert len(load_video(Media("video", path), TINY, reader=reader).times_F) == 4
    assert reader.counts["killed"] == 1
    reader.close()


def test_the_limit_is_one_for_all_that_a_clip_asks(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two requests of 0.6 seconds each use up one second; there is no third."""
    reader = VideoReader(ReaderConfig(cache="off", workers=1, time_limit_s=1.0))
    monkeypatch.setattr(
        WorkerPool, "ask", lambda self, request, seconds: ({"mark": "0", "info": INFO, "second_passes": 0}, 0.6)
    )
    with pytest.raises(UserError, match="took more than 1 s"):
        load_video(Media("video", str(film(frames=10))), TINY, reader=reader)


INFO = {"duration": 1.0, "fps": 10.0, "frames": 10, "width": 96, "height": 64, "variable_rate": False}


def test_an_idle_worker_found_dead_is_replaced(film: Film, reader: VideoReader) -> None:
    path = str(film(frames=10))
    reader.info(path)
    process = only_worker(reader).process
    process.kill()
    process.wait()
    assert len(load_video(Media("video", path), TINY, reader=reader).times_F) == 4
    assert not reader.counts["crashed"] and reader._pool is not None and reader._pool.started == 2


def test_a_crash_over_a_request_says_which_signal(
    film: Film, reader: VideoReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(film(frames=10))
    reader.info(path)
    process = only_worker(reader).process
    os.kill(process.pid, signal.SIGSTOP)  # it will not answer until it is ended

    def end() -> None:
        time.sleep(0.3)
        os.kill(process.pid, signal.SIGSEGV)
        os.kill(process.pid, signal.SIGCONT)

    thread = threading.Thread(target=end)
    thread.start()
    with pytest.raises(UserError, match=r"the decoder broke down over .*film.mp4 \(SIGSEGV\)[\s\S]*another decoder"):
        load_video(Media("video", path), TINY, reader=reader)
    thread.join()
    assert reader.counts["crashed"] == 1 and len(load_video(Media("video", path), TINY, reader=reader).times_F) == 4


def test_a_worn_out_worker_is_replaced(film: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(film(frames=10))
    worker = worker_module._Worker("pyav")
    request = {"op": "read", "path": path, "threads": 1, "outputs": [output(tmp_path / "a.npy")]}
    assert worker.answer(request) == {"second_passes": 0} and not worker.worn_out()
    monkeypatch.setattr(worker_module, "RETIRE_READS", 2)
    worker.answer(request)
    assert worker.worn_out()
    pool = WorkerPool("pyav", 1)
    monkeypatch.setattr("mmreflect.media.workers._BOOT", RETIRING)
    for _ in range(3):
        assert pool.ask({"op": "mark", "path": path}, 10.0)[0]["mark"]
    assert pool.started == 4, "the one that waits is the fourth"
    pool.close()


RETIRING = """\
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from mmreflect.media import worker
worker.RETIRE_READS = 0
worker.serve(sys.argv[2])
"""


def output(file: Path) -> dict[str, Any]:
    return {"file": str(file), "times": [0.0, 0.2], "size": [28, 28], "crop": None, "stamps": None}


def test_a_bug_keeps_its_traceback(film: Film, reader: VideoReader, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(film(frames=10))
    monkeypatch.setattr(reader, "_folders", lambda size: iter([]))
    reader.info(path)
    with pytest.raises(RuntimeError, match=r"a video worker failed over .*[\s\S]*KeyError: 'outputs'"):
        reader._ask(reader.limit(path), {"op": "read"})


def test_threads_share_the_workers(film: Film, numbers: Numbers, tmp_path: Path) -> None:
    reader = VideoReader(ReaderConfig(cache=str(tmp_path / "frames"), workers=2))
    paths = [str(film(f"{number}.mp4", frames=20 + number)) for number in range(6)]
    with ThreadPoolExecutor(8) as threads:
        clips = list(
            threads.map(
                lambda path: load_video(Media("video", path), FrameSampling(nframes=2), reader=reader), paths * 4
            )
        )
    assert [numbers(clip.frames_FHWC) for clip in clips] == [[0, 19 + number] for number in range(6)] * 4
    assert reader._pool is not None and reader._pool.started <= 2
    reader.close()


def test_a_forked_child_has_workers_of_its_own(film: Film, reader: VideoReader) -> None:
    path = str(film(frames=10))
    reader.info(path)
    mine = only_worker(reader).process.pid
    child = os.fork()
    if child == 0:  # nothing of pytest may run in here
        code = 1
        try:
            clip = load_video(Media("video", path), TINY, reader=reader)
            code = 0 if len(clip.times_F) == 4 and only_worker(reader).process.pid != mine else 2
            reader.close()
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert len(load_video(Media("video", path), TINY, reader=reader).times_F) == 4
    assert only_worker(reader).process.pid == mine


def test_workers_end_with_their_parent(film: Film, tmp_path: Path) -> None:
    code = (
        "import sys, os; from mmreflect.media.reader import VideoReader, ReaderConfig\n"
        "reader = VideoReader(ReaderConfig(cache='off', workers=1)); reader.info(sys.argv[1])\n"
        "print(reader._pool._free[0].process.pid, flush=True); os._exit(9)"
    )
    run = subprocess.run([sys.executable, "-c", code, str(film(frames=4))], capture_output=True, text=True, check=False)
    pid = int(run.stdout)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and alive(pid):
        time.sleep(0.05)
    assert not alive(pid)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_a_worker_answers_in_lines(film: Film) -> None:
    """What libraries print does not get between the replies."""
    pool = WorkerPool("pyav", 1)
    reply, seconds = pool.ask({"op": "open", "path": str(film(frames=5))}, 10.0)
    assert json.loads(json.dumps(reply))["info"]["frames"] == 5 and 0 < seconds < 10
    pool.close()
