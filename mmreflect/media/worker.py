"""The worker process: videos decoded behind a pipe, one request a line; frames go through files.

Nothing but `workers.py` starts it. What a file does to a decoder (no end, a crash, all the memory) ends this process
and no other.
"""

import contextlib
import dataclasses
import itertools
import json
import logging
import os
import resource
import signal
import sys
import traceback
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmreflect.errors import UserError
from mmreflect.media.cache import file_mark
from mmreflect.media.decoders import PACKAGES, DecoderName, Source, load, open_video

if TYPE_CHECKING:
    from mmreflect.media.decoders import Picture

MEMORY_BYTES = 8 << 30
"""Address space of one worker; torchcodec, which loads torch, has no such limit."""
RETIRE_READS = 500
RETIRE_BYTES = 2 << 30
"""After so many requests, or grown so large, a worker is replaced: libraries leak."""
GRACE_S = 10.0
AHEAD = 4
"""Decoded frames that may wait to be resized."""


class _FullError(Exception):
    """The disk that the frames are handed over on is full or gone."""


class _Worker:
    def __init__(self, decoder: DecoderName) -> None:
        self.decoder = decoder
        self.reads = 0
        self._held: tuple[Any, Source] | None = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what a request asks for; what went wrong is part of the reply."""
        try:
            return self._do(request)
        except UserError as error:
            return {"error": [error.given, error.expected, error.do]}
        except _FullError as error:
            return {"full": str(error)}
        except MemoryError:
            self._drop()
            given = f"decoding {request['path']} needs more than {MEMORY_BYTES >> 30} GiB of memory"
            return {"error": [given, "a video of ordinary size", "scale it down, or remove its row"]}
        except PermissionError as error:
            return {"error": [f"the video cannot be read: {error}", "a readable file", "check its permissions"]}
        except OSError as error:
            return {"error": [f"the video cannot be read: {request['path']} ({error})", "", "check the disk"]}
        except Exception as error:
            if not _raised_in(error, PACKAGES[self.decoder]):  # a bug of ours: its traceback goes to whoever asked
                return {"bug": traceback.format_exc()}
            self._drop()
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            given = f"{self.decoder} fails over {request['path']} ({type(error).__name__}: {said})"
            return {"error": [given, "a video that it reads", "try another decoder, or remove its row"]}

    def worn_out(self) -> bool:
        """Say whether this process has done its part."""
        with open("/proc/self/statm") as file:
            pages = int(file.read().split()[1])
        return self.reads >= RETIRE_READS or pages * resource.getpagesize() > RETIRE_BYTES

    def _do(self, request: dict[str, Any]) -> dict[str, Any]:
        path = request["path"]
        if request["op"] == "mark":
            return {"mark": file_mark(path)}
        source = self._source(path, request["threads"])
        if request["op"] == "open":
            return {"info": dataclasses.asdict(source.info)}
        self.reads += 1
        before = source.second_passes
        try:
            _write(source, request["outputs"])
        except UserError:
            self._drop()  # what state the decoder is in is not known
            raise
        return {"second_passes": source.second_passes - before}

    def _source(self, path: str, threads: int) -> Source:
        found = os.stat(path)
        key = (path, found.st_size, found.st_mtime_ns)
        if self._held is None or self._held[0] != key:
            self._drop()
            self._held = (key, open_video(path, self.decoder, threads))
        return self._held[1]

    def _drop(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            held[1].close()


def _raised_in(error: Exception, package: str) -> bool:
    """Say whether an error comes out of a package; compiled ones name their files from the package on."""
    parts = Path(traceback.extract_tb(error.__traceback__)[-1].filename).parts
    return parts[0] == package or ("site-packages", package) in itertools.pairwise(parts)


def _write(source: Source, outputs: list[dict[str, Any]]) -> None:
    """Write each output's frames to its file; all of them are decoded in one go, in the order of their times.

    A second thread resizes and writes while the next frames are decoded; few frames are in memory at any time.
    """
    starts = [_begin(output["file"], [len(output["times"]), *output["size"], 3]) for output in outputs]
    order = sorted(
        (time, number, frame) for number, output in enumerate(outputs) for frame, time in enumerate(output["times"])
    )
    pictures = source.frames([time for time, _, _ in order])
    with ThreadPoolExecutor(1) as writer:
        waiting: deque[Future[None]] = deque()
        for (_, number, frame), picture in zip(order, pictures, strict=True):
            waiting.append(writer.submit(_put, picture, outputs[number], starts[number], frame))
            if len(waiting) > AHEAD:
                waiting.popleft().result()
        for put in waiting:
            put.result()


def _put(picture: "Picture", output: dict[str, Any], start: int, frame: int) -> None:
    """Write one frame to its place."""
    content = _shown(picture, output["crop"], output["size"], output["stamps"][frame] if output["stamps"] else None)
    with _full_disk_named(), open(output["file"], "r+b") as file:
        file.seek(start + frame * len(content))
        file.write(content)


def _begin(file: str, shape: list[int]) -> int:
    """Write the head of a `.npy` file and return its length."""
    import numpy as np

    with _full_disk_named(), open(file, "wb") as opened:
        head = {"descr": "|u1", "fortran_order": False, "shape": tuple(shape)}
        np.lib.format.write_array_header_1_0(opened, head)
        return opened.tell()


@contextlib.contextmanager
def _full_disk_named() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _FullError(error.strerror or str(error)) from None


def _shown(picture: "Picture", crop: list[int] | None, size: list[int], stamp: str | None) -> bytes:
    """Cut, resize (bicubic, with the filter widened where it shrinks) and stamp a frame."""
    from PIL import Image

    from mmreflect.media.stamps import burn

    image = Image.fromarray(picture)
    if crop:
        left, top, right, bottom = crop
        image = image.crop((left, top, right, bottom))
    if image.size != (size[1], size[0]):
        image = image.resize((size[1], size[0]), Image.Resampling.BICUBIC)
    if stamp is not None:
        burn(image, stamp)
    return image.tobytes()


def serve(decoder: DecoderName) -> None:
    """Answer requests until standard input ends."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what libraries print must not mix with the replies
    logging.disable(logging.CRITICAL)
    with contextlib.suppress(UserError):  # said again when a video is opened
        load(decoder)
    if decoder != "torchcodec":
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    worker = _Worker(decoder)
    print("ready", file=replies, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        # The asker kills this process in time; where the asker is gone, this signal does.
        signal.setitimer(signal.ITIMER_REAL, request["seconds"] + GRACE_S)
        reply = worker.answer(request)
        signal.setitimer(signal.ITIMER_REAL, 0)
        reply["retire"] = worker.worn_out()
        print(json.dumps(reply), file=replies, flush=True)
