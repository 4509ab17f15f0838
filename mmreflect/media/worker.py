"""The worker process: videos decoded behind a pipe, one request a line; frames go through files.

Nothing but `workers.py` starts it. What a file does to a decoder (no end, a crash, all the memory) ends this process and
no other.
"""

import contextlib
import dataclasses
import json
import logging
import os
import resource
import signal
import sys
import traceback
from typing import TYPE_CHECKING, Any

from mmreflect.errors import UserError
from mmreflect.media import faults
from mmreflect.media.cache import file_mark
from mmreflect.media.decoders import DecoderName, Source, load, open_video

if TYPE_CHECKING:
    from mmreflect.media.decoders import Picture

MEMORY_BYTES = 8 << 30
"""Address space of one worker; torchcodec, which loads torch, has no such limit."""
RETIRE_READS = 500
RETIRE_BYTES = 2 << 30
"""After so many requests, or grown so large, a worker is replaced: libraries leak."""
GRACE_S = 10.0


class _Full(Exception):
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
        except _Full as error:
            return {"full": str(error)}
        except MemoryError:
            self._drop()
            given = f"decoding {request['path']} needs more than {MEMORY_BYTES >> 30} GiB of memory"
            return {"error": [given, "a video of ordinary size", "scale it down, or remove its row"]}
        except PermissionError as error:
            return {"error": [f"the video cannot be read: {error}", "a readable file", "check its permissions"]}
        except OSError as error:
            return {"error": [f"the video cannot be read: {request['path']} ({error})", "", "check the disk"]}
        except Exception:  # a bug of ours: its traceback goes to whoever asked
            return {"bug": traceback.format_exc()}

    def _do(self, request: dict[str, Any]) -> dict[str, Any]:
        path = request["path"]
        if request["op"] == "mark":
            return {"mark": file_mark(path)}
        source = self._source(path, request["threads"])
        if request["op"] == "open":
            return {"info": dataclasses.asdict(source.info)}
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


def _write(source: Source, outputs: list[dict[str, Any]]) -> None:
    """Write each output's frames to its file; all of them are decoded in one go, in the order of their times."""
    for output in outputs:
        _begin(output["file"], (len(output["times"]), *output["size"], 3))
    order = sorted((time, *place) for place, time in _wanted(outputs))
    pictures = source.frames([time for time, _, _ in order])
    for (_, number, frame), picture in zip(order, pictures, strict=True):
        output = outputs[number]
        stamps = output["stamps"]
        content = _shown(picture, output["crop"], output["size"], stamps[frame] if stamps else None)
        with _writing(output["file"]) as file:
            file.seek(-len(content) * (len(output["times"]) - frame), os.SEEK_END) if output.get("begun") else None
            file.write(content)
